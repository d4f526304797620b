//! `cutover switch`: the target serves.

use anyhow::Result;

use crate::cmd::cutover::{MetricsArguments, RunArguments, listen};
use crate::cutover::verbs;
use crate::ui::Ui;

/// Arguments of `cutover switch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Past --pause-limit before the decision everything is as it was. After the \
    decision it only goes forward:\nrun it again, it goes on by itself.\n\n\
    Exit codes: 0 switched and certified, 1 refused, 2 wrong usage, 3 unwound: the source serves,\n\
    4 a human decides: `cutover status` says what."
)]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    metrics: MetricsArguments,
}

/// Runs it.
///
/// # Errors
/// As [`verbs::switch`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui)?;
    listen(&operation.interrupt, ui)?;
    let ended = verbs::switch(&operation).await;
    arguments.metrics.observe(&operation).await;
    ended.map(drop)
}
