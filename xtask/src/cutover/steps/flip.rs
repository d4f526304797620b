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
    engine.options.routes.point(&engine.target.endpoint).await
}

/// Done when the route names the target's server; without a route it is the operator's.
///
/// # Errors
/// The route cannot be read.
pub async fn look(engine: &Engine) -> Result<Seen> {
    if engine.options.routes.is_empty() {
        return Ok(Seen::Done(evidence! { "route": "none: point the clients at the target now" }));
    }
    let is_there = engine.options.routes.points_at(&engine.target.endpoint).await?;
    Ok(if is_there { Seen::Done(evidence! {}) } else { Seen::NotDone })
}
