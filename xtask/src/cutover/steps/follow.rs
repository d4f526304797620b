//! `follow`: the subscription goes on; then foreign keys, triggers and the rest of the schema.
//!
//! Foreign keys come NOT VALID before anything is applied, which takes no time, and are validated
//! behind a barrier: while apply works, only that takes no lock that apply would meet.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::steps::{evidence, index, schema};
use crate::pg::endpoint::Session;
use crate::pg::password;
use crate::pg::replication::{self, Subscribe};

/// How long restoring triggers, rules and policies may take.
const REST_LIMIT: Duration = Duration::from_secs(600);
/// Foreign keys and the like that wait for rows of another batch are tried this often.
const VALIDATION_ATTEMPTS: u32 = 5;

/// The kinds of entries that other steps or the follower itself bring.
const NOT_HERE: [&str; 5] = ["INDEX", "INDEX ATTACH", "CONSTRAINT", "STATISTICS", "FK CONSTRAINT"];

/// Completes the schema, subscribes, waits until the target has caught up, validates.
///
/// # Errors
/// A server refuses, or the target does not catch up in time.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    schema::end_programs(engine).await?;
    let (source, target) = engine.sessions().await?;
    let is_following = replication::subscription(&target, &engine.ahead(1)).await?.is_some();
    if !is_following {
        add_foreign_keys(&source, &target).await?;
        if !has_rest(&source, &target).await? {
            let list =
                index::write_list(engine, "post-data", |kind| !NOT_HERE.contains(&kind)).await?;
            let list = format!("--use-list={}", list.display());
            // Of a list that begins with default privileges a named section would leave them out.
            let arguments = ["--single-transaction", &list];
            schema::restore(engine, &arguments, REST_LIMIT).await?;
        }
        refresh_views(&target).await?;
    }
    subscribe_all(engine, log).await?;
    catch_up(engine, log).await?;
    validate(engine, log).await?;
    schema::forget_dump(engine)
}

/// Makes and enables the subscriptions of this run's direction.
async fn subscribe_all(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let password = password::random();
    let role = engine.role(engine.header.direction);
    replication::replication_role(&source, &role, &password).await?;
    let publisher = engine.source.peer.with_user(&role, &password);
    for (number, _) in engine.batches(log) {
        let name = engine.ahead(number);
        let wanted =
            Subscribe { name: &name, publisher: &publisher, publisher_version: source.version };
        replication::subscribe(&target, &wanted).await?;
        replication::enable(&target, &name).await?;
    }
    Ok(())
}

/// Waits until a barrier row has passed, showing how far the target is behind.
async fn catch_up(engine: &mut Engine, log: &dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let markers = engine.markers(log);
    let names = engine.subscriptions(log);
    let id = replication::mark(&source, &markers, "follow").await?;
    let limit = engine.options.catch_up_limit;
    let story = engine.story.clone();
    let waiting = replication::await_mark(&target, &markers, &names, id, limit);
    let watcher = engine.source.endpoint.connect("lag").await?;
    let first = replication::lag(&watcher, &names[0]).await?.max(0);
    let telling = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Ok(behind) = replication::lag(&watcher, &names[0]).await {
                let done = u64::try_from(first - behind).unwrap_or(0);
                story.progress("follow", done, u64::try_from(first).unwrap_or(0), "bytes");
            }
        }
    };
    tokio::select! {
        arrived = waiting => arrived.map(|_| ()),
        () = telling => Ok(()),
    }
}

/// Foreign keys of the source that the target lacks: schema and table quoted, name, definition,
/// whether the table is partitioned.
async fn missing_foreign_keys(source: &Session, target: &Session) -> Result<Vec<ForeignKey>> {
    let sql = "SELECT format('%I.%I', n.nspname, t.relname), c.conname::text,
                      pg_get_constraintdef(c.oid), t.relkind = 'p', c.convalidated
               FROM pg_constraint AS c
               JOIN pg_class AS t ON t.oid = c.conrelid
               JOIN pg_namespace AS n ON n.oid = t.relnamespace
               WHERE c.contype = 'f' AND c.conparentid = 0
                 AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                                 AND d.objid = t.oid AND d.deptype = 'e')
               ORDER BY 1, 2";
    let read = |row: &tokio_postgres::Row| ForeignKey {
        table: row.get(0),
        name: row.get(1),
        definition: row.get(2),
        is_partitioned: row.get(3),
        is_valid: row.get(4),
    };
    let present: Vec<ForeignKey> = target.query(sql, &[]).await?.iter().map(read).collect();
    let wanted = source.query(sql, &[]).await?;
    let all = wanted.iter().map(read);
    Ok(all
        .filter(|key| {
            let is_same = |one: &&ForeignKey| one.table == key.table && one.name == key.name;
            present.iter().find(is_same).is_none_or(|one| key.is_valid && !one.is_valid)
        })
        .collect())
}

