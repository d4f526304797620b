//! Digests of rows, computed in the server: the rows themselves stay where they are.
//!
//! A digest is a count and two sums of seeded 64-bit hashes over the text of every row. Sums do not
//! depend on order, count duplicates, and can be added up over ranges. The text form is used
//! because hashing values would call 1.0 and 1.00, or 0 and -0, equal. Sessions come from
//! [`Endpoint::connect`](crate::pg::endpoint::Endpoint::connect), which pins how values are
//! printed.

use std::ops::AddAssign;

use anyhow::{Context, Result, bail};
use rand::Rng;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

use crate::pg::endpoint::{Session, identifier, literal};
use crate::pg::survey::{Column, Relation};

pub mod rows;
pub mod whole;

/// Blocks that are sampled for each range that is planned.
const SAMPLED_BLOCKS_PER_RANGE: f64 = 8.0;
/// Blocks that are sampled at least.
const SAMPLED_BLOCKS: f64 = 64.0;

/// A count and two sums over rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    /// How many rows.
    pub rows: u64,
    /// The sums of both hashes.
    pub sums: [i128; 2],
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Digest) {
        self.rows += other.rows;
        self.sums[0] += other.sums[0];
        self.sums[1] += other.sums[1];
    }
}

impl Digest {
    /// 128 bits of it in hexadecimal.
    pub fn hex(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.rows.to_le_bytes());
        hash.update(self.sums[0].to_le_bytes());
        hash.update(self.sums[1].to_le_bytes());
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Two random seeds: nobody can prepare rows that collide under them.
pub fn seeds() -> [i64; 2] {
    let mut random = rand::rng();
    [random.random(), random.random()]
}

/// The values of a key, as text, in the key's order.
pub type Key = Vec<String>;

/// A part of a table by its key: after one key, up to and with another. Where both are absent it is
/// the whole table, which needs no key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// The last key before the range.
    pub after: Option<Key>,
    /// The last key of the range.
    pub until: Option<Key>,
}

impl Range {
    /// The whole table.
    pub fn whole() -> Range {
        Range::default()
    }

    /// The same range in parts, cut at keys in ascending order.
    pub fn cut(self, keys: Vec<Key>) -> Vec<Range> {
        let mut parts = Vec::with_capacity(keys.len() + 1);
        let mut after = self.after;
        for key in keys {
            parts.push(Range { after: after.replace(key.clone()), until: Some(key) });
        }
        parts.push(Range { after, until: self.until });
        parts
    }
}

/// Reads one table on either side: the same columns in the same order, whatever the order there.
#[derive(Debug, Clone)]
pub struct TableReader {
    /// `"schema"."name"`.
    table: String,
    columns: Vec<String>,
    key: Vec<KeyColumn>,
    /// Whether ranges follow the order of bytes rather than that of the database.
    by_bytes: bool,
    seeds: [i64; 2],
}

/// A column of a key.
#[derive(Debug, Clone)]
struct KeyColumn {
    name: String,
    type_name: String,
    is_text: bool,
}

impl TableReader {
    /// A reader of a table as one side describes it. `same_order` says whether both databases order
    /// texts alike. Where a key's order may differ, ranges follow the order of bytes: they are
    /// right on both sides, but no index helps, so that each costs a scan.
    pub fn new(relation: &Relation, seeds: [i64; 2], same_order: bool) -> TableReader {
        let key_column = |column: &&Column| KeyColumn {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            is_text: column.collation.is_some(),
        };
        let ordered_alike = |column: &&Column| match column.collation.as_deref() {
            None | Some("pg_catalog.\"C\"" | "pg_catalog.\"POSIX\"") => true,
            Some("pg_catalog.\"default\"") => same_order,
            Some(_) => false,
        };
        TableReader {
            table: relation.qualified(),
            columns: relation.columns.iter().map(|column| column.name.clone()).collect(),
            key: relation.key_columns().iter().map(key_column).collect(),
            by_bytes: !relation.key_columns().iter().all(ordered_alike),
            seeds,
        }
    }

    /// Whether rows can be named: the table has a key.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether the index of the key finds the rows of a range.
    pub fn has_fast_ranges(&self) -> bool {
        self.has_key() && !self.by_bytes
    }

    /// The digest of a range.
    ///
    /// # Errors
    /// The table cannot be read, or lacks a column.
    pub async fn digest(&self, session: &Session, range: &Range) -> Result<Digest> {
        let sql = format!(
            "SELECT count(*), coalesce(sum({}), 0)::text, coalesce(sum({}), 0)::text
             FROM ({}) AS rows",
            self.hash(0),
            self.hash(1),
            self.row_texts("", &self.within(range)),
        );
        let row = session.query_one(&sql, &[]).await.with_context(|| self.reading())?;
        let sum = |at: usize| -> Result<i128> { Ok(row.get::<_, &str>(at).parse()?) };
        let rows = u64::try_from(row.get::<_, i64>(0))?;
        Ok(Digest { rows, sums: [sum(1)?, sum(2)?] })
    }

