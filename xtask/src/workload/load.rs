//! A running load: its writers, their counts, its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::guest;
use super::history::{Attempt, History, Outcome, Reason};
use super::transactions::Mix;
use super::writer::{self, Writer};
use crate::failure::Failure;

/// What every transaction of a load holds beside its row of the ledger, and where that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// What an application of the sample does.
    Sample,
    /// Nothing: the database is somebody's, and the ledger stands in a schema of the tool's.
    Guest,
}

impl Writes {
    /// The ledger, with its schema.
    pub fn ledger(self) -> &'static str {
        match self {
            Writes::Sample => "public.workload_ledger",
            Writes::Guest => guest::LEDGER,
        }
    }
}

/// How a load writes.
#[derive(Debug, Clone)]
pub struct Load {
    /// What it writes.
    pub writes: Writes,
    /// Transactions per second that all writers together begin; `None` is as fast as they go.
    pub rate: Option<f64>,
    /// How many writers there are, each with one connection.
    pub writers: u16,
    /// Makes the choice of transactions repeatable.
    pub seed: u64,
    /// The file with the connection string, read again at every connect: the route of the clients.
    pub endpoint_file: PathBuf,
    /// What the writers' sessions are called in `pg_stat_activity`.
    pub application_name: String,
}

/// How many attempts ended how, so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged attempts, by the system identifier of the server.
    pub acknowledged: BTreeMap<i64, u64>,
    /// Attempts that never happened.
    pub refused: u64,
    /// Attempts of which nobody knows yet.
    pub unknown: u64,
}

impl Counts {
    /// Acknowledged attempts on one server, or on all.
    pub fn acknowledged_on(&self, server: Option<i64>) -> u64 {
        match server {
            Some(server) => self.acknowledged.get(&server).copied().unwrap_or(0),
            None => self.acknowledged.values().sum(),
        }
    }
}

/// What the writers of one load share.
pub(super) struct Shared {
    pub(super) load: Load,
    pub(super) mix: Mix,
    pub(super) run: i64,
    pub(super) stop: watch::Sender<bool>,
    clock: Instant,
    history: Mutex<History>,
    counts: watch::Sender<Counts>,
}

/// One finished attempt, before it has its place in the history.
pub(super) struct Report {
    pub(super) writer: u16,
    pub(super) number: u32,
    pub(super) began: u64,
    pub(super) server: Option<i64>,
    pub(super) outcome: Outcome,
    pub(super) reason: Reason,
    pub(super) message: Option<String>,
}

impl Shared {
    /// Microseconds since the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Keeps an attempt that has just ended.
    pub(super) fn record(&self, report: Report) {
        let mut history = self.history();
        let attempt = Attempt {
            began: report.began,
            took: u32::try_from(self.now() - report.began).unwrap_or(u32::MAX),
            number: report.number,
            writer: report.writer,
            server: report.server.map(|identity| history.place(identity)),
            outcome: report.outcome,
            reason: report.reason,
        };
        history.attempts.push(attempt);
        if let Some(message) = report.message {
            history.messages.entry(report.reason).or_insert(message);
        }
        drop(history);
        self.counts.send_modify(|counts| match report.outcome {
            Outcome::Acknowledged => {
                *counts.acknowledged.entry(report.server.unwrap_or(0)).or_default() += 1;
            }
            Outcome::Refused => counts.refused += 1,
            Outcome::Unknown => counts.unknown += 1,
        });
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // A panic between two pushes leaves a whole history.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load that runs until it is stopped or dropped.
pub struct Workload {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
}

impl Workload {
    /// Starts the writers. They connect by themselves, and go on trying.
    ///
    /// # Errors
    /// There are no writers, or the rate is not a positive number.
    pub fn start(load: Load) -> Result<Workload> {
        if load.writers == 0 {
            return Err(Failure::usage("a load needs at least one writer").into());
        }
        if load.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err(Failure::usage("a rate is a number of transactions above 0").into());
        }
        let run = rand::random::<i64>() & i64::MAX;
        let shared = Arc::new(Shared {
            mix: Mix::of(load.writes),
            run,
            stop: watch::Sender::new(false),
            clock: Instant::now(),
            history: Mutex::new(History { writes: load.writes, ..History::new(run) }),
            load,
            counts: watch::Sender::default(),
        });
        let mut writers = JoinSet::new();
        for number in 0..shared.load.writers {
            writers.spawn(Writer::new(Arc::clone(&shared), number).run());
        }
        Ok(Workload { shared, writers })
    }

    /// How many attempts ended how, so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts.borrow().clone()
    }

    /// Waits until so many further writes were acknowledged by one server, or by any.
    ///
    /// # Errors
    /// They were not within the limit; the message says what writers saw instead.
    pub async fn wait_for(&self, server: Option<i64>, more: u64, limit: Duration) -> Result<()> {
        let mut counts = self.shared.counts.subscribe();
        let goal = counts.borrow().acknowledged_on(server) + more;
        let reached = counts.wait_for(|counts| counts.acknowledged_on(server) >= goal);
        match tokio::time::timeout(limit, reached).await {
            Ok(reached) => reached.map(drop).context("wait for writers"),
            Err(_) => {
                let counts = self.counts();
                let messages = self.shared.history().messages.clone();
                bail!("no {more} further writes within {limit:?}: {counts:?} {messages:?}")
            }
        }
    }

    /// A copy of what writers saw so far.
    pub fn history(&self) -> History {
        self.shared.history().clone()
    }

    /// Lets every writer end its transaction, and returns what they saw.
    ///
    /// # Errors
    /// A writer panicked, or did not end within the limits of its own waits.
    pub async fn stop(mut self) -> Result<History> {
        self.shared.stop.send_replace(true);
        let all = async {
            while let Some(ended) = self.writers.join_next().await {
                ended.context("a writer ended by a panic")?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(writer::STOP_LIMIT, all).await.context("stop the writers")??;
        let run = self.shared.run;
        Ok(std::mem::replace(&mut *self.shared.history(), History::new(run)))
    }
}
