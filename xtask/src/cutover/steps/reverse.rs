//! `reverse`: every write on the target goes back to the source from here on. A marker row that
//! has made the way proves it; then the direction that is not needed any more is retired.

use std::time::Duration;

use anyhow::Result;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, WayBack};
use crate::cutover::fence;
use crate::cutover::steps::{evidence, flip};
use crate::cutover::way_back;
use crate::failure::tolerate;
use crate::pg::endpoint::Session;
use crate::pg::replication;

/// How long the first marker may take.
const FIRST_MARKER_LIMIT: Duration = Duration::from_secs(120);

/// Enables the way back, proves it, and retires the way here. Never the other way round: the
/// retired direction must not be enabled again.
///
/// # Errors
/// The marker does not arrive, or a server refuses. Service goes on.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    // Who read the route a moment before it was flipped may have come after that.
    flip::send_away(engine).await;
    if let Some(reason) = lost_because(engine, &target).await? {
        // No try would mend it. What is left to do is not to leave the run open for ever.
        engine.story.warning(format!("the way back is lost: {reason}"));
        let told = log.append(Event::WayBack { way_back: WayBack::Lost(reason) });
        tolerate(told, "status looks at the servers, not at this record");
        retire_ahead(engine).await?;
        return fence::unguard_tables(&target).await;
    }
    let name = engine.back();
    replication::enable(&source, &name).await?;
    let markers = ["marker_1".to_string()];
    let id = replication::mark(&target, &markers, "reverse").await?;
    let names = [name];
    replication::await_mark(&source, &markers, &names, id, FIRST_MARKER_LIMIT).await?;
    let armed = log.append(Event::WayBack { way_back: WayBack::Armed });
    tolerate(armed, "status looks at the servers, not at this record");
    retire_ahead(engine).await?;
    fence::unguard_tables(&target).await
}

/// Why there is no way back and never will be, where that is so.
async fn lost_because(engine: &Engine, target: &Session) -> Result<Option<String>> {
    if engine.plan.without_way_back {
        return Ok(Some(way_back::WITHOUT.into()));
    }
    let slot = engine.back();
    let is_usable = replication::slot_is_usable(target, &slot).await?;
    Ok((!is_usable).then(|| format!("slot {slot} on the serving side is gone or invalid")))
}

/// Takes away what brought the rows here.
async fn retire_ahead(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    for name in engine.every_ahead() {
        replication::unsubscribe(&target, &name).await?;
        replication::drop_slot(&source, &name).await?;
        replication::unpublish(&source, &name).await?;
    }
    replication::drop_role(&source, &engine.role(engine.header.direction)).await
}

/// Done when the way back is enabled, or lost for good, and nothing of the way here is left.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    let lost = lost_because(engine, &target).await?;
    let state = replication::subscription(&source, &engine.back()).await?;
    if lost.is_none() && state.is_none_or(|state| !state.enabled) {
        return Ok(Seen::NotDone);
    }
    for name in engine.every_ahead() {
        // A slot that nobody reads would fill the source's disk.
        let is_left = replication::subscription(&target, &name).await?.is_some()
            || replication::slot_exists(&source, &name).await?
            || replication::is_published(&source, &name).await?;
        if is_left {
            return Ok(Seen::NotDone);
        }
    }
    if replication::role_exists(&source, &engine.role(engine.header.direction)).await? {
        return Ok(Seen::NotDone);
    }
    let rollback = match lost {
        Some(reason) => format!("LOST because {reason}"),
        None => "ARMED".into(),
    };
    Ok(Seen::Done(evidence! { "rollback": rollback }))
}
