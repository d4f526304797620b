//! `retire`: the way back is given up, for good. The old side keeps its fence, and the run's row
//! there says why; it is never dropped by this tool.

use anyhow::Result;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, WayBack};
use crate::cutover::fence;
use crate::cutover::steps::evidence;
use crate::pg::replication;

/// Takes the way back away and marks the old side's row.
///
/// # Errors
/// A server cannot be reached.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let name = engine.back();
    replication::unsubscribe(&source, &name).await?;
    replication::drop_slot(&target, &name).await?;
    replication::unpublish(&target, &name).await?;
    replication::drop_role(&target, &engine.role(engine.header.direction.opposite())).await?;
    source
        .execute(
            "UPDATE xtask_cutover.run SET finished_at = clock_timestamp(), guarded = false
             WHERE id = $1",
            &[&engine.header.run],
        )
        .await?;
    log.append(Event::WayBack { way_back: WayBack::Closed })?;
    fence::drop_state(&target).await
}

/// Done when nothing of the run is left on the serving side, and the old side says so.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    let name = engine.back();
    let is_left = replication::subscription(&source, &name).await?.is_some()
        || replication::is_published(&target, &name).await?
        || crate::pg::state::is_installed(&target).await?;
    Ok(if is_left { Seen::NotDone } else { Seen::Done(evidence! { "old_side": "fenced" }) })
}
