//! `flip`: clients are pointed at the target.

use anyhow::Result;

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;

/// Flips the route.
///
/// # Errors
/// The route cannot be written.
pub async fn act(engine: &mut Engine) -> Result<()> {
    match &engine.options.route {
        Some(route) => route.point(&engine.target.endpoint).await,
        None => Ok(()),
    }
}

/// Done when the route names the target's server; without a route it is the operator's.
///
/// # Errors
/// The route cannot be read.
pub async fn look(engine: &Engine) -> Result<Seen> {
    let Some(route) = &engine.options.route else {
        return Ok(Seen::Done(evidence! { "route": "none: point the clients at the target now" }));
    };
    let is_there = route.points_at(&engine.target.endpoint).await?;
    Ok(if is_there { Seen::Done(evidence! {}) } else { Seen::NotDone })
}
