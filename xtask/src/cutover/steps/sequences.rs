//! `sequences`: every sequence stands on the target exactly as on the source: `last_value` and
//! `is_called`. The greatest key of a table would be wrong after deletes and rollbacks.

use anyhow::{Context, Result};

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::search;
use crate::cutover::steps::evidence;
use crate::pg::sequences::{self, SequenceRule};

/// Why a step cannot go on in a process that did not pass the gate.
const UNPREPARED: &str = "the gate prepared no statements for the sequences";

/// Reads them all on the source and sets them all on the target, in one round trip each.
///
/// # Errors
/// A sequence is missing on the target, or a server cannot be asked.
pub async fn act(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let (reader, reader_on_target) = engine.attempt.sequences.as_ref().context(UNPREPARED)?;
    let mut values = reader.read(&source).await?;
    // Those of search stay behind, where the other side never had search.
    let theirs = reader_on_target.names();
    values.retain(|value| !search::is_named(&value.name) || theirs.contains(&value.title()));
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
    let names = reader_on_target.names();
    ours.retain(|value| !search::is_named(&value.name) || names.contains(&value.title()));
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
