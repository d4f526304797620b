//! The verbs: one file each. A file holds the arguments, whose doc comments are the help text, and
//! one `run`.

use clap::{Parser, Subcommand};

use crate::ui::{Format, Ui};

pub mod backup;
mod bench;
mod completions;
pub mod cutover;
mod doctor;
mod drill;
mod environment;
mod guardian;
mod holder;
mod man;
pub mod migrate;
mod rag;
mod render;
pub mod rollback;
mod servers;
pub mod verify;

/// Move a live service from plain PostgreSQL to ParadeDB, with proof, and back.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub struct Arguments {
    /// How to write output: text for people, JSON Lines for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Rehearse the whole night on this machine: cutover and rollback under load, proved
    Drill(drill::Arguments),
    Bench(bench::Arguments),
    Backup(backup::Arguments),
    /// Keep a pair of PostgreSQL servers for hand work
    Servers(servers::Arguments),
    Cutover(Box<cutover::Arguments>),
    /// Let the plain server serve: removes a run that was not switched, turns back one that was
    Rollback(rollback::Arguments),
    /// Compare two databases, every row, while they are in use
    Verify(verify::Arguments),
    /// Say whether servers, clients and cluster are fit for a run, and what mends them
    Doctor(doctor::Arguments),
    /// Render manifests from templates and values, and refuse what could lose data
    Render(render::Arguments),
    Migrate(migrate::Arguments),
    Rag(rag::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
    /// Print manual pages, or write them into a folder
    Man(man::Arguments),
    /// Keep snapshots alive for another process of this tool
    #[command(hide = true)]
    Holder,
    /// Let held clients go when another process of this tool dies
    #[command(hide = true)]
    Guardian,
}

/// Runs the verb that was asked for.
///
/// # Errors
/// Whatever the verb says; `main` turns it into an exit code.
pub async fn run(arguments: Arguments, ui: &Ui) -> anyhow::Result<()> {
    match arguments.verb {
        Verb::Drill(arguments) => drill::run(&arguments, ui).await,
        Verb::Bench(arguments) => bench::run(arguments, ui).await,
        Verb::Backup(arguments) => backup::run(arguments, ui).await,
        Verb::Cutover(arguments) => cutover::run(*arguments, ui).await,
        Verb::Rollback(arguments) => rollback::run(&arguments, ui).await,
        Verb::Holder => holder::run().await,
        Verb::Guardian => guardian::run(ui).await,
        Verb::Servers(arguments) => servers::run(arguments, ui).await,
        Verb::Verify(arguments) => verify::run(arguments, ui).await,
        Verb::Doctor(arguments) => doctor::run(&arguments, ui).await,
        Verb::Render(arguments) => render::run(&arguments, ui).await,
        Verb::Migrate(arguments) => migrate::run(arguments, ui).await,
        Verb::Rag(arguments) => rag::run(arguments, ui).await,
        Verb::Completions(arguments) => completions::run(&arguments, ui),
        Verb::Man(arguments) => man::run(&arguments, ui),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
