//! `disk`: the disk of the ParadeDB server is full. Tables cannot grow; where no WAL can be written
//! either, the server panics, and cannot recover before there is room.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Disk, Scene, Server, Wound};
use crate::failure::tolerate;
use crate::servers::cluster::Cluster;

/// How many segments of WAL are begun at most: what was made in advance must be used up.
const SEGMENTS: u32 = 400;
/// How long a server may take to answer when it has room again.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Takes all room, and in half of the turns the WAL's as well.
pub(super) async fn fill(scene: &Scene<'_>) -> Result<Wound> {
    let disk =
        scene.stage.pair.target_disk.as_ref().context("the server has no disk of its own")?;
    disk.fill()?;
    if scene.draw.server == Server::Paradedb {
        use_up_wal(scene).await;
    }
    Ok(Wound::Full(disk.clone()))
}

/// Writes WAL until the server cannot.
async fn use_up_wal(scene: &Scene<'_>) {
    let server = scene.world.endpoint(Server::Paradedb).with_database("postgres");
    let Ok(session) = server.connect("drill").await else { return };
    for _ in 0..SEGMENTS {
        let write = "SELECT pg_logical_emit_message(true, 'sweep', 'more'), pg_switch_wal()";
        if session.batch_execute(write).await.is_err() {
            return;
        }
    }
}

/// Gives it room again. A server that could not recover without is started.
pub(super) async fn clear(disk: &Disk, scene: &Scene<'_>) -> Result<()> {
    disk.clear()?;
    let cluster = scene.stage.cluster(Server::Paradedb);
    let begun = Instant::now();
    while let Err(error) = answers(cluster).await {
        if begun.elapsed() > ANSWER_LIMIT {
            bail!("the server has room again, and does not answer: {error:#}");
        }
        // It may be about to give up by itself: then the next look starts it.
        if !cluster.is_running().await.unwrap_or(true) {
            tolerate(cluster.start().await, "whether it answers is what counts");
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}

async fn answers(cluster: &Cluster) -> Result<()> {
    let session = cluster.endpoint("postgres").connect("drill").await?;
    Ok(session.batch_execute("SELECT 1").await?)
}
