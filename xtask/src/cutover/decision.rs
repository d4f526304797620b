//! Who serves: one row on the source, changed once, by one compare-and-set.
//!
//! The tool sets it from NULL to `switch` before it opens the target. The dead-man, or an operator
//! with `cutover unfence`, sets it from NULL to `unwind` before the source is un-fenced. The loser
//! stops. A lost answer is read back, never assumed.

use anyhow::{Context, Result, bail};
use tokio_postgres::types::Type;

use crate::cutover::fence::{Drained, Fence};
use crate::failure::Failure;
use crate::pg::endpoint::Session;

/// What the row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is decided: the source serves, or is about to.
    Open,
    /// The target serves.
    Switch,
    /// The source serves; this attempt is over.
    Unwind,
}

/// Reads the row.
///
/// # Errors
/// The connection is lost, or there is no such run on this side.
pub async fn read(session: &Session, run: &str) -> Result<Decision> {
    let row = session
        .query_typed_opt(
            "SELECT decision FROM xtask_cutover.run WHERE id = $1",
            &[(&run, Type::TEXT)],
        )
        .await
        .context("read the decision")?;
    let Some(row) = row else { bail!("the run is not known on this server") };
    Ok(match row.get::<_, Option<&str>>(0) {
        Some("switch") => Decision::Switch,
        Some(_) => Decision::Unwind,
        None => Decision::Open,
    })
}

/// Decides to switch. The proofs can only be had by looking at the servers, in this process.
///
/// # Errors
/// Something else was decided first, or another process owns the run. After a lost connection the
/// row may stand all the same: ask [`read`].
pub async fn switch(
    session: &Session,
    run: &str,
    epoch: i64,
    _fence: &Fence,
    _drained: &Drained,
) -> Result<()> {
    session.batch_execute("SET synchronous_commit = on").await?;
    let changed = session
        .execute(
            "UPDATE xtask_cutover.run
             SET decision = 'switch', decided_by = operator, decided_at = clock_timestamp()
             WHERE id = $1 AND epoch = $2 AND decision IS NULL",
            &[&run, &epoch],
        )
        .await
        .context("decide to switch")?;
    if changed == 1 {
        return Ok(());
    }
    Err(Failure::failed("the attempt was unwound by the source's dead-man or by another operator")
        .hint("run the same command again")
        .into())
}

/// Decides that the source goes on serving. Says yes again where that stands already.
///
/// # Errors
/// The target serves by decision, or the connection is lost.
pub async fn unwind(session: &Session, run: &str, by: &str) -> Result<()> {
    session.batch_execute("SET synchronous_commit = on").await?;
    session
        .execute(
            "UPDATE xtask_cutover.run
             SET decision = 'unwind', decided_by = $2, decided_at = clock_timestamp()
             WHERE id = $1 AND decision IS NULL",
            &[&run, &by],
        )
        .await
        .context("decide to unwind")?;
    match read(session, run).await? {
        Decision::Unwind => Ok(()),
        Decision::Open => bail!("the decision to unwind did not take"),
        Decision::Switch => {
            Err(Failure::undecided("the target serves by decision: the source stays fenced")
                .hint("run `cargo xtask cutover switch` to finish the switch, then `rollback`")
                .into())
        }
    }
}

/// Opens the row for a new attempt, and returns its number. Only an unwound attempt may be followed
/// by another.
///
/// # Errors
/// The target serves, or another process owns the run.
pub async fn begin_attempt(session: &Session, run: &str, epoch: i64) -> Result<i64> {
    let row = session
        .query_opt(
            "UPDATE xtask_cutover.run
             SET decision = NULL, decided_by = NULL, decided_at = NULL,
                 attempt = attempt + 1, guarded = true, heartbeat = clock_timestamp()
             WHERE id = $1 AND epoch = $2 AND decision IS DISTINCT FROM 'switch'
             RETURNING attempt",
            &[&run, &epoch],
        )
        .await
        .context("open the decision for a new attempt")?;
    let row = row.context("the run has been decided or taken over since")?;
    Ok(row.get(0))
}
