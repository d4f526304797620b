//! `cutover switch`: the target serves.

use anyhow::Result;

use crate::cmd::cutover::{MetricsArguments, RunArguments, listen};
use crate::cutover::verbs;
use crate::ui::Ui;

/// Arguments of `cutover switch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Past --pause-limit before the decision everything is as it was. After the decision it only \
    goes forward: run it again, it goes on by itself. RUNBOOK.md says what clients see at each \
    step.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask cutover switch --endpoint-file /etc/service/database\n\
    \x20 cargo xtask cutover switch --pause-limit 2     # rather not tonight than longer than 2 s\n\
    \x20 cargo xtask cutover switch --take-over         # from an operator whose machine is gone\n\
    \n\
    Exit codes: 0 switched and certified, 1 refused, 2 wrong usage, 3 unwound: the source serves, \
    4 a human decides: `cutover status` says what.")]
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
    let operation = arguments.run.operation(ui).await?;
    listen(&operation.interrupt, ui)?;
    let ended = verbs::switch(&operation).await;
    arguments.metrics.observe(&operation).await;
    ended.map(drop)
}
