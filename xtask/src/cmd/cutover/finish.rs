//! `cutover finish`: the way back is given up.

use std::io::{BufRead, IsTerminal};

use anyhow::Result;

use crate::cmd::cutover::{RunArguments, listen};
use crate::cutover::{topology, verbs};
use crate::ui::Ui;

/// Arguments of `cutover finish`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    The old side keeps its data and its fence; this tool never drops it.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask cutover finish --confirm rbsdb\n\
    \x20 cargo xtask cutover finish --confirm rbsdb --accept-differences 5f0c31a2b4d6\n\
    \n\
    Exit codes: 0 closed, 1 refused: not confirmed, or differences, 2 wrong usage, \
    4 a human decides.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    /// The name of the database that serves, typed by a person who means it
    #[arg(long, value_name = "DATABASE")]
    confirm: Option<String>,
    /// Accept the certificate's differences, by the digest that `cutover status` shows
    #[arg(long, value_name = "DIGEST")]
    accept_differences: Option<String>,
}

/// Runs it.
///
/// # Errors
/// As [`verbs::finish`]; or ParadeDB still answers searches as a follower.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui).await?;
    listen(&operation.interrupt, ui)?;
    topology::refuse_while_entered(&operation).await?;
    let confirmed = match &arguments.confirm {
        Some(name) => Some(name.clone()),
        None => ask(ui)?,
    };
    verbs::finish(&operation, confirmed.as_deref(), arguments.accept_differences.as_deref())
        .await?;
    Ok(())
}

/// Lets a person at a terminal type the name; a script has to pass it.
fn ask(ui: &Ui) -> Result<Option<String>> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(None);
    }
    ui.line("this gives up the way back for good. Type the name of the database that serves:");
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(Some(answer.trim().to_string()))
}
