//! What a second person needs to know: who serves, whether the way back is open, what is changed.

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::cutover::decision::{self, Decision};
use crate::cutover::event::{Event, WayBack};
use crate::cutover::header::{Direction, Header};
use crate::cutover::lineage::{Lineage, Phase, Run};
use crate::cutover::verbs::Operation;
use crate::cutover::verify::Certificate;
use crate::cutover::{catch_up, ddl, fence, journal, plan, stopped, way_back};
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::replication;
use crate::pg::slots::{self, Slot};
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
    /// Whether ParadeDB follows and answers searches.
    pub searchable: Option<bool>,
    /// The way back.
    pub way_back: WayBack,
    /// Bytes of WAL between the serving side and the other.
    pub lag_bytes: Option<i64>,
    /// The last certificate in a sentence.
    pub certificate: Option<String>,
    /// When that certificate was complete.
    pub certified_at: Option<Timestamp>,
    /// Whether it passes.
    pub certificate_passes: Option<bool>,
    /// The database's part of the last pause, from `fence` to `release`, in milliseconds.
    pub last_pause_ms: Option<f64>,
    /// The slots of the run, on both servers.
    pub slots: Vec<SideSlot>,
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

/// A slot, and on which server it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideSlot {
    /// `source` or `target`, as the operator names them.
    pub side: &'static str,
    /// The slot.
    #[serde(flatten)]
    pub slot: Slot,
}

/// Looks at everything; changes nothing and takes no lock. On a machine without a journal it reads
/// the one that the servers keep.
///
/// # Errors
/// A journal is damaged. A server that does not answer is part of the answer.
pub async fn status(operation: &Operation) -> Result<Status> {
    let lineage = find_lineage(operation).await?;
    let (plain, paradedb) = tokio::join!(reach(&operation.source), reach(&operation.target));
    let fenced = (is_fenced(plain.as_ref()).await, is_fenced(paradedb.as_ref()).await);
    let Some(lineage) = lineage else { return Ok(without_run(fenced)) };
    let latest = lineage.latest();
    let is_forward = latest.header.direction == Direction::Forward;
    let (source, target) = if is_forward { (&plain, &paradedb) } else { (&paradedb, &plain) };
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
    let searchable = is_searchable(paradedb.as_ref()).await;
    let certificate = last_certificate(latest);
    let prefix = latest.header.prefix();
    let slots = [
        slots_of("source", plain.as_ref(), &prefix).await,
        slots_of("target", paradedb.as_ref(), &prefix).await,
    ];
    Ok(Status {
        run: Some(latest.header.run.clone()),
        phase,
        serves: serves.into(),
        disagreement: disagreement(latest, decided),
        source_fenced: fenced.0,
        target_fenced: fenced.1,
        searchable,
        way_back: observed.0,
        lag_bytes: observed.1,
        differences_digest: certificate
            .as_ref()
            .filter(|one| !one.passes())
            .map(Certificate::digest_of_differences),
        certified_at: certificate.as_ref().map(|one| one.finished),
        certificate_passes: certificate.as_ref().map(Certificate::passes),
        last_pause_ms: lineage.runs.iter().rev().find_map(Run::pause_ms),
        slots: slots.concat(),
        certificate: certificate.map(|one| sentence(&one)),
        changed: [changed(&lineage), still_stopped(&lineage).await].concat(),
        warnings: [
            half_changed(latest),
            warnings(phase, latest, source.as_ref(), target.as_ref()).await,
        ]
        .concat(),
        error: last_error(latest),
        next: match (operation.options.follows, searchable, serves) {
            (true, Some(true), "source") => "nothing: ParadeDB follows and answers searches".into(),
            _ => next_command(phase, serves),
        },
    })
}

/// The journals of this folder, or those that the servers keep where it has none of the run.
async fn find_lineage(operation: &Operation) -> Result<Option<Lineage>> {
    let (folder, wanted) = (&operation.options.folder, operation.run.as_deref());
    let names = journal::runs(folder)?;
    let is_here = match wanted {
        Some(wanted) => names.iter().any(|name| name == wanted),
        None => !names.is_empty(),
    };
    if !is_here {
        let (kept, _) = catch_up::read([&operation.source, &operation.target], None).await;
        if let Some(lineage) = Lineage::of_lines(&kept, wanted)? {
            return Ok(Some(lineage));
        }
    }
    Lineage::read(folder, wanted)
}

