//! `migrate`: the knowledge store's migrations, one file a verb.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::cmd::environment::Chosen;
use crate::config;
use crate::migrate::{Choice, Engine, FOLDER, Roles};
use crate::pg::endpoint::Endpoint;
use crate::render;
use crate::render::values::scalar::Identifier;
use crate::render::values::server::Database;
use crate::ui::Ui;

mod lint;
mod plan;
mod repair;
mod status;
mod up;

/// Bring the knowledge store's tables, indexes and functions to a database
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Apply what is pending, file by file
    Up(up::Arguments),
    /// Show what is applied, pending, changed, missing or half built
    Status(status::Arguments),
    /// Try what is pending, roll it back, and show statements and locks
    Plan(plan::Arguments),
    /// Hold the files against the rules: long locks, rewrites, names, white space
    Lint(lint::Arguments),
    /// Build anew the indexes that a crash left half built
    Repair(repair::Arguments),
}

/// Runs the verb that was asked for.
///
/// # Errors
/// The verb's own.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    match arguments.verb {
        Verb::Up(arguments) => up::run(&arguments, ui).await,
        Verb::Status(arguments) => status::run(&arguments, ui).await,
        Verb::Plan(arguments) => plan::run(&arguments, ui).await,
        Verb::Lint(arguments) => lint::run(&arguments, ui).await,
        Verb::Repair(arguments) => repair::run(&arguments, ui).await,
    }
}

/// The database and what it shall have.
#[derive(Debug, Clone, clap::Args)]
pub struct PlaceArguments {
    /// The database, as a libpq URL or key=value string
    #[arg(long, env = config::XTASK_TARGET, hide_env_values = true, value_name = "URL")]
    target: String,
    /// What the server is; it is checked, never guessed
    #[arg(long, value_enum)]
    engine: Engine,
    /// Take the roles from the values of this environment, infra/values/NAME.yaml
    #[arg(long = "env", value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    layout: LayoutArguments,
}

/// The schema and the roles of the knowledge store.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LayoutArguments {
    /// The schema of the knowledge store; it is made where it is missing [default: public]
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// The role that owns tables and functions [default: the login]
    #[arg(long, value_name = "ROLE")]
    owner_role: Option<String>,
    /// The role that reads and writes rows
    #[arg(long, value_name = "ROLE")]
    runtime_role: Option<String>,
    /// The role that searches
    #[arg(long, value_name = "ROLE")]
    search_role: Option<String>,
    /// The folder of migrations [default: `migrations` of the workspace]
    #[arg(long, value_name = "DIR")]
    migrations: Option<PathBuf>,
}

impl PlaceArguments {
    /// Where, and what it shall have there.
    ///
    /// # Errors
    /// The connection string is none, or there is no workspace or environment of that name.
    pub fn read(&self) -> Result<(Endpoint, Choice, PathBuf)> {
        let mut chosen = Chosen::read(self.environment.as_deref())?;
        let choice = self.layout.choice(self.engine, &mut chosen);
        Ok((Endpoint::parse(&self.target)?, choice, self.layout.folder()?))
    }
}

impl LayoutArguments {
    /// What a database of an engine shall have: what is given by hand, else as the environment has
    /// it.
    pub fn choice(&self, engine: Engine, chosen: &mut Chosen) -> Choice {
        let schema = chosen.pick("--schema", self.schema.clone(), |cutover| {
            cutover.search.as_ref().map(|search| search.schema.to_string())
        });
        let database = chosen.environment().map(|environment| environment.values.database.clone());
        let mut role = |flag: &str, given: &Option<String>, of: fn(&Database) -> &Identifier| {
            let given = chosen.pick(flag, given.clone(), |_| None);
            given.or(database.as_ref().map(|database| of(database).to_string()))
        };
        let roles = Roles {
            owner: role("--owner-role", &self.owner_role, |database| &database.owner),
            runtime: role("--runtime-role", &self.runtime_role, |database| &database.runtime),
            search: role("--search-role", &self.search_role, |database| &database.search),
        };
        Choice { engine, schema: schema.unwrap_or_else(|| "public".into()), roles }
    }

    /// The folder of migrations.
    ///
    /// # Errors
    /// It was not named, and there is no workspace.
    pub fn folder(&self) -> Result<PathBuf> {
        match &self.migrations {
            Some(folder) => Ok(folder.clone()),
            None => workspace_folder(),
        }
    }

    /// The same; empty outside a workspace, where it will not be found.
    pub fn folder_or_none(&self) -> PathBuf {
        self.folder().unwrap_or_default()
    }
}

/// The folder of migrations in the workspace.
///
/// # Errors
/// There is no workspace here.
pub fn workspace_folder() -> Result<PathBuf> {
    let here = std::env::current_dir().context("read the working folder")?;
    Ok(render::workspace(&here)?.join(FOLDER))
}
