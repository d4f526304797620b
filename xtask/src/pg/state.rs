//! What the tool keeps on the servers: its schema, who owns a run, and the mirror of the journal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::cutover::header::{Header, Identity, Line};
use crate::failure::{Failure, tolerate};
use crate::pg::endpoint::{APPLICATION_NAME, Endpoint, Session};

/// The schema that holds everything of ours; it is never copied, published or compared.
pub const SCHEMA: &str = "xtask_cutover";
/// The key of the advisory lock that keeps two operators apart, per database.
const LOCK_KEY: i64 = 0x7874_6173_6b00;
/// How long to wait for the lock: the server ends the sessions of a process that was just killed
/// within a second or two, and its successor should not be refused for it.
const LOCK_LIMIT: Duration = Duration::from_secs(4);
/// How often the lock is tried meanwhile.
const LOCK_EVERY: Duration = Duration::from_millis(50);
/// How long the mirror may lag behind at the end of a verb before it is given up.
const MIRROR_LIMIT: Duration = Duration::from_secs(10);
/// How many lines the mirror takes at once.
const MIRROR_CHUNK: usize = 64;

/// Makes or updates the tool's schema.
///
/// # Errors
/// The role may not create a schema here, or the connection is lost.
pub async fn install(session: &Session) -> Result<()> {
    session
        .batch_execute(include_str!("sql/state.sql"))
        .await
        .context("install the schema xtask_cutover")
}

/// Whether the tool's schema is there.
///
/// # Errors
/// The connection is lost.
pub async fn is_installed(session: &Session) -> Result<bool> {
    let row = session.query_one("SELECT to_regclass('xtask_cutover.run') IS NOT NULL", &[]).await?;
    Ok(row.get(0))
}

/// Whether this is the plain side of a run, and the service has come back to it: every run that
/// began here was decided for the other side, and yet no fence stands here. An attempt that is open
/// or was unwound is no such thing.
///
/// # Errors
/// The schema is not there, or the connection is lost.
pub async fn has_turned_back(session: &Session) -> Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT FROM xtask_cutover.fence WHERE closed OR searchable)
            AND EXISTS (SELECT FROM xtask_cutover.run)
            AND NOT EXISTS (SELECT FROM xtask_cutover.run
                WHERE direction <> 'forward' OR decision IS DISTINCT FROM 'switch'
                   OR finished_at IS NOT NULL)";
    Ok(session.query_one(sql, &[]).await.context("ask whether the run has turned back")?.get(0))
}

/// Reads who this database is.
///
/// # Errors
/// The connection is lost.
pub async fn identity(session: &Session) -> Result<Identity> {
    let row = session
        .query_one(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()),
                    (SELECT timeline_id FROM pg_control_checkpoint()),
                    oid, datname::text
             FROM pg_database WHERE datname = current_database()",
            &[],
        )
        .await
        .context("read the server's identity")?;
    Ok(Identity {
        system: row.get(0),
        timeline: row.get(1),
        database_oid: row.get(2),
        database: row.get(3),
    })
}

/// The lock that keeps two operators apart. It lives as long as its session.
pub struct Lock {
    session: Session,
    /// The backend that holds it, so that our own fence spares it.
    pub backend: i32,
}

impl Lock {
    /// Takes the lock of a database, within [`LOCK_LIMIT`].
    ///
    /// # Errors
    /// Another session holds it; the refusal names its process, address and age.
    pub async fn take(endpoint: &Endpoint, operator: &str) -> Result<Lock> {
        let session = endpoint.connect(&format!("lock {operator}")).await?;
        let begun = Instant::now();
        loop {
            let row = session.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK_KEY]).await?;
            if row.get(0) {
                let backend = session.backend().await?;
                return Ok(Lock { session, backend });
            }
            if begun.elapsed() > LOCK_LIMIT {
                break;
            }
            tokio::time::sleep(LOCK_EVERY).await;
        }
        let holder = holder(&session).await?;
        Err(Failure::refused(format!("another operator is at work on {endpoint}: {holder}"))
            .hint("wait for it, or take the run from it with --take-over")
            .into())
    }

    /// Whether the lock's session has ended, and the lock with it.
    pub fn is_lost(&self) -> bool {
        self.session.is_lost()
    }
}

/// Ends what another process of the tool does on this database: the way of `--take-over`. What
/// outlives a process on purpose stays: holders, which keep snapshots, the dead-man, the guardian.
///
/// # Errors
/// The connection is lost.
pub async fn end_other_operators(session: &Session) -> Result<()> {
    if is_installed(session).await? {
        // First the epoch: whoever finds its sessions gone must see at once that this is why.
        session
            .execute(
                "UPDATE xtask_cutover.run SET epoch = epoch + 1 WHERE finished_at IS NULL",
                &[],
            )
            .await
            .context("raise the epoch")?;
    }
    session
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND application_name LIKE $1 || ' %'
               AND application_name !~ (' (holder|watcher|dead-man|guardian) ')",
            &[&APPLICATION_NAME],
        )
        .await
        .context("end the other operator's sessions")?;
    Ok(())
}