/// A foreign key.
#[derive(Debug, Clone)]
struct ForeignKey {
    table: String,
    name: String,
    definition: String,
    is_partitioned: bool,
    is_valid: bool,
}

async fn add_foreign_keys(source: &Session, target: &Session) -> Result<()> {
    for key in missing_foreign_keys(source, target).await? {
        let name = crate::pg::endpoint::identifier(&key.name);
        let (table, definition) = (&key.table, &key.definition);
        // Before 18 a partitioned table takes a foreign key only validated.
        let is_whole = key.is_partitioned && target.major() < 18;
        let suffix = if is_whole || definition.ends_with("NOT VALID") { "" } else { " NOT VALID" };
        target
            .batch_execute(&format!(
                "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name},
                 ADD CONSTRAINT {name} {definition}{suffix}"
            ))
            .await
            .with_context(|| format!("add foreign key {} to {table}", key.name))?;
    }
    Ok(())
}

/// Validates what came NOT VALID. Rows of different batches arrive at different times, so a
/// failure is tried again behind another barrier.
async fn validate(engine: &mut Engine, log: &dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let mut attempts = 0;
    loop {
        let mut failed = None;
        let open = missing_foreign_keys(&source, &target).await?;
        for (done, key) in open.iter().enumerate() {
            engine.story.progress("validate", done as u64, open.len() as u64, "foreign keys");
            let name = crate::pg::endpoint::identifier(&key.name);
            let table = &key.table;
            let statement = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}");
            if let Err(error) = target.batch_execute(&statement).await {
                failed = Some(anyhow::Error::new(error).context(format!("{table}: {}", key.name)));
            }
        }
        attempts += 1;
        match failed {
            None => return Ok(()),
            Some(error) if attempts == VALIDATION_ATTEMPTS => return Err(error),
            Some(_) => catch_up(engine, log).await?,
        }
    }
}

/// Whether triggers, rules, policies and default privileges are there already. They come in one
/// transaction.
async fn has_rest(source: &Session, target: &Session) -> Result<bool> {
    // PostgreSQL has two rules of its own.
    let sql = "SELECT ARRAY[
                   (SELECT count(*) FROM pg_trigger
                    WHERE NOT tgisinternal AND tgname <> 'xtask_fence'),
                   (SELECT count(*) FROM pg_policy),
                   (SELECT count(*) FROM pg_event_trigger),
                   (SELECT count(*) FROM pg_default_acl),
                   (SELECT count(*) FROM pg_rewrite
                    WHERE rulename <> '_RETURN' AND oid >= 16384)]";
    let wanted: Vec<i64> = source.query_one(sql, &[]).await?.get(0);
    let present: Vec<i64> = target.query_one(sql, &[]).await?.get(0);
    let has_each = wanted.iter().zip(&present).all(|(wanted, present)| present >= wanted);
    Ok(has_each && wanted.iter().sum::<i64>() > 0)
}

/// Fills the materialized views from the tables that are there now.
async fn refresh_views(target: &Session) -> Result<()> {
    let rows = target
        .query(
            "SELECT oid::regclass::text FROM pg_class AS c WHERE relkind = 'm'
               AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                               AND d.objid = c.oid AND d.deptype = 'e')
             ORDER BY oid",
            &[],
        )
        .await?;
    for row in rows {
        let view: String = row.get(0);
        target
            .batch_execute(&format!("REFRESH MATERIALIZED VIEW {view}"))
            .await
            .with_context(|| format!("refresh {view}"))?;
    }
    Ok(())
}

/// Done when every subscription runs without errors and no foreign key is missing or unproved.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    for name in engine.subscriptions(log) {
        let state = replication::subscription(&target, &name).await?;
        if state.is_none_or(|state| !state.enabled) {
            return Ok(Seen::NotDone);
        }
    }
    if !missing_foreign_keys(&source, &target).await?.is_empty() {
        return Ok(Seen::NotDone);
    }
    let lag = replication::lag(&source, &engine.ahead(1)).await?;
    Ok(Seen::Done(evidence! { "lag_bytes": lag, "batches": engine.batches(log).len() }))
}

/// Takes the subscriptions away.
///
/// # Errors
/// The target cannot be reached.
pub async fn undo(engine: &mut Engine, log: &dyn Log) -> Result<()> {
    let target = engine.target.session().await?;
    for name in engine.subscriptions(log) {
        replication::unsubscribe(&target, &name).await?;
    }
    Ok(())
}
