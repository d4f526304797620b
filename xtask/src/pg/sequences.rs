//! Where every sequence stands, read and set in one round trip: both happen inside the pause.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio_postgres::Statement;

use crate::pg::endpoint::{Session, literal, qualified};

/// How many sequences one statement reads. More in one would only be slower to plan.
const SEQUENCES_PER_STATEMENT: usize = 200;

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// The schema's name.
    pub schema: String,
    /// The sequence's name.
    pub name: String,
    /// The value that was given out last, or that is next where none was.
    pub last_value: i64,
    /// Whether `last_value` was given out.
    pub is_called: bool,
    /// By how much it steps; negative where it runs down.
    pub increment: i64,
}

impl SequenceValue {
    /// `schema.name`.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// How the two sides' sequences are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceRule {
    /// Both sides are quiet: they stand at the same place.
    Equal,
    /// The target has been in use since: it stands where the source does, or further on.
    NotBehind,
    /// The source is in use and the target is not yet: nothing can be said.
    Outside,
}

/// A sequence that does not stand where it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceDifference {
    /// `schema.name`.
    pub sequence: String,
    /// Where it stands on the source; none where it does not exist.
    pub source: Option<String>,
    /// Where it stands on the target; none where it does not exist.
    pub target: Option<String>,
}

/// How many sequences belong to the service.
///
/// # Errors
/// The catalog cannot be read.
pub async fn count(session: &Session) -> Result<usize> {
    let rows = session.query(include_str!("sql/sequences.sql"), &[]).await;
    Ok(rows.context("list the sequences")?.len())
}

/// Reads every sequence of one session's database; prepared before the pause.
pub struct SequenceReader {
    statements: Vec<Statement>,
    sequences: Vec<Vec<SequenceValue>>,
}

impl SequenceReader {
    /// Lists the sequences and prepares their statement. Sequences made later are not seen.
    ///
    /// # Errors
    /// The catalog cannot be read, or a sequence cannot.
    pub async fn prepare(session: &Session) -> Result<SequenceReader> {
        let rows = session
            .query(include_str!("sql/sequences.sql"), &[])
            .await
            .context("list the sequences")?;
        let all: Vec<SequenceValue> = rows
            .iter()
            .map(|row| SequenceValue {
                schema: row.get("schema"),
                name: row.get("name"),
                last_value: 0,
                is_called: false,
                increment: row.get("increment"),
            })
            .collect();
        let sequences: Vec<Vec<SequenceValue>> =
            all.chunks(SEQUENCES_PER_STATEMENT).map(<[_]>::to_vec).collect();
        let mut statements = Vec::new();
        for some in &sequences {
            let statement = session.prepare(&reading(some)).await;
            statements.push(statement.context("prepare to read the sequences")?);
        }
        Ok(SequenceReader { statements, sequences })
    }

    /// Reads where every sequence stands, in one round trip. The session is the one that prepared.
    ///
    /// # Errors
    /// The connection is lost, or a sequence was dropped since.
    pub async fn read(&self, session: &Session) -> Result<Vec<SequenceValue>> {
        let queries = self.statements.iter().map(|statement| session.query(statement, &[]));
        let answers = try_join_all(queries).await.context("read the sequences")?;
        let mut values = Vec::new();
        for (rows, sequences) in answers.iter().zip(&self.sequences) {
            for row in rows {
                let number: i32 = row.get(0);
                let Some(sequence) = usize::try_from(number).ok().and_then(|at| sequences.get(at))
                else {
                    continue;
                };
                values.push(SequenceValue {
                    last_value: row.get(1),
                    is_called: row.get(2),
                    ..sequence.clone()
                });
            }
        }
        Ok(values)
    }
}

