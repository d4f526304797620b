//! `copy`: the rows, in chunks, several at once, under one snapshot.
//!
//! The queue of chunks is a table on the target. A chunk is marked in the transaction that brings
//! its rows, so it is either there and marked or neither.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::{Engine, Interrupt, RESTART_LIMIT};
use crate::cutover::event::Story;
use crate::cutover::holder;
use crate::cutover::server::RESTART_EVERY;
use crate::cutover::steps::{evidence, publish, schema};
use crate::failure::Failure;
use crate::pg::copy::relay;
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::{replication, rights, state};
use queue::Chunk;

mod queue;

/// How often one chunk is tried before the copy fails, and how often the copy is begun again with
/// new sessions.
const ATTEMPTS: u32 = 3;
/// How long to wait before a chunk is tried again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// How many bytes a worker moves before it tells.
const TELL_EVERY: u64 = 4 << 20;

/// Copies what the queue still holds; makes the queue first, and a new batch where the snapshot
/// was lost. A crash of the target takes back chunks that were not on its disk yet, so the queue is
/// asked until it is empty.
///
/// # Errors
/// A server refuses or stays away; a snapshot was lost too often; or somebody asked to stop.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    queue::fill(engine).await?;
    let mut attempts = 0;
    while queue::is_open(engine).await? {
        let snapshot = held_snapshot(engine, log).await?;
        let chunks = queue::pending(engine).await?;
        let Err(error) = copy_all(engine, chunks, &snapshot).await else {
            wait_for_disk(engine).await?;
            continue;
        };
        attempts += 1;
        if engine.interrupt.is_requested() || attempts == ATTEMPTS {
            return Err(error);
        }
        engine.story.warning(format!("the copy was cut off and goes on: {error:#}"));
        engine.source.session_within(RESTART_LIMIT).await?;
        engine.target.session_within(RESTART_LIMIT).await?;
    }
    let source = engine.source.session().await?;
    holder::end(&source, &engine.header.run).await
}

/// Chunks are committed without waiting for the disk; this waits for all of them.
async fn wait_for_disk(engine: &mut Engine) -> Result<()> {
    state::wait_for_disk(engine.target.session_within(RESTART_LIMIT).await?.as_ref()).await
}

/// The snapshot to read under: that of the last batch while it is held, or that of a new batch for
/// the unfinished tables.
async fn held_snapshot(engine: &mut Engine, log: &mut dyn Log) -> Result<String> {
    let last = schema::last_snapshot(log).context("no snapshot was exported")?;
    if !holder::is_held(&engine.source.endpoint, &last).await? {
        open_next_batch(engine, log).await?;
    }
    queue::move_to_newest_batch(engine, log).await?;
    schema::last_snapshot(log).context("no snapshot was exported")
}

/// Unfinished tables get a slot, a publication and a marker of their own, and leave the earlier
/// publications.
async fn open_next_batch(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let batches = engine.batches(log);
    let last = batches.iter().map(|(number, _)| *number).max().unwrap_or(1);
    if last == publish::BATCH_LIMIT {
        return Err(Failure::failed(format!("the copy's snapshot was lost {last} times"))
            .hint("find what ends long transactions on the source, then start again")
            .into());
    }
    let source = engine.source.session().await?;
    let unfinished = queue::unfinished(engine).await?;
    let published = queue::published(&source, &unfinished).await?;
    for (batch, tables) in batches {
        for table in tables.iter().filter(|table| published.contains(table)) {
            replication::leave(&source, &engine.ahead(batch), table).await?;
        }
    }
    publish::open_batch(engine, log, last + 1, published).await
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
    let mut target = reopen_target(&shared).await?;
    loop {
        let next = shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(chunk) = next else { return Ok(()) };
        let mut attempts = 1;
        while let Err(error) = copy_chunk(&shared, &source, &mut target, &chunk).await {
            // The snapshot lives in the source's session: a lost one is for the caller to replace.
            if source.is_lost() || attempts == ATTEMPTS {
                let title = format!("copy {}.{}", chunk.part.schema, chunk.part.table);
                return Err(error).context(title);
            }
            attempts += 1;
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            if target.is_lost() {
                target = reopen_target(&shared).await?;
            }
        }
        if shared.interrupt.is_requested() {
            bail!("asked to stop");
        }
    }
}

async fn open_source(shared: &Shared) -> Result<Session> {
    let session = shared.source.connect(&holder::worker_purpose(&shared.run)).await?;
    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    holder::import(&session, &shared.snapshot).await?;
    Ok(session)
}

/// A session on the target; one that is being restarted is waited for.
async fn reopen_target(shared: &Shared) -> Result<Session> {
    let begun = Instant::now();
    loop {
        match open_target(shared).await {
            Err(_) if begun.elapsed() < RESTART_LIMIT && !shared.interrupt.is_requested() => {}
            opened => return opened,
        }
        tokio::time::sleep(RESTART_EVERY).await;
    }
}

async fn open_target(shared: &Shared) -> Result<Session> {
    let session = shared.target.connect(&holder::worker_purpose(&shared.run)).await?;
    session.batch_execute("SET synchronous_commit = off").await?;
    if rights::may_set(&session, "session_replication_role").await? {
        // A belt: triggers and foreign keys come after the rows.
        session.batch_execute("SET session_replication_role = replica").await?;
    }
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
        // A process that died in its commit has brought this chunk after all.
        return transaction.rollback().await.context("leave a chunk that is there");
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
