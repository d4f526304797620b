//! Who may write. The fence is made of settings, of ended sessions and, against superusers, of
//! triggers; that it stands is a proof, which only looking at the server can give.
//!
//! A superuser keeps every other session out by the connection limit. The owner of a database
//! would keep itself out, so its fence lets sessions in, and rests on the triggers: they are on
//! every table, which is a part of the proof, and whoever began behind the fence meets them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::types::Type;

use crate::pg::endpoint::{Endpoint, Session, qualified};

/// How often the look of a proof is tried.
const OBSERVATIONS: u32 = 5;
/// How long sessions that were starting when the fence closed may take to show themselves.
const STARTING_LIMIT: Duration = Duration::from_secs(3);
/// How often such sessions are looked for.
const STARTING_INTERVAL: Duration = Duration::from_millis(2);
/// How long ending the sessions may take.
const ENDING_LIMIT: Duration = Duration::from_secs(3);
/// How long a statement may wait for a strong lock before it tries again, in milliseconds.
const LOCK_MILLISECONDS: u32 = 200;
/// How often such a statement tries to get its lock.
const LOCK_ATTEMPTS: u32 = 50;
/// How often taking a trigger away tries: it can stay.
const UNGUARD_ATTEMPTS: u32 = 5;
/// How long to wait between two tries, so that those who waited behind us get on.
const BETWEEN_LOCK_ATTEMPTS: Duration = Duration::from_millis(100);

/// Proof that nobody can write on a database. It can neither be stored nor made otherwise.
#[derive(Debug)]
pub struct Fence {
    _observed: Instant,
}

/// Proof that everything that was written before the fence has arrived on the other side.
#[derive(Debug)]
pub struct Drained {
    _observed: Instant,
}

impl Drained {
    /// A barrier row that was written behind the fence has arrived.
    pub(in crate::cutover) fn by_barrier(_fence: &Fence) -> Drained {
        Drained { _observed: Instant::now() }
    }
}

/// Closes the fence of a side that does not serve: new sessions are read-only and refused, and the
/// old ones are ended. Sessions in `spared` are ours.
///
/// # Errors
/// A session does not end in time, or the connection is lost.
pub async fn close(session: &Session, spared: &[i32]) -> Result<()> {
    session.batch_execute("CALL xtask_cutover.close_fence()").await.context("close the fence")?;
    settle(session).await?;
    end_sessions(session, spared).await
}

/// Closes the fence of the side that serves, unless the attempt was decided, unwound or taken over
/// meanwhile.
///
/// # Errors
/// As [`close`]; or the attempt is over, or not ours any more.
pub async fn close_for(session: &Session, run: &str, epoch: i64, spared: &[i32]) -> Result<()> {
    session
        .query_typed(
            "CALL xtask_cutover.close_fence($1, $2)",
            &[(&run, Type::TEXT), (&epoch, Type::INT8)],
        )
        .await
        .context("close the fence")?;
    settle(session).await?;
    end_sessions(session, spared).await
}

/// Notes a moment at which the settings and the triggers' flag were in force for everybody.
async fn settle(session: &Session) -> Result<()> {
    if !session.is_superuser {
        let sql = "UPDATE xtask_cutover.fence SET settled_at = clock_timestamp()";
        session.batch_execute(sql).await.context("note when the fence was closed")?;
    }
    Ok(())
}

/// Ends the sessions of clients that came to a fenced side before they were pointed elsewhere: a
/// fence of an owner lets them in to read, and they would stay.
///
/// # Errors
/// As [`close`].
pub async fn send_away(session: &Session, spared: &[i32]) -> Result<()> {
    // A tool that was frozen may find that this side serves again.
    if session.is_superuser || !is_closed(session).await? {
        return Ok(());
    }
    settle(session).await?;
    end_sessions(session, spared).await
}

