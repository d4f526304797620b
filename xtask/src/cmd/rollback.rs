//! `rollback`: the plain server serves.

use std::io::{BufRead, IsTerminal};

use anyhow::Result;

use crate::cmd::cutover::{MetricsArguments, RunArguments, listen};
use crate::cutover::verbs::{self, Rollback};
use crate::cutover::{beginning, topology};
use crate::failure::{Failure, Kind};
use crate::ui::Ui;

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Before a switch it removes everything that the run made. After one, every write since comes \
    along, in a pause of well under a second, and a `cutover switch` after it needs no copy.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask rollback --endpoint-file /etc/service/database\n\
    \x20 cargo xtask rollback --yes                 # in a script, where nobody can be asked\n\
    \x20 cargo xtask rollback --yes --keep-copy     # before a switch: leaves the tables there\n\
    \n\
    Exit codes: 0 the source serves, 1 refused, 2 wrong usage, 3 unwound: the target goes on \
    serving, 4 a human decides.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Before a switch: leave the copied tables on the target
    #[arg(long)]
    keep_copy: bool,
    #[command(flatten)]
    metrics: MetricsArguments,
}

/// Says what will happen, asks, and does it.
///
/// # Errors
/// As [`verbs::rollback`]; or nobody said yes.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let mut operation = arguments.run.operation(ui).await?;
    operation.options.keep_copy = arguments.keep_copy;
    beginning::catch_up(&operation).await?;
    let preview = verbs::preview_rollback(&operation)?;
    ui.line(match preview {
        Rollback::Remove => {
            "nothing was switched: the source goes on serving, and everything that the run made \
             is removed. Nothing is lost"
        }
        Rollback::TurnBack => {
            "the source will serve again, with every write since the switch. Nothing is lost; \
             what only the target has stays there. One pause, as long as that of the switch"
        }
        Rollback::Nothing => "the source serves already",
    });
    if !arguments.yes {
        ask(ui)?;
    }
    listen(&operation.interrupt, ui)?;
    if preview == Rollback::Remove {
        topology::leave_if_entered(&operation).await?;
    }
    let ended = async {
        verbs::rollback(&operation).await?;
        match preview {
            Rollback::Remove => Ok(()),
            _ => topology::enter_where_it_follows(&operation).await,
        }
    };
    let ended = ended.await;
    arguments.metrics.observe(&operation).await;
    ended
}

/// Asks whether to go on.
///
/// # Errors
/// Nobody said yes, or nobody can be asked.
pub fn ask(ui: &Ui) -> Result<()> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::usage("nobody can be asked: standard input is not a terminal")
            .hint("pass --yes")
            .into());
    }
    ui.line("go on? [y/N]");
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    Err(Failure {
        kind: Kind::Interrupted,
        message: "not confirmed; nothing was changed".into(),
        hint: None,
    }
    .into())
}
