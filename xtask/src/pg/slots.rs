//! The replication slots of a run, as numbers: how far their readers are, and how much WAL they
//! keep.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::pg::endpoint::Session;

/// One slot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether a follower reads from it now. Our own advance of it is none.
    pub active: bool,
    /// WAL between what the server wrote and what the reader confirmed, in bytes.
    pub lag_bytes: i64,
    /// How long ago the reader's last confirmed change was written, in seconds; none while nothing
    /// is on its way.
    pub lag_seconds: Option<f64>,
    /// WAL that the server keeps for it, in bytes.
    pub kept_bytes: i64,
    /// The most that the server may keep for it, in bytes; none where there is no limit.
    pub budget_bytes: Option<i64>,
    /// Whether the server has dropped WAL that its reader needs.
    pub lost: bool,
}

/// The slots of this server whose name begins so. Any database of the server will do.
///
/// # Errors
/// The server cannot be asked.
pub async fn beginning_with(session: &Session, prefix: &str) -> Result<Vec<Slot>> {
    let sql = "SELECT slot_name::text, pid IS NOT NULL,
                      coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn),
                               0)::bigint,
                      extract(epoch FROM replay_lag)::float8,
                      coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint,
                      CASE WHEN setting::bigint < 0 THEN NULL ELSE setting::bigint << 20 END,
                      coalesce(wal_status, 'reserved') = 'lost'
               FROM pg_replication_slots
               CROSS JOIN pg_settings
               LEFT JOIN pg_stat_replication ON pid = active_pid
               WHERE name = 'max_slot_wal_keep_size' AND starts_with(slot_name::text, $1)
               ORDER BY 1";
    let rows = session.query(sql, &[&prefix]).await.context("read the slots")?;
    let read = |row: &tokio_postgres::Row| Slot {
        name: row.get(0),
        active: row.get(1),
        lag_bytes: row.get(2),
        lag_seconds: row.get(3),
        kept_bytes: row.get(4),
        budget_bytes: row.get(5),
        lost: row.get(6),
    };
    Ok(rows.iter().map(read).collect())
}
