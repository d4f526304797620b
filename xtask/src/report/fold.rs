//! From the records of a lineage to the report.

use jiff::Timestamp;
use serde_json::Value;

use super::facts::{
    Act, Arrival, Change, FORMAT, Moved, Pause, Point, Remark, Report, Server, StepSeen, StepState,
};
use super::{verdict, wording};
use crate::cutover::event::{Event, Evidence, Record, Side, WayBack};
use crate::cutover::header::{Direction, Header};
use crate::cutover::lineage::{Lineage, Run};
use crate::cutover::samples::LAG;
use crate::cutover::step::Step;
use crate::cutover::verify::Certificate;
use crate::ledger;
use crate::rag::asked::Searches;

/// No chart shows more points than this.
const MOST_POINTS: usize = 600;

/// Puts together what the journals say, and what was watched: the lag by moment and bytes.
pub fn fold(lineage: &Lineage, watched: Vec<(i64, u64)>) -> Report {
    let (root, latest) = (&lineage.runs[0], lineage.latest());
    let all = || lineage.runs.iter().flat_map(|run| &run.records);
    let began = all().map(|record| record.at).min().unwrap_or(Timestamp::UNIX_EPOCH);
    let last_value = |pick: &dyn Fn(&Event) -> Option<Value>| {
        all().filter_map(|record| pick(&record.event)).last()
    };
    let certificate: Option<Certificate> = last_value(&|event| match event {
        Event::Certified { certificate } => Some(certificate.clone()),
        _ => None,
    })
    .and_then(|value| serde_json::from_value(value).ok());
    let oracle: Option<ledger::Verdict> = last_value(&|event| match event {
        Event::Oracle { verdict } => Some(verdict.clone()),
        _ => None,
    })
    .and_then(|value| serde_json::from_value(value).ok());
    let searches: Option<Searches> = last_value(&|event| match event {
        Event::Searches { searches } => Some(searches.clone()),
        _ => None,
    })
    .and_then(|value| serde_json::from_value(value).ok());
    let acts: Vec<Act> = lineage.runs.iter().flat_map(acts).collect();
    let mut report = Report {
        format: FORMAT,
        run: latest.header.run.clone(),
        root: latest.header.root.clone(),
        began,
        as_of: all().map(|record| record.at).max().unwrap_or(began),
        verdict: verdict::none(),
        phase: lineage.phase(),
        serves: verdict::serves(lineage),
        way_back: way_back(lineage),
        servers: servers(root),
        moved: moved(root),
        acts,
        lag: points(lineage, LAG, watched),
        copied: points(lineage, Step::Copy.name(), Vec::new()),
        certificate_passes: certificate.as_ref().map(Certificate::passes),
        certificate,
        changes: changes(lineage),
        clients: lineage.runs.iter().flat_map(windows).find(|one| one.switch.is_none()),
        searches,
        oracle,
        remarks: all().filter_map(remark).collect(),
        records: all().count(),
    };
    report.verdict = verdict::verdict(lineage, &report);
    report
}

/// The last word of the journals about the way back.
fn way_back(lineage: &Lineage) -> Option<WayBack> {
    let mut records = lineage.runs.iter().rev().flat_map(|run| run.records.iter().rev());
    records.find_map(|record| match &record.event {
        Event::WayBack { way_back } => Some(way_back.clone()),
        _ => None,
    })
}

/// The plain server, then ParadeDB's; the root run goes from the one to the other.
fn servers(root: &Run) -> Vec<Server> {
    let header = &root.header;
    let versions = root.plan().map(|plan| [plan.source_version, plan.target_version]);
    let versions = versions.map_or([String::new(), String::new()], |all| all.map(wording::version));
    let [plain, paradedb] = versions;
    let server = |name: &str, endpoint: &str, identity, version| Server {
        name: name.into(),
        endpoint: endpoint.into(),
        identity,
        version,
    };
    vec![
        server("plain PostgreSQL", &header.source_endpoint, header.source.clone(), plain),
        server("ParadeDB", &header.target_endpoint, header.target.clone(), paradedb),
    ]
}

