//! The ways to copy a database, each as who uses it would, with the same number of sessions.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::copy::{Field, Kind, Took};
use crate::bench::sample;
use crate::config;
use crate::cutover::event::Event;
use crate::cutover::lineage::Lineage;
use crate::cutover::step::Step;
use crate::failure::Failure;
use crate::pg::copy::Part;
use crate::pg::{replication, survey};
use crate::process::{self, Invocation};
use crate::servers::programs::with_server;

/// How long any contender may take for any of its parts.
const CONTENDER_LIMIT: Duration = Duration::from_hours(12);
/// How often a child's memory is looked at, and the state of a subscription.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How large a range of pages one pipe copies; what is larger is cut, for pgcopydb as well.
const RANGE_BYTES: i64 = 64 << 20;
/// The publication and the subscription of who copies by replication.
const SUBSCRIPTION: &str = "bench_tablesync";
/// One pipe from server to server. Everything in it comes by environment.
const PIPE: &str = "\"$PSQL\" -X -q -v ON_ERROR_STOP=1 -c \"$READ\"";
/// The other end of the pipe.
const SINK: &str =
    "\"$PSQL\" -X -q -v ON_ERROR_STOP=1 --single-transaction -c \"$PREPARE\" -c \"$WRITE\"";

/// Why a contender cannot take part on this machine; nothing where it can.
pub fn absent(kind: Kind) -> Option<String> {
    let is_absent = kind == Kind::Pgcopydb && process::find_program("pgcopydb").is_none();
    is_absent.then(|| "pgcopydb is not on PATH".into())
}

/// Lets one copy everything.
///
/// # Errors
/// It fails; the message is its own.
pub async fn run(kind: Kind, field: &Field) -> Result<Took> {
    match kind {
        Kind::Xtask => xtask(field).await,
        Kind::Raw => raw(field).await,
        Kind::Dump => dump(field).await,
        Kind::Tablesync => tablesync(field).await,
        Kind::Pgcopydb => pgcopydb(field).await,
    }
}

/// Removes what one left beside its copy.
///
/// # Errors
/// A server refuses, or a file cannot be removed.
pub async fn leave(kind: Kind, field: &Field) -> Result<()> {
    match kind {
        Kind::Xtask => {
            own(field, &["rollback", "--yes"])?.run().await.context("remove the run")?;
            std::fs::remove_dir_all(journals(field)).context("remove the journals")
        }
        Kind::Tablesync => {
            let target = field.target.connect("bench").await?;
            let drop = format!("DROP SUBSCRIPTION {SUBSCRIPTION}");
            target.batch_execute(&drop).await.context("drop the subscription")?;
            let source = field.source.connect("bench").await?;
            replication::unpublish(&source, SUBSCRIPTION).await
        }
        Kind::Raw | Kind::Dump | Kind::Pgcopydb => Ok(()),
    }
}

fn journals(field: &Field) -> PathBuf {
    field.scratch.join("journal")
}

/// This very program, as an operator runs it.
fn own(field: &Field, arguments: &[&str]) -> Result<Invocation> {
    let program = std::env::current_exe().context("find this program")?;
    Ok(Invocation::new(program)
        .arguments(arguments)
        .argument(format!("--jobs={}", field.jobs))
        .argument("--bindir")
        .argument(&field.bindir)
        .variable(config::XTASK_SOURCE, field.source.secret_conninfo())
        .variable(config::XTASK_TARGET, field.target.secret_conninfo())
        .variable(config::XTASK_JOURNAL_DIR, journals(field))
        .deadline(CONTENDER_LIMIT))
}

