//! A follower that stopped is asked to go on. PostgreSQL turns a subscription off at any error,
//! also when the other server has only crashed; what stopped for a better reason stops again.

use anyhow::Result;

use crate::config;
use crate::cutover::lineage::{Lineage, Phase};
use crate::cutover::verbs::Operation;
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::replication;
use crate::pg::state::Lock;

/// Enables the subscriptions of the side that follows which stopped at an error, and returns their
/// names. Does nothing while a verb is at work, as that may have turned them off.
///
/// # Errors
/// The follower cannot be asked, another command is at work on it, or there is no journal.
pub async fn revive(operation: &Operation) -> Result<Vec<String>> {
    let lineage = Lineage::read(&operation.options.folder, operation.run.as_deref())?;
    let Some(lineage) = lineage else { return Ok(Vec::new()) };
    let header = &lineage.latest().header;
    let [(source, _), (target, _)] = operation.sides(header.direction);
    let (follower, direction) = match lineage.phase() {
        Phase::Following => (target, header.direction),
        Phase::Switched => (source, header.direction.opposite()),
        _ => return Ok(Vec::new()),
    };
    revive_on(&follower, &header.role(direction)).await
}

async fn revive_on(follower: &Endpoint, prefix: &str) -> Result<Vec<String>> {
    let session = follower.connect("revive").await?;
    if stopped(&session, prefix).await?.is_empty() {
        return Ok(Vec::new());
    }
    let operator = format!("{}:{}", config::host(), std::process::id());
    let lock = Lock::take(follower, &operator).await?;
    // Another command may have seen to it, or turned one off on purpose, before the lock was ours.
    let names = stopped(&session, prefix).await?;
    for name in &names {
        replication::enable(&session, name).await?;
    }
    drop(lock);
    Ok(names)
}

async fn stopped(session: &Session, prefix: &str) -> Result<Vec<String>> {
    let rows = session
        .query(
            "SELECT s.subname::text FROM pg_subscription AS s
             JOIN pg_stat_subscription_stats AS errors ON errors.subid = s.oid
             WHERE starts_with(s.subname, $1) AND NOT s.subenabled AND errors.apply_error_count > 0
               AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
             ORDER BY s.subname",
            &[&prefix],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