async fn holder(session: &Session) -> Result<String> {
    let row = session
        .query_opt(
            "SELECT activity.application_name, activity.pid,
                    coalesce(host(activity.client_addr), 'local'),
                    extract(epoch FROM clock_timestamp() - activity.backend_start)::bigint
             FROM pg_locks AS locks JOIN pg_stat_activity AS activity USING (pid)
             WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objsubid = 1
               AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (locks.classid::bigint << 32 | locks.objid::bigint) = $1",
            &[&LOCK_KEY],
        )
        .await?;
    Ok(row.map_or("it has just gone".into(), |row| {
        let name: String = row.get(0);
        let name = name.trim_start_matches(APPLICATION_NAME).trim_start_matches(" lock ");
        let (backend, address, age): (i32, String, i64) = (row.get(1), row.get(2), row.get(3));
        format!("{name}, backend {backend}, from {address}, for {age} s")
    }))
}

/// Registers a run on the side that serves, or takes it over with a higher epoch, which stops
/// every process of an older epoch at its next act. Returns the epoch.
///
/// # Errors
/// The connection is lost.
pub async fn own_run(session: &Session, header: &Header, operator: &str) -> Result<i64> {
    let row = session
        .query_one(
            "INSERT INTO xtask_cutover.run (id, root, parent, direction, operator)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET epoch = run.epoch + 1, operator = excluded.operator
             RETURNING epoch",
            &[&header.run, &header.root, &header.parent, &header.direction.name(), &operator],
        )
        .await
        .context("take the run over")?;
    Ok(row.get(0))
}

/// The epoch of a run on the side that serves; none where it is not known there.
///
/// # Errors
/// The connection is lost, or the tool keeps nothing there.
pub async fn epoch(session: &Session, run: &str) -> Result<Option<i64>> {
    let sql = "SELECT epoch FROM xtask_cutover.run WHERE id = $1";
    Ok(session.query_opt(sql, &[&run]).await?.map(|row| row.get(0)))
}

/// Refuses where another process has taken the run over since.
///
/// # Errors
/// The epoch is not ours any more, or the connection is lost.
pub async fn assert_epoch(session: &Session, run: &str, epoch: i64) -> Result<()> {
    let row = session
        .query_opt("SELECT epoch, operator FROM xtask_cutover.run WHERE id = $1", &[&run])
        .await?;
    match row {
        Some(row) if row.get::<_, i64>(0) == epoch => Ok(()),
        Some(row) => {
            let operator: String = row.get(1);
            Err(Failure::refused(format!("the run was taken over by {operator}")).into())
        }
        None => Err(Failure::refused("the run is not known on the side that serves").into()),
    }
}

/// Writes journal lines to a server until the stream ends. Its backend is noted in `backends`, so
/// that our own fence spares it. What could not be written waits for the next line, and a lost
/// connection is opened anew only then.
pub async fn mirror(
    endpoint: Endpoint,
    mut lines: UnboundedReceiver<Line>,
    backends: Arc<Mutex<Vec<i32>>>,
) {
    let mut session: Option<Session> = None;
    let mut pending: Vec<Line> = Vec::new();
    loop {
        let has_ended = lines.recv_many(&mut pending, MIRROR_CHUNK).await == 0;
        if !pending.is_empty() {
            if session.as_ref().is_none_or(Session::is_lost) {
                session = open_mirror(&endpoint, &backends).await.ok();
            }
            if let Some(open) = &session
                && store(open, &pending).await.is_ok()
            {
                pending.clear();
            }
        }
        if has_ended {
            return;
        }
    }
}

async fn open_mirror(endpoint: &Endpoint, backends: &Mutex<Vec<i32>>) -> Result<Session> {
    let session = endpoint.connect("journal").await?;
    let backend = session.backend().await?;
    backends.lock().unwrap_or_else(PoisonError::into_inner).push(backend);
    Ok(session)
}

async fn store(session: &Session, lines: &[Line]) -> Result<()> {
    let runs: Vec<&str> = lines.iter().map(|(run, _, _)| run.as_str()).collect();
    let numbers: Vec<i64> = lines.iter().map(|(_, number, _)| *number).collect();
    let texts: Vec<&str> = lines.iter().map(|(_, _, text)| text.as_str()).collect();
    session
        .execute(
            "INSERT INTO xtask_cutover.journal (run, number, line)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
             ON CONFLICT (run, number) DO UPDATE SET line = excluded.line",
            &[&runs, &numbers, &texts],
        )
        .await?;
    Ok(())
}

/// Waits until a mirror has written what it was sent.
pub async fn finish_mirror(task: tokio::task::JoinHandle<()>) {
    let finished = tokio::time::timeout(MIRROR_LIMIT, task).await;
    tolerate(finished, "the mirror is a convenience; the file is the truth");
}

/// The journal of the newest run, or of the named one, as a server has it: run, lines in order.
///
/// # Errors
/// The connection is lost.
pub async fn mirrored(session: &Session, run: Option<&str>) -> Result<Vec<(String, Vec<String>)>> {
    let rows = session
        .query(
            "SELECT run, array_agg(line ORDER BY number), count(*) = max(number) + 1
             FROM xtask_cutover.journal WHERE $1::text IS NULL OR run = $1
             GROUP BY run ORDER BY run",
            &[&run],
        )
        .await?;
    let mut all = Vec::new();
    for row in rows {
        let name: String = row.get(0);
        if !row.get::<_, bool>(2) {
            let message = format!("the mirror of run {name} on this server has gaps");
            return Err(Failure::undecided(message).hint("try the other server").into());
        }
        all.push((name, row.get(1)));
    }
    Ok(all)
}
