//! `pin`: both sides are held at the same logical instant, so that every row can be compared
//! after the clients were let go. The source is fenced; the target has everything and is closed.

use anyhow::{Context, Result};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::Event;
use crate::cutover::holder;
use crate::cutover::steps::evidence;
use crate::pg::survey;

/// Tells the waiting holder to take its snapshots; notes the tables' files meanwhile.
///
/// # Errors
/// The holder is gone, or a server refuses.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let holder = engine.attempt.holder.as_mut().context("no holder was started")?;
    let (answer, ours, theirs) =
        tokio::try_join!(holder.pin(), survey::files(&source), survey::files(&target))?;
    log.append(Event::Pinned {
        source: answer.source.context("the holder exported no snapshot of the source")?,
        target: answer.target.context("the holder exported no snapshot of the target")?,
        source_files: ours,
        target_files: theirs,
    })
}

/// Done while the holder of the pins is at work on both sides.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    let run = &engine.header.run;
    let last = log
        .records()
        .iter()
        .rev()
        .find(|record| matches!(record.event, Event::Pinned { .. } | Event::Verb { .. }));
    let is_noted = last.is_some_and(|record| matches!(record.event, Event::Pinned { .. }));
    let (ours, theirs) =
        tokio::try_join!(holder::is_alive(&source, run), holder::is_alive(&target, run))?;
    Ok(if is_noted && ours && theirs { Seen::Done(evidence! {}) } else { Seen::NotDone })
}

/// Lets the pins go.
///
/// # Errors
/// A server cannot be reached.
pub async fn undo(engine: &mut Engine) -> Result<()> {
    engine.attempt.holder = None;
    // The source first: a target that is away must leave no snapshot held where clients write.
    let source = engine.source.session().await?;
    holder::end(&source, &engine.header.run).await?;
    let target = engine.target.session().await?;
    holder::end(&target, &engine.header.run).await
}
