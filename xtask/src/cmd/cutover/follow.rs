//! `cutover follow`: OLTP stays where it is, and ParadeDB answers searches.

use anyhow::Result;

use crate::cmd::cutover::{RunArguments, listen};
use crate::cutover::topology;
use crate::ui::Ui;

/// Arguments of `cutover follow`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    For a service whose writes stay on plain PostgreSQL: after `cutover start`, or after a \
    rollback. ParadeDB goes on following; search and `rag load` work there, and the copied tables \
    take no writes, from nobody. `cutover status` shows the lag. A switch is possible at any \
    time: it cuts those off who search, for its pause.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask cutover start --engine paradedb --env production --backup …\n\
    \x20 cargo xtask cutover follow\n\
    \x20 cargo xtask cutover follow --leave         # the follower is fenced as a whole again\n\
    \n\
    Exit codes: 0 done, 1 refused: ParadeDB does not follow, 2 wrong usage, 3 not done.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    /// Fence the follower as a whole again
    #[arg(long)]
    leave: bool,
}

/// Enters or leaves.
///
/// # Errors
/// As [`topology::enter`] and [`topology::leave`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui).await?;
    listen(&operation.interrupt, ui)?;
    match arguments.leave {
        true => topology::leave(&operation).await,
        false => topology::enter(&operation).await,
    }
}