fn moved(root: &Run) -> Option<Moved> {
    let (facts, copy_ms) = done(&root.records, Step::Copy)?;
    let number = |name: &str| facts.get(name).and_then(Value::as_u64).unwrap_or(0);
    Some(Moved {
        tables: root.plan().map_or(0, |plan| plan.tables.len()),
        rows: number("rows"),
        bytes: number("bytes"),
        batches: number("batches"),
        copy_ms,
        index_ms: done(&root.records, Step::Index).map_or(0.0, |(_, milliseconds)| milliseconds),
    })
}

fn done(records: &[Record], wanted: Step) -> Option<(&Evidence, f64)> {
    records.iter().rev().find_map(|record| match &record.event {
        Event::StepDone { step, evidence, milliseconds } if *step == wanted => {
            Some((evidence, *milliseconds))
        }
        _ => None,
    })
}

/// The commands of one run: each begins with the record that it took the run over.
fn acts(run: &Run) -> Vec<Act> {
    let mut all: Vec<Act> = Vec::new();
    for record in &run.records {
        if let Event::Verb { verb, argv, operator, .. } = &record.event {
            let (verb, title) = title(verb, &run.header);
            all.push(Act {
                run: run.header.run.clone(),
                verb,
                title,
                direction: run.header.direction,
                operator: operator.clone(),
                argv: argv.clone(),
                began: record.at,
                ended: record.at,
                outcome: None,
                steps: Vec::new(),
                pause: None,
                arrival: None,
            });
        } else if let Some(act) = all.last_mut() {
            add(act, record);
        }
    }
    let mut windows = windows(run).into_iter().filter(|window| window.switch.is_some());
    for act in &mut all {
        act.pause = pause(&act.steps);
    }
    // Only the last attempt of a run can have been decided, and only that one has clients to show.
    if let Some(pause) = all.iter_mut().rev().find_map(|act| act.pause.as_mut()) {
        pause.clients = windows.next();
    }
    all
}

/// A command by the name that people type, and what it is about.
fn title(verb: &str, header: &Header) -> (String, String) {
    let forward = header.direction == Direction::Forward;
    let (verb, title) = match (verb, forward) {
        ("switch", true) => ("switch", "plain PostgreSQL → ParadeDB"),
        ("switch", false) => ("rollback", "ParadeDB → plain PostgreSQL, with every write since"),
        ("start", _) => ("start", "everything is copied while clients write"),
        ("rollback", _) => ("rollback", "what the run made is removed"),
        ("finish", _) => ("finish", "the way back is given up"),
        (other, _) => (other, ""),
    };
    (verb.into(), title.into())
}

fn add(act: &mut Act, record: &Record) {
    let at = record.at;
    let undoing = |act: &mut Act, step: Step, state: StepState, error: Option<String>| {
        if let Some(seen) = open(act, step) {
            seen.state = state;
            seen.ended = Some(at);
            seen.error = error.or(seen.error.take());
        }
    };
    match &record.event {
        Event::StepStarted { step } => {
            act.steps.push(StepSeen {
                name: step.name().into(),
                began: at,
                ended: None,
                milliseconds: 0.0,
                state: StepState::Begun,
                evidence: Evidence::new(),
                error: None,
                in_pause: (Step::Hold..=Step::Release).contains(step),
            });
        }
        Event::StepDone { step, evidence, milliseconds } => {
            if let Some(seen) = open(act, *step) {
                seen.state = StepState::Done;
                seen.ended = Some(at);
                seen.milliseconds = *milliseconds;
                seen.evidence = evidence.clone();
            }
        }
        Event::StepFailed { step, error } => end(act, *step, at, StepState::Failed, error),
        Event::StepUnknown { step, error } => end(act, *step, at, StepState::Unknown, error),
        Event::UndoDone { step, .. } => undoing(act, *step, StepState::Undone, None),
        Event::UndoFailed { step, error } => {
            undoing(act, *step, StepState::StillThere, Some(error.clone()));
        }
        Event::Arrived { route, milliseconds, sessions } => {
            let (route, milliseconds, sessions) = (route.clone(), *milliseconds, *sessions);
            act.arrival = Some(Arrival { route, milliseconds, sessions });
        }
        Event::Ended { outcome } => act.outcome = Some(*outcome),
        // What a rehearsal adds afterwards is not part of any command.
        Event::Clients { .. } | Event::Searches { .. } | Event::Oracle { .. } => return,
        _ => {}
    }
    act.ended = at;
}

