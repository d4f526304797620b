//! What writers saw: one short record for every attempt.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::load::Writes;

/// What became of one attempt, as its writer saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server confirmed the commit: the write exists exactly once.
    Acknowledged,
    /// It failed before the commit was asked for, or the server refused it: the write never exists.
    Refused,
    /// The connection was lost after the commit was sent: the write exists at most once.
    Unknown,
}

/// Why an attempt was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was acknowledged.
    None,
    /// The endpoint file could not be read or understood.
    EndpointFile,
    /// Nobody answered at the address.
    Unreachable,
    /// A server answered and did not let the writer in.
    LoginRefused,
    /// The server does not accept writes.
    ReadOnly,
    /// An administrator, or a server that goes down, ended the session.
    Terminated,
    /// The connection broke without a word.
    ConnectionLost,
    /// No answer came within the limit.
    TimedOut,
    /// Another transaction was in the way: deadlock or serialization.
    Conflict,
    /// Anything else; [`History::messages`] has the first of them.
    Other,
}

/// One attempt at one transaction. Small, because a drill of hours keeps all of them in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it began, in microseconds since the start of the load, on a clock that never jumps.
    pub began: u64,
    /// How long it took, in microseconds.
    pub took: u32,
    /// Its number among the attempts of its writer, from 0.
    pub number: u32,
    /// Which writer.
    pub writer: u16,
    /// Which server, by its place in [`History::servers`]; `None` where no server was reached.
    pub server: Option<u8>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
}

impl Attempt {
    /// When it ended, in microseconds since the start of the load.
    pub fn ended(&self) -> u64 {
        self.began + u64::from(self.took)
    }
}

/// Every attempt of one load.
#[derive(Debug, Clone)]
pub struct History {
    /// What it wrote, and so where its ledger is.
    pub writes: Writes,
    /// Tells the ledger rows of this load from those of others in the same database.
    pub run: i64,
    /// The wall clock at the start, to set beside a journal; never used to decide anything.
    pub started: Timestamp,
    /// The system identifiers of the servers that were written to, in order of appearance.
    pub servers: Vec<i64>,
    /// The attempts, in the order in which they ended.
    pub attempts: Vec<Attempt>,
    /// The first message of each reason.
    pub messages: BTreeMap<Reason, String>,
}

impl History {
    /// A history without attempts.
    pub fn new(run: i64) -> History {
        History {
            writes: Writes::Sample,
            run,
            started: Timestamp::now(),
            servers: Vec::new(),
            attempts: Vec::new(),
            messages: BTreeMap::new(),
        }
    }

    /// The place of a server in [`History::servers`], which it gets at its first appearance.
    /// Servers beyond the 255th share the last place.
    pub fn place(&mut self, identity: i64) -> u8 {
        let known = self.servers.iter().position(|server| *server == identity);
        let place = known.unwrap_or_else(|| {
            self.servers.push(identity);
            self.servers.len() - 1
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    }

    /// The system identifier of the server that an attempt reached.
    pub fn server(&self, attempt: &Attempt) -> Option<i64> {
        self.servers.get(usize::from(attempt.server?)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_small() {
        assert_eq!(size_of::<Attempt>(), 24);
    }

    #[test]
    fn a_server_keeps_its_place() {
        let mut history = History::new(1);
        assert_eq!([7, 9, 7].map(|identity| history.place(identity)), [0, 1, 0]);
    }
}
