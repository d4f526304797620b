//! The verbs: one file each. A file holds the arguments, whose doc comments are the help text, and
//! one `run`.

use clap::{Parser, Subcommand};

use crate::ui::{Format, Ui};

mod completions;
mod render;

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
    /// Render manifests from templates and values, and refuse what could lose data
    Render(render::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

/// Runs the verb that was asked for.
///
/// # Errors
/// Whatever the verb says; `main` turns it into an exit code.
pub async fn run(arguments: Arguments, ui: &Ui) -> anyhow::Result<()> {
    match arguments.verb {
        Verb::Render(arguments) => render::run(&arguments, ui).await,
        Verb::Completions(arguments) => completions::run(&arguments, ui),
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
