//! `completions`: a completion script for a shell.

use clap::CommandFactory;

use crate::ui::Ui;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n\
    \x20 cargo xtask completions bash > ~/.local/share/bash-completion/completions/xtask\n\
    \x20 cargo xtask completions zsh > ~/.zfunc/_xtask")]
pub struct Arguments {
    /// The shell to write for
    shell: clap_complete::Shell,
}

/// Prints the script on standard output.
///
/// # Errors
/// The script is not UTF-8, which would be a bug of the generator.
pub fn run(arguments: &Arguments, ui: &Ui) -> anyhow::Result<()> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "xtask", &mut script);
    ui.data(&String::from_utf8(script)?);
    Ok(())
}
