//! `migrate lint`: holds the files against the rules. No server is asked, unless one is named.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cmd::migrate::workspace_folder;
use crate::failure::Failure;
use crate::migrate::files::{self, File};
use crate::migrate::history::{self, State};
use crate::migrate::lint;
use crate::migrate::{COMMON, Choice, Engine, Roles, place};
use crate::pg::endpoint::Endpoint;
use crate::ui::{Format, Ui};

/// Arguments of `migrate lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Each file is taken as one that is applied to tables in use; only tables \
    that it makes itself are free. With --target the files that are pending there are taken \
    together, as `migrate up` applies them: tables that any of them makes are free. \
    What is meant is allowed at the head of the file: \
    -- xtask: allow RULE, because …\n\n\
    Exit codes: 0 nothing found, 1 offences, 2 wrong usage.")]
pub struct Arguments {
    /// The folder of migrations [default: `migrations` of the workspace]
    #[arg(long, value_name = "DIR")]
    migrations: Option<PathBuf>,
    /// Look only at what is pending in this database, all of it together
    #[arg(long, value_name = "URL", requires = "engine")]
    target: Option<String>,
    /// What that server is
    #[arg(long, value_enum, requires = "target")]
    engine: Option<Engine>,
    /// The schema of its knowledge store
    #[arg(long, default_value = "public", value_name = "NAME", requires = "target")]
    schema: String,
}

/// Prints every offence.
///
/// # Errors
/// There is an offence, or the files cannot be read.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let folder = match &arguments.migrations {
        Some(folder) => folder.clone(),
        None => workspace_folder()?,
    };
    let together = match (&arguments.target, arguments.engine) {
        (Some(target), Some(engine)) => {
            vec![pending(target, engine, arguments.schema.clone(), &folder).await?]
        }
        _ => each_alone(&folder)?,
    };
    let linted = together.iter().map(|files| lint::lint(&files.iter().collect::<Vec<_>>()));
    let offences: Vec<_> = linted.flatten().collect();
    for one in &offences {
        match ui.format() {
            Format::Json => ui.json(one)?,
            Format::Text => {
                ui.data(&format!("{}:{}: {} [{}]", one.file, one.line, one.message, one.rule));
            }
        }
    }
    match offences.len() {
        0 => {
            let count: usize = together.iter().map(Vec::len).sum();
            ui.line(&format!("{count} migrations, nothing to say against them"));
        }
        count => {
            return Err(Failure::refused(format!("{count} offences"))
                .hint("mend the files; once a migration is applied it may not change any more")
                .into());
        }
    }
    Ok(())
}

/// Every file, as one that is applied to a store in use.
fn each_alone(folder: &Path) -> Result<Vec<Vec<File>>> {
    let mut all = Vec::new();
    for set in [COMMON, Engine::Paradedb.name(), Engine::Postgres.name()] {
        all.extend(files::read(folder, set)?.into_iter().map(|file| vec![file]));
    }
    Ok(all)
}

/// What `migrate up` would apply to a database, in order.
async fn pending(target: &str, engine: Engine, schema: String, folder: &Path) -> Result<Vec<File>> {
    let choice = Choice { engine, schema, roles: Roles::default() };
    let mut files = history::all_files(folder, &choice)?;
    let session = Endpoint::parse(target)?.connect("migrate lint").await?;
    place::assert_engine(&session, engine).await?;
    let entries = history::read(&session, &choice, &files).await?;
    history::assert_agreement(&entries)?;
    files.retain(|file| {
        entries.iter().any(|entry| {
            let is_it = entry.set == file.set && entry.version == file.version();
            is_it && entry.state != State::Applied
        })
    });
    Ok(files)
}
