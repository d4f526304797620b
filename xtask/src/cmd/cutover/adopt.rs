//! `cutover adopt`: the journal is rebuilt on this machine from what the servers keep.

use anyhow::Result;

use crate::cmd::cutover::RunArguments;
use crate::cutover::catch_up::{self, Change};
use crate::failure::Failure;
use crate::ui::Ui;

/// Arguments of `cutover adopt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    For the night on which the machine that ran the tool is gone. To look only, `cutover status` \
    is enough; adopt before you act from here.\n\
    \n\
    Example:\n\
    \x20 cargo xtask cutover adopt && cargo xtask cutover status\n\
    \n\
    Exit codes: 0 the journals are here, 1 no server knows a run, \
    2 a file here says something else.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
}

/// Writes the journals that this folder lacks, and adds to those that are behind.
///
/// # Errors
/// Neither server knows a run, a mirror has gaps on both, or a file here says something else.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui).await?;
    let endpoints = [&operation.source, &operation.target];
    let (found, errors) = catch_up::read(endpoints, operation.run.as_deref()).await;
    if found.is_empty() {
        let message = format!("no server knows a run {}", errors.join("; "));
        return Err(Failure::refused(message.trim_end())
            .hint("begin one: cargo xtask cutover start --source … --target …")
            .into());
    }
    for (run, lines) in found {
        let change = catch_up::bring_up_to_date(&operation.options.folder, &run, &lines)?;
        ui.line(&match change {
            Change::Nothing => format!("{run}: its journal is here already"),
            Change::Written(count) => format!("{run}: {count} lines written"),
            Change::CaughtUp(count) => {
                format!("{run}: its journal was behind, {count} lines added")
            }
        });
    }
    ui.line("next: cargo xtask cutover status");
    Ok(())
}
