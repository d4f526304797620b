//! `slot`: a server gives up the slots that the other side follows by, as a server does that may
//! keep no more WAL. The way there, or back, is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Scene, Wound};
use crate::pg::endpoint::Session;

/// How long it may take until a slot is given up.
const LIMIT: Duration = Duration::from_secs(5);
/// How often new WAL is begun meanwhile: a server counts in whole files.
const EVERY: Duration = Duration::from_millis(100);

/// Lets the server keep no WAL for slots, and writes WAL until one is given up. There may be none
/// by now that anybody follows by.
pub(super) async fn give_up(scene: &Scene<'_>) -> Result<Wound> {
    let endpoint = scene.world.endpoint(scene.draw.server);
    let server = endpoint.with_database("postgres");
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
        let is_lost = !session.query(lost, &[&endpoint.database]).await?.is_empty();
        if is_lost || begun.elapsed() > LIMIT {
            return Ok(Wound::Slot);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Gives the server its limit again. What it gave up stays lost.
pub(super) async fn reset(scene: &Scene<'_>) -> Result<()> {
    let endpoint = scene.world.endpoint(scene.draw.server);
    let session = endpoint.with_database("postgres").connect("drill").await?;
    session
        .batch_execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        .await
        .context("reset the limit")?;
    reload(&session).await
}

async fn reload(session: &Session) -> Result<()> {
    session.batch_execute("SELECT pg_reload_conf()").await.context("reload")
}
