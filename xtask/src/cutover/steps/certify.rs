//! `certify`: every row compared on the pins, after the clients were let go. It adds nothing to
//! the pause.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Side};
use crate::cutover::header::Direction;
use crate::cutover::holder;
use crate::cutover::step::Step;
use crate::cutover::steps::{evidence, gate};
use crate::cutover::verify::{self, Barrier, Certificate, Mode, Pin, Request};
use crate::pg::endpoint::Endpoint;
use crate::pg::replication;
use crate::pg::sequences::SequenceRule;

/// How long a barrier may take while rows that differ are read again.
const BARRIER_LIMIT: Duration = Duration::from_secs(120);

/// Compares on the pins; live behind barriers where they were lost.
///
/// # Errors
/// We could not look. Differences are no error: they stand in the certificate.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let sequences = sequence_rule(engine).await?;
    // Since the way back was armed the serving side may have crashed, and with that disabled it.
    let follower = engine.source.session().await?;
    gate::try_again(&follower, &[engine.back()], &engine.story).await?;
    let request = request(engine, log, sequences);
    let certificate = verify::verify(request, &engine.story).await?;
    tell_differences(&certificate, log)?;
    log.append(certified(&certificate)?)?;
    let (source, target) = engine.sessions().await?;
    engine.attempt.holder = None;
    holder::end(&source, &engine.header.run).await?;
    holder::end(&target, &engine.header.run).await
}

/// The plain server is always held against ParadeDB, whichever way the run went: what only ParadeDB
/// has is outside, what it lacks is a difference.
fn request(engine: &Engine, log: &dyn Log, sequences: SequenceRule) -> Request {
    // Nothing would bring a barrier back. What differs then stands in the certificate.
    let has_way_back = !engine.plan.without_way_back;
    let barrier = has_way_back.then(|| barrier(engine, log, Side::Target));
    let (ours, theirs) = (engine.source.endpoint.clone(), engine.target.endpoint.clone());
    let is_forward = engine.header.direction == Direction::Forward;
    let mode = match (pins(log), is_forward) {
        (Some((source, target)), true) => Mode::Pinned { source, target, barrier },
        (Some((source, target)), false) => Mode::Pinned { source: target, target: source, barrier },
        (None, _) => Mode::Live { barrier },
    };
    let (source, target) = if is_forward { (ours, theirs) } else { (theirs, ours) };
    Request {
        source,
        target,
        serving: if is_forward { Side::Target } else { Side::Source },
        mode,
        jobs: engine.options.jobs,
        only: Vec::new(),
        outside: Vec::new(),
        search: engine.plan.moves_search(),
        schema: true,
        sequences,
    }
}

/// The step `sequences` has proved them equal; on the way here they only move on since. Unless the
/// old side has crashed: recovery moves its sequences up to 32 values ahead of what they gave out,
/// and says nothing about the new side's.
async fn sequence_rule(engine: &mut Engine) -> Result<SequenceRule> {
    if engine.header.direction == Direction::Backward {
        return Ok(SequenceRule::Outside);
    }
    let source = engine.source.session().await?;
    let row = source
        .query_opt(
            "SELECT pg_postmaster_start_time() > decided_at FROM xtask_cutover.run WHERE id = $1",
            &[&engine.header.run],
        )
        .await
        .context("ask whether the old side was restarted")?;
    let was_restarted = row.and_then(|row| row.get(0)).unwrap_or(true);
    Ok(if was_restarted { SequenceRule::Outside } else { SequenceRule::NotBehind })
}

/// The pins of the last attempt.
fn pins(log: &dyn Log) -> Option<(Pin, Pin)> {
    log.records().iter().rev().find_map(|record| match &record.event {
        Event::Pinned { source, target, source_files, target_files } => Some((
            Pin { snapshot: source.clone(), files: source_files.clone() },
            Pin { snapshot: target.clone(), files: target_files.clone() },
        )),
        _ => None,
    })
}

