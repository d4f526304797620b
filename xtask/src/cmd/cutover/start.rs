//! `cutover start`: everything is copied, and the target follows.

use std::path::PathBuf;

use anyhow::Result;

use crate::cmd::backup::PolicyArguments;
use crate::cmd::cutover::{MetricsArguments, RunArguments, SearchArguments, listen};
use crate::cutover::approval::Approval;
use crate::cutover::{topology, verbs};
use crate::ui::Ui;

/// Arguments of `cutover start`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Clients go on writing. Run it again after a crash: it goes on where it ended. Ctrl-C removes \
    what was made; twice, it stops at once and can go on later.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask cutover start --endpoint-file /etc/service/database \\\n\
    \x20     --backup dump --backup-folder /backups\n\
    \x20 cargo xtask cutover start --i-have-no-backup --metrics-file cutover.prom\n\
    \n\
    Exit codes: 0 following, 1 refused, 2 wrong usage, 3 failed and removed. Next: cutover \
    switch.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    metrics: MetricsArguments,
    #[command(flatten)]
    search: SearchArguments,
    #[command(flatten)]
    backup: PolicyArguments,
    /// Begin only what this file of `cutover plan --out` approved: refuse where the world has
    /// changed since
    #[arg(long, value_name = "PATH")]
    plan: Option<PathBuf>,
    /// Begin a run that cannot be turned back after its switch: the source never follows. For a
    /// role that may not subscribe there
    #[arg(long)]
    without_way_back: bool,
}

/// Runs it.
///
/// # Errors
/// As [`verbs::start`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let approved = arguments.plan.as_deref().map(Approval::read).transpose()?;
    let (search, backup) = (&arguments.search, &arguments.backup);
    let mut operation = arguments.run.operation_of_start(search, backup, ui).await?;
    operation.options.without_way_back = arguments.without_way_back;
    operation.origin.approved = approved;
    listen(&operation.interrupt, ui)?;
    let work = async {
        verbs::start(&operation).await?;
        topology::enter_where_it_follows(&operation).await
    };
    let ended = arguments.metrics.observe_during(&operation, work).await;
    arguments.metrics.observe(&operation).await;
    ended
}
