//! Whether a plan still describes what it was made for.

use anyhow::Result;

use crate::cutover::lineage::{Phase, Run};
use crate::cutover::plan;
use crate::cutover::verbs::Operation;

/// Whether a turn was stopped before anything of it was left, and the schema of its source is not
/// the planned one any more: then only a new plan can pass the gate.
///
/// # Errors
/// The source cannot be asked.
pub async fn is_outdated(operation: &Operation, run: &Run) -> Result<bool> {
    if run.header.parent.is_none() || run.phase() != Phase::Following {
        return Ok(false);
    }
    let [(source, _), _] = operation.sides(run.header.direction);
    let session = source.connect("plan").await?;
    Ok(plan::fingerprint(&session).await? != run.plan()?.fingerprint)
}
