//! Whether a suspect row really differs, and how.

use std::time::Duration;

use anyhow::Result;

use crate::cutover::event::Side;
use crate::cutover::verify::{Barrier, Pair, RowDifference};
use crate::pg::digest::TableReader;
use crate::pg::digest::rows::{Identity, Seen, Values};

/// How often suspects are read again before a row that keeps changing is left unsettled.
const ROUNDS: u32 = 5;
/// How long the other side gets to catch up where there is no barrier, times the round.
const WAIT_WITHOUT_BARRIER: Duration = Duration::from_millis(200);
/// How many differing rows a table's certificate shows.
pub(super) const SHOWN_ROWS: usize = 20;
/// How many characters of a value are shown.
const SHOWN_CHARACTERS: usize = 80;
/// How many characters before the first difference are shown.
const SHOWN_BEFORE: usize = 20;

/// What became of suspects.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The first differing rows.
    pub differences: Vec<RowDifference>,
    /// How many rows differ.
    pub count: u64,
    /// How many never stopped changing.
    pub unsettled: u64,
}

impl Findings {
    /// Adds what was found elsewhere in the same table.
    pub(super) fn add(&mut self, other: Findings) {
        let room = SHOWN_ROWS.saturating_sub(self.differences.len());
        self.differences.extend(other.differences.into_iter().take(room));
        self.count += other.count;
        self.unsettled += other.unsettled;
    }
}

/// How suspects are looked at.
pub(super) enum Patience<'a> {
    /// Nothing changes: one look is enough.
    Pinned,
    /// Clients write on one side, and the other follows.
    Live { serving: Side, barrier: Option<&'a Barrier> },
}

/// Looks at suspects until each is seen equal, seen different, or has changed too often.
pub(super) async fn settle(
    pair: &Pair,
    reader: &TableReader,
    suspects: &[Identity],
    patience: &Patience<'_>,
) -> Result<Findings> {
    let (real, unsettled) = match patience {
        Patience::Pinned => (really_different(pair, reader, suspects).await?, 0),
        Patience::Live { serving, barrier } => {
            different_when_still(pair, reader, suspects, *serving, *barrier).await?
        }
    };
    let mut findings = Findings { unsettled, ..Findings::default() };
    for real in real {
        findings.count += real.rows;
        if findings.differences.len() < SHOWN_ROWS {
            findings.differences.extend(describe(pair, reader, &real).await?);
        }
    }
    findings.differences.truncate(SHOWN_ROWS);
    Ok(findings)
}

/// A row that differs, or several equal ones of a table without a key.
struct Real {
    identity: Identity,
    rows: u64,
    source_count: i64,
    target_count: i64,
}

impl Real {
    fn new(identity: Identity, source: Option<&Seen>, target: Option<&Seen>) -> Real {
        let count = |seen: Option<&Seen>| match identity {
            Identity::Hash(_) => seen.map_or(0, |seen| seen.content[0]),
            Identity::Key(_) => i64::from(seen.is_some()),
        };
        let (source_count, target_count) = (count(source), count(target));
        let rows = source_count.abs_diff(target_count).max(1);
        Real { identity, rows, source_count, target_count }
    }
}

async fn really_different(
    pair: &Pair,
    reader: &TableReader,
    suspects: &[Identity],
) -> Result<Vec<Real>> {
    let (source, target) =
        tokio::try_join!(reader.look(&pair.source, suspects), reader.look(&pair.target, suspects))?;
    let both = suspects.iter().zip(source.iter().zip(&target));
    let differing = both.filter(|(_, (source, target))| content(source) != content(target));
    Ok(differing
        .map(|(identity, (source, target))| {
            Real::new(identity.clone(), source.as_ref(), target.as_ref())
        })
        .collect())
}

/// A suspect, and how it stood on the serving side when it was last read.
struct Suspect {
    identity: Identity,
    before: Option<Seen>,
    /// For how many rounds it did not change there and was different all the same.
    still: u32,
}