    /// Keys that cut the whole table into about this many parts of about the same size, found by
    /// looking at a few of its blocks only.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn sampled_cuts(
        &self,
        session: &Session,
        parts: u32,
        pages: i64,
    ) -> Result<Vec<Key>> {
        let blocks = (f64::from(parts) * SAMPLED_BLOCKS_PER_RANGE).max(SAMPLED_BLOCKS);
        #[expect(clippy::cast_precision_loss, reason = "a share of blocks need not be exact")]
        let share = (100.0 * blocks / (pages.max(1) as f64)).min(100.0);
        self.cuts(session, &format!("TABLESAMPLE SYSTEM ({share})"), parts).await
    }

    /// Keys that cut a range into this many parts of the same number of rows.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn even_cuts(
        &self,
        session: &Session,
        range: &Range,
        parts: u32,
    ) -> Result<Vec<Key>> {
        self.cuts(session, &self.within(range), parts).await
    }

    async fn cuts(&self, session: &Session, rows: &str, parts: u32) -> Result<Vec<Key>> {
        if !self.has_key() {
            bail!("cut {}: it has no key", self.table);
        }
        let key = self.ordered_key();
        let names: Vec<String> = (0..self.key.len()).map(|at| format!("k{at}")).collect();
        let named = key.iter().zip(&names).map(|(column, name)| format!("{column} AS {name}"));
        let sql = format!(
            "SELECT {} FROM (SELECT {}, row_number() OVER (ORDER BY {}) AS number, \
             count(*) OVER () AS total FROM ONLY {} AS t {rows}) AS rows \
             WHERE number % greatest(total / {parts}, 1) = 0 AND number < total \
             ORDER BY number LIMIT {}",
            text_array(&names),
            named.collect::<Vec<_>>().join(", "),
            key.join(", "),
            self.table,
            parts.saturating_sub(1),
        );
        let rows = session.query(&sql, &[]).await.with_context(|| self.reading())?;
        Ok(rows.iter().map(|row: &Row| row.get(0)).collect())
    }

    /// The rows of a part of the table as text in `row_text`, with more columns before it.
    /// `OFFSET 0` keeps the planner from computing the text once for each hash.
    fn row_texts(&self, more: &str, condition: &str) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|name| format!("t.{}", identifier(name))).collect();
        format!(
            "SELECT {more}ROW({})::text AS row_text FROM ONLY {} AS t {condition} OFFSET 0",
            columns.join(", "),
            self.table
        )
    }

    /// One of the two hashes of `row_text`.
    fn hash(&self, which: usize) -> String {
        format!("hashtextextended(row_text COLLATE \"C\", '{}'::bigint)", self.seeds[which])
    }

    /// The key's columns, quoted, of a table alias.
    fn key_list(&self, alias: &str) -> Vec<String> {
        self.key.iter().map(|column| format!("{alias}.{}", identifier(&column.name))).collect()
    }

    /// The key's columns as ranges order them.
    fn ordered_key(&self) -> Vec<String> {
        let ordered = |(sql, column): (String, &KeyColumn)| match self.by_bytes && column.is_text {
            true => format!("{sql} COLLATE \"C\""),
            false => sql,
        };
        self.key_list("t").into_iter().zip(&self.key).map(ordered).collect()
    }

    /// A key's values as typed literals.
    fn key_values(&self, key: &Key) -> Vec<String> {
        let typed = |(value, column): (&String, &KeyColumn)| {
            format!("{}::{}", literal(value), column.type_name)
        };
        key.iter().zip(&self.key).map(typed).collect()
    }

    /// The condition that a row lies in a range, or nothing.
    fn within(&self, range: &Range) -> String {
        let bound = |operator: &str, key: &Key| {
            let (columns, values) = (self.ordered_key(), self.key_values(key));
            format!("({}) {operator} ({})", columns.join(", "), values.join(", "))
        };
        let bounds: Vec<String> = range
            .after
            .iter()
            .map(|key| bound(">", key))
            .chain(range.until.iter().map(|key| bound("<=", key)))
            .collect();
        if bounds.is_empty() { String::new() } else { format!("WHERE {}", bounds.join(" AND ")) }
    }

    fn reading(&self) -> String {
        format!("read {}", self.table)
    }
}

/// SQL for a text array of expressions, each printed as its type prints it.
fn text_array(expressions: &[String]) -> String {
    let texts: Vec<String> =
        expressions.iter().map(|expression| format!("format('%s', {expression})")).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Key {
        vec![value.to_string()]
    }

    #[test]
    fn cutting_a_range_leaves_no_gap() {
        let range = Range { after: Some(key("a")), until: Some(key("z")) };
        let parts = range.cut(vec![key("f"), key("m")]);
        let ends: Vec<_> =
            parts.iter().map(|part| (part.after.clone(), part.until.clone())).collect();
        assert_eq!(
            ends,
            [
                (Some(key("a")), Some(key("f"))),
                (Some(key("f")), Some(key("m"))),
                (Some(key("m")), Some(key("z"))),
            ]
        );
    }

    #[test]
    fn a_digest_counts_duplicates_and_forgets_order() {
        let one = |rows, sum| Digest { rows, sums: [sum, -sum] };
        let add = |all: &[Digest]| {
            all.iter().fold(Digest::default(), |mut total, part| {
                total += *part;
                total
            })
        };
        assert_eq!(add(&[one(1, 5), one(1, 7)]), add(&[one(1, 7), one(1, 5)]));
        assert_ne!(add(&[one(1, 5), one(1, 5)]).hex(), add(&[one(1, 5)]).hex());
    }
}
