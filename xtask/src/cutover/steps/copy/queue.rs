//! The queue of the copy: a table on the target, which outlives the tool.

use std::collections::VecDeque;

use anyhow::{Context, Result};

use crate::cutover::drive::Log;
use crate::cutover::engine::Engine;
use crate::cutover::plan::PlannedTable;
use crate::pg::copy::Part;
use crate::pg::endpoint::{Session, qualified};

/// How much of a table one chunk covers, in bytes, with what is stored out of line.
const CHUNK_BYTES: i64 = 64 << 20;

/// One entry of the queue.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The batch under whose snapshot it is read.
    pub batch: i32,
    /// Its number within the table.
    pub number: i32,
    /// What it covers.
    pub part: Part,
    /// About how much that is.
    pub estimated_bytes: i64,
}

/// Fills the queue with every table of the plan, once.
///
/// # Errors
/// The target refuses.
pub async fn fill(engine: &mut Engine) -> Result<()> {
    let target = engine.target.session().await?;
    if target.query_opt("SELECT FROM xtask_cutover.chunk LIMIT 1", &[]).await?.is_some() {
        return Ok(());
    }
    insert(&target, 1, &engine.plan.tables).await
}

/// Tables of the newest batch start anew: what was copied of them under an earlier snapshot goes,
/// and the queue holds them for the newest, in one transaction. Where that is so it stays.
///
/// # Errors
/// A server refuses.
pub async fn move_to_newest_batch(engine: &mut Engine, log: &dyn Log) -> Result<()> {
    let newest = engine.batches(log).into_iter().max_by_key(|(number, _)| *number);
    let Some((number, published_tables)) = newest.filter(|(number, _)| *number > 1) else {
        return Ok(());
    };
    let batch = i32::try_from(number).unwrap_or(i32::MAX);
    let source = engine.source.session().await?;
    let mut target = engine.target.endpoint.connect("queue").await?;
    let sql = "SELECT FROM xtask_cutover.chunk WHERE batch = $1 LIMIT 1";
    if target.query_opt(sql, &[&batch]).await?.is_some() {
        return Ok(());
    }
    // A partitioned table moves whole: its root is what a publication names.
    let mut leaves = Vec::new();
    for table in &engine.plan.tables {
        let root = published(&source, &[(table.schema.clone(), table.name.clone())]).await?;
        if root.iter().any(|one| published_tables.contains(one)) {
            leaves.push(table.clone());
        }
    }
    let transaction = target.transaction().await?;
    for table in &leaves {
        let name = qualified(&table.schema, &table.name);
        let sql = format!("TRUNCATE ONLY {name}");
        transaction.batch_execute(&sql).await.context("empty a table")?;
        let sql = "DELETE FROM xtask_cutover.chunk WHERE schema_name = $1 AND table_name = $2";
        transaction.execute(sql, &[&table.schema, &table.name]).await?;
    }
    insert(transaction.client(), batch, &leaves).await?;
    transaction.commit().await.context("move tables to another batch")
}

async fn insert(
    target: &tokio_postgres::Client,
    batch: i32,
    tables: &[PlannedTable],
) -> Result<()> {
    let mut entries = Vec::new();
    for table in tables {
        entries.extend(
            cut(table)
                .into_iter()
                .enumerate()
                .map(|(number, chunk)| (table.schema.as_str(), table.name.as_str(), number, chunk)),
        );
    }
    let schemas: Vec<&str> = entries.iter().map(|entry| entry.0).collect();
    let names: Vec<&str> = entries.iter().map(|entry| entry.1).collect();
    let numbers: Vec<i32> =
        entries.iter().map(|entry| i32::try_from(entry.2).unwrap_or(i32::MAX)).collect();
    let firsts: Vec<i64> = entries.iter().map(|entry| entry.3.0).collect();
    let ends: Vec<Option<i64>> = entries.iter().map(|entry| entry.3.1).collect();
    let bytes: Vec<i64> = entries.iter().map(|entry| entry.3.2).collect();
    target
        .execute(
            "INSERT INTO xtask_cutover.chunk
                 (batch, schema_name, table_name, number, first_page, end_page, estimated_bytes)
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int[], $5::bigint[],
                                      $6::bigint[], $7::bigint[])",
            &[&batch, &schemas, &names, &numbers, &firsts, &ends, &bytes],
        )
        .await
        .context("write the queue of the copy")?;
    Ok(())
}