async fn different_when_still(
    pair: &Pair,
    reader: &TableReader,
    suspects: &[Identity],
    serving: Side,
    barrier: Option<&Barrier>,
) -> Result<(Vec<Real>, u64)> {
    let (front, back) = (pair.side(serving), pair.side(serving.other()));
    let before = reader.look(front, suspects).await?;
    let mut open: Vec<Suspect> = suspects
        .iter()
        .zip(before)
        .map(|(identity, before)| Suspect { identity: identity.clone(), before, still: 0 })
        .collect();
    let mut real = Vec::new();
    for round in 1..=ROUNDS {
        if open.is_empty() {
            break;
        }
        match barrier {
            Some(barrier) => barrier.pass().await?,
            None => tokio::time::sleep(WAIT_WITHOUT_BARRIER * round).await,
        }
        let identities: Vec<Identity> = open.iter().map(|one| one.identity.clone()).collect();
        let other = reader.look(back, &identities).await?;
        let after = reader.look(front, &identities).await?;
        let mut rest = Vec::new();
        for ((mut suspect, other), after) in open.into_iter().zip(other).zip(after) {
            if content(&other) == content(&after) || content(&other) == content(&suspect.before) {
                continue;
            }
            suspect.still = if after == suspect.before { suspect.still + 1 } else { 0 };
            suspect.before = after;
            if suspect.still < rounds_wanted(&suspect, barrier.is_some()) {
                rest.push(suspect);
                continue;
            }
            let (front, back) = (suspect.before.as_ref(), other.as_ref());
            let (source, target) =
                if serving == Side::Source { (front, back) } else { (back, front) };
            real.push(Real::new(suspect.identity, source, target));
        }
        open = rest;
    }
    Ok((real, open.len() as u64))
}

/// For how many rounds a row must stand still and differ. Behind a barrier one is proof, but a row
/// that the serving side does not have carries no version: it might have come and gone between two
/// reads, so it is looked at twice. Without a barrier the other side may simply be late.
fn rounds_wanted(suspect: &Suspect, has_barrier: bool) -> u32 {
    match (has_barrier, &suspect.before, &suspect.identity) {
        (true, Some(_), Identity::Key(_)) => 1,
        (true, ..) => 2,
        (false, ..) => ROUNDS - 1,
    }
}

fn content(seen: &Option<Seen>) -> Option<[i64; 2]> {
    seen.as_ref().map(|seen| seen.content)
}

/// What differs in a row, value by value.
async fn describe(pair: &Pair, reader: &TableReader, real: &Real) -> Result<Vec<RowDifference>> {
    let key = match &real.identity {
        Identity::Key(key) => key,
        Identity::Hash(hash) => return describe_group(pair, reader, *hash, real).await,
    };
    let (source, target) =
        tokio::try_join!(reader.values(&pair.source, key), reader.values(&pair.target, key))?;
    let key = reader.describe(key);
    let row = |source: Option<String>, target: Option<String>| {
        vec![RowDifference { key: key.clone(), column: None, source, target }]
    };
    let (source, target) = match (source, target) {
        (Some(source), Some(target)) => (source, target),
        (source, target) => {
            return Ok(row(source.map(|row| whole(&row)), target.map(|row| whole(&row))));
        }
    };
    let differing = source.into_iter().zip(target).filter(|(one, other)| one.1 != other.1);
    Ok(differing
        .map(|((column, source), (_, target))| {
            let (source, target) = clip_both(source, target);
            RowDifference { key: key.clone(), column: Some(column), source, target }
        })
        .collect())
}

async fn describe_group(
    pair: &Pair,
    reader: &TableReader,
    hash: [i64; 2],
    real: &Real,
) -> Result<Vec<RowDifference>> {
    let holder = if real.source_count > 0 { &pair.source } else { &pair.target };
    let text = reader.texts(holder, &[hash]).await?.remove(&hash).unwrap_or_default();
    let shown = |count: i64| (count > 0).then(|| format!("{count} × {}", clip(&text, 0)));
    Ok(vec![RowDifference {
        key: "(no key)".into(),
        column: None,
        source: shown(real.source_count),
        target: shown(real.target_count),
    }])
}

fn whole(row: &Values) -> String {
    let one = |(name, value): &(String, Option<String>)| {
        format!("{name}={}", value.as_deref().unwrap_or("NULL"))
    };
    clip(&row.iter().map(one).collect::<Vec<_>>().join(", "), 0)
}

/// Both values, clipped so that the first difference is in sight.
fn clip_both(source: Option<String>, target: Option<String>) -> (Option<String>, Option<String>) {
    let (Some(one), Some(other)) = (&source, &target) else {
        return (source.map(|text| clip(&text, 0)), target.map(|text| clip(&text, 0)));
    };
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let start = if same < SHOWN_CHARACTERS / 2 { 0 } else { same - SHOWN_BEFORE };
    (Some(clip(one, start)), Some(clip(other, start)))
}

fn clip(text: &str, start: usize) -> String {
    let before = if start > 0 { "…" } else { "" };
    let mut characters = text.chars().skip(start);
    let shown: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    let after = if characters.next().is_some() { "…" } else { "" };
    format!("{before}{shown}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_difference_stays_in_sight() {
        let long = "x".repeat(500);
        let (one, other) = (format!("{long}a{long}"), format!("{long}b{long}"));
        let (one, other) = clip_both(Some(one), Some(other));
        assert!(one.unwrap().contains('a') && other.unwrap().contains('b'));
        let short = clip_both(Some("1.0".into()), Some("1.00".into()));
        assert_eq!(short, (Some("1.0".into()), Some("1.00".into())));
    }
}
