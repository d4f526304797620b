//! `drill`: the whole night on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};

use crate::cmd::migrate::workspace_folder;
use crate::config;
use crate::cutover::engine::Interrupt;
use crate::cutover::event::Story;
use crate::cutover::verbs::{Operation, Origin};
use crate::drill::{self, DATABASE, Rehearsal, Report, RouteKind, rehearse};
use crate::failure::Failure;
use crate::migrate::{Choice, Engine, Roles};
use crate::pg::endpoint::Endpoint;
use crate::rag::asked::Searches;
use crate::report::Written;
use crate::route::Route;
use crate::servers::pair::{self, Pair, PairOptions};
use crate::servers::pooler;
use crate::ui::{self, Format, Ui};
use crate::workload;

mod environment;
mod sweep;

/// How much data a rehearsal has that nobody told: about 200 MB.
const SCALE: f64 = 1.0;
/// Sessions per side of a rehearsal that nobody told.
const JOBS: u8 = 2;
/// Where a report goes that nobody gave a place; Git leaves it alone, as it does journals.
const REPORT_FOLDER: &str = "journal";

/// Arguments of `drill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Two servers are installed and started, filled with a sample of a trading \
    platform, and written to. Then: start, switch, rollback, switch, finish, and an oracle that \
    knows every acknowledged write. Nothing is left behind but a report.\n\n\
    With --env its own database goes forth and back between the servers that an environment \
    names, by its own routes, and ends where it began: start, switch, rollback, switch, rollback. \
    The values must allow it (`cutover.rehearse`). Of the drill's there is one ledger, schema \
    xtask_drill.\n\n\
    Examples:\n  cargo xtask drill\n  cargo xtask drill --scale 0.1 --cycles 5 --rate 500\n  \
    cargo xtask drill --sweep --seed 7 --cycles 100\n  \
    cargo xtask drill --env staging --dry-run\n\n\
    Exit codes: 0 nothing lost, 1 --sweep found a broken rule, or --env is refused, 3 a verb \
    failed, 4 the oracle found a fault, 130 --sweep was asked to stop, and says what it has seen.")]
pub struct Arguments {
    /// How much data: 1 is about 200 MB [default: 1, with --sweep 0.01]
    #[arg(long)]
    scale: Option<f64>,
    /// Makes data and load repeatable, and the faults of --sweep
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Transactions per second of all writers together; 0 for as fast as they go, with --sweep for
    /// an idle database, to which one witness writes twice a second
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
    /// Sessions that write
    #[arg(long, default_value_t = 8)]
    writers: u16,
    /// How often to switch and roll back before the last switch; with --env, where there is none,
    /// altogether; with --sweep how many turns to make [default: 1, with --env 2, with --sweep 20]
    #[arg(long)]
    cycles: Option<u32>,
    #[command(flatten)]
    environment: environment::EnvironmentArguments,
    #[command(flatten)]
    sweep: sweep::SweepArguments,
    /// Use this plain server instead of starting one; the named database must not exist there
    #[arg(long, value_name = "URL", requires = "target")]
    source: Option<String>,
    /// Use this ParadeDB server instead of starting one
    #[arg(long, value_name = "URL", requires = "source")]
    target: Option<String>,
    /// Programs of the plain server: a folder with `postgres` and `initdb`
    #[arg(long, value_name = "DIR", env = config::XTASK_SOURCE_BINDIR)]
    source_bindir: Option<PathBuf>,
    /// Programs of the ParadeDB server
    #[arg(long, value_name = "DIR", env = config::XTASK_TARGET_BINDIR)]
    target_bindir: Option<PathBuf>,
    /// Where writers connect to: the servers, by a file that is flipped, or a PgBouncer
    #[arg(long, value_enum, default_value_t = RouteKind::File)]
    route: RouteKind,
    /// Keep the journals here; without it they go with the servers
    #[arg(long, value_name = "DIR")]
    journal_dir: Option<PathBuf>,
    /// Write the report here; without it to --journal-dir, or to `journal` in this folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// The file that writers read where to go; without it one that goes with the servers
    #[arg(long, value_name = "PATH")]
    endpoint_file: Option<PathBuf>,
    /// Sessions per side that copy, build and compare at once [default: 2, with --env as its
    /// values say]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,
}

