//! Slots: made with or without a snapshot, looked at, moved on, dropped.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session, identifier};

/// How long making a slot may wait for transactions that were open before it.
pub const SLOT_LIMIT: Duration = Duration::from_secs(60);
/// How long a slot that is made for its note only may wait for what is at work.
const NOTE_LIMIT: Duration = Duration::from_millis(250);
/// How long a walsender may take to leave the slot of a dropped subscription.
const SLOT_RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// A new slot and the snapshot that matches it. The snapshot lives as long as this value.
pub struct SlotWithSnapshot {
    /// Keeps the snapshot alive; it must stay idle.
    _session: Session,
    /// For `SET TRANSACTION SNAPSHOT`.
    pub snapshot: String,
    /// Where changes begin that the snapshot does not show.
    pub consistent_point: String,
}

/// Makes a logical slot and exports its snapshot.
///
/// # Errors
/// The slot exists, no slot is free, or a transaction that was open before stays open longer than
/// [`SLOT_LIMIT`]; the message names it.
pub async fn create_slot(endpoint: &Endpoint, name: &str) -> Result<SlotWithSnapshot> {
    let session = endpoint.connect_for_replication("slot").await?;
    let statement =
        format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT", identifier(name));
    let answer = tokio::time::timeout(SLOT_LIMIT, session.simple_query(&statement)).await;
    let messages = match answer {
        Ok(messages) => messages.with_context(|| format!("create slot {name}"))?,
        Err(_) => {
            let blocker = oldest_writer(endpoint).await.unwrap_or_default();
            return Err(Failure::failed(format!(
                "slot {name} waited longer than {SLOT_LIMIT:?} for open transactions{blocker}"
            ))
            .hint("end that transaction, then try again")
            .into());
        }
    };
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let column = |name: &str| row.and_then(|row| row.get(name)).map(str::to_string);
    match (column("snapshot_name"), column("consistent_point")) {
        (Some(snapshot), Some(consistent_point)) => {
            Ok(SlotWithSnapshot { _session: session, snapshot, consistent_point })
        }
        _ => bail!("the server exported no snapshot with slot {name}"),
    }
}

async fn oldest_writer(endpoint: &Endpoint) -> Result<String> {
    let session = endpoint.connect("look").await?;
    let row = session
        .query_opt(
            "SELECT pid, coalesce(usename::text, '?'),
                    extract(epoch FROM clock_timestamp() - xact_start)::bigint
             FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
             ORDER BY xact_start LIMIT 1",
            &[],
        )
        .await?;
    Ok(row.map_or(String::new(), |row| {
        let (pid, user, age): (i32, String, i64) = (row.get(0), row.get(1), row.get(2));
        format!("; the oldest is backend {pid} of role {user}, {age} s old")
    }))
}

/// Makes a logical slot that nothing reads yet, without a snapshot.
///
/// # Errors
/// As [`create_slot`].
pub async fn create_idle_slot(session: &Session, name: &str) -> Result<()> {
    let limit = SLOT_LIMIT.as_millis();
    session.batch_execute(&format!("SET statement_timeout = {limit}")).await?;
    let made = session
        .query("SELECT FROM pg_create_logical_replication_slot($1, 'pgoutput')", &[&name])
        .await
        .with_context(|| format!("create slot {name}; it waits for open transactions"));
    session.batch_execute("SET statement_timeout = 0").await?;
    made.map(|_| ())
}

/// Drops a slot where it exists, waiting for a walsender that is about to leave it.
///
/// # Errors
/// The slot stays in use.
pub async fn drop_slot(session: &Session, name: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let dropped = session
            .query_opt(
                "SELECT pg_drop_replication_slot(slot_name)
                 FROM pg_replication_slots WHERE slot_name = $1",
                &[&name],
            )
            .await;
        match dropped {
            Ok(_) => return Ok(()),
            Err(error)
                if error.code() == Some(&SqlState::OBJECT_IN_USE)
                    && begun.elapsed() < SLOT_RELEASE_LIMIT =>
            {
                end_walsender(session, name).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error).with_context(|| format!("drop slot {name}")),
        }
    }
}

/// Ends the walsender that reads a slot of ours.
async fn end_walsender(session: &Session, slot: &str) -> Result<()> {
    session
        .query(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
             WHERE slot_name = $1 AND active_pid IS NOT NULL",
            &[&slot],
        )
        .await?;
    Ok(())
}

