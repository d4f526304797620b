//! `slot`: the serving side gives up the slots that the other side follows by, as a server does
//! that may keep no more WAL. The way there, or back, is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Scene, Wound};
use crate::pg::endpoint::Session;

/// How long it may take until a slot is given up.
const LIMIT: Duration = Duration::from_secs(30);
/// How often new WAL is begun meanwhile: a server counts in whole files.
const EVERY: Duration = Duration::from_millis(100);

/// Lets the server keep no WAL for slots, and writes WAL until one is given up.
pub(super) async fn give_up(scene: &Scene<'_>) -> Result<Wound> {
    let server = scene.serving().with_database("postgres");
    let Ok(session) = server.connect("drill").await else { return Ok(Wound::Nothing) };
    session
        .batch_execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        .await
        .context("set the limit")?;
    reload(&session).await?;
    let begun = Instant::now();
    loop {
        let write = "SELECT pg_logical_emit_message(true, 'sweep', 'more'); \
                     SELECT pg_switch_wal(); CHECKPOINT";
        session.batch_execute(write).await.context("write WAL")?;
        let lost = "SELECT FROM pg_replication_slots WHERE database = $1 AND wal_status = 'lost'";
        let database = &scene.serving().database;
        if !session.query(lost, &[database]).await?.is_empty() {
            return Ok(Wound::Slot);
        }
        if begun.elapsed() > LIMIT {
            bail!("no slot was given up within {LIMIT:?}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Gives the server its limit again. What it gave up stays lost.
pub(super) async fn reset(scene: &Scene<'_>) -> Result<()> {
    let session = scene.serving().with_database("postgres").connect("drill").await?;
    session
        .batch_execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        .await
        .context("reset the limit")?;
    reload(&session).await
}

async fn reload(session: &Session) -> Result<()> {
    session.batch_execute("SELECT pg_reload_conf()").await.context("reload")
}
