//! `publish`: state tables, a publication with an explicit list, a slot, and the snapshot that the
//! slot exported, kept by a holder.

use anyhow::{Context, Result};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::Event;
use crate::cutover::holder::{self, Holder, OnDdl, Request};
use crate::cutover::steps::evidence;
use crate::pg::replication;
use crate::pg::state;

/// A snapshot that was lost may be replaced this often: each time by a batch of its own.
pub const BATCH_LIMIT: u32 = 3;

/// Publishes everything as batch 1.
///
/// # Errors
/// A server refuses, or a transaction stays open longer than a slot may wait for it.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let target = engine.target.session().await?;
    state::install(&target).await?;
    let tables = engine.plan.published.clone();
    open_batch(engine, log, 1, tables).await
}

/// Makes publication, slot and snapshot of a batch. What an interrupted attempt left is replaced:
/// nothing was read under it.
///
/// # Errors
/// As [`act`].
pub async fn open_batch(
    engine: &mut Engine,
    log: &mut dyn Log,
    number: u32,
    tables: Vec<(String, String)>,
) -> Result<()> {
    let source = engine.source.session().await?;
    let name = engine.ahead(number);
    holder::end(&source, &engine.header.run).await?;
    replication::drop_slot(&source, &name).await?;
    // The publication comes before the slot: a slot decodes with the catalog of its own time.
    let mut published = tables.clone();
    published.push((state::SCHEMA.into(), format!("marker_{number}")));
    replication::publish(&source, &name, &published).await?;
    let slot = replication::create_slot(&engine.source.endpoint, &name).await?;
    let request = Request::Snapshot {
        run: engine.header.run.clone(),
        source: engine.source.endpoint.secret_conninfo(),
        snapshot: slot.snapshot.clone(),
        tables: tables.clone(),
        // There is no batch after the last one, so it does not give way.
        on_ddl: if number == BATCH_LIMIT { OnDdl::Cancel } else { engine.options.on_ddl },
        limit_seconds: engine.options.snapshot_limit.as_secs(),
    };
    let (_holder, answer) = Holder::start(&request, &engine.options.folder).await?;
    let snapshot = answer.source.context("the holder exported no snapshot")?;
    log.append(Event::Batch { number, tables, snapshot })
}

/// Done while the slot can be read from and either the snapshot is held or rows were copied.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    let begun = log.records().iter().any(|record| matches!(record.event, Event::Batch { .. }));
    let (source, target) = engine.sessions().await?;
    if !begun || !replication::slot_is_usable(&source, &engine.ahead(1)).await? {
        return Ok(Seen::NotDone);
    }
    let held = holder::is_alive(&source, &engine.header.run).await?;
    let copying = target.query_opt("SELECT FROM xtask_cutover.chunk LIMIT 1", &[]).await?.is_some();
    if !held && !copying {
        return Ok(Seen::NotDone);
    }
    Ok(Seen::Done(evidence! {
        "tables": engine.plan.published.len(),
        "slot": engine.ahead(1),
    }))
}

/// Removes everything that a run keeps on the source, but for the tool's schema, which owns the run
/// until `backup` is undone.
///
/// # Errors
/// A server cannot be reached.
pub async fn undo(engine: &mut Engine) -> Result<()> {
    let source = engine.source.session().await?;
    holder::end(&source, &engine.header.run).await?;
    for name in engine.every_ahead() {
        replication::drop_slot(&source, &name).await?;
        replication::unpublish(&source, &name).await?;
    }
    replication::drop_role(&source, &engine.role(engine.header.direction)).await
}
