//! What a guardian is told on its standard input.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cutover::guardian::workloads::{Entry, Stopped};
use crate::cutover::header;
use crate::pg::endpoint::Endpoint;
use crate::route::pgbouncer::PgBouncer;
use crate::route::{Aimed, Routes};

/// What a guardian is asked to watch.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The run.
    pub run: String,
    /// What it is about; what comes later has a guardian of its own.
    pub subject: Subject,
    /// The source, with its password.
    pub source: String,
    /// The target, with its password.
    pub target: String,
    /// PgBouncer, where it holds clients back.
    pub pooler: Option<Pooler>,
    /// What is led to the target before the decision.
    pub aimed: Vec<Aimed>,
    /// What is stopped in a cluster, and how a client gets in to the target.
    pub stopped: Option<(Stopped, Entry)>,
}

/// What a guardian is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The clients of one attempt.
    Attempt(i64),
    /// The workloads that the command of one epoch has stopped.
    Epoch(i64),
}

/// The PgBouncer of a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pooler {
    /// Its consoles, with their passwords.
    pub consoles: Vec<String>,
    /// The files that it is configured by.
    pub inis: Vec<PathBuf>,
    /// The file with a client's connection string.
    pub clients: PathBuf,
    /// The database that is never held, where it dials a Service.
    pub probe: Option<String>,
}

impl Pooler {
    fn of(pooler: &PgBouncer) -> Pooler {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Pooler {
            consoles: pooler.secret_consoles(),
            inis: pooler.inis().iter().map(absolute).collect(),
            clients: absolute(pooler.clients()),
            probe: pooler.probe().map(String::from),
        }
    }

    pub(super) fn route(&self) -> Result<PgBouncer> {
        let parse = |text: &String| Endpoint::parse(text);
        let consoles = self.consoles.iter().map(parse).collect::<Result<Vec<_>>>()?;
        // It never holds anybody, so it has no use for the limit of that.
        let limit = Duration::ZERO;
        let pooler = PgBouncer::new(consoles, self.inis.clone(), self.clients.clone(), limit);
        Ok(match &self.probe {
            Some(probe) => pooler.dialling_a_service(probe),
            None => pooler,
        })
    }
}

impl Request {
    /// A request about the clients of one attempt.
    pub fn for_clients(
        header: &header::Header,
        attempt: i64,
        sides: [&Endpoint; 2],
        routes: &Routes,
    ) -> Request {
        Request {
            run: header.run.clone(),
            subject: Subject::Attempt(attempt),
            source: sides[0].secret_conninfo(),
            target: sides[1].secret_conninfo(),
            pooler: routes.pooler().map(Pooler::of),
            aimed: routes.aimed(),
            stopped: None,
        }
    }

    /// A request about what the command of one epoch is about to stop.
    pub fn for_workloads(
        header: &header::Header,
        epoch: i64,
        sides: [&Endpoint; 2],
        stopped: (Stopped, Entry),
    ) -> Request {
        Request {
            run: header.run.clone(),
            subject: Subject::Epoch(epoch),
            source: sides[0].secret_conninfo(),
            target: sides[1].secret_conninfo(),
            pooler: None,
            aimed: Vec::new(),
            stopped: Some(stopped),
        }
    }
}