async fn end_sessions(session: &Session, spared: &[i32]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let ended = session
            .query_typed(
                include_str!("../pg/sql/end_sessions.sql"),
                &[(&spared, Type::INT4_ARRAY), (&session.is_superuser, Type::BOOL)],
            )
            .await
            .context("end the clients' sessions")?;
        if ended.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > ENDING_LIMIT {
            bail!("{} sessions did not end within {ENDING_LIMIT:?}", ended.len());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Gives the proof that nobody can write. A superuser is let in whatever the settings say, be it
/// only to ask for the status: such a session is ended, and the look is made anew.
///
/// # Errors
/// What stands in the way time and again, or the connection is lost.
pub async fn observe(session: &Session, spared: &[i32]) -> Result<Fence> {
    let mut attempts = 1;
    loop {
        await_starting(session).await?;
        match look_once(session, spared).await {
            Err(_) if attempts < OBSERVATIONS => attempts += 1,
            observed => return observed.map(|()| Fence { _observed: Instant::now() }),
        }
        end_sessions(session, spared).await?;
    }
}

/// Waits until every session that was starting is refused or in sight. One that had read its
/// settings before they changed is not kept out by them, and no view of sessions shows it yet.
async fn await_starting(session: &Session) -> Result<()> {
    let begun = Instant::now();
    loop {
        let starting = session
            .query_typed(include_str!("../pg/sql/starting_sessions.sql"), &[])
            .await
            .context("look for sessions that are starting")?;
        let Some(first) = starting.first() else { return Ok(()) };
        if begun.elapsed() > STARTING_LIMIT {
            let pid: i32 = first.get(0);
            bail!("the fence has a gap: session {pid} has been starting for {STARTING_LIMIT:?}");
        }
        tokio::time::sleep(STARTING_INTERVAL).await;
    }
}

async fn look_once(session: &Session, spared: &[i32]) -> Result<()> {
    let row = session
        .query_typed_one(
            include_str!("../pg/sql/fence_observation.sql"),
            &[(&spared, Type::INT4_ARRAY), (&session.is_superuser, Type::BOOL)],
        )
        .await
        .context("look at the fence")?;
    let gap: Option<String> = row.get(0);
    if let Some(gap) = gap {
        bail!("the fence has a gap: {gap}");
    }
    if session.is_superuser {
        return Ok(());
    }
    match unguarded_tables(session).await?.first() {
        None => Ok(()),
        Some((schema, table)) => {
            bail!("the fence has a gap: table {schema}.{table} has no trigger of it")
        }
    }
}

/// The tables of the service that no trigger of the fence guards.
///
/// # Errors
/// The connection is lost.
pub async fn unguarded_tables(session: &Session) -> Result<Vec<(String, String)>> {
    let rows = session.query(include_str!("../pg/sql/unguarded_tables.sql"), &[]).await;
    let rows = rows.context("look for tables without the fence's trigger")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Opens the fence again: the settings are as they were before.
///
/// # Errors
/// The connection is lost. Then the settings are opened from the maintenance database, which a
/// fence never closes; that too can fail.
pub async fn open(endpoint: &Endpoint) -> Result<()> {
    let session = match endpoint.connect("unfence").await {
        Ok(session) => session,
        Err(_) => {
            open_from_outside(endpoint).await?;
            endpoint.connect("unfence").await?
        }
    };
    session.batch_execute("CALL xtask_cutover.open_fence()").await.context("open the fence")
}

/// Opens the fence of the side that a run has decided for, unless a later run has begun there.
///
/// # Errors
/// A later run has begun, or the connection is lost.
pub async fn open_for(session: &Session, run: &str) -> Result<()> {
    session
        .query_typed("CALL xtask_cutover.open_fence($1)", &[(&run, Type::TEXT)])
        .await
        .context("open the target")?;
    Ok(())
}

/// Lets sessions in again, from a database that is not fenced.
async fn open_from_outside(endpoint: &Endpoint) -> Result<()> {
    let database = crate::pg::endpoint::identifier(&endpoint.database);
    let session = endpoint.with_database("postgres").connect("unfence").await?;
    session
        .batch_execute(&format!("ALTER DATABASE {database} CONNECTION LIMIT -1"))
        .await
        .context("let sessions in again")
}

/// Whether this side follows and is to answer searches: see `topology`.
///
/// # Errors
/// The connection is lost.
pub async fn is_searchable(session: &Session) -> Result<bool> {
    let row = session.query_opt("SELECT searchable FROM xtask_cutover.fence", &[]).await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Lets sessions in on a follower, whose copied tables the triggers of [`guard_tables`] keep.
///
/// # Errors
/// The connection is lost.
pub async fn open_for_search(session: &Session) -> Result<()> {
    session
        .batch_execute("CALL xtask_cutover.open_for_search()")
        .await
        .context("open the follower for search")
}

/// Forgets that this side answers searches, which its closed fence has ended.
///
/// # Errors
/// The connection is lost.
pub async fn forget_search(session: &Session) -> Result<()> {
    session
        .batch_execute("UPDATE xtask_cutover.fence SET searchable = false")
        .await
        .context("end the search on the follower")
}

/// Whether the fence's settings are in force.
///
/// # Errors
/// The connection is lost.
pub async fn is_closed(session: &Session) -> Result<bool> {
    let row = session.query_typed_opt("SELECT closed FROM xtask_cutover.fence", &[]).await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Puts the triggers that stop superusers on every table, before the pause. They look at the
/// fence's flag, so they cost little while it is open.
///
/// # Errors
/// A table stays locked by others for too long.
pub async fn guard_tables(session: &Session, tables: &[(String, String)]) -> Result<()> {
    for (schema, table) in tables {
        patiently(session, &guard(schema, table), LOCK_ATTEMPTS)
            .await
            .with_context(|| format!("guard table {schema}.{table}"))?;
    }
    Ok(())
}

/// The statement that makes such a trigger.
pub fn guard(schema: &str, table: &str) -> String {
    format!(
        "CREATE OR REPLACE TRIGGER xtask_fence
         BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {}
         FOR EACH STATEMENT EXECUTE FUNCTION xtask_cutover.refuse_write()",
        qualified(schema, table)
    )
}

/// Takes those triggers away. While the fence is open they do nothing, so one that others keep
/// locked is given up after a few tries rather than making every reader wait behind us.
///
/// # Errors
/// The connection is lost, or a table stays locked by others.
pub async fn unguard_tables(session: &Session) -> Result<()> {
    let rows = session
        .query(
            "SELECT n.nspname::text, c.relname::text FROM pg_trigger AS t
             JOIN pg_class AS c ON c.oid = t.tgrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE t.tgname = 'xtask_fence' AND t.tgparentid = 0",
            &[],
        )
        .await?;
    for row in rows {
        let table = qualified(row.get(0), row.get(1));
        let statement = format!("DROP TRIGGER IF EXISTS xtask_fence ON {table}");
        patiently(session, &statement, UNGUARD_ATTEMPTS)
            .await
            .with_context(|| format!("take the fence's trigger from {table}"))?;
    }
    Ok(())
}

/// Removes the tool's schema, and with it what is left of the triggers.
///
/// # Errors
/// The connection is lost, or a table stays locked by others for too long.
pub async fn drop_state(session: &Session) -> Result<()> {
    patiently(session, "DROP SCHEMA IF EXISTS xtask_cutover CASCADE", LOCK_ATTEMPTS)
        .await
        .context("drop the schema xtask_cutover")
}

/// Runs a statement that takes a strong lock, over and over with a short limit: one that waits for
/// a long transaction makes every reader behind it wait as well.
async fn patiently(session: &Session, statement: &str, attempts: u32) -> Result<()> {
    session.batch_execute(&format!("SET lock_timeout = {LOCK_MILLISECONDS}")).await?;
    let mut attempt = 0;
    let done = loop {
        attempt += 1;
        let Err(error) = session.batch_execute(statement).await else { break Ok(()) };
        let is_busy = error.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE);
        if !is_busy || attempt == attempts {
            break Err(error);
        }
        tokio::time::sleep(BETWEEN_LOCK_ATTEMPTS).await;
    };
    session.batch_execute("SET lock_timeout = 0").await?;
    Ok(done?)
}
