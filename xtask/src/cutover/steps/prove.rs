//! `prove`: every row compared while clients write, before anybody thinks of switching.

use anyhow::Result;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::Side;
use crate::cutover::steps::{certify, evidence};
use crate::cutover::verify::{self, Mode, Request};
use crate::failure::Failure;
use crate::pg::sequences::SequenceRule;

/// Compares live.
///
/// # Errors
/// Differences are found, each told; or we could not look.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let barrier = certify::barrier(engine, log, Side::Source);
    let request = Request {
        source: engine.source.endpoint.clone(),
        target: engine.target.endpoint.clone(),
        serving: Side::Source,
        mode: Mode::Live { barrier: Some(barrier) },
        jobs: engine.options.jobs,
        only: Vec::new(),
        outside: Vec::new(),
        search: engine.plan.moves_search(),
        schema: true,
        sequences: SequenceRule::Outside,
    };
    let certificate = verify::verify(request, &engine.story).await?;
    certify::tell_differences(&certificate, log)?;
    log.append(certify::certified(&certificate)?)?;
    if certificate.passes() {
        return Ok(());
    }
    let message =
        format!("{} differences between source and target", certificate.difference_count());
    Err(Failure::refused(message)
        .hint("look at them with `cutover status`; `rollback --yes` removes the copy")
        .into())
}

/// Done when the last live certificate passes.
///
/// # Errors
/// None; it reads the journal.
pub fn look(log: &dyn Log) -> Result<Seen> {
    let last = certify::last_certificate(log);
    Ok(match last {
        Some(certificate) if certificate.passes() => Seen::Done(evidence! {
            "tables": certificate.tables.len(),
            "rows": certificate.rows,
            "unsettled": certificate.unsettled(),
        }),
        _ => Seen::NotDone,
    })
}
