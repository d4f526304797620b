//! `release`: held clients go on, and a client can write on the target through the route: seen,
//! not assumed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;
use crate::pg::endpoint::Endpoint;

/// How long to go on trying to get in as a client.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// Lets the clients go on that a pooler holds back. Whether they get in is for `look`.
///
/// # Errors
/// A process still holds its clients.
pub async fn act(engine: &mut Engine) -> Result<()> {
    let Some(route) = engine.options.route.clone() else { return Ok(()) };
    route.release().await?;
    // It looks for itself that nobody is held any more; nobody waits for that.
    drop(engine.attempt.guardian.take());
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
            Some(route) => route.client()?,
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
    // Without a named statement: a pooler may put another server behind the connection.
    let sql = "SELECT current_setting('transaction_read_only'),
                      (SELECT system_identifier::text FROM pg_catalog.pg_control_system())";
    let rows = session.query_typed(sql, &[]).await.context("ask as a client")?;
    let row = rows.first().context("a client gets no answer")?;
    let (read_only, system): (String, String) = (row.get(0), row.get(1));
    if system != engine.target.identity.system {
        bail!("the route leads to another server");
    }
    if read_only != "off" {
        bail!("a client may only read on the target");
    }
    Ok(())
}
