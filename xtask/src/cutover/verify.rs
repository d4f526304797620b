//! The proof: every row of both sides compared, and everything else that the schema means.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::cutover::event::{Side, Story};
use crate::cutover::search;
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::sequences::SequenceRule;
use crate::pg::snapshot::READING;
use crate::pg::{digest, facts};
use scope::{Scope, Sequences};

pub use certificate::{Certificate, Outside, RowDifference, TableCertificate};

mod certificate;
mod narrow;
mod queue;
mod rows;
mod scope;
mod settle;

/// How long reading waits for a table that somebody else has locked. The certificate of a switch
/// is made while clients are served, and can be made again.
const LOCK_LIMIT: Duration = Duration::from_secs(20);

/// What is compared, and how.
#[derive(Clone)]
pub struct Request {
    /// One side.
    pub source: Endpoint,
    /// The other side.
    pub target: Endpoint,
    /// The side that clients write to. A suspect row counts as different only if it did not change
    /// there while the other side was given time to catch up.
    pub serving: Side,
    /// At which instant the rows are compared.
    pub mode: Mode,
    /// How many sessions per side work at once.
    pub jobs: usize,
    /// Only these tables, as `schema.name`; all where it is empty.
    pub only: Vec<String>,
    /// Relations that the verdict does not cover, with the reason. What is outside for every run
    /// (search tables, ledgers of migrations, materialised views, what only the target has) need
    /// not be named.
    pub outside: Vec<Outside>,
    /// Whether rows and sequences of search are compared where the source has them: not by a run
    /// that does not move them, because then each side has a store of its own.
    pub search: bool,
    /// Whether the schema is compared.
    pub schema: bool,
    /// How the sequences are compared.
    pub sequences: SequenceRule,
}

/// At which instant rows are compared.
#[derive(Clone)]
pub enum Mode {
    /// Now, while clients write.
    Live {
        /// What makes the other side catch up; without one, suspects are only read again.
        barrier: Option<Barrier>,
    },
    /// On two snapshots of the same logical instant, held open by somebody else.
    Pinned {
        /// The source's snapshot.
        source: Pin,
        /// The target's snapshot.
        target: Pin,
        /// Used for tables that were rewritten since, and for all where the pins are lost.
        barrier: Option<Barrier>,
    },
}

/// A snapshot that is held open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What `pg_export_snapshot()` returned.
    pub snapshot: String,
    /// The file of every table when it was taken, by `schema.name`, as
    /// [`survey::files`](crate::pg::survey::files) tells. A table that has another one now was
    /// rewritten or truncated, and the snapshot may see none of its rows.
    pub files: BTreeMap<String, u32>,
}

/// Writes a marker on the serving side and waits until it has arrived on the other.
#[derive(Clone)]
pub struct Barrier(Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>);

impl Barrier {
    /// A barrier from a closure.
    pub fn new<F, W>(write_and_wait: F) -> Barrier
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = Result<()>> + Send + 'static,
    {
        Barrier(Arc::new(move || Box::pin(write_and_wait())))
    }

    /// Returns when everything that was committed on the serving side before the call has arrived.
    ///
    /// # Errors
    /// It did not arrive in time, or a side is unreachable.
    pub async fn pass(&self) -> Result<()> {
        (self.0)().await
    }
}

/// Compares both sides.
///
/// # Errors
/// We could not look: a side is unreachable or refuses to be read. Differences are no error; they
/// stand in the certificate.
pub async fn verify(request: Request, story: &Story) -> Result<Certificate> {
    let started = Timestamp::now();
    let pair = Pair::connect(&request).await?;
    let sequences_before = Sequences::read(&pair, request.sequences).await?;
    let mut scope = Scope::read(&pair, &request).await?;
    let mut schema = Vec::new();
    if request.schema {
        schema = scope.judge(facts::differences(&pair.source, &pair.target).await?);
        schema.extend(search::unhealthy_indexes(&pair.target).await?);
    }
    let seeds = digest::seeds();
    let rows = rows::compare(&request, &pair, scope.tables, seeds, story).await?;
    let sequences = sequences_before.judge(&pair, &mut scope.outside, request.search).await?;
    let total = |count: fn(&TableCertificate) -> u64| rows.tables.iter().map(count).sum();
    Ok(Certificate {
        mode: rows.mode,
        started,
        finished: Timestamp::now(),
        source_version: pair.source.version,
        target_version: pair.target.version,
        seeds,
        rows: total(|table| table.source_rows),
        bytes: total(|table| table.bytes),
        tables: rows.tables,
        schema,
        schema_compared: request.schema,
        sequences: sequences.differences,
        sequences_compared: sequences.compared,
        outside: scope.outside.into_iter().collect(),
    })
}

/// One session on either side.
struct Pair {
    source: Session,
    target: Session,
}

impl Pair {
    async fn connect(request: &Request) -> Result<Pair> {
        let (source, target) =
            tokio::try_join!(request.source.connect("verify"), request.target.connect("verify"))?;
        let limit = LOCK_LIMIT.as_millis();
        let settings = format!("{READING}; SET lock_timeout = {limit}");
        for session in [&source, &target] {
            session.batch_execute(&settings).await.context("prepare a session to read")?;
        }
        Ok(Pair { source, target })
    }

    fn side(&self, side: Side) -> &Session {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}
