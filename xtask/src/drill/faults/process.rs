//! `kill` and `freeze`: the tool itself.

use anyhow::Result;
use rustix::process::Signal;

use super::{Scene, Wound};

/// Kills the tool as nothing can be more killed.
pub(super) fn kill(scene: &Scene<'_>) -> Result<Wound> {
    scene.tool.map_or(Ok(()), |tool| tool.signal(Signal::KILL))?;
    Ok(Wound::Killed)
}

/// Stops the tool between two instructions.
pub(super) fn freeze(scene: &Scene<'_>) -> Result<Wound> {
    scene.tool.map_or(Ok(()), |tool| tool.signal(Signal::STOP))?;
    Ok(Wound::Frozen)
}

/// Lets it go on.
pub(super) fn thaw(scene: &Scene<'_>) -> Result<()> {
    scene.tool.map_or(Ok(()), |tool| tool.signal(Signal::CONT))
}
