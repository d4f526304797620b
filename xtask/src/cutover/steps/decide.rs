//! `decide`: the point of no return, one compare-and-set on the source.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cutover::decision::{self, Decision};
use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;

/// How long to go on asking what was decided, before a human must.
const ASK_LIMIT: Duration = Duration::from_secs(15);
/// How long to wait between two questions.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Decides to switch.
///
/// # Errors
/// There are no proofs in this process, or something else was decided first.
pub async fn act(engine: &mut Engine) -> Result<()> {
    let source = engine.source.session().await?;
    let (Some(fence), Some(drained)) = (&engine.attempt.fence, &engine.attempt.drained) else {
        bail!("an earlier attempt ended before it was decided; it is cleared away");
    };
    decision::switch(&source, &engine.header.run, engine.epoch, fence, drained).await
}

/// Reads what was decided, as long as it takes.
///
/// # Errors
/// The source does not answer: who serves is unknown.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let begun = Instant::now();
    loop {
        let error = match read(engine).await {
            Ok(Decision::Switch) => return Ok(Seen::Done(evidence! {})),
            Ok(Decision::Open | Decision::Unwind) => return Ok(Seen::NotDone),
            Err(error) => error,
        };
        if begun.elapsed() > ASK_LIMIT || crate::failure::find(&error).is_some() {
            return Err(error.context("ask the source who serves"));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn read(engine: &mut Engine) -> Result<Decision> {
    let source = engine.source.session().await?;
    decision::read(&source, &engine.header.run).await
}

/// Nothing to do: the row is turned to `unwind` where the fence is undone, in the same breath.
///
/// # Errors
/// The target serves by decision.
pub async fn undo(engine: &mut Engine) -> Result<()> {
    if read(engine).await? == Decision::Switch {
        bail!("the target serves by decision");
    }
    Ok(())
}
