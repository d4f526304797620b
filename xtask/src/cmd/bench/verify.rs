//! `bench verify`: how fast every row is hashed, and what that costs a service.

use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::bench::verify::{Horizon, Measured, Pace, Stretch, measure};
use crate::config;
use crate::failure::Failure;
use crate::ui::{self, Format, Ui};

/// Arguments of `bench verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    The same rows are counted, hashed to 32 bits by PostgreSQL's own hashtext, and digested to \
    128 bits as `verify` does, each by one process from a warm cache, in turns. Then a service \
    writes while its rows are digested under a snapshot that is held, and as long without one.\n\
    \n\
    Exit codes: 0 within the limit, 1 over it, 2 wrong usage, 3 a server failed.")]
pub struct Arguments {
    /// How many rows, all tables together; the default is about 200 MB
    #[arg(long, default_value_t = 1_700_000, value_parser = clap::value_parser!(u32).range(100..))]
    rows: u32,
    /// How many rounds; each figure is their median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The limit of the digest's time against that of hashtext
    #[arg(long, default_value_t = 1.5, value_name = "TIMES")]
    limit: f64,
    /// For how long a snapshot is held under load; 0 leaves that out
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    hold: f64,
    /// Transactions per second of all writers together
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
    /// Sessions that write
    #[arg(long, default_value_t = 8)]
    writers: u16,
    /// How much data the service has: 1 is about 200 MB
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Programs of the plain server: a folder with `postgres` and `initdb`
    #[arg(long, value_name = "DIR", env = config::XTASK_SOURCE_BINDIR)]
    source_bindir: Option<PathBuf>,
    /// Programs of the ParadeDB server
    #[arg(long, value_name = "DIR", env = config::XTASK_TARGET_BINDIR)]
    target_bindir: Option<PathBuf>,
}

/// Measures and prints; refuses a digest over its limit.
///
/// # Errors
/// The digest is over its limit, or a server failed.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let pace = Pace {
        rows: arguments.rows,
        rounds: arguments.rounds,
        hold: arguments.hold.clamp(0.0, 3600.0),
        rate: arguments.rate,
        writers: arguments.writers,
        scale: arguments.scale,
        source_bindir: arguments.source_bindir.clone(),
        target_bindir: arguments.target_bindir.clone(),
    };
    let measured = measure(&pace, arguments.limit, &ui.story()).await?;
    match ui.format() {
        Format::Json => ui.json(&measured)?,
        Format::Text => ui.data(&text(&measured)),
    }
    if measured.passes() {
        return Ok(());
    }
    let ratio = measured.total.against_hashtext;
    let message = format!(
        "the digest takes {ratio:.2} times the time of hashtext, its limit {}",
        arguments.limit
    );
    Err(Failure::refused(message)
        .hint("measure on a machine with nothing else to do, or name another limit")
        .into())
}

fn text(measured: &Measured) -> String {
    let header = ["", "rows", "size", "count(*)", "hashtext", "digest", "rows/s", "MB/s"];
    let mut table = framed(&[header.as_slice(), &["× count", "× hashtext"]].concat());
    for rate in measured.tables.iter().chain([&measured.total]) {
        table.add_row([
            rate.table.clone(),
            ui::count(rate.rows),
            ui::bytes(rate.bytes),
            seconds(rate.count_seconds),
            seconds(rate.hashtext_seconds),
            seconds(rate.digest_seconds),
            format!("{:.0}", rate.rows_per_second),
            format!("{:.0}", rate.mb_per_second),
            format!("{:.2}", rate.against_count),
            format!("{:.2}", rate.against_hashtext),
        ]);
    }
    align(&mut table);
    let horizon = measured.horizon.as_ref().map(horizon).unwrap_or_default();
    format!("{table}{horizon}")
}

fn horizon(horizon: &Horizon) -> String {
    let mut table = framed(&["snapshot", "time", "writes", "horizon", "dead rows", "growth"]);
    for (name, stretch) in [("held", &horizon.held), ("none", &horizon.free)] {
        table.add_row(row(name, stretch));
    }
    align(&mut table);
    format!("\n{table}\nhashed every row once in {}", seconds(horizon.certify_seconds))
}

fn row(name: &str, stretch: &Stretch) -> [String; 6] {
    [
        name.to_string(),
        seconds(stretch.seconds),
        ui::count(stretch.writes),
        format!("{} transactions", stretch.horizon_age),
        stretch.dead_rows.to_string(),
        format!("{} kB", stretch.grown_bytes / 1000),
    ]
}

fn seconds(seconds: f64) -> String {
    ui::duration(seconds * 1000.0)
}

fn framed(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
