//! `drill --sweep`: many turns, each with a fault that a seed has drawn.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};

use super::REPORT_FOLDER;
use crate::cmd::cutover::listen;
use crate::cutover::engine::Interrupt;
use crate::cutover::event::Story;
use crate::drill::RouteKind;
use crate::drill::faults::Fault;
use crate::drill::sweep::{Cycle, SweepOptions, Swept, Unfinished, sweep};
use crate::failure::Failure;
use crate::servers::{disk, pooler};
use crate::ui::{self, Format, Ui};

/// How many turns are made that nobody told.
const CYCLES: u32 = 20;
/// How much data there is that nobody told: it has no part in the turns.
const SCALE: f64 = 0.01;

/// Arguments that only a sweep has.
#[derive(Debug, clap::Args)]
pub struct SweepArguments {
    /// Make many turns, each with one thing going wrong that the seed has drawn, and hold each
    /// against the same rules
    #[arg(long, conflicts_with_all = ["source", "report", "endpoint_file", "environment"],
        help_heading = "Sweep")]
    pub(super) sweep: bool,
    /// What may go wrong [default: all of it]
    #[arg(long, value_enum, value_delimiter = ',', requires = "sweep", help_heading = "Sweep")]
    faults: Vec<Fault>,
    /// Make only this turn of them: what was drawn for it depends on nothing before it
    #[arg(long, value_name = "CYCLE", requires = "sweep", help_heading = "Sweep",
        value_parser = clap::value_parser!(u32).range(1..))]
    only: Option<u32>,
}

/// Sweeps, and tells each turn as it ends.
///
/// # Errors
/// A rule was broken, the sweep itself does not work, or somebody asked to stop.
pub async fn run(arguments: &super::Arguments, ui: &Ui) -> Result<()> {
    if arguments.route == RouteKind::PgBouncer {
        pooler::program()?;
    }
    let given = &arguments.sweep.faults;
    let story = ui.story();
    let (faults, skipped) = possible(given, &story)?;
    let options = SweepOptions {
        seed: arguments.seed,
        cycles: arguments.cycles.unwrap_or(CYCLES),
        only: arguments.sweep.only,
        rate: arguments.rate,
        writers: arguments.writers,
        scale: arguments.scale.unwrap_or(SCALE),
        faults,
        skipped,
        route: arguments.route,
        keep: arguments.journal_dir.clone().unwrap_or_else(|| PathBuf::from(REPORT_FOLDER)),
        source_bindir: arguments.source_bindir.clone(),
        target_bindir: arguments.target_bindir.clone(),
    };
    if options.cycles == 0 {
        return Err(Failure::usage("a sweep needs at least one turn").hint("--cycles N").into());
    }
    story.note(match options.only {
        Some(turn) => format!("seed {}, turn {turn} alone", options.seed),
        None => format!("seed {}, {} turns", options.seed, options.cycles),
    });
    let tell = |cycle: &Cycle| match ui.format() {
        Format::Json => ui.json(cycle),
        Format::Text => {
            ui.line(&line(cycle));
            Ok(())
        }
    };
    let interrupt = Interrupt::default();
    listen(&interrupt, ui)?;
    let swept = sweep(&options, &story, &interrupt, tell).await?;
    match ui.format() {
        Format::Json => ui.json(&swept)?,
        Format::Text => ui.data(&text(&swept)),
    }
    judge(&swept, &options, given)
}

/// No where a rule was broken, and where there are turns that were not made.
fn judge(swept: &Swept, options: &SweepOptions, given: &[Fault]) -> Result<()> {
    let broken: Vec<String> = swept
        .broken()
        .map(|cycle| format!("cycle {}: {}", cycle.cycle, cycle.broken.join("; ")))
        .collect();
    let Some(first) = swept.broken().next() else {
        let wanted = options.only.map_or(options.cycles, |_| 1);
        let made = format!("after {} of {wanted} turns", swept.cycles.len());
        return match &swept.unfinished {
            None => Ok(()),
            Some(Unfinished::Asked) => {
                Err(Failure::interrupted(format!("asked to stop {made}")).into())
            }
            Some(Unfinished::Failed(why)) => {
                Err(Failure::failed(format!("the sweep itself failed {made}: {why}")).into())
            }
        };
    };
    let message = format!("rules were broken:\n  {}", broken.join("\n  "));
    let kept = options.keep.join(format!("sweep-{}-{}", options.seed, first.cycle));
    let hint = format!(
        "journals and logs are in {}; again: {}",
        kept.display(),
        again(options, given, first.cycle)
    );
    Err(Failure::refused(message).hint(hint).into())
}

