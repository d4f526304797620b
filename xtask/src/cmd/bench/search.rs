//! `bench search`: how fast the knowledge store answers, alone and beside an application.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};

use crate::bench::place::engines;
use crate::bench::search::{Latencies, Report, Request, measure, page};
use crate::config;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::report::figures;
use crate::servers::pair::{self, PairOptions};
use crate::ui::{self, Format, Ui};

/// Shared buffers of a server of our own: the quarter of memory that PostgreSQL's documentation
/// advises, on a machine with 8 GiB. HNSW of 100,000 chunks has 390 MiB, and is read at random.
const SHARED_BUFFERS: &str = "2GB";
/// The name of the page with bars.
const PAGE: &str = "xtask-bench-search";

/// Arguments of `bench search`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A store is made and filled with made-up chunks of 2,000 characters and 768 \
    dimensions, in 64 clusters; words follow Zipf's law and go with the cluster. Beside it the \
    sample of a trading platform, with four writers as fast as they go. A quarter of the time \
    they trade alone, a quarter is searches alone, by two sessions one after the other; half is \
    both, with --rate searches a second of all kinds in turn. Recall is HNSW's ten nearest \
    against the exact ones. On a server with pg_search both engines are measured. A server of \
    its own has 2 GB of shared buffers.\n\n\
    Example:\n  cargo xtask bench search --chunks 20000 --seconds 60 --report journal\n\n\
    Exit codes: 0 measured and within the limit, 1 a p95 is over it, 2 usage, 3 it failed."
)]
pub struct Arguments {
    /// How many chunks the store has
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    chunks: u64,
    /// How long all phases of an engine take together, without filling, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..))]
    seconds: u64,
    /// The p95 of each kind of search that is still good, in milliseconds
    #[arg(long, default_value_t = 200.0, value_name = "MS")]
    limit: f64,
    /// Searches per second beside the application
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Memory for the build of an index, in mebibytes
    #[arg(long, default_value_t = 1024, value_name = "MIB",
        value_parser = clap::value_parser!(u64).range(64..))]
    build_memory: u64,
    /// Use this server instead of starting one; databases xtask_bench_search_* are made there
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Write a page with bars here, xtask-bench-search.html
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Programs of the server: a folder with `postgres` and `initdb`
    #[arg(long, value_name = "DIR", env = config::XTASK_TARGET_BINDIR)]
    target_bindir: Option<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// A refusal where a p95 is over the limit; a failure where it could not be measured.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    if !(arguments.rate.is_finite() && arguments.rate > 0.0) {
        return Err(Failure::usage("a rate is a number of searches above 0").into());
    }
    let story = ui.story();
    let pair = match arguments.target {
        Some(_) => None,
        None => {
            let options = PairOptions {
                target_bindir: arguments.target_bindir.clone(),
                target_settings: vec![("shared_buffers".into(), SHARED_BUFFERS.into())],
                ..PairOptions::default()
            };
            Some(pair::up(&options, &story).await?)
        }
    };
    let server = match (&pair, &arguments.target) {
        (Some(pair), _) => pair.target.endpoint("postgres"),
        (None, Some(target)) => Endpoint::parse(target)?,
        (None, None) => unreachable!("a pair was started"),
    };
    // With servers of our own it goes with them, however this ends.
    let (scratch, _temporary) = match &pair {
        Some(pair) => (pair.scratch()?, None),
        None => {
            let folder = tempfile::tempdir().context("make a folder for the measurement")?;
            (folder.path().to_path_buf(), Some(folder))
        }
    };
    let request = Request {
        server,
        chunks: arguments.chunks,
        time: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        build_memory: arguments.build_memory,
        scratch,
    };
    let engines = engines(&request.server).await?;
    if engines == ["postgres"] {
        ui.line("engine: postgres; the server has no pg_search, so BM25 is not measured");
    }
    let mut reports = Vec::new();
    for engine in engines {
        reports.push(measure(&request, engine, &story).await?);
    }
    if let Some(pair) = pair {
        pair.down().await?;
    }
    for report in &reports {
        match ui.format() {
            Format::Json => ui.json(report)?,
            Format::Text => ui.data(&text(report)),
        }
    }
    if let Some(out) = &arguments.report {
        let written = figures::write(&page(&reports, arguments.limit), out, PAGE)?;
        ui.line(&format!("report    {}", written.display()));
    }
    let worst = reports.iter().map(Report::worst_p95_ms).fold(0.0, f64::max);
    if worst > arguments.limit {
        let limit = ui::duration(arguments.limit);
        let message = format!("a p95 of {} is over the limit of {limit}", ui::duration(worst));
        return Err(Failure::refused(message).into());
    }
    Ok(())
}

fn text(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["search", "", "count", "p50", "p95", "p99"]);
    for (when, all) in [("alone", &report.alone), ("beside trades", &report.beside)] {
        for latencies in all {
            table.add_row(row(when, latencies));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let indexes: Vec<String> = report
        .indexes
        .iter()
        .map(|index| {
            let (size, time) = (ui::bytes(index.bytes), ui::duration(index.seconds * 1000.0));
            format!("{} {size} in {time}", index.name)
        })
        .collect();
    format!(
        "engine    {}, {} chunks of {} dimensions, filled in {}\n\
         indexes   {}\n\
         recall@10 {:.3} on average, {:.1} at worst, of {} questions; exactly it takes {}\n\
         {table}\n\
         trades    {:.0} a second alone, {:.0} beside {} searches a second: {:.0} % kept",
        report.engine,
        ui::count(report.chunks),
        report.dimensions,
        ui::duration(report.fill_s * 1000.0),
        indexes.join(", "),
        report.recall.mean,
        report.recall.least,
        report.recall.questions,
        ui::duration(report.recall.exact_ms),
        report.trades_alone,
        report.trades_beside,
        report.search_rate,
        report.kept() * 100.0,
    )
}

fn row(when: &str, latencies: &Latencies) -> [String; 6] {
    let time = |milliseconds: f64| format!("{milliseconds:.1} ms");
    [
        latencies.kind.name().into(),
        when.into(),
        ui::count(latencies.count),
        time(latencies.p50_ms),
        time(latencies.p95_ms),
        time(latencies.p99_ms),
    ]
}