async fn slots_of(side: &'static str, session: Option<&Session>, prefix: &str) -> Vec<SideSlot> {
    let Some(session) = session else { return Vec::new() };
    let found = slots::beginning_with(session, prefix).await.unwrap_or_default();
    found.into_iter().map(|slot| SideSlot { side, slot }).collect()
}

fn without_run(fenced: (Option<bool>, Option<bool>)) -> Status {
    // Where neither server answers nobody knows whether there is a run.
    let serves = if fenced == (None, None) { "unknown" } else { "source" };
    Status {
        run: None,
        phase: Phase::Absent,
        serves: serves.into(),
        disagreement: None,
        source_fenced: fenced.0,
        target_fenced: fenced.1,
        searchable: None,
        way_back: WayBack::NotNeeded,
        lag_bytes: None,
        certificate: None,
        certified_at: None,
        certificate_passes: None,
        last_pause_ms: None,
        slots: Vec::new(),
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

async fn is_searchable(session: Option<&Session>) -> Option<bool> {
    let session = session?;
    state::is_installed(session).await.ok()?.then_some(())?;
    fence::is_searchable(session).await.ok()
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
    let decided = lineage.decided();
    if decided.is_some_and(|run| run.plan().is_ok_and(|plan| plan.without_way_back)) {
        return (WayBack::Lost(way_back::WITHOUT.into()), None);
    }
    let (Some(plain), Some(paradedb)) = (plain, paradedb) else {
        return (WayBack::AtRisk("a server does not answer".into()), None);
    };
    let sides = |header: &Header| match header.direction {
        Direction::Forward => (plain, paradedb),
        Direction::Backward => (paradedb, plain),
    };
    if phase == Phase::Finished {
        return (WayBack::Closed, None);
    }
    // An attempt at the next turn changes nothing about the way back until it is decided.
    let Some(decided) = decided else {
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

/// A change of schema that was not brought to its end.
fn half_changed(latest: &Run) -> Vec<String> {
    let tell = |file| {
        format!(
            "the change of schema {file} is not complete on both sides: no switch before \
             `cargo xtask cutover ddl {file}` was run again"
        )
    };
    ddl::open_change(latest).map(tell).into_iter().collect()
}

/// What would stop a switch, or end the following, if nobody acts.
async fn warnings(
    phase: Phase,
    latest: &Run,
    source: Option<&Session>,
    target: Option<&Session>,
) -> Vec<String> {
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
    let back = latest.header.object(latest.header.direction.opposite(), 1);
    let wants_way_back = latest.plan().is_ok_and(|plan| !plan.without_way_back);
    let followings = [
        (Some(source), slot, "the target follows no more"),
        (target.filter(|_| wants_way_back), back, "there would be no way back"),
    ];
    for (session, slot, what) in followings.into_iter().filter(|_| phase == Phase::Following) {
        let Some(session) = session else { continue };
        if replication::slot_is_usable(session, &slot).await.is_ok_and(|usable| !usable) {
            all.push(format!(
                "slot {slot} is gone or invalid: {what}. Remove the run and begin anew: cargo \
                 xtask rollback --yes"
            ));
        }
    }
    for name in replication::foreign(source).await.unwrap_or_default() {
        all.push(format!(
            "subscription {name} of somebody else brings rows into the source, which are not \
             passed on: switch will refuse"
        ));
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

/// Workloads of the cluster that were stopped and have not what they had. The journal does not know
/// what the guardian of a dead command has given back, so the cluster is asked.
async fn still_stopped(lineage: &Lineage) -> Vec<String> {
    let records = lineage.runs.iter().flat_map(|run| &run.records);
    let Some(open) = stopped::open(records) else { return Vec::new() };
    let context = open.cluster.context();
    let mut all = Vec::new();
    for one in &open.former {
        let (title, former) = (one.workload.title(), &one.former);
        match one.is_still_stopped(&open.cluster).await {
            Ok(false) => {}
            Ok(true) => {
                all.push(format!("{title} of context {context} is stopped; it had {former}"));
            }
            Err(_) => all.push(format!(
                "{title} of context {context} was stopped, and the cluster does not say whether \
                 it runs again; it had {former}"
            )),
        }
    }
    all
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
