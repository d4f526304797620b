//! The first line of a journal: what a run is about, which never changes.

use serde::{Deserialize, Serialize};

/// The format of journals that this tool writes and reads.
pub const FORMAT: u32 = 1;

/// Which way a run moves the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From plain PostgreSQL to ParadeDB.
    Forward,
    /// Back again.
    Backward,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn opposite(self) -> Direction {
        match self {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        }
    }

    /// `forward` or `backward`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// What makes a database the same database tomorrow: a failover, a repointed name or a restored
/// backup changes one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `pg_control_system().system_identifier`, made by initdb.
    pub system: String,
    /// The database's oid.
    pub database_oid: u32,
    /// The database's name.
    pub database: String,
    /// The timeline; it changes when a standby is promoted.
    pub timeline: i32,
}

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// See [`FORMAT`].
    pub format: u32,
    /// The run's name.
    pub run: String,
    /// The run that first copied the rows; its name stands in every object on the servers.
    pub root: String,
    /// The run before this one, whose subscriptions and markers this one inherits.
    pub parent: Option<String>,
    /// Which way.
    pub direction: Direction,
    /// SHA-256 of the plan.
    pub plan_digest: String,
    /// Who serves at the start.
    pub source: Identity,
    /// Who shall serve at the end.
    pub target: Identity,
    /// Where the source was, without password.
    pub source_endpoint: String,
    /// Where the target was, without password.
    pub target_endpoint: String,
    /// The command line that made the run.
    pub argv: Vec<String>,
}

impl Header {
    /// The name of publication, slot and subscription of one direction and batch. Slots are
    /// shared by all databases of a server, so the name holds the root run.
    pub fn object(&self, direction: Direction, batch: u32) -> String {
        format!("{}_{batch}", self.role(direction))
    }

    /// What the names of all slots, publications, subscriptions and roles of the run begin with.
    pub fn prefix(&self) -> String {
        let root = self.root.rsplit('-').next().unwrap_or(&self.root);
        format!("xtask_{root}_")
    }

    /// The role that the subscriptions of a direction log in as.
    pub fn role(&self, direction: Direction) -> String {
        format!("{}{}", self.prefix(), direction.name())
    }
}

/// A line for the mirror on the servers: run, number, text.
pub type Line = (String, i64, String);
