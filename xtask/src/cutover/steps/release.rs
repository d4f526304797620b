//! `release`: a client can write on the target through the route: seen, not assumed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;
use crate::pg::endpoint::Endpoint;
use crate::pg::state;

/// How long to go on trying to get in as a client.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// Nothing holds clients back that this route could let go; what they find is for `look`.
///
/// # Errors
/// None.
pub async fn act(_engine: &mut Engine) -> Result<()> {
    Ok(())
}

/// Done when a client's session reaches the target and may write there.
///
/// # Errors
/// No client gets in within [`RELEASE_LIMIT`].
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let begun = Instant::now();
    loop {
        let client = match &engine.options.route {
            Some(route) => route.read()?,
            None => engine.target.endpoint.clone(),
        };
        match try_as_client(engine, &client).await {
            Ok(()) => return Ok(Seen::Done(evidence! { "as": client.user })),
            Err(error) if begun.elapsed() > RELEASE_LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn try_as_client(engine: &Engine, client: &Endpoint) -> Result<()> {
    let session = client.connect_as_client("xtask release").await.context("enter as a client")?;
    let read_only: String = session.query_one("SHOW transaction_read_only", &[]).await?.get(0);
    let found = state::identity(&session).await?;
    if found.system != engine.target.identity.system {
        bail!("the route leads to another server");
    }
    if read_only != "off" {
        bail!("a client may only read on the target");
    }
    Ok(())
}
