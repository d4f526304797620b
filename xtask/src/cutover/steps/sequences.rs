//! `sequences`: every sequence stands on the target exactly as on the source: `last_value` and
//! `is_called`. The greatest key of a table would be wrong after deletes and rollbacks.

use anyhow::{Context, Result};

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;
use crate::pg::sequences::{self, SequenceRule};

/// Reads them all on the source and sets them all on the target, in one round trip each.
///
/// # Errors
/// A sequence is missing on the target, or a server cannot be asked.
pub async fn act(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let reader = engine.attempt.sequences.as_ref().context("the sequences were not prepared")?;
    let values = reader.read(&source).await?;
    sequences::apply(&target, &values).await
}

/// Done when they stand the same.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    let (ours, theirs) = tokio::try_join!(sequences::read(&source), sequences::read(&target))?;
    let ours_on_target: Vec<_> = theirs
        .into_iter()
        .filter(|value| ours.iter().any(|one| one.schema == value.schema && one.name == value.name))
        .collect();
    if sequences::compare(&ours, &ours_on_target, SequenceRule::Equal).is_empty() {
        Ok(Seen::Done(evidence! { "sequences": ours.len() }))
    } else {
        Ok(Seen::NotDone)
    }
}