/// Whether a slot exists and can still be read from.
///
/// # Errors
/// The connection is lost.
pub async fn slot_is_usable(session: &Session, name: &str) -> Result<bool> {
    let row = session
        .query_opt(
            "SELECT coalesce(wal_status, 'reserved') <> 'lost'
             FROM pg_replication_slots WHERE slot_name = $1 AND database = current_database()",
            &[&name],
        )
        .await?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// Whether a slot of that name exists, usable or not.
///
/// # Errors
/// The connection is lost.
pub async fn slot_exists(session: &Session, name: &str) -> Result<bool> {
    let sql = "SELECT FROM pg_replication_slots WHERE slot_name = $1";
    Ok(session.query_opt(sql, &[&name]).await?.is_some())
}

/// Advances a slot that nothing reads to everything flushed so far. Returns where it stands.
///
/// # Errors
/// The slot is gone, lost or in use.
pub async fn advance_slot(session: &Session, name: &str) -> Result<String> {
    let row = session
        .query_typed_one(
            "SELECT (pg_replication_slot_advance($1, pg_current_wal_flush_lsn())).end_lsn::text",
            &[(&name, Type::NAME)],
        )
        .await
        .with_context(|| format!("advance slot {name}"))?;
    Ok(row.get(0))
}

/// Has the server write down which transactions are at work. The next advance of a slot lets it
/// begin to read there; a server writes such a note by itself only every 15 seconds, and until then
/// each advance reads again whatever was written since the last one.
///
/// # Errors
/// The connection is lost, or no slot is free where the role may not ask for the note itself.
pub async fn note_running(session: &Session) -> Result<()> {
    let asking = "SELECT coalesce(has_function_privilege(
                      to_regprocedure('pg_catalog.pg_log_standby_snapshot()'), 'EXECUTE'), false)";
    if session.query_one(asking, &[]).await?.get(0) {
        session.query("SELECT pg_catalog.pg_log_standby_snapshot()", &[]).await?;
        return Ok(());
    }
    // Whoever makes a slot leaves such a note before waiting for what is at work. Where that takes
    // long the slot goes by itself, and the note stays.
    let name = format!("xtask_note_{}", session.backend().await?);
    let limit = NOTE_LIMIT.as_millis();
    session.batch_execute(&format!("SET statement_timeout = {limit}")).await?;
    let sql = "SELECT FROM pg_create_logical_replication_slot($1, 'pgoutput', true)";
    let made = session.query(sql, &[&name]).await;
    session.batch_execute("SET statement_timeout = 0").await?;
    match made {
        Ok(_) => drop_slot(session, &name).await,
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => Ok(()),
        Err(error) => Err(error).context("have the server note what is at work"),
    }
}

/// How much WAL an advance of a slot has to read, in bytes.
///
/// # Errors
/// The connection is lost.
pub async fn unread(session: &Session, slot: &str) -> Result<u64> {
    let row = session
        .query_opt(
            "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn)::bigint
             FROM pg_replication_slots WHERE slot_name = $1",
            &[&slot],
        )
        .await?;
    let bytes: i64 = row.and_then(|row| row.get(0)).unwrap_or(0);
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Whether a slot is close to the limit at which its server gives it up, and why it is thought so.
///
/// # Errors
/// The connection is lost.
pub async fn slot_danger(session: &Session, name: &str) -> Result<Option<String>> {
    let row = session
        .query_opt(
            "SELECT wal_status, safe_wal_size, setting::bigint << 20
             FROM pg_replication_slots, pg_settings
             WHERE slot_name = $1 AND name = 'max_slot_wal_keep_size'",
            &[&name],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (status, safe, limit): (Option<String>, Option<i64>, i64) =
        (row.get(0), row.get(1), row.get(2));
    if status.as_deref() == Some("unreserved") {
        return Ok(Some(format!("slot {name} is past the limit of WAL that it may keep")));
    }
    // Four fifths of the budget are used up: time to act, not yet too late.
    let is_close = limit > 0 && safe.is_some_and(|safe| safe < limit / 5);
    let left = safe.unwrap_or(0) >> 20;
    Ok(is_close.then(|| format!("slot {name} may keep only {left} MB of WAL more")))
}

/// Bytes of WAL between what the publisher wrote and what its follower confirmed.
///
/// # Errors
/// The slot is gone.
pub async fn lag(session: &Session, slot: &str) -> Result<i64> {
    let row = session
        .query_opt(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
             FROM pg_replication_slots WHERE slot_name = $1",
            &[&slot],
        )
        .await?;
    match row {
        Some(row) => Ok(row.get::<_, Option<i64>>(0).unwrap_or(0)),
        None => bail!("slot {slot} does not exist"),
    }
}
