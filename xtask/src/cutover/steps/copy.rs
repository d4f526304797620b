//! `copy`: the rows, in chunks, several at once, under one snapshot.
//!
//! The queue of chunks is a table on the target. A chunk is marked in the transaction that brings
//! its rows, so it is either there and marked or neither.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::{Engine, Interrupt};
use crate::cutover::event::Story;
use crate::cutover::holder;
use crate::cutover::plan::PlannedTable;
use crate::cutover::steps::{evidence, publish, schema};
use crate::failure::Failure;
use crate::pg::copy::{Part, relay};
use crate::pg::endpoint::{Endpoint, Session, qualified};
use crate::pg::replication;

/// How much of a table one chunk covers, in bytes, with what is stored out of line.
const CHUNK_BYTES: i64 = 64 << 20;
/// How often one chunk is tried before the copy fails.
const CHUNK_ATTEMPTS: u32 = 3;
/// How long to wait before a chunk is tried again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// How many bytes a worker moves before it tells.
const TELL_EVERY: u64 = 4 << 20;

/// One entry of the queue.
#[derive(Debug, Clone)]
struct Chunk {
    batch: i32,
    number: i32,
    part: Part,
    estimated_bytes: i64,
}

/// Copies what the queue still holds; makes the queue first, and a new batch where the snapshot
/// was lost.
///
/// # Errors
/// A server refuses or stays away; a snapshot was lost too often; or somebody asked to stop.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    plan_queue(engine, 1, &engine.plan.tables.clone()).await?;
    loop {
        let snapshot = held_snapshot(engine, log).await?;
        let queue = pending(engine).await?;
        let Err(error) = copy_all(engine, queue, &snapshot).await else { break };
        if engine.interrupt.is_requested() {
            return Err(error);
        }
        if !snapshot.is_empty() && holder::is_held(&engine.source.endpoint, &snapshot).await? {
            return Err(error);
        }
        engine.story.warning(format!("the snapshot of the copy was lost: {error:#}"));
    }
    // Chunks were committed without waiting for the disk; this waits for all of them.
    let target = engine.target.session().await?;
    target
        .batch_execute(
            "SET synchronous_commit = on; UPDATE xtask_cutover.fence SET only_row = true",
        )
        .await
        .context("wait for the target's disk")?;
    let source = engine.source.session().await?;
    holder::end(&source, &engine.header.run).await
}

/// Fills the queue of a batch, where it is empty.
async fn plan_queue(engine: &mut Engine, batch: i32, tables: &[PlannedTable]) -> Result<()> {
    let target = engine.target.session().await?;
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
                                      $6::bigint[], $7::bigint[])
             WHERE NOT EXISTS (SELECT FROM xtask_cutover.chunk WHERE batch = $1)",
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

/// The snapshot to read under: the held one, or that of a new batch for the unfinished tables.
async fn held_snapshot(engine: &mut Engine, log: &mut dyn Log) -> Result<String> {
    if let Some(snapshot) = schema::last_snapshot(log)
        && holder::is_held(&engine.source.endpoint, &snapshot).await?
    {
        return Ok(snapshot);
    }
    let last = engine.batches(log).iter().map(|(number, _)| *number).max().unwrap_or(1);
    if pending(engine).await?.is_empty() {
        return Ok(String::new());
    }
    let number = last + 1;
    if number > publish::BATCH_LIMIT {
        return Err(Failure::failed(format!("the copy's snapshot was lost {last} times"))
            .hint("find what ends long transactions on the source, then start again")
            .into());
    }
    open_next_batch(engine, log, number).await?;
    schema::last_snapshot(log).context("no snapshot was exported")
}

/// Unfinished tables start anew under a new snapshot: they are emptied, leave the earlier
/// publications, and get a slot, a publication and a marker of their own.
async fn open_next_batch(engine: &mut Engine, log: &mut dyn Log, number: u32) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let unfinished = unfinished_tables(engine).await?;
    let published = published_of(&source, &unfinished).await?;
    // A partitioned table moves whole: its root is what a publication names.
    let mut leaves = Vec::new();
    for table in &engine.plan.tables {
        let root = published_of(&source, &[(table.schema.clone(), table.name.clone())]).await?;
        if root.iter().any(|one| published.contains(one)) {
            leaves.push(table.clone());
        }
    }
    for (batch, tables) in engine.batches(log) {
        for table in tables.iter().filter(|table| published.contains(table)) {
            replication::leave(&source, &engine.ahead(batch), table).await?;
        }
    }
    for table in &leaves {
        let name = qualified(&table.schema, &table.name);
        target.batch_execute(&format!("TRUNCATE ONLY {name}")).await.context("empty a table")?;
        target
            .execute(
                "DELETE FROM xtask_cutover.chunk WHERE schema_name = $1 AND table_name = $2",
                &[&table.schema, &table.name],
            )
            .await?;
    }
    publish::open_batch(engine, log, number, published).await?;
    let batch = i32::try_from(number).unwrap_or(i32::MAX);
    plan_queue(engine, batch, &leaves).await
}

