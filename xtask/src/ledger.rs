//! The oracle: holds what writers saw against what the serving database has.
//!
//! Every transaction of a load inserts one row into its ledger. An acknowledged write is
//! there exactly once, a refused one never, an unknown one at most once; and no server acknowledges
//! a write that began after its successor had acknowledged one.

use anyhow::{Context, Result};
use futures_util::{TryStreamExt, pin_mut};
use serde::{Deserialize, Serialize};

use crate::pg::endpoint::Endpoint;
use crate::workload::{Attempt, History, Outcome, Writes};

mod arrivals;
mod sequences;
mod series;
mod switches;

pub use arrivals::{Arrivals, Comparison, compare};
pub use sequences::{SequenceBehind, sequences_behind};
pub use series::{Bucket, Latency, Window, around, latency, series, whole};
pub use switches::{Serving, Switch, serving};

/// How many examples of each finding are kept.
const EXAMPLES: usize = 20;

/// A write that should not be as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Which writer.
    pub writer: i64,
    /// The number of its attempt.
    pub number: i64,
    /// The system identifier of the server that the writer reached, where it reached one.
    pub server: Option<i64>,
    /// When the attempt began, in microseconds since the start of the load; `None` for a row that
    /// no attempt explains.
    pub began: Option<u64>,
}

/// How many writes a finding concerns, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How many.
    pub count: u64,
    /// The first ones.
    pub examples: Vec<Example>,
}

impl Found {
    fn add(&mut self, example: Example) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }

    fn attempt(&mut self, history: &History, attempt: &Attempt) {
        self.add(Example {
            writer: i64::from(attempt.writer),
            number: i64::from(attempt.number),
            server: history.server(attempt),
            began: Some(attempt.began),
        });
    }
}

/// What the oracle says about one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Attempts by outcome, and the rows that do not fit.
    pub rows: Comparison,
    /// Who acknowledged when, and how long clients paused.
    pub serving: Serving,
    /// Sequences that would give a key again.
    pub sequences: Vec<SequenceBehind>,
    /// How long acknowledged attempts took.
    pub latency: Latency,
}

impl Verdict {
    /// Whether nothing acknowledged is lost, nothing is there that should not be, nobody wrote on
    /// two servers, and every sequence is ahead of its keys.
    pub fn is_clean(&self) -> bool {
        self.rows.is_clean() && self.serving.is_clean() && self.sequences.is_empty()
    }

    /// The verdict in sentences, one a line; the findings first.
    pub fn lines(&self) -> Vec<String> {
        let rows = &self.rows;
        let mut lines = Vec::new();
        let findings = [
            (&rows.lost, "acknowledged writes are LOST"),
            (&rows.duplicated, "writes are there more than once"),
            (&rows.forbidden, "refused writes are there"),
            (&rows.unexplained, "rows are there that nobody wrote"),
            (&rows.misplaced, "rows name another server than the one that acknowledged them"),
            (&self.serving.rivals, "writes were acknowledged by a server that no longer served"),
        ];
        for (found, what) in findings.into_iter().filter(|(found, _)| found.count > 0) {
            lines.push(format!("{} {what}, such as {:?}", found.count, found.examples.first()));
        }
        for server in &self.serving.unreached {
            lines.push(format!("server {server} never acknowledged a write in its turn"));
        }
        for behind in &self.sequences {
            lines.push(behind.to_string());
        }
        lines.push(format!(
            "{} acknowledged, {} refused, {} unknown of which {} arrived; p50 {:.1} ms, \
             p99 {:.1} ms, longest {:.1} ms",
            rows.acknowledged,
            rows.refused,
            rows.unknown,
            rows.unknown_arrived,
            self.latency.p50_ms,
            self.latency.p99_ms,
            self.latency.longest_ms
        ));
        lines.extend(self.serving.switches.iter().map(ToString::to_string));
        lines
    }
}

/// Reads the ledger back from the serving side and compares. `phases` are the system identifiers of
/// the servers in the order in which they served, each as often as it did; the load is stopped.
///
/// # Errors
/// The serving side cannot be read. Differences are no error.
pub async fn check(history: &History, serving_side: &Endpoint, phases: &[i64]) -> Result<Verdict> {
    let session = serving_side.connect("oracle").await?;
    let mut arrivals = Arrivals::of(history);
    let ledger = history.writes.ledger();
    let query = format!("SELECT writer::bigint, number, server FROM {ledger} WHERE run = $1");
    let rows = session.query_raw(query.as_str(), [history.run]).await.context("read the ledger")?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await.context("read the ledger")? {
        arrivals.add(row.get(0), row.get(1), row.get(2));
    }
    let sequences = match history.writes {
        Writes::Sample => sequences_behind(&session).await?,
        // Where a service gives keys of its own, a sequence is behind on purpose.
        Writes::Guest => Vec::new(),
    };
    Ok(Verdict {
        rows: compare(history, arrivals),
        serving: serving(history, phases),
        sequences,
        latency: latency(history),
    })
}

/// Attempts that were acknowledged.
fn acknowledged(history: &History) -> impl Iterator<Item = &Attempt> {
    history.attempts.iter().filter(|attempt| attempt.outcome == Outcome::Acknowledged)
}

/// Microseconds as milliseconds.
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

#[cfg(test)]
mod made_up {
    //! Histories for the tests of the oracle.

    use super::*;
    use crate::workload::Reason;

    /// The first server of every made-up history.
    pub(super) const A: i64 = 1001;
    /// The second.
    pub(super) const B: i64 = 1002;

    /// One attempt: writer, server, begin and end in microseconds, outcome.
    pub(super) type Line = (u16, i64, u64, u64, Outcome);

    /// A history of these attempts; numbers count up for each writer.
    pub(super) fn history(lines: &[Line]) -> History {
        let mut history = History::new(7);
        for (writer, server, began, ended, outcome) in lines {
            let number = history.attempts.iter().filter(|one| one.writer == *writer).count();
            let attempt = Attempt {
                began: *began,
                took: u32::try_from(ended - began).unwrap(),
                number: u32::try_from(number).unwrap(),
                writer: *writer,
                server: Some(history.place(*server)),
                outcome: *outcome,
                reason: Reason::None,
            };
            history.attempts.push(attempt);
        }
        history
    }
}
