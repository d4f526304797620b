//! `ddl`: a change of schema on the serving side while the verb is at work, which is undone later.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Scene, Wound};

/// A table that nobody writes to.
const QUIET: &str = "public.token_blacklist_outstandingtoken";
/// A table that every transaction writes to.
const BUSY: &str = "public.workload_ledger";
/// How long undoing it may take: a fence ends whoever comes.
const UNDO_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Adds a column. Where the side is fenced by now nobody can, and nothing has happened.
pub(super) async fn change(scene: &Scene<'_>) -> Result<Wound> {
    let table = if scene.draw.strikes_both { BUSY } else { QUIET };
    let Ok(session) = scene.serving().connect_as_client("deployment").await else {
        return Ok(Wound::Nothing);
    };
    let add = format!("SET lock_timeout = '1s'; ALTER TABLE {table} ADD COLUMN swept integer");
    Ok(match session.batch_execute(&add).await {
        Ok(()) => Wound::Column(table),
        Err(_) => Wound::Nothing,
    })
}

/// Drops it again.
pub(super) async fn undo(table: &str, scene: &Scene<'_>) -> Result<()> {
    let begun = Instant::now();
    let drop = format!("SET lock_timeout = '1s'; ALTER TABLE {table} DROP COLUMN IF EXISTS swept");
    loop {
        let undone = match scene.serving().connect("drill").await {
            Ok(session) => session.batch_execute(&drop).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        match undone {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > UNDO_LIMIT => bail!("drop the column: {error:#}"),
            Err(_) => tokio::time::sleep(BETWEEN_TRIES).await,
        }
    }
}