/// The tool's own times stand in its journal; its memory is that of its process until it ends, so
/// with everything that comes after the copy.
async fn xtask(field: &Field) -> Result<Took> {
    let log = field.scratch.join("start.log");
    let child = own(field, &["cutover", "start", "--i-have-no-backup"])?.spawn(&log, false)?;
    let process = child.id().context("the tool ended at once")?;
    let ending = tokio::time::timeout(CONTENDER_LIMIT, child.wait_with_output());
    tokio::pin!(ending);
    let mut peak = 0;
    let output = loop {
        tokio::select! {
            ended = &mut ending => break ended.context("cutover start did not end")??,
            () = tokio::time::sleep(LOOK_EVERY) => {
                peak = peak_bytes(Path::new(&format!("/proc/{process}/status"))).max(peak);
            }
        }
    };
    if !output.status.success() {
        let story = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("cutover start ended with {}: {story}", output.status);
    }
    let lineage = Lineage::read(&journals(field), None)?.context("read the journal")?;
    let took = |wanted: Step| {
        lineage.latest().records.iter().rev().find_map(|record| match &record.event {
            Event::StepDone { step, milliseconds, .. } if *step == wanted => {
                Some(milliseconds / 1000.0)
            }
            _ => None,
        })
    };
    let steps = [Step::Publish, Step::Schema, Step::Copy, Step::Index];
    Ok(Took {
        whole: steps.into_iter().filter_map(took).sum(),
        copy: took(Step::Copy),
        index: took(Step::Index),
        peak_bytes: Some(peak),
    })
}

/// The most memory that a process has had, in bytes; 0 where it is gone.
fn peak_bytes(status: &Path) -> u64 {
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// As fast as the servers' own programs can do the same work.
async fn raw(field: &Field) -> Result<Took> {
    let begun = Instant::now();
    let file = dump_schema(field).await?;
    restore(field, &file, &["--section=pre-data"]).await?;
    let session = field.source.connect("bench").await?;
    let mut tables = survey::tables(&session).await?;
    tables.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    let parts: VecDeque<Part> = tables.iter().flat_map(parts).collect();
    let copying = Instant::now();
    let queue = Mutex::new(parts);
    let pipes = (0..field.jobs).map(|_| async {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(part) = next else { return anyhow::Ok(()) };
            pipe(field, &part).await?;
        }
    });
    futures_util::future::try_join_all(pipes).await?;
    let copy = copying.elapsed().as_secs_f64();
    let indexing = Instant::now();
    let jobs = format!("--jobs={}", field.jobs);
    restore(field, &file, &["--section=post-data", &jobs]).await?;
    analyze(field).await?;
    Ok(Took {
        whole: begun.elapsed().as_secs_f64(),
        copy: Some(copy),
        index: Some(indexing.elapsed().as_secs_f64()),
        peak_bytes: None,
    })
}

/// A table in ranges of pages; the last is open-ended.
fn parts(table: &survey::Relation) -> Vec<Part> {
    let count = (table.bytes / RANGE_BYTES).clamp(0, table.pages.max(1) - 1) + 1;
    let pages = (table.pages / count).max(1);
    let part = |index: i64| Part {
        schema: table.schema.clone(),
        table: table.name.clone(),
        columns: table.written_columns().map(|column| column.name.clone()).collect(),
        binary: survey::binary_safe(table),
        first_page: index * pages,
        end_page: (index + 1 < count).then_some((index + 1) * pages),
    };
    (0..count).map(part).collect()
}

/// One range through two `psql`. That the first of them failed shows in the rows that are missing.
async fn pipe(field: &Field, part: &Part) -> Result<()> {
    let psql = field.bindir.join("psql");
    let psql = Some(psql).filter(|file| file.is_file()).or_else(|| process::find_program("psql"));
    let psql = psql.ok_or_else(|| {
        Failure::usage("there is no psql").hint("apt-get install postgresql-client")
    })?;
    let quiet = "SET synchronous_commit = off; SET session_replication_role = replica";
    let prepare = match part.emptying() {
        Some(empty) => format!("{quiet}; {empty}"),
        None => quiet.to_string(),
    };
    let mut invocation = Invocation::new("sh")
        .variable("PSQL", psql)
        .variable("READ", part.reading())
        .variable("PREPARE", prepare)
        .variable("WRITE", part.writing())
        .deadline(CONTENDER_LIMIT);
    let mut ends = Vec::new();
    for (side, endpoint) in [("SOURCE", &field.source), ("TARGET", &field.target)] {
        let mut assignments = Vec::new();
        for (name, value) in endpoint.libpq_environment() {
            assignments.push(format!("{name}=\"${side}_{name}\""));
            invocation = invocation.variable(format!("{side}_{name}"), value);
        }
        ends.push(assignments.join(" "));
    }
    let script = format!("{} {PIPE} | {} {SINK}", ends[0], ends[1]);
    invocation.arguments(["-c", &script]).run().await.context("copy a range")?;
    Ok(())
}