/// What may be drawn, and what this machine cannot bring about. Who names that is told no.
fn possible(given: &[Fault], story: &Story) -> Result<(Vec<Fault>, Vec<Fault>)> {
    let mut faults =
        if given.is_empty() { Fault::value_variants().to_vec() } else { given.to_vec() };
    if !faults.contains(&Fault::Disk) {
        return Ok((faults, Vec::new()));
    }
    let Some(reason) = disk::impossible()? else { return Ok((faults, Vec::new())) };
    let name = Fault::Disk.name();
    if !given.is_empty() {
        return Err(Failure::usage(format!("fault {name} cannot be brought about here: {reason}"))
            .hint("sweep as root on a machine that lets it mount, or leave that fault out")
            .into());
    }
    story.note(format!("fault {name} is skipped: {reason}"));
    faults.retain(|fault| *fault != Fault::Disk);
    Ok((faults, vec![Fault::Disk]))
}

/// The command that makes just this turn again.
fn again(options: &SweepOptions, given: &[Fault], cycle: u32) -> String {
    let mut command = format!(
        "cargo xtask drill --sweep --seed {} --only {cycle} --rate {} --writers {} \
         --scale {}",
        options.seed, options.rate, options.writers, options.scale
    );
    if !given.is_empty() {
        let names: Vec<&str> = given.iter().map(|fault| fault.name()).collect();
        command.push_str(&format!(" --faults {}", names.join(",")));
    }
    if options.route == RouteKind::PgBouncer {
        command.push_str(" --route pgbouncer");
    }
    command
}

/// One turn in one line; what it broke in further ones.
fn line(cycle: &Cycle) -> String {
    let code = |code: &Option<i32>| code.map_or("killed".into(), |code| code.to_string());
    let codes: Vec<String> = cycle.codes.iter().map(code).collect();
    let way_back = serde_json::to_value(&cycle.way_back).unwrap_or_default();
    let mut line = format!(
        "{:>4} {:<8} {:<10} {:<24} {:<28} exit {:<10} pause {:>7}  {:>6} acknowledged, {} lost, \
         {} duplicated  {}",
        cycle.cycle,
        cycle.verb,
        cycle.fault.name(),
        if cycle.struck { cycle.moment.to_string() } else { format!("({})", cycle.moment) },
        cycle.detail,
        codes.join(" "),
        cycle.pause_ms.map_or("—".into(), ui::duration),
        cycle.acknowledged,
        cycle.lost,
        cycle.duplicated,
        way_back["state"].as_str().unwrap_or_default(),
    );
    for broken in &cycle.broken {
        line.push_str(&format!("\n     BROKEN: {broken}"));
    }
    line
}

fn text(swept: &Swept) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["fault", "turns", "struck", "at once", "again", "given up", "broken"]);
    for (fault, tally) in &swept.faults {
        let counts =
            [tally.cycles, tally.struck, tally.at_once, tally.again, tally.given_up, tally.broken];
        let mut row = vec![fault.name().to_string()];
        row.extend(counts.map(|count| count.to_string()));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let skipped: Vec<&str> = swept.skipped.iter().map(|fault| fault.name()).collect();
    let skipped = match skipped.as_slice() {
        [] => String::new(),
        names => format!("\nskipped   {}: this machine cannot", names.join(", ")),
    };
    let pause = |percent| swept.pause_ms(percent).map_or("—".into(), ui::duration);
    format!(
        "{table}{skipped}\npause     p50 {}, p95 {}, longest {}; faults included\n\
         ledger    {} acknowledged, {} lost, {} duplicated, {} by two writers\n\
         verdict   {}: {} turns at {} tx/s, {} worlds, in {:.0} s; seed {}",
        pause(50),
        pause(95),
        pause(100),
        ui::count(swept.sum(|cycle| cycle.acknowledged)),
        swept.sum(|cycle| cycle.lost),
        swept.sum(|cycle| cycle.duplicated),
        swept.sum(|cycle| cycle.rivals),
        verdict(swept),
        swept.cycles.len(),
        swept.rate,
        swept.worlds,
        swept.seconds,
        swept.seed
    )
}

/// What a sweep came to in capitals. One with turns that were not made is none that passed, and why
/// it ended is told beside the rules that it found broken.
fn verdict(swept: &Swept) -> String {
    let broken = match swept.broken().count() {
        0 => "NO RULE BROKEN".to_string(),
        turns => format!("{turns} TURNS BROKE A RULE"),
    };
    match &swept.unfinished {
        None => broken,
        Some(Unfinished::Asked) => format!("UNFINISHED, asked to stop; so far {broken}"),
        Some(Unfinished::Failed(why)) => format!("UNFINISHED, {why}; so far {broken}"),
    }
}
