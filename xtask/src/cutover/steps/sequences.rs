//! `sequences`: every sequence stands on the target exactly as on the source: `last_value` and
//! `is_called`. The greatest key of a table would be wrong after deletes and rollbacks.

use anyhow::{Context, Result};

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::search;
use crate::cutover::steps::evidence;
use crate::pg::sequences::{self, SequenceRule, SequenceValue};

/// Why a step cannot go on in a process that did not pass the gate.
const UNPREPARED: &str = "the gate prepared no statements for the sequences";

/// Reads them all on the source and sets them all on the target, in one round trip each.
///
/// # Errors
/// A sequence is missing on the target, or a server cannot be asked.
pub async fn act(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let (reader, _) = engine.attempt.sequences.as_ref().context(UNPREPARED)?;
    let mut values = reader.read(&source).await?;
    retain_moved(&mut values, engine.plan.moves_search());
    sequences::apply(&target, &values).await
}

/// Done when they stand the same.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    let (reader, reader_on_target) = engine.attempt.sequences.as_ref().context(UNPREPARED)?;
    let (mut ours, theirs) =
        tokio::try_join!(reader.read(&source), reader_on_target.read(&target))?;
    retain_moved(&mut ours, engine.plan.moves_search());
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

/// Leaves out those of search where its tables are not moved: the other side has none, or a store
/// of its own, whose keys would be given out a second time.
fn retain_moved(values: &mut Vec<SequenceValue>, moves_search: bool) {
    values.retain(|value| moves_search || !search::is_named(&value.name));
}
