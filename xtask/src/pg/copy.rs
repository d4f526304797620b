//! The relay of rows: what one server's `COPY … TO` says goes to the other's `COPY … FROM`,
//! in bundles of frames, without being parsed and without being kept.

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt, pin_mut};
use tokio_postgres::Transaction;

use crate::pg::endpoint::{Session, identifier, qualified};

/// How much goes to the target at once. A server sends a frame for each row, and each that is
/// passed on by itself wakes a task and is written to the socket by itself.
const BUNDLE_BYTES: usize = 64 << 10;

/// A part of a table that is copied in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// The columns that are written.
    pub columns: Vec<String>,
    /// Whether values travel in the binary format.
    pub binary: bool,
    /// The first page of the table's main fork.
    pub first_page: i64,
    /// The page after the last; `None` reads to the end, however far the table has grown.
    pub end_page: Option<i64>,
}

impl Part {
    /// Whether this part is the whole table.
    pub fn is_whole(&self) -> bool {
        self.first_page == 0 && self.end_page.is_none()
    }

    /// The statement that makes room for it on the target, where it is the whole table.
    pub fn emptying(&self) -> Option<String> {
        let table = qualified(&self.schema, &self.table);
        self.is_whole().then(|| format!("TRUNCATE ONLY {table}"))
    }

    fn column_list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|name| identifier(name)).collect();
        names.join(", ")
    }

    /// The statement that reads it. Pages are compared by row address: PostgreSQL 14 and later read
    /// just that range.
    pub fn reading(&self) -> String {
        let mut conditions = Vec::new();
        if self.first_page > 0 {
            conditions.push(format!("ctid >= '({},0)'::tid", self.first_page));
        }
        if let Some(end) = self.end_page {
            conditions.push(format!("ctid < '({end},0)'::tid"));
        }
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let table = qualified(&self.schema, &self.table);
        let columns = self.column_list();
        let format = if self.binary { "binary" } else { "text" };
        format!("COPY (SELECT {columns} FROM ONLY {table}{filter}) TO STDOUT (FORMAT {format})")
    }

    /// The statement that writes it, after [`Part::emptying`] in the same transaction.
    pub fn writing(&self) -> String {
        let table = qualified(&self.schema, &self.table);
        let columns = self.column_list();
        let format = if self.binary { "binary" } else { "text" };
        // A table that was emptied in the same transaction can take its rows frozen, which saves
        // the rewrite that a later vacuum would do.
        let frozen = if self.is_whole() { ", FREEZE" } else { "" };
        format!("COPY {table} ({columns}) FROM STDIN (FORMAT {format}{frozen})")
    }
}

/// What a relay moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Rows, as the target counted them.
    pub rows: u64,
    /// Bytes of the COPY stream.
    pub bytes: u64,
}

/// Copies one part. The caller's transaction on the target decides whether it stays.
///
/// # Errors
/// Either side refuses or is lost; the target's transaction must then be rolled back.
pub async fn relay(
    source: &Session,
    target: &Transaction<'_>,
    part: &Part,
    mut moved_bytes: impl FnMut(u64),
) -> Result<Moved> {
    if let Some(empty) = part.emptying() {
        target.batch_execute(&empty).await.context("empty the table")?;
    }
    let stream = source.copy_out(&part.reading()).await.context("read from the source")?;
    let sink = target.copy_in::<_, Bytes>(&part.writing()).await.context("write to the target")?;
    pin_mut!(stream);
    pin_mut!(sink);
    let mut bytes = 0_u64;
    let mut bundle = BytesMut::with_capacity(BUNDLE_BYTES);
    while let Some(frame) = stream.next().await {
        let frame = frame.context("read from the source")?;
        bytes += frame.len() as u64;
        moved_bytes(frame.len() as u64);
        bundle.extend_from_slice(&frame);
        if bundle.len() >= BUNDLE_BYTES {
            let full = std::mem::replace(&mut bundle, BytesMut::with_capacity(BUNDLE_BYTES));
            sink.feed(full.freeze()).await.context("write to the target")?;
        }
    }
    sink.feed(bundle.freeze()).await.context("write to the target")?;
    let rows = sink.finish().await.context("finish writing to the target")?;
    Ok(Moved { rows, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first_page: i64, end_page: Option<i64>) -> Part {
        Part {
            schema: "public".into(),
            table: "or\"der".into(),
            columns: vec!["id".into(), "käse".into()],
            binary: true,
            first_page,
            end_page,
        }
    }

    #[test]
    fn the_last_part_is_open_ended() {
        assert_eq!(
            part(7, None).reading(),
            "COPY (SELECT \"id\", \"käse\" FROM ONLY \"public\".\"or\"\"der\" \
             WHERE ctid >= '(7,0)'::tid) TO STDOUT (FORMAT binary)"
        );
    }

    #[test]
    fn only_a_whole_table_is_written_frozen() {
        assert!(part(0, None).writing().contains("FREEZE"));
        assert!(!part(0, Some(5)).writing().contains("FREEZE"));
    }
}
