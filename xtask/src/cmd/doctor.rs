//! `doctor`: is this environment fit for a run?

use anyhow::Result;

use crate::cmd::backup::PolicyArguments;
use crate::cmd::cutover::{RunArguments, SearchArguments};
use crate::cmd::environment::{self, Chosen};
use crate::cutover::doctor::{Finding, Level, examine};
use crate::failure::Failure;
use crate::ui::{Format, Ui};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Changes nothing. Asks all that `cutover plan` asks, and beside it the clients, other \
    followers and, with --env, the cluster. RUNBOOK.md has an entry for every check.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask doctor --env production\n\
    \x20 cargo xtask --format json doctor --env production | jq 'select(.level != \"ok\")'\n\
    \n\
    Exit codes: 0 nothing stands in the way, 1 something does, 2 wrong usage.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    search: SearchArguments,
    #[command(flatten)]
    backup: PolicyArguments,
    /// As for a run that cannot be turned back after its switch
    #[arg(long)]
    without_way_back: bool,
}

/// Asks, and prints one table.
///
/// # Errors
/// A check refuses, or a server was lost in the middle.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let (search, backup) = (&arguments.search, &arguments.backup);
    let mut operation = arguments.run.operation_of_start(search, backup, ui).await?;
    operation.options.without_way_back = arguments.without_way_back;
    let chosen = Chosen::read(arguments.run.environment())?;
    let named = chosen.cutover().and_then(|cutover| cutover.cluster.as_ref());
    let cluster = named.map(|place| environment::cluster(&place.context)).transpose()?;
    let findings = examine(&operation, chosen.environment(), cluster.as_ref()).await?;
    match ui.format() {
        Format::Json => findings.iter().try_for_each(|finding| ui.json(finding))?,
        Format::Text => ui.data(&table(&findings)),
    }
    let count = |level: Level| findings.iter().filter(|one| one.level == level).count();
    let (refused, warned) = (count(Level::Refuse), count(Level::Warn));
    if refused > 0 {
        let message =
            format!("checks that refuse: {refused}, that warn: {warned}; nothing was changed");
        return Err(Failure::refused(message)
            .hint("run the commands above, then doctor again")
            .into());
    }
    ui.line(&format!("nothing stands in the way; checks that warn: {warned}"));
    Ok(())
}

/// One row a check. A command stands on a line of its own, so that it can be pasted.
fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|one| one.check.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for one in findings {
        lines.push(format!("{:<6}  {:<width$}  {}", one.level.name(), one.check, one.found));
        if !one.command.is_empty() {
            lines.push(format!("{:<6}  {:<width$}  → {}", "", "", one.command));
        }
    }
    lines.join("\n")
}
