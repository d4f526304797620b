//! `detach`: the subscription is off, all that it applied is on disk, and the way back starts
//! exactly here. What was applied so far must not be sent back: it came from there.

use anyhow::{Result, bail};
use tokio_postgres::types::Type;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;
use crate::pg::endpoint::Session;
use crate::pg::{replication, rights, state};

/// Turns apply off, flushes, and moves the way back's slot and origin to the flushed position.
///
/// # Errors
/// A worker does not leave, or a server refuses.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    for name in engine.subscriptions(log) {
        replication::disable(&target, &name).await?;
    }
    // Apply commits without waiting for the disk. This commit waits, and with it all before it:
    // a crash after the decision must find every row.
    state::wait_for_disk(&target).await?;
    if engine.plan.without_way_back {
        return Ok(());
    }
    let name = engine.back();
    let position = replication::advance_slot(&target, &name).await?;
    // A slot's advance is not durable until it is next saved: after a crash it would send again
    // what the source has. The origin on the other side knows better.
    if rights::may_advance_origins(&source).await? {
        return replication::advance_origin(&source, &name, &position).await;
    }
    // Who may not tell it can still refuse what comes twice: all of it came by replication.
    if !replication::takes_no_echo(&source, &name).await? {
        bail!("the role may not advance the origin of {name}, and it would take an echo");
    }
    Ok(())
}

/// Done when nothing applies, and slot and origin of the way back stand at the same position.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    for name in engine.subscriptions(log) {
        let state = replication::subscription(&target, &name).await?;
        if state.is_none_or(|state| state.enabled || state.running) {
            return Ok(Seen::NotDone);
        }
    }
    if engine.plan.without_way_back {
        return Ok(Seen::Done(evidence! { "position": "none" }));
    }
    let name = engine.back();
    let slot = position_of_slot(&target, &name).await?;
    if !rights::may_advance_origins(&source).await? {
        let is_safe = slot.is_some() && replication::takes_no_echo(&source, &name).await?;
        let done = Seen::Done(evidence! { "position": slot, "origin": "none" });
        return Ok(if is_safe { done } else { Seen::NotDone });
    }
    let origin = position_of_origin(&source, &name).await?;
    if slot.is_none() || slot != origin {
        return Ok(Seen::NotDone);
    }
    Ok(Seen::Done(evidence! { "position": slot }))
}

async fn position_of_slot(target: &Session, name: &str) -> Result<Option<String>> {
    let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1";
    let row = target.query_typed_opt(sql, &[(&name, Type::NAME)]).await?;
    Ok(row.and_then(|row| row.get(0)))
}

async fn position_of_origin(source: &Session, name: &str) -> Result<Option<String>> {
    let row = source
        .query_typed_opt(
            "SELECT status.remote_lsn::text
             FROM pg_subscription AS s
             JOIN pg_replication_origin_status AS status ON status.external_id = 'pg_' || s.oid
             WHERE s.subname = $1",
            &[(&name, Type::NAME)],
        )
        .await?;
    Ok(row.and_then(|row| row.get(0)))
}

/// Turns apply on again. The target was never opened, so nothing can collide.
///
/// # Errors
/// The target cannot be reached.
pub async fn undo(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let target = engine.target.session().await?;
    for name in engine.subscriptions(log) {
        if replication::subscription(&target, &name).await?.is_some() {
            replication::enable(&target, &name).await?;
        }
    }
    Ok(())
}