/// A barrier from the serving side to the other.
pub fn barrier(engine: &Engine, log: &dyn Log, serving: Side) -> Barrier {
    let (from, to, markers, names) = match serving {
        Side::Source => {
            let names = engine.subscriptions(log);
            (&engine.source.endpoint, &engine.target.endpoint, engine.markers(log), names)
        }
        Side::Target => {
            let names = vec![engine.back()];
            (&engine.target.endpoint, &engine.source.endpoint, vec!["marker_1".into()], names)
        }
    };
    let (from, to) = (from.clone(), to.clone());
    Barrier::new(move || pass(from.clone(), to.clone(), markers.clone(), names.clone()))
}

async fn pass(
    from: Endpoint,
    to: Endpoint,
    markers: Vec<String>,
    names: Vec<String>,
) -> Result<()> {
    let from = from.connect("barrier").await?;
    let to = to.connect("barrier").await?;
    let id = replication::mark(&from, &markers, "verify").await?;
    replication::await_mark(&to, &markers, &names, id, BARRIER_LIMIT).await?;
    Ok(())
}

/// The event that keeps a certificate.
///
/// # Errors
/// The certificate cannot be written as JSON.
pub fn certified(certificate: &Certificate) -> Result<Event> {
    Ok(Event::Certified { certificate: serde_json::to_value(certificate)? })
}

/// Tells every difference, one by one.
///
/// # Errors
/// The journal cannot be written.
pub fn tell_differences(certificate: &Certificate, log: &mut dyn Log) -> Result<()> {
    for difference in &certificate.schema {
        let object = format!("{} {}", difference.kind, difference.object);
        let show = |side: &Option<String>| side.clone().unwrap_or_else(|| "missing".into());
        let detail =
            format!("source {}, target {}", show(&difference.source), show(&difference.target));
        log.append(Event::Difference { object, detail })?;
    }
    for difference in &certificate.sequences {
        let show = |side: &Option<String>| side.clone().unwrap_or_else(|| "missing".into());
        let detail =
            format!("source {}, target {}", show(&difference.source), show(&difference.target));
        log.append(Event::Difference {
            object: format!("sequence {}", difference.sequence),
            detail,
        })?;
    }
    for table in &certificate.tables {
        for row in &table.differences {
            let show = |side: &Option<String>| side.clone().unwrap_or_else(|| "missing".into());
            let column = row.column.as_deref().unwrap_or("row");
            let detail = format!(
                "key {}, {column}: source {}, target {}",
                row.key,
                show(&row.source),
                show(&row.target)
            );
            log.append(Event::Difference { object: format!("table {}", table.title()), detail })?;
        }
    }
    Ok(())
}

/// The last certificate of a run.
pub fn last_certificate(log: &dyn Log) -> Option<Certificate> {
    log.records().iter().rev().find_map(|record| match &record.event {
        Event::Certified { certificate } => serde_json::from_value(certificate.clone()).ok(),
        _ => None,
    })
}

/// Done when there is a certificate from after the decision.
///
/// # Errors
/// None; it reads the journal.
pub fn look(log: &dyn Log) -> Result<Seen> {
    let after =
        log.records().iter().rev().take_while(|record| {
            !matches!(record.event, Event::StepDone { step: Step::Decide, .. })
        });
    let is_certified =
        after.into_iter().any(|record| matches!(record.event, Event::Certified { .. }));
    let Some(certificate) = last_certificate(log).filter(|_| is_certified) else {
        return Ok(Seen::NotDone);
    };
    let verdict = if certificate.passes() { "equal" } else { "differs" };
    Ok(Seen::Done(evidence! {
        "verdict": verdict,
        "rows": certificate.rows,
        "tables": certificate.tables.len(),
        "mode": certificate.mode.split(" at ").next(),
        "differences": certificate.difference_count(),
    }))
}