/// Cuts a table into ranges of pages of about the same size: first page, page after the last,
/// bytes. The last is open-ended: the table may have grown before its snapshot was taken.
fn cut(table: &PlannedTable) -> Vec<(i64, Option<i64>, i64)> {
    let count = (table.bytes / CHUNK_BYTES).clamp(0, table.pages.max(1) - 1) + 1;
    let pages = (table.pages / count).max(1);
    let bytes = table.bytes / count;
    let end = |index: i64| (index + 1 < count).then_some((index + 1) * pages);
    (0..count).map(|index| (index * pages, end(index), bytes)).collect()
}

/// Whether the queue still holds a chunk.
///
/// # Errors
/// The target cannot be asked.
pub async fn is_open(engine: &mut Engine) -> Result<bool> {
    Ok(!unfinished(engine).await?.is_empty())
}

/// The tables of which a chunk is missing.
///
/// # Errors
/// The target cannot be asked.
pub async fn unfinished(engine: &mut Engine) -> Result<Vec<(String, String)>> {
    let target = engine.target.session().await?;
    let rows = target
        .query(
            "SELECT DISTINCT schema_name, table_name FROM xtask_cutover.chunk
             WHERE rows_copied IS NULL ORDER BY 1, 2",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What a publication names for these tables: a partition's root, else the table itself.
///
/// # Errors
/// The source cannot be asked.
pub async fn published(
    source: &Session,
    tables: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        tables.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let rows = source
        .query(
            "SELECT DISTINCT n.nspname::text, c.relname::text
             FROM unnest($1::text[], $2::text[]) AS wanted (schema_name, table_name),
                  LATERAL (SELECT to_regclass(format('%I.%I', schema_name, table_name)) AS id) AS t
             JOIN pg_class AS c ON c.oid = coalesce(pg_partition_root(t.id), t.id)
             JOIN pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 1, 2",
            &[&schemas, &names],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The chunks that are not there yet, of the largest tables first.
///
/// # Errors
/// The target cannot be asked.
pub async fn pending(engine: &mut Engine) -> Result<VecDeque<Chunk>> {
    let target = engine.target.session().await?;
    let rows = target
        .query(
            "SELECT batch, schema_name, table_name, number, first_page, end_page, estimated_bytes
             FROM xtask_cutover.chunk WHERE rows_copied IS NULL
             ORDER BY sum(estimated_bytes) OVER (PARTITION BY schema_name, table_name) DESC,
                      schema_name, table_name, number",
            &[],
        )
        .await
        .context("read the queue of the copy")?;
    let mut queue = VecDeque::new();
    for row in rows {
        let (schema, name): (String, String) = (row.get(1), row.get(2));
        let table = engine.plan.tables.iter().find(|one| one.schema == schema && one.name == name);
        let table = table.with_context(|| format!("table {schema}.{name} is not in the plan"))?;
        let part = Part {
            schema,
            table: name,
            columns: table.columns.clone(),
            binary: table.binary,
            first_page: row.get(4),
            end_page: row.get(5),
        };
        let chunk =
            Chunk { batch: row.get(0), number: row.get(3), part, estimated_bytes: row.get(6) };
        queue.push_back(chunk);
    }
    Ok(queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(bytes: i64, pages: i64) -> PlannedTable {
        PlannedTable {
            schema: "public".into(),
            name: "t".into(),
            bytes,
            pages,
            rows: 0,
            columns: vec!["id".into()],
            binary: true,
        }
    }

    #[test]
    fn a_small_table_is_one_part() {
        assert_eq!(cut(&table(8192, 1)), [(0, None, 8192)]);
        assert_eq!(cut(&table(0, 0)), [(0, None, 0)]);
    }

    proptest! {
        #[test]
        fn parts_cover_every_page_once(bytes in 0_i64..1 << 40, pages in 0_i64..1 << 30) {
            let parts = cut(&table(bytes, pages));
            prop_assert_eq!(parts[0].0, 0);
            prop_assert!(parts.windows(2).all(|pair| pair[0].1 == Some(pair[1].0)));
            prop_assert_eq!(parts[parts.len() - 1].1, None);
            prop_assert!(parts.iter().all(|part| part.1.is_none_or(|end| end > part.0)));
        }
    }
}
