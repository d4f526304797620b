//! `schema`: the target is fenced, and gets the source's schema as the snapshot shows it.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Side};
use crate::cutover::steps::evidence;
use crate::cutover::{fence, holder};
use crate::failure::Failure;
use crate::pg::archive;
use crate::pg::endpoint::APPLICATION_NAME;
use crate::process::Invocation;
use crate::servers::programs::with_server;

mod owners;

/// How long `pg_dump` and `pg_restore` may take for a schema without its indexes.
const SCHEMA_LIMIT: Duration = Duration::from_secs(600);

/// How long ending the programs of a killed tool may take.
const ENDING_LIMIT: Duration = Duration::from_secs(30);

/// Fences the target, dumps the schema and restores what comes before the rows.
///
/// # Errors
/// The programs are missing or fail; their own message is in the error.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let target = engine.target.session().await?;
    let spared = engine.spared_on_target().await?;
    fence::close(&target, &spared).await?;
    log.append(Event::Changed {
        side: Side::Target,
        what: "default_transaction_read_only and CONNECTION LIMIT of the database".into(),
        former: None,
        now: Some("on, 0".into()),
    })?;
    end_programs(engine).await?;
    dump(engine, log).await?;
    // A program of a tool that died may have brought everything, all at once, before it was ended.
    let is_there = missing_tables(engine).await? == 0;
    if target.is_superuser {
        let arguments = ["--section=pre-data", "--single-transaction"];
        return if is_there { Ok(()) } else { restore(engine, &arguments, SCHEMA_LIMIT).await };
    }
    if !is_there {
        owners::restore_before_rows(engine).await?;
    }
    owners::settle(engine).await
}

/// Ends `pg_dump` and `pg_restore` of a tool that was killed: they outlive it, and would bring what
/// the next attempt brings as well. The operator's lock is ours, so no living tool has any.
///
/// # Errors
/// They do not end in time, or a server cannot be asked.
pub async fn end_programs(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    for session in [source, target] {
        let begun = Instant::now();
        loop {
            let ended = session
                .query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = $1",
                    &[&APPLICATION_NAME],
                )
                .await
                .context("end the programs of a tool that was killed")?;
            if ended.is_empty() {
                break;
            }
            if begun.elapsed() > ENDING_LIMIT {
                bail!("pg_dump or pg_restore of a killed tool did not end in {ENDING_LIMIT:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// The snapshot of the newest batch.
pub fn last_snapshot(log: &dyn Log) -> Option<String> {
    log.records().iter().rev().find_map(|record| match &record.event {
        Event::Batch { snapshot, .. } => Some(snapshot.clone()),
        _ => None,
    })
}

/// Where the list of entries to restore stands.
pub fn list_file(engine: &Engine) -> PathBuf {
    engine.options.folder.join(format!("{}.list", engine.header.run))
}

/// Where the run's dump of the schema stands.
pub fn dump_file(engine: &Engine) -> PathBuf {
    engine.options.folder.join(format!("{}.schema.dump", engine.header.run))
}

/// Where a dump stands that is not whole yet.
fn part_file(engine: &Engine) -> PathBuf {
    engine.options.folder.join(format!("{}.schema.part", engine.header.run))
}

/// Under the snapshot while it is held; after that the gate's fingerprint says that the schema is
/// still the same. It goes to another name first, so that a file of the right name is a whole dump.
async fn dump(engine: &Engine, log: &dyn Log) -> Result<()> {
    let whole = dump_file(engine);
    let part = part_file(engine);
    let snapshot = last_snapshot(log).context("no snapshot to dump under")?;
    let is_held = holder::is_held(&engine.source.endpoint, &snapshot).await?;
    let programs = engine.programs.as_ref().context("pg_dump was not looked for")?;
    // A `pg_dump` of a killed tool may still write to the old file, so this is another one. It is
    // made before the program opens it, so that nobody else can read it at any moment.
    remove(&part)?;
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&part)
        .with_context(|| format!("write {}", part.display()))?;
    let mut invocation = Invocation::new(&programs.pg_dump)
        .arguments(["--format=custom", "--schema-only", "--no-publications", "--no-subscriptions"])
        .arguments(["--exclude-schema=xtask_cutover", "--no-password"])
        .argument(format!("--file={}", part.display()))
        .deadline(SCHEMA_LIMIT);
    if is_held {
        invocation = invocation.argument(format!("--snapshot={snapshot}"));
    }
    with_server(invocation, &engine.source.endpoint).run().await.context("dump the schema")?;
    archive::leave_out_marks(&part)?;
    std::fs::rename(&part, &whole).context("name the schema dump")
}

/// Removes the dump and its lists: once the schema is whole nobody needs them.
///
/// # Errors
/// A file cannot be removed.
pub fn forget_dump(engine: &Engine) -> Result<()> {
    for file in [dump_file(engine), part_file(engine), list_file(engine)] {
        remove(&file)?;
    }
    Ok(())
}

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs `pg_restore` of the run's dump into the target.
///
/// # Errors
/// The program fails; its own message is in the error.
pub async fn restore(engine: &Engine, arguments: &[&str], limit: Duration) -> Result<()> {
    let programs = engine.programs.as_ref().context("pg_restore was not looked for")?;
    let file = dump_file(engine);
    if !file.is_file() {
        let message = format!("the run's schema dump {} is gone", file.display());
        return Err(Failure::failed(message)
            .hint("cargo xtask rollback --yes, then start again")
            .into());
    }
    let invocation = Invocation::new(&programs.pg_restore)
        .arguments(["--exit-on-error", "--no-password"])
        .argument(format!("--dbname={}", engine.target.endpoint.database))
        .arguments(arguments)
        .argument(&file)
        .deadline(limit);
    with_server(invocation, &engine.target.endpoint).run().await.context("restore the schema")?;
    Ok(())
}

/// How many tables of the plan the target lacks.
async fn missing_tables(engine: &mut Engine) -> Result<i64> {
    let target = engine.target.session().await?;
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        engine.plan.tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
    let row = target
        .query_one(
            "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS wanted (schema_name, table_name)
             WHERE to_regclass(format('%I.%I', schema_name, table_name)) IS NULL",
            &[&schemas, &names],
        )
        .await?;
    Ok(row.get(0))
}

/// Done when the target is fenced and has every table of the plan.
///
/// # Errors
/// The target cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let target = engine.target.session().await?;
    if !fence::is_closed(&target).await?
        || missing_tables(engine).await? > 0
        || !dump_file(engine).is_file()
    {
        return Ok(Seen::NotDone);
    }
    Ok(Seen::Done(evidence! {
        "tables": engine.plan.tables.len(),
        "sequences": engine.plan.sequences,
    }))
}

/// Removes what was restored and opens the target again. The target was empty before, so all that
/// is there now, but for extensions, is ours.
///
/// # Errors
/// The target cannot be reached.
pub async fn undo(engine: &mut Engine) -> Result<()> {
    let target = engine.target.session().await?;
    if engine.options.keep_copy {
        engine.story.note("the copied tables stay on the target, as asked");
    } else {
        let keeps = !engine.plan.kept.is_empty();
        let rows = target.query(include_str!("../../pg/sql/drop_moved.sql"), &[&keeps]).await?;
        let statements: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        target.batch_execute(&statements.join(";\n")).await.context("drop what was restored")?;
    }
    forget_dump(engine)?;
    if target.query_one("SELECT to_regclass('xtask_cutover.fence') IS NOT NULL", &[]).await?.get(0)
    {
        fence::open(&engine.target.endpoint).await?;
    }
    Ok(())
}
