//! `arm`: the way back is made before any pause: publication and slot on the target, a disabled
//! subscription on the source. Making a slot can wait for open transactions; in the pause it must
//! not.

use anyhow::Result;

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;
use crate::pg::password;
use crate::pg::replication::{self, Subscribe};
use crate::pg::state;

/// Makes what is missing.
///
/// # Errors
/// A server refuses, or the source's server cannot reach the target's.
pub async fn act(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    state::install(&target).await?;
    let name = engine.back();
    if !replication::slot_is_usable(&target, &name).await? {
        replication::unsubscribe(&source, &name).await?;
        replication::drop_slot(&target, &name).await?;
        let mut tables = engine.plan.published.clone();
        tables.push((state::SCHEMA.into(), "marker_1".into()));
        replication::publish(&target, &name, &tables).await?;
        replication::create_idle_slot(&target, &name).await?;
    }
    let role = engine.role(engine.header.direction.opposite());
    let password = password::random();
    replication::replication_role(&target, &role, &password).await?;
    let publisher = engine.target.peer.with_user(&role, &password);
    let wanted =
        Subscribe { name: &name, publisher: &publisher, publisher_version: target.version };
    replication::subscribe(&source, &wanted).await?;
    replication::advance_slot(&target, &name).await?;
    Ok(())
}

/// Done when slot, publication and subscription are there.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    let name = engine.back();
    let is_made = replication::slot_is_usable(&target, &name).await?
        && replication::is_published(&target, &name).await?
        && replication::subscription(&source, &name).await?.is_some();
    Ok(if is_made { Seen::Done(evidence! { "slot": name }) } else { Seen::NotDone })
}

/// Takes the way back away.
///
/// # Errors
/// A server cannot be reached.
pub async fn undo(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let name = engine.back();
    replication::unsubscribe(&source, &name).await?;
    replication::drop_slot(&target, &name).await?;
    replication::unpublish(&target, &name).await?;
    replication::drop_role(&target, &engine.role(engine.header.direction.opposite())).await
}
