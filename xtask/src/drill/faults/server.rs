//! `crash`: servers.

use anyhow::Result;
use futures_util::future::try_join_all;

use super::{Scene, Server, Wound};

/// Stops a server, or both, as a crash would.
pub(super) async fn crash(scene: &Scene<'_>) -> Result<Wound> {
    let first = scene.draw.server;
    let servers = if scene.draw.strikes_both { vec![first, first.other()] } else { vec![first] };
    let stops = servers.iter().map(|server| scene.stage.cluster(*server).stop_immediate());
    try_join_all(stops).await?;
    Ok(Wound::Down(servers))
}

/// Starts them again, and waits until they have recovered.
pub(super) async fn start(servers: &[Server], scene: &Scene<'_>) -> Result<()> {
    let starts = servers.iter().map(|server| scene.stage.cluster(*server).start());
    try_join_all(starts).await?;
    Ok(())
}
