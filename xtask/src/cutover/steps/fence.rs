//! `fence`: nobody can write on the source. The pause begins.

use std::time::Duration;

use anyhow::Result;

use crate::config;
use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Side};
use crate::cutover::steps::evidence;
use crate::cutover::{decision, fence};

/// How often un-fencing is tried when the source does not answer; its dead-man tries as well.
const OPEN_ATTEMPTS: u32 = 10;
/// How long to wait between two tries.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// What the fence changes, as journals name it.
const WHAT: &str = "default_transaction_read_only and CONNECTION LIMIT of the database";

/// Closes the fence and ends the clients' sessions.
///
/// # Errors
/// The attempt was unwound meanwhile, or a session does not end.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let source = engine.source.session().await?;
    let spared = engine.spared().await?;
    log.append(Event::Changed {
        side: Side::Source,
        what: WHAT.into(),
        former: None,
        now: Some("on, 0".into()),
    })?;
    fence::close_for(&source, &engine.header.run, engine.epoch, &spared).await
}

/// Done when a look at all sessions, the starting ones first, has seen that nobody can write; only
/// this gives the proof that later steps ask for.
///
/// # Errors
/// There is a gap, or the source cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let source = engine.source.session().await?;
    let spared = engine.spared().await?;
    let proof = fence::observe(&source, &spared).await?;
    engine.attempt.fence = Some(proof);
    Ok(Seen::Done(evidence! {}))
}

/// Decides that the source goes on serving, and opens it.
///
/// # Errors
/// The target serves by decision, or the source does not answer; then its dead-man opens it.
pub async fn undo(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    engine.attempt.fence = None;
    let mut attempts = 0;
    loop {
        let error = match open(engine).await {
            Ok(()) => break,
            Err(error) => error,
        };
        attempts += 1;
        if attempts == OPEN_ATTEMPTS || crate::failure::find(&error).is_some() {
            return Err(error);
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
    let restored = log.append(Event::Restored { side: Side::Source, what: WHAT.into() });
    crate::failure::tolerate(restored, "the source is open; the record of it is not worth a halt");
    Ok(())
}

async fn open(engine: &mut Engine) -> Result<()> {
    let source = engine.source.session().await?;
    decision::unwind(&source, &engine.header.run, &config::operator()).await?;
    fence::open(&engine.source.endpoint).await
}
