//! Whether every sequence is ahead of the keys that it gave, found without taking a value.

use std::fmt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::pg::endpoint::{Session, identifier, qualified};

const FEEDS: &str = include_str!("feeds.sql");

/// A sequence that would give a key that is there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceBehind {
    /// The sequence, quoted and with its schema.
    pub sequence: String,
    /// The table and column that it feeds, quoted.
    pub column: String,
    /// The next value that it would give.
    pub next: i64,
    /// The last key: the greatest, or the least where the sequence descends.
    pub last_key: i64,
}

impl fmt::Display for SequenceBehind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SequenceBehind { sequence, column, next, last_key } = self;
        write!(formatter, "sequence {sequence} gives {next} next, but {column} has {last_key}")
    }
}

/// Every sequence of the database that feeds a column, by ownership or by a default, and would give
/// a key again.
///
/// # Errors
/// A sequence or a table cannot be read.
pub async fn sequences_behind(session: &Session) -> Result<Vec<SequenceBehind>> {
    let mut behind = Vec::new();
    let feeds = session.query(FEEDS, &[]).await.context("list the sequences")?;
    for feed in feeds {
        let sequence = qualified(feed.get(0), feed.get(1));
        let table = qualified(feed.get(2), feed.get(3));
        let column = identifier(feed.get(4));
        let step: i64 = feed.get(5);
        let extreme = if step > 0 { "max" } else { "min" };
        let query = format!(
            "SELECT last_value, is_called, (SELECT {extreme}({column})::bigint FROM {table}) \
             FROM {sequence}"
        );
        let row = session.query_one(&query, &[]).await;
        let row = row.with_context(|| format!("read sequence {sequence} and {table}"))?;
        let last_key: Option<i64> = row.get(2);
        let next = next(row.get(0), row.get(1), step);
        if let Some(last_key) = last_key.filter(|last_key| !is_ahead(next, *last_key, step)) {
            let column = format!("{table}.{column}");
            behind.push(SequenceBehind { sequence, column, next, last_key });
        }
    }
    Ok(behind)
}

fn next(last_value: i64, is_called: bool, step: i64) -> i64 {
    if is_called { last_value.saturating_add(step) } else { last_value }
}

fn is_ahead(next: i64, last_key: i64, step: i64) -> bool {
    if step > 0 { next > last_key } else { next < last_key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ahead_in_either_direction() {
        assert!(is_ahead(next(5, true, 5), 9, 5));
        assert!(!is_ahead(next(5, false, 5), 5, 5));
        assert!(is_ahead(next(-3, true, -1), -3, -1));
        assert!(!is_ahead(next(-3, false, -1), -3, -1));
    }
}
