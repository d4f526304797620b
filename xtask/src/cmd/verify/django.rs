//! `verify --django`: the same tests on both sides, and what became of each.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::cmd::cutover::listen;
use crate::cutover::engine::Interrupt;
use crate::django::{Proof, Request, Side, Tests, prove};
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::ui::{self, Format, Ui};

/// How often to look whether somebody asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many differences are shown; JSON has all of them.
const SHOWN_DIFFERENCES: usize = 50;
/// Characters of what a test said that are shown, at most.
const SHOWN_WHY: usize = 300;

/// Proves and prints what was found.
///
/// # Errors
/// A refusal where a test fails only on the ParadeDB side; a failure where tests could not run.
pub async fn run(source: Endpoint, target: Endpoint, tests: Tests, ui: &Ui) -> Result<()> {
    let interrupt = Interrupt::default();
    listen(&interrupt, ui)?;
    let (request, story) = (Request { source, target, tests }, ui.story());
    let proof = tokio::select! {
        proof = prove(&request, &story) => proof?,
        // The tests are a child, which dies with whoever waits for it.
        () = asked(&interrupt) => {
            let message = "interrupted; the tests were killed";
            return Err(Failure::interrupted(message).into());
        }
    };
    match ui.format() {
        Format::Json => ui.json(&proof)?,
        Format::Text => ui.data(&text(&proof)),
    }
    match proof.new_failures {
        0 => Ok(()),
        count => {
            let verb = if count == 1 { "test fails" } else { "tests fail" };
            let count = ui::count(count);
            let message = format!("{count} {verb} on the target and not on the source");
            Err(Failure::refused(message).hint("they are named above").into())
        }
    }
}

async fn asked(interrupt: &Interrupt) {
    while !interrupt.is_requested() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn text(proof: &Proof) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["side", "passed", "failed", "errors", "skipped", "time", "server"]);
    for (name, side) in [("source", &proof.source), ("target", &proof.target)] {
        let count = |word: &str| ui::count(side.counts.get(word).copied().unwrap_or(0));
        table.add_row([
            name.to_string(),
            count("passed"),
            count("failed"),
            count("error"),
            count("skipped"),
            ui::duration(side.seconds * 1000.0),
            version(side),
        ]);
    }
    for column in 1..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut lines = vec![table.trim_fmt(), String::new()];
    let failures = proof.differences.iter().filter(|one| one.is_new_failure);
    let others = proof.differences.iter().filter(|one| !one.is_new_failure);
    for one in failures.chain(others).take(SHOWN_DIFFERENCES) {
        let mark = if one.is_new_failure { "NEW FAILURE " } else { "" };
        lines.push(format!("{mark}{}: source {}, target {}", one.test, one.source, one.target));
        if let Some(why) = one.why.as_deref().filter(|_| one.is_new_failure) {
            let why: String = why.chars().take(SHOWN_WHY).collect();
            lines.push(format!("    {}", why.replace('\n', "\n    ")));
        }
    }
    let hidden = proof.differences.len().saturating_sub(SHOWN_DIFFERENCES);
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    let total: u64 = proof.source.counts.values().sum();
    lines.push(format!(
        "{}: {} tests with Django {}, {} end otherwise, {} new failures",
        if proof.new_failures == 0 { "WORKS ALIKE" } else { "DIFFERENT" },
        ui::count(total),
        proof.django,
        ui::count(proof.differences.len() as u64),
        ui::count(proof.new_failures)
    ));
    lines.join("\n")
}

/// The first words of what a server says about itself: `PostgreSQL 18.4`.
fn version(side: &Side) -> String {
    side.version.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
