//! What a second person needs to know: who serves, whether the way back is open, what is changed.

use anyhow::Result;
use serde::Serialize;

use crate::cutover::decision::{self, Decision};
use crate::cutover::event::{Event, WayBack};
use crate::cutover::header::{Direction, Header};
use crate::cutover::lineage::{Lineage, Phase, Run};
use crate::cutover::verbs::Operation;
use crate::cutover::verify::Certificate;
use crate::cutover::{fence, plan, way_back};
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::replication;
use crate::pg::state;

/// The state of a run, as its journal and both servers tell it.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The run; none where there is none.
    pub run: Option<String>,
    /// Where it stands.
    pub phase: Phase,
    /// `source` or `target`, as the operator names them; `unknown` where the row cannot be read.
    pub serves: String,
    /// Where file and servers disagree; the servers win.
    pub disagreement: Option<String>,
    /// Whether the plain server is fenced; none where it does not answer.
    pub source_fenced: Option<bool>,
    /// Whether the ParadeDB server is fenced.
    pub target_fenced: Option<bool>,
    /// The way back.
    pub way_back: WayBack,
    /// Bytes of WAL between the serving side and the other.
    pub lag_bytes: Option<i64>,
    /// The last certificate in a sentence.
    pub certificate: Option<String>,
    /// What accepts its differences, where it has some.
    pub differences_digest: Option<String>,
    /// Settings that the run has changed and not restored.
    pub changed: Vec<String>,
    /// What a person should act on.
    pub warnings: Vec<String>,
    /// The last error.
    pub error: Option<String>,
    /// What to do next.
    pub next: String,
}

/// Looks at everything; changes nothing and takes no lock.
///
/// # Errors
/// A journal is damaged. A server that does not answer is part of the answer.
pub async fn status(operation: &Operation) -> Result<Status> {
    let lineage = Lineage::read(&operation.options.folder, operation.run.as_deref())?;
    let (plain, paradedb) = tokio::join!(reach(&operation.source), reach(&operation.target));
    let fenced = (is_fenced(plain.as_ref()).await, is_fenced(paradedb.as_ref()).await);
    let Some(lineage) = lineage else { return Ok(without_run(fenced)) };
    let latest = lineage.latest();
    let is_forward = latest.header.direction == Direction::Forward;
    let source = if is_forward { &plain } else { &paradedb };
    let phase = lineage.phase();
    let decided = ask_decision(source.as_ref(), &latest.header).await;
    let serving_target = match decided {
        Some(Decision::Switch) => Some(true),
        Some(_) => Some(false),
        None if phase == Phase::Finished || latest.is_decided() => Some(true),
        None => None,
    };
    let serves = match (phase, serving_target, is_forward) {
        (Phase::Absent, _, _) => "source",
        (_, Some(true), true) | (_, Some(false), false) => "target",
        (_, Some(true), false) | (_, Some(false), true) => "source",
        (_, None, _) => "unknown",
    };
    let observed = observe(phase, &lineage, plain.as_ref(), paradedb.as_ref()).await;
    let certificate = last_certificate(latest);
    Ok(Status {
        run: Some(latest.header.run.clone()),
        phase,
        serves: serves.into(),
        disagreement: disagreement(latest, decided),
        source_fenced: fenced.0,
        target_fenced: fenced.1,
        way_back: observed.0,
        lag_bytes: observed.1,
        differences_digest: certificate
            .as_ref()
            .filter(|one| !one.passes())
            .map(Certificate::digest_of_differences),
        certificate: certificate.map(|one| sentence(&one)),
        changed: changed(&lineage),
        warnings: warnings(phase, latest, source.as_ref()).await,
        error: last_error(latest),
        next: next_command(phase, serves),
    })
}

fn without_run(fenced: (Option<bool>, Option<bool>)) -> Status {
    Status {
        run: None,
        phase: Phase::Absent,
        serves: "source".into(),
        disagreement: None,
        source_fenced: fenced.0,
        target_fenced: fenced.1,
        way_back: WayBack::NotNeeded,
        lag_bytes: None,
        certificate: None,
        differences_digest: None,
        changed: Vec::new(),
        warnings: Vec::new(),
        error: None,
        next: next_command(Phase::Absent, "source"),
    }
}

async fn reach(endpoint: &Endpoint) -> Option<Session> {
    endpoint.connect("status").await.ok()
}

async fn is_fenced(session: Option<&Session>) -> Option<bool> {
    let session = session?;
    if !state::is_installed(session).await.ok()? {
        return Some(false);
    }
    fence::is_closed(session).await.ok()
}

async fn ask_decision(source: Option<&Session>, header: &Header) -> Option<Decision> {
    decision::read(source?, &header.run).await.ok()
}

