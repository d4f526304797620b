//! Single rows, where digests differ: which they are, whether they are equal, and what is in them.

use std::collections::HashMap;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::pg::digest::{Key, KeyColumn, Range, TableReader, text_array};
use crate::pg::endpoint::{Session, identifier};

/// How many rows one query looks at by their keys.
const KEYS_PER_QUERY: usize = 1000;
/// How many it looks at by their hashes: each query scans the table, so they are few and large.
const HASHES_PER_QUERY: usize = 50_000;

/// How a row is named: by its key, or in a table without one by the hash of all of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// The values of the key.
    Key(Key),
    /// Both hashes; every row that is exactly equal has the same.
    Hash([i64; 2]),
}

/// A row, or several equal ones, as one side has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Equal on both sides where the rows are.
    pub content: [i64; 2],
    /// Changes on its own side whenever the row is written.
    pub version: String,
}

/// Equal rows of a table without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Both hashes of the row.
    pub hash: [i64; 2],
    /// How many rows are exactly equal.
    pub count: i64,
}

/// The values of one row: the name of every column, and what it holds as text.
pub type Values = Vec<(String, Option<String>)>;

impl TableReader {
    /// Key and hashes of every row of a small range.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn hashes(&self, session: &Session, range: &Range) -> Result<HashMap<Key, [i64; 2]>> {
        let key = format!("{} AS key, ", text_array(&self.key_list("t")));
        let sql = format!(
            "SELECT key, {}, {} FROM ({}) AS rows",
            self.hash(0),
            self.hash(1),
            self.row_texts(&key, &self.within(range)),
        );
        let rows = session.query(&sql, &[]).await.with_context(|| self.reading())?;
        Ok(rows.iter().map(|row| (row.get(0), [row.get(1), row.get(2)])).collect())
    }

    /// Every group of equal rows of the whole table, in order of hash. The server sorts; nothing is
    /// held here.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn groups(
        &self,
        session: &Session,
    ) -> Result<impl Stream<Item = Result<Group>> + use<>> {
        let sql = format!(
            "SELECT {}, {}, count(*) FROM ({}) AS rows GROUP BY 1, 2 ORDER BY 1, 2",
            self.hash(0),
            self.hash(1),
            self.row_texts("", ""),
        );
        let none: [&str; 0] = [];
        let rows = session.query_raw(&sql, none).await.with_context(|| self.reading())?;
        let reading = self.reading();
        let group = move |row: Result<tokio_postgres::Row, _>| {
            let row = row.with_context(|| reading.clone())?;
            Ok(Group { hash: [row.get(0), row.get(1)], count: row.get(2) })
        };
        Ok(Box::pin(rows.map(group)))
    }

    /// Looks at single rows; the answer has one entry for each, none where there is no such row.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn look(
        &self,
        session: &Session,
        identities: &[Identity],
    ) -> Result<Vec<Option<Seen>>> {
        let at_once = if self.has_key() { KEYS_PER_QUERY } else { HASHES_PER_QUERY };
        let mut seen = Vec::with_capacity(identities.len());
        for some in identities.chunks(at_once) {
            seen.extend(self.look_at_once(session, some).await?);
        }
        Ok(seen)
    }

    async fn look_at_once(
        &self,
        session: &Session,
        identities: &[Identity],
    ) -> Result<Vec<Option<Seen>>> {
        let sql = self.looking(identities);
        let mut seen = vec![None; identities.len()];
        if let Some(sql) = sql.by_key {
            for row in session.query(&sql, &[]).await.with_context(|| self.reading())? {
                let number = usize::try_from(row.get::<_, i32>(0))?;
                let content = [row.get(1), row.get(2)];
                seen[number] = Some(Seen { content, version: row.get(3) });
            }
        }
        if let Some(sql) = sql.by_hash {
            let rows = session.query(&sql, &[]).await.with_context(|| self.reading())?;
            let counts: HashMap<[i64; 2], i64> =
                rows.iter().map(|row| ([row.get(0), row.get(1)], row.get(2))).collect();
            for (identity, entry) in identities.iter().zip(&mut seen) {
                if let Identity::Hash(hash) = identity {
                    let seen =
                        |count: &i64| Seen { content: [*count, 0], version: count.to_string() };
                    *entry = counts.get(hash).map(seen);
                }
            }
        }
        Ok(seen)
    }

    fn looking(&self, identities: &[Identity]) -> Looking {
        let mut keys = Vec::new();
        let mut hashes = Vec::new();
        for (number, identity) in identities.iter().enumerate() {
            match identity {
                Identity::Key(key) => {
                    keys.push(format!("({number}, {})", self.key_values(key).join(", ")));
                }
                Identity::Hash(hash) => hashes.push(hash[0].to_string()),
            }
        }
        let equal = self.key_list("t").into_iter().enumerate();
        let equal: Vec<String> = equal.map(|(at, column)| format!("{column} = k.k{at}")).collect();
        let names: Vec<String> = (0..self.key.len()).map(|at| format!("k{at}")).collect();
        let version = "t.xmin::text || t.ctid::text AS version, ";
        let by_key = (!keys.is_empty()).then(|| {
            format!(
                "SELECT k.number, {}, {}, version
                 FROM (VALUES {}) AS k(number, {}), LATERAL ({}) AS found",
                self.hash(0),
                self.hash(1),
                keys.join(", "),
                names.join(", "),
                self.row_texts(version, &format!("WHERE {}", equal.join(" AND "))),
            )
        });
        let by_hash = (!hashes.is_empty()).then(|| {
            let (one, other) = (self.hash(0), self.hash(1));
            let list = hashes.join(", ");
            let rows = self.row_texts("", "");
            format!(
                "SELECT {one}, {other}, count(*) FROM ({rows}) AS rows \
                 WHERE {one} = ANY ('{{{list}}}'::bigint[]) GROUP BY 1, 2"
            )
        });
        Looking { by_key, by_hash }
    }

    /// What is in one row; none where there is no such row.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn values(&self, session: &Session, key: &Key) -> Result<Option<Values>> {
        let columns: Vec<String> =
            self.columns.iter().map(|name| format!("t.{}", identifier(name))).collect();
        // A composite of NULLs is not NULL itself: num_nulls looks at the value alone.
        let text = |column: &String| {
            format!("CASE WHEN num_nulls({column}) = 0 THEN format('%s', {column}) END")
        };
        let equal: Vec<String> = self
            .key_list("t")
            .iter()
            .zip(self.key_values(key))
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let sql = format!(
            "SELECT ARRAY[{}]::text[] FROM ONLY {} AS t WHERE {}",
            columns.iter().map(text).collect::<Vec<_>>().join(", "),
            self.table,
            equal.join(" AND "),
        );
        let row = session.query_opt(&sql, &[]).await.with_context(|| self.reading())?;
        let texts: Option<Vec<Option<String>>> = row.map(|row| row.get(0));
        Ok(texts.map(|texts| self.columns.iter().cloned().zip(texts).collect()))
    }

    /// The text of the rows that have one of these hashes.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn texts(
        &self,
        session: &Session,
        hashes: &[[i64; 2]],
    ) -> Result<HashMap<[i64; 2], String>> {
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let list: Vec<String> = hashes.iter().map(|hash| hash[0].to_string()).collect();
        let sql = format!(
            "SELECT DISTINCT {0}, {1}, row_text FROM ({2}) AS rows
             WHERE {0} = ANY ('{{{3}}}'::bigint[])",
            self.hash(0),
            self.hash(1),
            self.row_texts("", ""),
            list.join(", "),
        );
        let none: [&str; 0] = [];
        let rows = session.query_raw(&sql, none).await.with_context(|| self.reading())?;
        let texts = rows.map_ok(|row| ([row.get(0), row.get(1)], row.get(2)));
        texts.try_collect().await.with_context(|| self.reading())
    }

    /// A key for people, such as `id=7`.
    pub fn describe(&self, key: &Key) -> String {
        let one = |(value, column): (&String, &KeyColumn)| format!("{}={value}", column.name);
        key.iter().zip(&self.key).map(one).collect::<Vec<_>>().join(", ")
    }
}

struct Looking {
    by_key: Option<String>,
    by_hash: Option<String>,
}
