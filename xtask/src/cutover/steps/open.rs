//! `open`: the target accepts writes. It can only follow the decision.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Side};
use crate::cutover::fence;
use crate::cutover::steps::evidence;
use crate::failure::tolerate;

/// How long to go on trying: clients wait, and nobody else may let them in.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// Gives the target's database its former settings, trying until it answers.
///
/// # Errors
/// The target stays away for [`OPEN_LIMIT`].
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let begun = Instant::now();
    loop {
        let error = match open(engine).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if begun.elapsed() > OPEN_LIMIT {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let what = "default_transaction_read_only and CONNECTION LIMIT of the database".to_string();
    let noted = log.append(Event::Restored { side: Side::Target, what });
    tolerate(noted, "clients wait; the record of it is not worth their time");
    // Decided: there is nothing left for the dead-man to do.
    engine.attempt.guard = None;
    Ok(())
}

async fn open(engine: &mut Engine) -> Result<()> {
    let target = engine.target.session().await?;
    fence::open_for(&target, &engine.header.run).await
}

/// Done when the target's fence is open.
///
/// # Errors
/// The target cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let target = engine.target.session().await?;
    let is_closed = fence::is_closed(&target).await?;
    Ok(if is_closed { Seen::NotDone } else { Seen::Done(evidence! {}) })
}
