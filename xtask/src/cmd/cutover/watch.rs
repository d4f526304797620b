//! `cutover watch`: lag and way back, over and over, until somebody has seen enough.

use std::time::Duration;

use anyhow::Result;

use crate::cmd::cutover::{MetricsArguments, RunArguments, listen};
use crate::cutover::event::{Event, WayBack};
use crate::cutover::lineage::{Lineage, Phase};
use crate::cutover::revive;
use crate::cutover::samples;
use crate::cutover::status::{Status, status};
use crate::cutover::verbs::Operation;
use crate::failure::{Failure, tolerate};
use crate::pg::replication;
use crate::ui::Ui;

/// How often the servers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Every so many looks one is kept for the report.
const KEEP_EVERY: u32 = 5;
/// How many subscriptions one watch asks to go on: what stops so often did not stop by a crash.
const REVIVALS: usize = 5;

/// Arguments of `cutover watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Optional: nothing of a run needs it. It keeps the slot of the way back advanced, so that the \
    next switch begins at once, and the lag for the report. A follower that stopped because the \
    other server crashed is asked to go on.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask cutover watch --metrics-file /var/lib/node_exporter/cutover.prom\n\
    \x20 cargo xtask cutover watch --times 1            # once, for a script\n\
    \n\
    Exit codes: 0 all was well at the end, 1 there is no run, or the way back is in danger.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    /// Look this often and end; without it, until Ctrl-C
    #[arg(long, value_name = "TIMES")]
    times: Option<u32>,
    #[command(flatten)]
    metrics: MetricsArguments,
}

/// Looks and tells.
///
/// # Errors
/// There is no run; or, at its end, the way back is in danger.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui).await?;
    listen(&operation.interrupt, ui)?;
    let (mut looks, mut revivals) = (0, 0);
    loop {
        let now = status(&operation).await?;
        if now.run.is_none() {
            return Err(Failure::refused("there is no run to watch")
                .hint("begin one: cargo xtask cutover start --source … --target …")
                .into());
        }
        if let Some(bytes) = now.lag_bytes {
            operation.story.event(Event::Lag { bytes });
            keep(&operation, &now, bytes, looks);
        }
        if let Err(error) = arguments.metrics.write(&now) {
            operation.story.warning(format!("{error:#}"));
        }
        operation.story.event(Event::WayBack { way_back: now.way_back.clone() });
        advance(&operation, now.phase).await;
        revivals += revive_some(&operation, revivals).await;
        looks += 1;
        if operation.interrupt.is_requested() || Some(looks) == arguments.times {
            return match now.way_back {
                WayBack::Lost(_) if now.phase == Phase::Finished => Ok(()),
                WayBack::AtRisk(reason) | WayBack::Lost(reason) => {
                    Err(Failure::refused(format!("the way back is in danger: {reason}")).into())
                }
                _ => Ok(()),
            };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks a follower to go on that stopped, unless it was asked too often; returns how many were.
async fn revive_some(operation: &Operation, so_far: usize) -> usize {
    if so_far >= REVIVALS {
        return 0;
    }
    match revive::revive(operation).await {
        Ok(names) => {
            for name in &names {
                operation.story.warning(format!(
                    "subscription {name} had stopped at an error and was asked to go on"
                ));
            }
            names.len()
        }
        Err(error) => {
            operation.story.warning(format!("a stopped follower cannot be asked: {error:#}"));
            0
        }
    }
}

/// Keeps the lag for the report, beside the journal: this command does not own the run.
fn keep(operation: &Operation, now: &Status, bytes: i64, looks: u32) {
    if let (Some(run), 0) = (&now.run, looks % KEEP_EVERY) {
        let kept = samples::keep_watched(&operation.options.folder, run, bytes);
        tolerate(kept, "a curve is for the report; nothing depends on it");
    }
}

/// Keeps the idle slot of the way back close to the present, while nothing reads it yet.
async fn advance(operation: &Operation, phase: Phase) {
    if phase != Phase::Following {
        return;
    }
    let advanced = async {
        let lineage = Lineage::read(&operation.options.folder, operation.run.as_deref())?;
        let Some(lineage) = lineage else { return Ok(()) };
        let header = &lineage.latest().header;
        let has_way_back = !lineage.latest().plan()?.without_way_back;
        if header.parent.is_some() || !has_way_back {
            return Ok(());
        }
        let target = operation.target.connect("watch").await?;
        let slot = header.object(header.direction.opposite(), 1);
        replication::advance_slot(&target, &slot).await.map(drop)
    };
    tolerate(advanced.await, "the next look tells what is wrong");
}
