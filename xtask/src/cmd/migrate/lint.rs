//! `migrate lint`: holds the files against the rules; no server is asked.

use std::path::PathBuf;

use anyhow::Result;

use crate::cmd::migrate::workspace_folder;
use crate::failure::Failure;
use crate::migrate::files::{self, File};
use crate::migrate::lint;
use crate::migrate::{COMMON, Engine};
use crate::ui::{Format, Ui};

/// Arguments of `migrate lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Each file is taken as one that is applied to tables in use; only tables \
    that it makes itself are free. What is meant is allowed at the head of the file:\n\
    -- xtask: allow RULE, because …\n\n\
    Exit codes: 0 nothing found, 1 offences, 2 wrong usage.")]
pub struct Arguments {
    /// The folder of migrations [default: `migrations` of the workspace]
    #[arg(long, value_name = "DIR")]
    migrations: Option<PathBuf>,
}

/// Prints every offence.
///
/// # Errors
/// There is an offence, or the files cannot be read.
pub fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let folder = match &arguments.migrations {
        Some(folder) => folder.clone(),
        None => workspace_folder()?,
    };
    let mut files: Vec<File> = Vec::new();
    for set in [COMMON, Engine::Paradedb.name(), Engine::Postgres.name()] {
        files.extend(files::read(&folder, set)?);
    }
    let offences: Vec<_> = files.iter().flat_map(|file| lint::lint(&[file])).collect();
    for one in &offences {
        match ui.format() {
            Format::Json => ui.json(one)?,
            Format::Text => {
                ui.data(&format!("{}:{}: {} [{}]", one.file, one.line, one.message, one.rule));
            }
        }
    }
    match offences.len() {
        0 => ui.line(&format!("{} migrations, nothing to say against them", files.len())),
        count => {
            return Err(Failure::refused(format!("{count} offences"))
                .hint("mend the files; once a migration is applied it may not change any more")
                .into());
        }
    }
    Ok(())
}
