//! `cutover start`: everything is copied, and the target follows.

use anyhow::Result;

use crate::cmd::cutover::{RunArguments, SearchArguments, listen};
use crate::cutover::verbs;
use crate::ui::Ui;

/// Arguments of `cutover start`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Clients go on writing. Run it again after a crash: it goes on where it \
    ended.\nCtrl-C removes what was made; twice, it stops at once and can go on later.\n\n\
    Exit codes: 0 following, 1 refused, 2 wrong usage, 3 failed and removed.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    search: SearchArguments,
}

/// Runs it.
///
/// # Errors
/// As [`verbs::start`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation_with_search(&arguments.search, ui)?;
    listen(&operation.interrupt, ui)?;
    verbs::start(&operation).await?;
    Ok(())
}
