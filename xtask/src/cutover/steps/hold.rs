//! `hold`: clients that a pooler can hold back are held, each as soon as its transaction has ended.
//! Their pause begins, and no connection of theirs is cut off by the fence.

use anyhow::{Result, bail};

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::{evidence, gate};
use crate::failure::Failure;

/// Holds the clients back. Somebody must be there to let them go should this process die.
///
/// # Errors
/// A transaction does not end in time, or a process does not answer; nobody is held then.
pub async fn act(engine: &mut Engine) -> Result<()> {
    let routes = engine.options.routes.clone();
    if routes.pooler().is_some() && !engine.attempt.guardian_is_alive() {
        bail!("the guardian of the clients is gone; see guardian.log beside the journal");
    }
    let Err(error) = routes.hold().await else { return Ok(()) };
    let source = engine.source.session().await?;
    let Some((who, fix)) = gate::oldest_transaction(&source, std::time::Duration::ZERO).await?
    else {
        return Err(error);
    };
    Err(Failure::failed(format!("{error:#}; {who}")).hint(fix).into())
}

/// Done while every client is held and the pooler has left the server.
///
/// # Errors
/// The pooler cannot be asked.
pub async fn look(engine: &Engine) -> Result<Seen> {
    let routes = &engine.options.routes;
    if !routes.is_held().await? {
        return Ok(Seen::NotDone);
    }
    Ok(Seen::Done(match routes.pooler() {
        Some(_) => evidence! { "clients": "held" },
        None => evidence! {},
    }))
}

/// Lets the clients go on where they were.
///
/// # Errors
/// A process still holds them; the guardian goes on trying.
pub async fn undo(engine: &Engine) -> Result<()> {
    engine.options.routes.release().await
}