fn end(act: &mut Act, step: Step, at: Timestamp, state: StepState, error: &str) {
    if let Some(seen) = open(act, step) {
        seen.state = state;
        seen.ended = Some(at);
        seen.milliseconds = at.duration_since(seen.began).as_secs_f64() * 1000.0;
        seen.error = Some(error.into());
    }
}

fn open(act: &mut Act, step: Step) -> Option<&mut StepSeen> {
    act.steps.iter_mut().rev().find(|seen| seen.name == step.name())
}

/// From the first of `hold` to the end of `release`; or to where holding was undone.
fn pause(steps: &[StepSeen]) -> Option<Pause> {
    let hold = steps.iter().find(|seen| seen.name == Step::Hold.name())?;
    let release = steps.iter().find(|seen| seen.name == Step::Release.name());
    let ended = release.and_then(|seen| seen.ended).or(hold.ended)?;
    let database_ms = ended.duration_since(hold.began).as_secs_f64() * 1000.0;
    Some(Pause { began: hold.began, database_ms, clients: None })
}

fn windows(run: &Run) -> Vec<ledger::Window> {
    let values = run.records.iter().filter_map(|record| match &record.event {
        Event::Clients { clients } => Some(clients.clone()),
        _ => None,
    });
    values.filter_map(|value| serde_json::from_value(value).ok()).collect()
}

/// The curve of one thing over all runs, in order of time.
fn points(lineage: &Lineage, wanted: &str, mut all: Vec<(i64, u64)>) -> Vec<Point> {
    for record in lineage.runs.iter().flat_map(|run| &run.records) {
        match &record.event {
            Event::Samples { what, points, .. } if what == wanted => all.extend(points),
            _ => {}
        }
    }
    all.sort_unstable();
    // Of several neighbors the largest stays: a peak is what a reader looks for.
    let together = all.len().div_ceil(MOST_POINTS).max(1);
    let peaks = all.chunks(together).filter_map(|few| few.iter().max_by_key(|(_, value)| *value));
    #[expect(clippy::cast_precision_loss, reason = "a chart shows three digits")]
    peaks.map(|(at, value)| Point { at: *at, value: *value as f64 }).collect()
}

fn changes(lineage: &Lineage) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    for run in &lineage.runs {
        for record in &run.records {
            match &record.event {
                Event::Changed { side, what, former, now } => all.push(Change {
                    at: record.at,
                    server: server_of(&run.header, *side),
                    what: what.clone(),
                    former: former.clone(),
                    now: now.clone(),
                    restored: None,
                    stays: what.starts_with("extension "),
                }),
                Event::SchemaChange { file, side: Some(side), .. } => all.push(Change {
                    at: record.at,
                    server: server_of(&run.header, *side),
                    what: format!("schema, by {file}"),
                    former: None,
                    now: None,
                    restored: None,
                    stays: true,
                }),
                Event::Restored { side, what } => {
                    let server = server_of(&run.header, *side);
                    let is_it = |one: &&mut Change| one.server == server && one.what == *what;
                    for change in all.iter_mut().filter(is_it) {
                        change.restored.get_or_insert(record.at);
                    }
                }
                // The restored schema goes as a whole, and its fence with it.
                Event::UndoDone { step: Step::Schema, .. } => {
                    for change in &mut all {
                        change.restored.get_or_insert(record.at);
                    }
                }
                _ => {}
            }
        }
    }
    all
}

fn server_of(header: &Header, side: Side) -> String {
    let is_plain = (header.direction == Direction::Forward) == (side == Side::Source);
    if is_plain { "plain PostgreSQL".into() } else { "ParadeDB".into() }
}

fn remark(record: &Record) -> Option<Remark> {
    let (kind, text) = match &record.event {
        Event::Warning { text } => ("warning", text.clone()),
        Event::StepFailed { step, error } => ("error", format!("{step} failed: {error}")),
        Event::StepUnknown { step, error } => ("error", format!("{step} is unknown: {error}")),
        Event::UndoFailed { step, error } => {
            ("error", format!("{step} could not be undone: {error}"))
        }
        Event::Interrupted => ("warning", "somebody asked the tool to stop".into()),
        Event::Difference { object, detail } => ("difference", format!("{object}: {detail}")),
        _ => return None,
    };
    Some(Remark { at: record.at, kind: kind.into(), text })
}