/// One query for all: each part names its sequence by its place in the list.
fn reading(sequences: &[SequenceValue]) -> String {
    let one = |(number, sequence): (usize, &SequenceValue)| {
        let name = qualified(&sequence.schema, &sequence.name);
        format!("SELECT {number}::int, last_value, is_called FROM {name}")
    };
    sequences.iter().enumerate().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Reads where every sequence stands.
///
/// # Errors
/// As [`SequenceReader`].
pub async fn read(session: &Session) -> Result<Vec<SequenceValue>> {
    SequenceReader::prepare(session).await?.read(session).await
}

/// Sets every sequence to where it stood when it was read, in one batch.
///
/// # Errors
/// A sequence does not exist here or may not be set; then none is set.
pub async fn apply(session: &Session, values: &[SequenceValue]) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let one = |value: &SequenceValue| {
        let name = literal(&qualified(&value.schema, &value.name));
        format!("pg_catalog.setval({name}, {}, {})", value.last_value, value.is_called)
    };
    // A target list has at most 1664 entries; rows of a VALUES list have no limit.
    let all: Vec<String> = values.iter().map(|value| format!("({})", one(value))).collect();
    let batch = format!("SELECT count(value) FROM (VALUES {}) AS set(value)", all.join(", "));
    session.batch_execute(&batch).await.context("set the sequences")
}

/// What differs between the two sides by the given rule. A sequence that only the target has is no
/// difference here: the schema's comparison judges it.
pub fn compare(
    source: &[SequenceValue],
    target: &[SequenceValue],
    rule: SequenceRule,
) -> Vec<SequenceDifference> {
    if rule == SequenceRule::Outside {
        return Vec::new();
    }
    let by_name: BTreeMap<_, _> =
        target.iter().map(|value| ((&value.schema, &value.name), value)).collect();
    let differs = |value: &SequenceValue| {
        let other = by_name.get(&(&value.schema, &value.name)).copied();
        let fits = other.is_some_and(|other| match rule {
            SequenceRule::Equal => stands(value) == stands(other),
            SequenceRule::NotBehind => !is_behind(other, value),
            SequenceRule::Outside => true,
        });
        (!fits).then(|| SequenceDifference {
            sequence: format!("{}.{}", value.schema, value.name),
            source: Some(describe(value)),
            target: other.map(describe),
        })
    };
    source.iter().filter_map(differs).collect()
}

fn stands(value: &SequenceValue) -> (i64, bool) {
    (value.last_value, value.is_called)
}

/// Whether `one` would give out a value that `other` has given out, or is about to.
fn is_behind(one: &SequenceValue, other: &SequenceValue) -> bool {
    let order = one.last_value.cmp(&other.last_value);
    let order = if other.increment < 0 { order.reverse() } else { order };
    order.then(one.is_called.cmp(&other.is_called)).is_lt()
}

fn describe(value: &SequenceValue) -> String {
    let called = if value.is_called { "given out" } else { "not yet given out" };
    format!("{} ({called})", value.last_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last_value: i64, is_called: bool) -> SequenceValue {
        let (schema, name) = ("public".into(), "s".into());
        SequenceValue { schema, name, last_value, is_called, increment: 1 }
    }

    #[test]
    fn equal_means_the_same_place_and_the_same_next_value() {
        let differs = |one, other| !compare(&[one], &[other], SequenceRule::Equal).is_empty();
        assert!(!differs(at(7, true), at(7, true)));
        assert!(differs(at(7, true), at(6, true)));
        assert!(differs(at(7, true), at(7, false)));
    }

    #[test]
    fn behind_follows_the_direction_of_the_sequence() {
        assert!(is_behind(&at(6, true), &at(7, true)));
        assert!(is_behind(&at(7, false), &at(7, true)));
        assert!(!is_behind(&at(9, false), &at(7, true)));
        let down = |value| SequenceValue { increment: -1, ..at(value, true) };
        assert!(is_behind(&down(-3), &down(-4)));
        assert!(!is_behind(&down(-5), &down(-4)));
    }

    #[test]
    fn a_missing_sequence_is_a_difference() {
        let missing = compare(&[at(1, true)], &[], SequenceRule::NotBehind);
        assert_eq!(missing[0].sequence, "public.s");
        assert_eq!(missing[0].target, None);
    }
}
