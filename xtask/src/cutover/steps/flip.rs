//! `flip`: clients are pointed at the target.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::fence;
use crate::cutover::steps::evidence;

/// How long sending clients away from the fenced side may take: others wait to be let in.
const SEND_LIMIT: Duration = Duration::from_millis(500);

/// Flips the route.
///
/// # Errors
/// The route cannot be written.
pub async fn act(engine: &mut Engine) -> Result<()> {
    if engine.options.routes.is_empty() {
        return Ok(());
    }
    engine.options.routes.point(&engine.target.endpoint).await?;
    send_away(engine).await;
    Ok(())
}

/// Sends those away who came to the fenced side meanwhile; they find the target now.
pub async fn send_away(engine: &mut Engine) {
    if engine.options.routes.is_empty() {
        // Where they go is the operator's, and they would only come again.
        return;
    }
    // A server that has crashed meanwhile has ended its sessions itself.
    let Some(source) = engine.source.open_session() else { return };
    let sent = async { fence::send_away(&source, &engine.spared().await?).await };
    if let Err(error) = tokio::time::timeout(SEND_LIMIT, sent).await.unwrap_or_else(too_slow) {
        engine.story.warning(format!("sessions may be left on the fenced side: {error:#}"));
    }
}

fn too_slow<T>(_: tokio::time::error::Elapsed) -> Result<T> {
    bail!("no answer within {SEND_LIMIT:?}")
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
