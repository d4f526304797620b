//! `bench pause`: how long clients wait, forth and back, by file and by PgBouncer.

use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::bench::pause::{Measured, Pace, Spread, measure};
use crate::config;
use crate::drill::RouteKind;
use crate::failure::Failure;
use crate::servers::pooler;
use crate::ui::{self, Format, Ui};

/// Arguments of `bench pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 within the limits, 1 over one, 2 PgBouncer is missing, 3 a \
    verb failed, 4 the oracle found a fault.")]
pub struct Arguments {
    /// Measure only this route
    #[arg(long, value_enum)]
    route: Option<RouteKind>,
    /// How often to switch and roll back
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    cycles: u32,
    /// Transactions per second of all writers together
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
    /// Sessions that write
    #[arg(long, default_value_t = 8)]
    writers: u16,
    /// How much data: 1 is about 200 MB. It has no part in the pause
    #[arg(long, default_value_t = 0.05)]
    scale: f64,
    /// The limit of the 99th percentile by PgBouncer, in milliseconds
    #[arg(long, default_value_t = 250.0, value_name = "MILLISECONDS")]
    pgbouncer_limit: f64,
    /// The limit of the 99th percentile by file, in milliseconds
    #[arg(long, default_value_t = 1000.0, value_name = "MILLISECONDS")]
    file_limit: f64,
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
/// A pause is over its limit, a verb failed, or the oracle found a fault.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let routes = match arguments.route {
        Some(route) => vec![route],
        None => vec![RouteKind::File, RouteKind::PgBouncer],
    };
    if routes.contains(&RouteKind::PgBouncer) {
        pooler::program()?;
    }
    let pace = Pace {
        cycles: arguments.cycles,
        rate: arguments.rate,
        writers: arguments.writers,
        scale: arguments.scale,
        source_bindir: arguments.source_bindir.clone(),
        target_bindir: arguments.target_bindir.clone(),
    };
    let mut over = Vec::new();
    for route in routes {
        let limit = match route {
            RouteKind::File => arguments.file_limit,
            RouteKind::PgBouncer => arguments.pgbouncer_limit,
        };
        let measured = measure(route, &pace, limit, &ui.story()).await?;
        match ui.format() {
            Format::Json => ui.json(&measured)?,
            Format::Text => ui.data(&text(&measured)),
        }
        if !measured.passes() {
            over.push(format!(
                "{}: p99 of the pause is {}, its limit {}",
                name(route),
                ui::duration(measured.both.p99_ms),
                ui::duration(limit)
            ));
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(over.join("; "))
        .hint("measure on a machine with nothing else to do, or name another limit")
        .into())
}

fn name(route: RouteKind) -> &'static str {
    match route {
        RouteKind::File => "file",
        RouteKind::PgBouncer => "pgbouncer",
    }
}

fn text(measured: &Measured) -> String {
    let pauses = [
        ("pause, switch", measured.forth),
        ("pause, rollback", measured.back),
        ("pause, both", measured.both),
        ("slowest writer", measured.slowest_writer),
    ];
    let steps = measured.steps.iter().map(|(name, spread)| (name.as_str(), *spread));
    format!(
        "route {}\n{}\n{}\nledger    {} acknowledged, {} lost, {} duplicated, {} failed",
        name(measured.route),
        table(pauses.into_iter()),
        table(steps),
        ui::count(measured.acknowledged),
        measured.lost,
        measured.duplicated,
        measured.failed
    )
}

fn table<'a>(rows: impl Iterator<Item = (&'a str, Spread)>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["", "count", "p50", "p95", "p99", "longest"]);
    for (name, spread) in rows {
        let times = [spread.p50_ms, spread.p95_ms, spread.p99_ms, spread.longest_ms];
        let mut row = vec![name.to_string(), spread.count.to_string()];
        row.extend(times.map(ui::duration));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
