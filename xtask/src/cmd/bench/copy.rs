//! `bench copy`: the copy against every other way to do it.

use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::bench::copy::{Contender, Limits, Measured, Pace, measure};
use crate::config;
use crate::failure::Failure;
use crate::ui::{self, Format, Ui};

/// Bytes in a MiB, as limits of memory count them.
const MIB: u64 = 1 << 20;

/// Arguments of `bench copy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    The same rows are copied on the same servers, in turns, by `cutover start` (up to its step \
    `index`), by pipes of psql with the same ranges and indexes (the raw limit), by pg_dump and \
    pg_restore, by a native subscription, and by pgcopydb where it is on PATH. Every time is \
    that of schema, rows, keys, indexes and statistics together.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask bench copy\n\
    \x20 cargo xtask bench copy --rows 17000000 --rounds 1     # ten times the data\n\
    \n\
    Exit codes: 0 within the limits, 1 over one, 2 wrong usage, 3 a contender failed.")]
pub struct Arguments {
    /// How many rows, all tables together; the default is about 200 MB
    #[arg(long, default_value_t = 1_700_000, value_parser = clap::value_parser!(u32).range(100..))]
    rows: u32,
    /// How many rounds; each figure is their median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Sessions or processes per side at once, for every contender
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// The limit of the time against that of the raw limit
    #[arg(long, default_value_t = 1.15, value_name = "TIMES")]
    limit: f64,
    /// The limit of the time against that of pgcopydb
    #[arg(long, default_value_t = 0.8, value_name = "TIMES")]
    pgcopydb_limit: f64,
    /// The limit of this tool's memory, in MiB
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    memory_limit: u32,
    /// Programs of the plain server: a folder with `postgres` and `initdb`
    #[arg(long, value_name = "DIR", env = config::XTASK_SOURCE_BINDIR)]
    source_bindir: Option<PathBuf>,
    /// Programs of the ParadeDB server
    #[arg(long, value_name = "DIR", env = config::XTASK_TARGET_BINDIR)]
    target_bindir: Option<PathBuf>,
}

/// Measures and prints; refuses figures over their limit.
///
/// # Errors
/// A figure is over its limit, or a contender failed.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let pace = Pace {
        rows: arguments.rows,
        rounds: arguments.rounds,
        jobs: arguments.jobs,
        source_bindir: arguments.source_bindir.clone(),
        target_bindir: arguments.target_bindir.clone(),
    };
    let limits = Limits {
        raw: arguments.limit,
        pgcopydb: arguments.pgcopydb_limit,
        memory: u64::from(arguments.memory_limit) * MIB,
    };
    let measured = measure(&pace, limits, &ui.story()).await?;
    match ui.format() {
        Format::Json => ui.json(&measured)?,
        Format::Text => ui.data(&text(&measured)),
    }
    if measured.over.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("the copy takes {}", measured.over.join("; ")))
        .hint("measure on a machine with nothing else to do, or name another limit")
        .into())
}

fn text(measured: &Measured) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let header = ["", "whole", "rows", "indexes", "MB/s", "s/GB", "× raw", "peak memory"];
    table.set_header(header);
    for contender in measured.contenders.iter().filter(|one| one.absent.is_none()) {
        table.add_row(row(contender));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let absent = measured.contenders.iter().filter_map(|one| {
        one.absent.as_ref().map(|reason| format!("\n{} was left out: {reason}", one.kind.title()))
    });
    format!(
        "{} rows, {}, {} jobs, {} rounds\n{table}{}",
        ui::count(measured.rows),
        ui::bytes(measured.bytes),
        measured.jobs,
        measured.rounds,
        absent.collect::<String>()
    )
}

fn row(contender: &Contender) -> [String; 8] {
    let seconds = |seconds: f64| ui::duration(seconds * 1000.0);
    let part = |part: Option<f64>| part.map(seconds).unwrap_or_default();
    [
        contender.kind.title().to_string(),
        seconds(contender.seconds),
        part(contender.copy_seconds),
        part(contender.index_seconds),
        format!("{:.0}", contender.mb_per_second),
        format!("{:.1}", contender.seconds_per_gb),
        contender.against_raw.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        contender.peak_bytes.map(ui::bytes).unwrap_or_default(),
    ]
}