/// Rehearses or sweeps, and prints the verdict.
///
/// # Errors
/// A verb failed, the oracle found a fault, or a sweep a broken rule.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    match (arguments.environment.name()?, arguments.sweep.sweep) {
        (Some(name), _) => environment::run(arguments, name, ui).await,
        (None, true) => sweep::run(arguments, ui).await,
        (None, false) => whole_night(arguments, ui).await,
    }
}

async fn whole_night(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let story = ui.story();
    let pair = start_pair(arguments, &story).await?;
    let (source, target) = match (&pair, &arguments.source, &arguments.target) {
        (Some(pair), _, _) => (pair.source.endpoint(DATABASE), pair.target.endpoint(DATABASE)),
        (None, Some(source), Some(target)) => (Endpoint::parse(source)?, Endpoint::parse(target)?),
        _ => unreachable!("the command line asks for both or neither"),
    };
    if pair.is_none() {
        assert_roles_are_new([&source, &target]).await?;
    }
    // With servers of our own it goes with them, however this ends.
    let (scratch, _temporary) = match &pair {
        Some(pair) => (pair.scratch()?, None),
        None => {
            let folder = tempfile::tempdir().context("make a folder for the drill")?;
            (folder.path().to_path_buf(), Some(folder))
        }
    };
    let endpoint_file = arguments.endpoint_file.clone().unwrap_or_else(|| scratch.join("endpoint"));
    let pooled_in = (arguments.route == RouteKind::PgBouncer).then(|| scratch.clone());
    let folder = arguments.journal_dir.clone().unwrap_or(scratch);
    let bindirs = pair.iter().map(|pair| pair.target.bindir().to_path_buf()).collect();
    let engine = crate::drill::engine(&target).await?;
    ui.line(engine_line(engine));
    let mut options =
        drill::options(arguments.jobs.unwrap_or(JOBS), Route::File(endpoint_file.clone()), folder);
    options.search = Some(search(engine));
    options.migrations = workspace_folder()?;
    let operation = Operation {
        source_for_target: source.clone(),
        target_for_source: target.clone(),
        source,
        target,
        options,
        bindirs,
        run: None,
        take_over: false,
        argv: vec!["cargo xtask drill".into()],
        story,
        interrupt: Interrupt::default(),
        origin: Origin::default(),
    };
    let rehearsal = Rehearsal {
        scale: arguments.scale.unwrap_or(SCALE),
        seed: arguments.seed,
        rate: arguments.rate,
        writers: arguments.writers,
        cycles: arguments.cycles.unwrap_or(1),
        endpoint_file,
        pooled_in,
    };
    let report = rehearse(&operation, &rehearsal).await;
    // A rehearsal that failed has its report as well, as far as it came.
    let written = write_report(arguments, &operation, Path::new(REPORT_FOLDER));
    if let Some(pair) = pair {
        pair.down().await?;
    }
    tell(report, written, ui)?;
    ui.line(engine_line(engine));
    Ok(())
}

/// Writes the report from the journals: where somebody said, else to `place`.
fn write_report(arguments: &Arguments, operation: &Operation, place: &Path) -> Result<Written> {
    let out = arguments.report.as_ref().or(arguments.journal_dir.as_ref());
    let out = out.map_or(place, PathBuf::as_path);
    crate::report::write(&operation.options.folder, None, out)
}

/// Tells how it went, and where the report is.
fn tell(report: Result<Report>, written: Result<Written>, ui: &Ui) -> Result<()> {
    if let (Err(_), Ok(written)) = (&report, &written) {
        ui.line(&format!("report    {}", written.html.display()));
    }
    let report = report?;
    match ui.format() {
        Format::Json => ui.json(&report)?,
        Format::Text => ui.data(&text(&report)),
    }
    super::cutover::report::tell(&written?, ui)
}