async fn unfinished_tables(engine: &mut Engine) -> Result<Vec<(String, String)>> {
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
async fn published_of(
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
async fn pending(engine: &mut Engine) -> Result<VecDeque<Chunk>> {
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

/// What the workers of a copy share.
struct Shared {
    queue: Mutex<VecDeque<Chunk>>,
    moved: AtomicU64,
    total: u64,
    source: Endpoint,
    target: Endpoint,
    snapshot: String,
    run: String,
    story: Story,
    interrupt: Interrupt,
}

async fn copy_all(engine: &Engine, queue: VecDeque<Chunk>, snapshot: &str) -> Result<()> {
    let total: i64 = queue.iter().map(|chunk| chunk.estimated_bytes).sum();
    let workers = engine.options.jobs.min(queue.len());
    let shared = Arc::new(Shared {
        queue: Mutex::new(queue),
        moved: AtomicU64::new(0),
        total: u64::try_from(total).unwrap_or(0),
        source: engine.source.endpoint.clone(),
        target: engine.target.endpoint.clone(),
        snapshot: snapshot.into(),
        run: engine.header.run.clone(),
        story: engine.story.clone(),
        interrupt: engine.interrupt.clone(),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(work(shared.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a worker of the copy broke")??;
    }
    Ok(())
}

/// One worker: a session under the snapshot, a session on the target, one chunk after another.
async fn work(shared: Arc<Shared>) -> Result<()> {
    let source = open_source(&shared).await?;
    let mut target = open_target(&shared).await?;
    loop {
        let next = shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(chunk) = next else { return Ok(()) };
        let mut attempts = 1;
        while let Err(error) = copy_chunk(&shared, &source, &mut target, &chunk).await {
            // The snapshot lives in the source's session: a lost one is for the caller to replace.
            if source.is_lost() || attempts == CHUNK_ATTEMPTS {
                let title = format!("copy {}.{}", chunk.part.schema, chunk.part.table);
                return Err(error).context(title);
            }
            attempts += 1;
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            if target.is_lost() {
                target = open_target(&shared).await?;
            }
        }
        if shared.interrupt.is_requested() {
            bail!("asked to stop");
        }
    }
}

async fn open_source(shared: &Shared) -> Result<Session> {
    let session = shared.source.connect(&format!("copy {}", shared.run)).await?;
    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    holder::import(&session, &shared.snapshot).await?;
    Ok(session)
}

async fn open_target(shared: &Shared) -> Result<Session> {
    let session = shared.target.connect(&format!("copy {}", shared.run)).await?;
    session
        .batch_execute("SET synchronous_commit = off; SET session_replication_role = replica")
        .await?;
    Ok(session)
}

async fn copy_chunk(
    shared: &Shared,
    source: &Session,
    target: &mut Session,
    chunk: &Chunk,
) -> Result<()> {
    let transaction = target.transaction().await?;
    let mut untold = 0;
    let moved = relay(source, &transaction, &chunk.part, |bytes| {
        untold += bytes;
        if untold >= TELL_EVERY {
            tell(shared, std::mem::take(&mut untold));
        }
    })
    .await?;
    let rows = i64::try_from(moved.rows).unwrap_or(i64::MAX);
    let bytes = i64::try_from(moved.bytes).unwrap_or(i64::MAX);
    let marked = transaction
        .execute(
            "UPDATE xtask_cutover.chunk SET rows_copied = $5, bytes_copied = $6
             WHERE batch = $1 AND schema_name = $2 AND table_name = $3 AND number = $4
               AND rows_copied IS NULL",
            &[&chunk.batch, &chunk.part.schema, &chunk.part.table, &chunk.number, &rows, &bytes],
        )
        .await?;
    if marked != 1 {
        bail!("another process has copied this chunk");
    }
    transaction.commit().await.context("commit a chunk")?;
    tell(shared, untold);
    Ok(())
}

fn tell(shared: &Shared, bytes: u64) {
    let done = shared.moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
    shared.story.progress("copy", done, shared.total.max(done), "bytes");
}

/// Done when the queue was made and nothing in it is left.
///
/// # Errors
/// The target cannot be asked.
pub async fn look(engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    let target = engine.target.session().await?;
    let row = target
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE rows_copied IS NULL),
                    coalesce(sum(rows_copied), 0)::bigint, coalesce(sum(bytes_copied), 0)::bigint
             FROM xtask_cutover.chunk",
            &[],
        )
        .await?;
    let (all, open): (i64, i64) = (row.get(0), row.get(1));
    if open > 0 || (all == 0 && !engine.plan.tables.is_empty()) {
        return Ok(Seen::NotDone);
    }
    let (rows, bytes): (i64, i64) = (row.get(2), row.get(3));
    Ok(Seen::Done(evidence! {
        "rows": rows,
        "bytes": bytes,
        "chunks": all,
        "batches": engine.batches(log).len(),
    }))
}

/// Forgets the queue; the tables go with the schema.
///
/// # Errors
/// The target cannot be reached.
pub async fn undo(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    holder::end(&source, &engine.header.run).await?;
    target.batch_execute("TRUNCATE xtask_cutover.chunk").await?;
    Ok(())
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
