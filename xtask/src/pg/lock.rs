//! A lock by name that a session holds until it ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::pg::endpoint::Session;

/// How long to try. A process that has just ended may have left its session to the server.
const LIMIT: Duration = Duration::from_secs(4);
/// How often to try.
const EVERY: Duration = Duration::from_millis(50);

/// Takes the lock of this name, which holds within the session's database. False where another
/// session has it all the while.
///
/// # Errors
/// The connection is lost.
pub async fn take(session: &Session, name: &str) -> Result<bool> {
    let begun = Instant::now();
    let sql = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
    loop {
        let row = session.query_one(sql, &[&name]).await;
        if row.with_context(|| format!("lock {name}"))?.get(0) {
            return Ok(true);
        }
        if begun.elapsed() > LIMIT {
            return Ok(false);
        }
        tokio::time::sleep(EVERY).await;
    }
}