/// Somebody's servers keep the roles that they have.
async fn assert_roles_are_new(servers: [&Endpoint; 2]) -> Result<()> {
    for server in servers {
        let admin = server.with_database("postgres").connect("drill").await?;
        workload::assert_roles_are_new(&admin).await?;
    }
    Ok(())
}

/// What the target gets of search: everything that its engine can.
fn search(engine: &str) -> Choice {
    Choice {
        engine: if engine == "paradedb" { Engine::Paradedb } else { Engine::Postgres },
        schema: "public".into(),
        roles: Roles { runtime: Some(workload::APPLICATION.to_string()), ..Roles::default() },
    }
}

/// Servers of the drill's own, unless others are named. A missing PgBouncer shows itself first.
async fn start_pair(arguments: &Arguments, story: &Story) -> Result<Option<Pair>> {
    if arguments.route == RouteKind::PgBouncer {
        pooler::program()?;
        if arguments.source.is_some() {
            let message = "PgBouncer is rehearsed between servers of the drill's own";
            return Err(Failure::usage(message).hint("leave out --source and --target").into());
        }
    }
    if arguments.source.is_some() {
        return Ok(None);
    }
    let options = PairOptions {
        source_bindir: arguments.source_bindir.clone(),
        target_bindir: arguments.target_bindir.clone(),
        ..PairOptions::default()
    };
    pair::up(&options, story).await.map(Some)
}

fn engine_line(engine: &str) -> &'static str {
    match engine {
        "paradedb" => "engine: paradedb; the target has pg_search",
        _ => {
            "engine: postgres; the target has no pg_search, so BM25 is not exercised. To exercise \
             it, name ParadeDB's programs: --target-bindir, or XTASK_TARGET_BINDIR"
        }
    }
}

fn searches(searches: &Searches) -> String {
    format!(
        "searches  {} beside the writers, over {} chunks, {} failed, p50 {:.1} ms, p95 {:.1} ms, \
         longest {}\n",
        ui::count(searches.count),
        ui::count(searches.chunks),
        searches.failed,
        searches.p50_ms,
        searches.p95_ms,
        ui::duration(searches.longest_ms)
    )
}

fn text(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "",
        "pause",
        "slowest writer",
        "retried",
        "unknown",
        "database part",
        "certified in",
    ]);
    for turn in &report.turns {
        let time = |value: Option<f64>| value.map_or("—".into(), ui::duration);
        let count = |value: Option<u64>| value.map_or("—".into(), ui::count);
        table.add_row([
            turn.verb.clone(),
            time(turn.pause_ms),
            time(turn.longest_ms),
            count(turn.refused),
            count(turn.unknown),
            ui::duration(turn.database_ms),
            ui::duration(turn.certify_ms),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let rows = &report.verdict.rows;
    let seconds = (report.copy_ms / 1000.0).max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let rate = (report.bytes as f64 / seconds / 1e6, report.rows as f64 / seconds);
    format!(
        "moved     {} rows, {} in {} ({:.0} MB/s, {:.0} rows/s); indexes {}; proved live in {}\n\
         {table}\n\
         ledger    {} acknowledged, {} lost, {} duplicated, {} by two writers, {} failed\n\
         latency   p50 {:.1} ms, p99 {:.1} ms, longest {}\n\
         {}\
         verdict   {} in {:.0} s",
        ui::count(report.rows),
        ui::bytes(report.bytes),
        ui::duration(report.copy_ms),
        rate.0,
        rate.1,
        ui::duration(report.index_ms),
        ui::duration(report.prove_ms),
        ui::count(rows.acknowledged),
        rows.lost.count,
        rows.duplicated.count,
        report.verdict.serving.rivals.count,
        report.failed,
        report.verdict.latency.p50_ms,
        report.verdict.latency.p99_ms,
        ui::duration(report.verdict.latency.longest_ms),
        report.searches.as_ref().map_or(String::new(), searches),
        if report.verdict.is_clean() { "NOTHING LOST" } else { "FAULTS FOUND" },
        report.seconds
    )
}
