//! `drain`: a barrier row, written behind the fence, has arrived on the target. Apply keeps the
//! order of commits, so everything before it has arrived as well. No distance in WAL says that.

use anyhow::{Context, Result, bail};
use tokio_postgres::types::Type;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::fence::Drained;
use crate::cutover::plan;
use crate::cutover::steps::evidence;
use crate::pg::replication;

/// Writes the barrier and waits for it; meanwhile looks once more whether the schema is the same.
///
/// # Errors
/// It does not arrive within the pause's limit, or the schema has changed.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let (markers, names) = (engine.markers(log), engine.subscriptions(log));
    let id = replication::mark(&source, &markers, "fence").await?;
    engine.attempt.barrier = Some(id);
    let limit = engine.options.pause_limit;
    let arrival = replication::await_mark(&target, &markers, &names, id, limit);
    let (_, signature) = tokio::try_join!(arrival, plan::signature(&source))?;
    // A rewritten table changes the signature as well; the facts tell the two apart.
    if engine.attempt.signature.as_ref() != Some(&signature)
        && plan::fingerprint(&source).await? != engine.plan.fingerprint
    {
        bail!("the schema of the source was changed a moment before the fence");
    }
    Ok(())
}

/// Done when the row is there; gives the proof, which needs that of the fence.
///
/// # Errors
/// The target cannot be asked.
pub async fn look(engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    let target = engine.target.session().await?;
    let (Some(id), Some(fence)) = (engine.attempt.barrier, &engine.attempt.fence) else {
        return Ok(Seen::NotDone);
    };
    for marker in engine.markers(log) {
        let sql = format!("SELECT FROM xtask_cutover.{marker} WHERE id = $1");
        let row = target.query_typed_opt(&sql, &[(&id, Type::INT8)]).await;
        let row = row.context("look for the barrier row")?;
        if row.is_none() {
            return Ok(Seen::NotDone);
        }
    }
    engine.attempt.drained = Some(Drained::by_barrier(fence));
    Ok(Seen::Done(evidence! {}))
}

/// Forgets the proof.
///
/// # Errors
/// None.
pub fn undo(engine: &mut Engine) -> Result<()> {
    engine.attempt.barrier = None;
    engine.attempt.drained = None;
    Ok(())
}
