//! From a range whose digests differ to the rows that do.

use std::cmp::Ordering;
use std::collections::HashSet;

use anyhow::Result;
use futures_util::{Stream, TryStreamExt};

use crate::cutover::verify::Pair;
use crate::pg::digest::rows::{Group, Identity};
use crate::pg::digest::{Digest, Range, TableReader};

/// A range of at most this many rows is read row by row: key and hashes, not the rows.
const ROWS_READ_SINGLY: u64 = 4096;
/// Into how many parts a larger range is cut at a time.
const PARTS: u32 = 16;

/// The digests of a range on both sides, taken at the same time.
pub(super) async fn digests(
    pair: &Pair,
    reader: &TableReader,
    range: &Range,
) -> Result<(Digest, Digest)> {
    tokio::try_join!(reader.digest(&pair.source, range), reader.digest(&pair.target, range))
}

/// The rows of a differing range that look different. Every row that differs is among them; a row
/// among them need not: it may have changed between two reads. Whoever asks looks at each again.
pub(super) async fn suspects(
    pair: &Pair,
    reader: &TableReader,
    range: Range,
    found: (Digest, Digest),
) -> Result<Vec<Identity>> {
    if !reader.has_key() {
        return suspect_groups(pair, reader).await;
    }
    let mut suspects = HashSet::new();
    let mut open = vec![(range, found)];
    while let Some((range, (source, target))) = open.pop() {
        if source == target {
            continue;
        }
        let fuller = if source.rows >= target.rows { &pair.source } else { &pair.target };
        let cuts = match source.rows.max(target.rows) {
            0..=ROWS_READ_SINGLY => Vec::new(),
            _ => reader.even_cuts(fuller, &range, PARTS).await?,
        };
        if cuts.is_empty() {
            suspects.extend(differing_keys(pair, reader, &range).await?);
            continue;
        }
        for part in range.cut(cuts) {
            let found = digests(pair, reader, &part).await?;
            open.push((part, found));
        }
    }
    Ok(suspects.into_iter().collect())
}

async fn differing_keys(pair: &Pair, reader: &TableReader, range: &Range) -> Result<Vec<Identity>> {
    let (source, mut target) =
        tokio::try_join!(reader.hashes(&pair.source, range), reader.hashes(&pair.target, range))?;
    let mut suspects = Vec::new();
    for (key, hash) in source {
        if target.remove(&key) != Some(hash) {
            suspects.push(Identity::Key(key));
        }
    }
    suspects.extend(target.into_keys().map(Identity::Key));
    Ok(suspects)
}

/// The hashes whose rows are not equally many on both sides: two sorted streams, merged.
async fn suspect_groups(pair: &Pair, reader: &TableReader) -> Result<Vec<Identity>> {
    let (source, target) =
        tokio::try_join!(reader.groups(&pair.source), reader.groups(&pair.target))?;
    let hashes = unmatched(source, target).await?;
    Ok(hashes.into_iter().map(Identity::Hash).collect())
}

async fn unmatched<S>(mut source: S, mut target: S) -> Result<Vec<[i64; 2]>>
where
    S: Stream<Item = Result<Group>> + Unpin,
{
    let mut unmatched = Vec::new();
    let (mut one, mut other) = (source.try_next().await?, target.try_next().await?);
    loop {
        let order = match (&one, &other) {
            (None, None) => return Ok(unmatched),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.hash.cmp(&other.hash),
        };
        if order != Ordering::Equal || one != other {
            let group = if order == Ordering::Greater { &other } else { &one };
            unmatched.extend(group.iter().map(|group| group.hash));
        }
        if order != Ordering::Greater {
            one = source.try_next().await?;
        }
        if order != Ordering::Less {
            other = target.try_next().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    #[tokio::test]
    async fn merging_finds_missing_extra_and_miscounted_groups() {
        let groups = |all: &[(i64, i64)]| {
            let all: Vec<Result<Group>> = all
                .iter()
                .map(|(hash, count)| Ok(Group { hash: [*hash, 0], count: *count }))
                .collect();
            stream::iter(all)
        };
        let source = groups(&[(-5, 1), (1, 2), (3, 1), (9, 1)]);
        let target = groups(&[(1, 2), (3, 2), (8, 1), (9, 1), (11, 1)]);
        let found = unmatched(source, target).await.unwrap();
        assert_eq!(found.iter().map(|hash| hash[0]).collect::<Vec<_>>(), [-5, 3, 8, 11]);
    }
}
