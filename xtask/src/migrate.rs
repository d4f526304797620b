//! Migrations of the knowledge store: which files there are, which of them a database has, and
//! bringing it the rest.
//!
//! An engine's migrations are the folder `common`, whole, and then the engine's own. Each folder
//! has a history of its own in the database, so a database that came from the other engine keeps
//! what is common and gets only what its new engine needs.

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod files;
pub mod history;
pub mod index;
pub mod lint;
pub mod place;
pub mod rehearsal;
pub mod repair;
pub mod statements;
pub mod up;

/// The folder of migrations that both engines have.
pub const COMMON: &str = "common";

/// The folder of migrations in the workspace.
pub const FOLDER: &str = "migrations";

/// Which search engine a server is. Always named by a person, never guessed: a plain server must
/// not pass for ParadeDB unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// With `pg_search`, for BM25.
    Paradedb,
    /// Plain PostgreSQL, with its built-in full-text search.
    Postgres,
}

impl Engine {
    /// `paradedb` or `postgres`; its folder is called the same.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Paradedb => "paradedb",
            Engine::Postgres => "postgres",
        }
    }

    /// The folders of its migrations, in the order in which they are applied.
    pub fn sets(self) -> [&'static str; 2] {
        [COMMON, self.name()]
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Who owns the knowledge store, and who may use it. A role that is not named gets nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Owns tables and functions; the login itself where it is not named.
    pub owner: Option<String>,
    /// Reads and writes rows.
    pub runtime: Option<String>,
    /// Searches.
    pub search: Option<String>,
}

/// What a database shall have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The server's engine.
    pub engine: Engine,
    /// The schema of the knowledge store and of its histories.
    pub schema: String,
    /// Who may do what.
    pub roles: Roles,
}