/// A dump in a folder, several processes at once, neither compressed: the fastest that they can.
async fn dump(field: &Field) -> Result<Took> {
    let begun = Instant::now();
    let folder = field.scratch.join("dump");
    let jobs = format!("--jobs={}", field.jobs);
    let dump = Invocation::new(&field.programs.pg_dump)
        .arguments(["--format=directory", "--compress=0", "--no-sync", "--no-password", &jobs])
        .arguments(["--file".as_ref(), folder.as_os_str()])
        .deadline(CONTENDER_LIMIT);
    with_server(dump, &field.source).run().await.context("dump")?;
    restore(field, &folder, &[&jobs]).await?;
    analyze(field).await?;
    let whole = begun.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&folder).context("remove the dump")?;
    Ok(Took { whole, ..Took::default() })
}

/// The whole schema with its indexes first, as PostgreSQL's manual says, then a subscription.
async fn tablesync(field: &Field) -> Result<Took> {
    let begun = Instant::now();
    let file = dump_schema(field).await?;
    restore(field, &file, &[]).await?;
    let source = field.source.connect("bench").await?;
    let tables = sample::TABLES.map(|table| ("public".to_string(), table.to_string()));
    replication::publish(&source, SUBSCRIPTION, &tables).await?;
    let target = field.target.connect("bench").await?;
    replication::subscribe_and_copy(&target, SUBSCRIPTION, &field.source).await?;
    let ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel";
    while !target.query_one(ready, &[]).await?.get::<_, Option<bool>>(0).unwrap_or(false) {
        if begun.elapsed() > CONTENDER_LIMIT {
            bail!("the subscription did not copy everything within {CONTENDER_LIMIT:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    analyze(field).await?;
    Ok(Took { whole: begun.elapsed().as_secs_f64(), ..Took::default() })
}

/// The same jobs and the same ranges; it builds statistics by itself.
async fn pgcopydb(field: &Field) -> Result<Took> {
    let begun = Instant::now();
    let folder = field.scratch.join("pgcopydb");
    let path = std::env::join_paths(
        std::iter::once(field.bindir.clone())
            .chain(std::env::split_paths(&config::variable("PATH").unwrap_or_default())),
    )?;
    Invocation::new("pgcopydb")
        .arguments(["clone", "--no-owner", "--no-acl", "--skip-large-objects"])
        .argument(format!("--table-jobs={}", field.jobs))
        .argument(format!("--index-jobs={}", field.jobs))
        .argument(format!("--split-tables-larger-than={} MB", RANGE_BYTES >> 20))
        .arguments(["--dir".as_ref(), folder.as_os_str()])
        .variable("PATH", path)
        .variable("PGCOPYDB_SOURCE_PGURI", field.source.secret_conninfo())
        .variable("PGCOPYDB_TARGET_PGURI", field.target.secret_conninfo())
        .deadline(CONTENDER_LIMIT)
        .run()
        .await?;
    let whole = begun.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&folder).context("remove its folder")?;
    Ok(Took { whole, ..Took::default() })
}

/// The schema of the source, in a file.
async fn dump_schema(field: &Field) -> Result<PathBuf> {
    let file = field.scratch.join("schema.dump");
    let dump = Invocation::new(&field.programs.pg_dump)
        .arguments(["--format=custom", "--schema-only", "--no-password"])
        .arguments(["--file".as_ref(), file.as_os_str()])
        .deadline(CONTENDER_LIMIT);
    with_server(dump, &field.source).run().await.context("dump the schema")?;
    Ok(file)
}

async fn restore(field: &Field, from: &Path, arguments: &[&str]) -> Result<()> {
    let restore = Invocation::new(&field.programs.pg_restore)
        .arguments(["--exit-on-error", "--no-password"])
        .argument(format!("--dbname={}", field.target.database))
        .arguments(arguments)
        .argument(from)
        .deadline(CONTENDER_LIMIT);
    with_server(restore, &field.target).run().await.context("restore")?;
    Ok(())
}

/// Statistics of every table, which the tool brings and these programs do not.
async fn analyze(field: &Field) -> Result<()> {
    let target = field.target.connect("bench").await?;
    target.batch_execute("ANALYZE").await.context("analyze")
}