/// The way back of the run that brought the service where it is, and how far its follower is
/// behind.
async fn observe(
    phase: Phase,
    lineage: &Lineage,
    plain: Option<&Session>,
    paradedb: Option<&Session>,
) -> (WayBack, Option<i64>) {
    let (Some(plain), Some(paradedb)) = (plain, paradedb) else {
        return (WayBack::AtRisk("a server does not answer".into()), None);
    };
    let sides = |header: &Header| match header.direction {
        Direction::Forward => (plain, paradedb),
        Direction::Backward => (paradedb, plain),
    };
    if phase == Phase::Finished {
        return (WayBack::Lost("the run is finished".into()), None);
    }
    // An attempt at the next turn changes nothing about the way back until it is decided.
    let Some(decided) = lineage.decided() else {
        let header = &lineage.latest().header;
        let slot = header.object(header.direction, 1);
        return (WayBack::NotNeeded, replication::lag(sides(header).0, &slot).await.ok());
    };
    let (source, target) = sides(&decided.header);
    match way_back::observe(&decided.header, source, target).await {
        Ok(observed) => (observed.state, observed.lag),
        Err(error) => (WayBack::AtRisk(format!("{error:#}")), None),
    }
}

/// What would stop a switch, or end the following, if nobody acts.
async fn warnings(phase: Phase, latest: &Run, source: Option<&Session>) -> Vec<String> {
    let (Some(source), Phase::Copying | Phase::Following) = (source, phase) else {
        return Vec::new();
    };
    if latest.header.parent.is_some() {
        return Vec::new();
    }
    let mut all = Vec::new();
    let slot = latest.header.object(latest.header.direction, 1);
    if let Ok(Some(danger)) = replication::slot_danger(source, &slot).await {
        all.push(danger);
    }
    let planned = latest.plan().map(|plan| plan.fingerprint);
    if let (Ok(planned), Ok(now)) = (planned, plan::fingerprint(source).await)
        && planned != now
    {
        all.push("the schema of the source has changed since the plan: switch will refuse".into());
    }
    all
}

fn disagreement(latest: &Run, decided: Option<Decision>) -> Option<String> {
    let (file, server) = match (latest.is_decided(), decided?) {
        (false, Decision::Switch) => ("undecided", "decided to switch"),
        (true, Decision::Open | Decision::Unwind) => ("decided to switch", "not decided"),
        _ => return None,
    };
    Some(format!("the journal file says {file}; the server says {server}, and the server is right"))
}

fn last_certificate(run: &Run) -> Option<Certificate> {
    run.records.iter().rev().find_map(|record| match &record.event {
        Event::Certified { certificate } => serde_json::from_value(certificate.clone()).ok(),
        _ => None,
    })
}

fn sentence(certificate: &Certificate) -> String {
    let verdict = match certificate.difference_count() {
        0 => "equal".to_string(),
        count => format!("{count} differences"),
    };
    let (tables, rows) = (certificate.tables.len(), certificate.rows);
    format!("{verdict}: {rows} rows in {tables} tables, {}", certificate.mode)
}

/// What was changed on a server and not restored, over the whole lineage.
fn changed(lineage: &Lineage) -> Vec<String> {
    let mut open: Vec<(String, String)> = Vec::new();
    for run in &lineage.runs {
        for record in &run.records {
            let name = |side: &crate::cutover::event::Side| {
                let header = &run.header;
                let is_source = *side == crate::cutover::event::Side::Source;
                if is_source {
                    header.source_endpoint.clone()
                } else {
                    header.target_endpoint.clone()
                }
            };
            match &record.event {
                Event::Changed { side, what, .. } => open.push((name(side), what.clone())),
                Event::Restored { side, what } => {
                    open.retain(|one| *one != (name(side), what.clone()));
                }
                Event::UndoDone { step: crate::cutover::step::Step::Schema, .. } => open.clear(),
                _ => {}
            }
        }
    }
    open.dedup();
    open.into_iter().map(|(server, what)| format!("{what} on {server}")).collect()
}

fn last_error(run: &Run) -> Option<String> {
    let last =
        run.records.iter().rev().take_while(|record| !matches!(record.event, Event::Verb { .. }));
    last.into_iter().find_map(|record| match &record.event {
        Event::StepFailed { step, error }
        | Event::StepUnknown { step, error }
        | Event::UndoFailed { step, error } => Some(format!("{step}: {error}")),
        _ => None,
    })
}

fn next_command(phase: Phase, serves: &str) -> String {
    let command = match (phase, serves) {
        (Phase::Finished, _) => return "nothing: the run is closed".into(),
        (Phase::Absent, _) => "cutover plan",
        (Phase::Copying, _) => "cutover start (goes on), or rollback (removes the copy)",
        (Phase::Following, "target") => "rollback, or cutover finish",
        (Phase::Following, _) => "cutover switch, or rollback (removes the copy)",
        (Phase::Switching | Phase::Releasing, _) => "the same verb again; it goes on by itself",
        (Phase::Switched, "source") => "cutover switch, or cutover finish",
        (Phase::Switched, _) => "cutover finish, or rollback",
    };
    format!("cargo xtask {command}")
}
