//! `bench`: the measurements, one file each.

use anyhow::Result;
use clap::Subcommand;

use crate::ui::Ui;

mod copy;
mod pause;
mod search;
mod verify;

/// Measure on servers of its own, and hold the figures against limits
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure the copy against every other way to do it
    Copy(copy::Arguments),
    /// Measure the pause of many switches and rollbacks under load
    Pause(pause::Arguments),
    /// Measure searches beside an application that trades
    Search(search::Arguments),
    /// Measure the digest of every row, and what a held snapshot costs
    Verify(verify::Arguments),
}

/// Runs the measurement that was asked for.
///
/// # Errors
/// The measurement's own.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    match arguments.verb {
        Verb::Copy(arguments) => copy::run(&arguments, ui).await,
        Verb::Pause(arguments) => pause::run(&arguments, ui).await,
        Verb::Search(arguments) => search::run(arguments, ui).await,
        Verb::Verify(arguments) => verify::run(&arguments, ui).await,
    }
}
