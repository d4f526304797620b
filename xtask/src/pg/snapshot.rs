//! A snapshot of a whole database: taken behind its locks, kept open, entered by others.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio_postgres::error::SqlState;

use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session, literal};
use crate::pg::sequences::{self, SequenceValue};
use crate::pg::survey::{self, Relation};

/// Settings of a reading session. Without the first, a role that row-level security binds would see
/// no rows and call them equal; the second costs more than it gives on queries this short.
pub const READING: &str = "SET row_security = off; SET jit = off";

/// How long it waits for a lock on all tables; DDL that runs now comes first.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
/// How often it begins anew where tables were made or dropped meanwhile.
const ATTEMPTS: u32 = 5;

/// A snapshot that shows every table whole. It lives as long as this value.
pub struct Snapshot {
    /// Keeps snapshot and locks; it must stay in its transaction.
    session: Session,
    /// For `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot`.
    pub id: String,
    /// How far the write-ahead log was written, or replayed on a standby.
    pub position: String,
    /// When it was taken, by the server's clock.
    pub at: Timestamp,
    /// Every table of the service as the snapshot shows it.
    pub relations: Vec<Relation>,
    /// Where every sequence stood; they move on under any snapshot.
    pub sequences: Vec<SequenceValue>,
}

impl Snapshot {
    /// Locks every table against being rewritten or dropped, and only then takes the snapshot: one
    /// that is older than a rewrite would see no rows.
    ///
    /// # Errors
    /// A table stays locked by somebody else for longer than 10 seconds, or the server refuses.
    pub async fn take(endpoint: &Endpoint, purpose: &str) -> Result<Snapshot> {
        let session = endpoint.connect(purpose).await?;
        session.batch_execute(READING).await.context("prepare a session to read")?;
        for _ in 0..ATTEMPTS {
            let before = survey::tables(&session).await?;
            if !lock(&session, &before).await? {
                continue;
            }
            let relations = survey::tables(&session).await?;
            if titles(&relations) == titles(&before) {
                return Snapshot::export(session, relations).await;
            }
            session.batch_execute("ROLLBACK").await.context("let the tables go")?;
        }
        Err(Failure::failed("tables were made or dropped each time a snapshot was to be taken")
            .hint("try again while nobody changes the schema")
            .into())
    }

    async fn export(session: Session, relations: Vec<Relation>) -> Result<Snapshot> {
        let row = session
            .query_one(
                "SELECT pg_export_snapshot(), clock_timestamp(),
                        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                             ELSE pg_current_wal_lsn() END::text",
                &[],
            )
            .await
            .context("export a snapshot")?;
        let sequences = sequences::read(&session).await?;
        let (id, at, position) = (row.get(0), row.get(1), row.get(2));
        Ok(Snapshot { session, id, position, at, relations, sequences })
    }

    /// Whether the server has ended the session, and the snapshot with it.
    pub fn is_lost(&self) -> bool {
        self.session.is_lost()
    }
}

fn titles(relations: &[Relation]) -> Vec<(u32, String)> {
    relations.iter().map(|relation| (relation.oid, relation.title())).collect()
}

/// Begins a transaction that holds every table. No, where one was dropped meanwhile.
async fn lock(session: &Session, relations: &[Relation]) -> Result<bool> {
    let limit = LOCK_LIMIT.as_millis();
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {limit}"
    );
    session.batch_execute(&begin).await.context("begin a snapshot")?;
    if relations.is_empty() {
        return Ok(true);
    }
    // At this level of isolation LOCK takes no snapshot: the first query after it does.
    let all: Vec<String> = relations.iter().map(Relation::qualified).collect();
    let locking = format!("LOCK TABLE {} IN ACCESS SHARE MODE", all.join(", "));
    let Err(error) = session.batch_execute(&locking).await else { return Ok(true) };
    session.batch_execute("ROLLBACK").await.context("let the tables go")?;
    match error.code() {
        Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME) => Ok(false),
        Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            let message = format!("a table stayed locked by somebody else for {LOCK_LIMIT:?}");
            Err(Failure::failed(message).hint("wait until the change of schema is over").into())
        }
        _ => Err(error).context("keep the tables from being rewritten"),
    }
}

/// Enters a snapshot that is held open elsewhere, until [`leave`].
///
/// # Errors
/// The snapshot is gone, or the connection is lost.
pub async fn enter(session: &Session, snapshot: &str) -> Result<()> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        literal(snapshot)
    );
    session.batch_execute(&begin).await.with_context(|| format!("enter snapshot {snapshot}"))
}

/// Leaves the snapshot that was entered.
///
/// # Errors
/// The connection is lost.
pub async fn leave(session: &Session) -> Result<()> {
    session.batch_execute("ROLLBACK").await.context("leave the snapshot")
}
