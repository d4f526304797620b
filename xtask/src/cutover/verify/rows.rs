//! Every row of every table, by several workers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use crate::cutover::event::Story;
use crate::cutover::verify::narrow::{digests, suspects};
use crate::cutover::verify::queue::{Queue, Task};
use crate::cutover::verify::scope::TablePair;
use crate::cutover::verify::settle::{Findings, Patience, settle};
use crate::cutover::verify::{Barrier, Mode, Pair, Pin, Request, TableCertificate};
use crate::failure::tolerate;
use crate::pg::digest::rows::Identity;
use crate::pg::digest::{Digest, Range, TableReader};
use crate::pg::endpoint::Session;
use crate::pg::snapshot;
use crate::pg::survey::{Relation, files, text_order};

/// A table is cut into ranges of about this many rows …
const ROWS_PER_RANGE: i64 = 100_000;
/// … or of about this many bytes, whichever makes more ranges.
const BYTES_PER_RANGE: i64 = 64 << 20;
/// Into how many ranges a table is cut at most.
const RANGES_PER_TABLE: i64 = 4096;
/// More suspects than this in one range are settled at once instead of being remembered.
const SUSPECTS_REMEMBERED: usize = 1000;

/// What came out.
pub(super) struct Compared {
    pub mode: String,
    pub tables: Vec<TableCertificate>,
}

/// A table that can be compared.
struct Job {
    relation: Relation,
    reader: TableReader,
}

/// What is known of one range.
struct Part {
    table: usize,
    source: Digest,
    target: Digest,
    findings: Findings,
    suspects: Vec<Identity>,
    started: Instant,
    finished: Instant,
}

/// Both snapshots, where rows are read under them.
#[derive(Clone, Copy)]
struct Pins<'a> {
    source: &'a Pin,
    target: &'a Pin,
}

/// Compares all tables, largest first.
pub(super) async fn compare(
    request: &Request,
    pair: &Pair,
    tables: Vec<TablePair>,
    seeds: [i64; 2],
    story: &Story,
) -> Result<Compared> {
    let (one, other) = tokio::try_join!(text_order(&pair.source), text_order(&pair.target))?;
    let same_order = one == other;
    let mut certificates = Vec::new();
    let mut jobs = Vec::new();
    for table in tables {
        match why_not_comparable(&table) {
            Some(note) => certificates.push(incomparable(pair, &table, seeds, note).await?),
            None => {
                let reader = TableReader::new(&table.source, seeds, same_order);
                jobs.push(Job { relation: table.source, reader });
            }
        }
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.relation.bytes));
    let (mode, compared) = match &request.mode {
        Mode::Live { barrier } => {
            let all = (0..jobs.len()).collect();
            let parts = live(request, pair, &jobs, all, barrier.as_ref(), story).await?;
            ("live".to_string(), certify(&jobs, parts, &BTreeMap::new()))
        }
        Mode::Pinned { source, target, barrier } => {
            let pins = Pins { source, target };
            pinned(request, pair, &jobs, pins, barrier.as_ref(), story).await?
        }
    };
    certificates.extend(compared);
    certificates.sort_by_key(TableCertificate::title);
    Ok(Compared { mode, tables: certificates })
}

/// Compares under the pins; what was rewritten since, or was not read before the pins were lost, is
/// compared live.
async fn pinned(
    request: &Request,
    pair: &Pair,
    jobs: &[Job],
    pins: Pins<'_>,
    barrier: Option<&Barrier>,
    story: &Story,
) -> Result<(String, Vec<TableCertificate>)> {
    let now = Timestamp::now();
    let queue = Queue::new(plan(pair, jobs, (0..jobs.len()).collect(), Some(pins)).await?, story);
    let mut parts = work(request, jobs, &queue, Some(pins), barrier).await?;
    let lost: BTreeSet<usize> = queue.unfinished().into_iter().collect();
    let rewritten = rewritten(pair, jobs, pins).await?;
    let mut notes = BTreeMap::new();
    notes.extend(lost.iter().map(|table| (*table, "pins lost, certified live")));
    notes.extend(rewritten.iter().map(|table| (*table, "rewritten, certified live")));
    let again: Vec<usize> = notes.keys().copied().collect();
    parts.retain(|part| !notes.contains_key(&part.table));
    if !again.is_empty() {
        parts.extend(live(request, pair, jobs, again, barrier, story).await?);
    }
    let mode = match lost.is_empty() {
        true => format!("pinned at {} and {}", pins.source.snapshot, pins.target.snapshot),
        false => format!("live, pins lost at {now}"),
    };
    Ok((mode, certify(jobs, parts, &notes)))
}

/// Compares while clients write; what looks different is looked at again once all is read.
async fn live(
    request: &Request,
    pair: &Pair,
    jobs: &[Job],
    tables: Vec<usize>,
    barrier: Option<&Barrier>,
    story: &Story,
) -> Result<Vec<Part>> {
    let queue = Queue::new(plan(pair, jobs, tables, None).await?, story);
    let mut parts = work(request, jobs, &queue, None, barrier).await?;
    let patience = Patience::Live { serving: request.serving, barrier };
    let mut by_table: BTreeMap<usize, Vec<&mut Part>> = BTreeMap::new();
    for part in &mut parts {
        by_table.entry(part.table).or_default().push(part);
    }
    for (table, mut parts) in by_table {
        let suspects: Vec<Identity> =
            parts.iter_mut().flat_map(|part| std::mem::take(&mut part.suspects)).collect();
        let findings = settle(pair, &jobs[table].reader, &suspects, &patience).await?;
        if let Some(part) = parts.first_mut() {
            part.findings.add(findings);
            part.finished = Instant::now();
        }
    }
    Ok(parts)
}

/// The ranges to read, table by table.
async fn plan(
    pair: &Pair,
    jobs: &[Job],
    tables: Vec<usize>,
    pins: Option<Pins<'_>>,
) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for table in tables {
        let Job { relation, reader } = &jobs[table];
        let wanted = (relation.rows / ROWS_PER_RANGE).max(relation.bytes / BYTES_PER_RANGE);
        let wanted = u32::try_from(wanted.clamp(1, RANGES_PER_TABLE))?;
        let cuts = match wanted > 1 && reader.has_fast_ranges() {
            true => {
                enter(&pair.source, pins.map(|pins| pins.source)).await?;
                let cuts = reader.sampled_cuts(&pair.source, wanted, relation.pages).await;
                leave(&pair.source, pins.is_some()).await?;
                cuts?
            }
            false => Vec::new(),
        };
        let bytes = u64::try_from(relation.bytes)? / (cuts.len() as u64 + 1);
        let ranges = Range::whole().cut(cuts);
        tasks.extend(ranges.into_iter().map(|range| Task { table, range, bytes }));
    }
    Ok(tasks)
}

/// Lets several workers empty the queue; stops early where the pins are lost.
async fn work(
    request: &Request,
    jobs: &[Job],
    queue: &Queue,
    pins: Option<Pins<'_>>,
    barrier: Option<&Barrier>,
) -> Result<Vec<Part>> {
    let workers = (0..request.jobs.max(1)).map(|_| worker(request, jobs, queue, pins, barrier));
    Ok(try_join_all(workers).await?.into_iter().flatten().collect())
}

async fn worker(
    request: &Request,
    jobs: &[Job],
    queue: &Queue,
    pins: Option<Pins<'_>>,
    barrier: Option<&Barrier>,
) -> Result<Vec<Part>> {
    let pair = Pair::connect(request).await?;
    let patience = match pins {
        Some(_) => Patience::Pinned,
        None => Patience::Live { serving: request.serving, barrier },
    };
    let mut parts = Vec::new();
    while let Some(task) = queue.take() {
        if !enter_both(&pair, pins).await? {
            queue.put_back(task);
            break;
        }
        let reader = &jobs[task.table].reader;
        let part = compare_range(&pair, reader, &task, &patience).await;
        let part = part.with_context(|| jobs[task.table].relation.title())?;
        leave(&pair.source, pins.is_some()).await?;
        leave(&pair.target, pins.is_some()).await?;
        queue.finish(&task);
        parts.push(part);
    }
    Ok(parts)
}

async fn compare_range(
    pair: &Pair,
    reader: &TableReader,
    task: &Task,
    patience: &Patience<'_>,
) -> Result<Part> {
    let started = Instant::now();
    let (source, target) = digests(pair, reader, &task.range).await?;
    let mut findings = Findings::default();
    let mut remembered = Vec::new();
    if source != target {
        let suspects = suspects(pair, reader, task.range.clone(), (source, target)).await?;
        let at_once = matches!(patience, Patience::Pinned) || suspects.len() > SUSPECTS_REMEMBERED;
        if at_once {
            findings = settle(pair, reader, &suspects, patience).await?;
        } else {
            remembered = suspects;
        }
    }
    let (table, finished) = (task.table, Instant::now());
    Ok(Part { table, source, target, findings, suspects: remembered, started, finished })
}

/// Enters both pinned snapshots; false where one is gone. A transaction lasts for one range only,
/// so that its lock never keeps an `ALTER TABLE`, and everyone behind it, waiting for long.
async fn enter_both(pair: &Pair, pins: Option<Pins<'_>>) -> Result<bool> {
    let Some(pins) = pins else { return Ok(true) };
    for (session, pin) in [(&pair.source, pins.source), (&pair.target, pins.target)] {
        if let Err(error) = enter(session, Some(pin)).await {
            let answered = error.chain().any(|cause| {
                cause
                    .downcast_ref::<tokio_postgres::Error>()
                    .is_some_and(|error| error.as_db_error().is_some())
            });
            if !answered {
                return Err(error);
            }
            tolerate(Err::<(), _>(error), "the snapshot is gone; the caller goes on live");
            return Ok(false);
        }
    }
    Ok(true)
}

async fn enter(session: &Session, pin: Option<&Pin>) -> Result<()> {
    let Some(pin) = pin else { return Ok(()) };
    snapshot::enter(session, &pin.snapshot).await
}

async fn leave(session: &Session, pinned: bool) -> Result<()> {
    if pinned { snapshot::leave(session).await } else { Ok(()) }
}

/// The tables whose file is not the one that the pin saw: the snapshot may see none of their rows.
async fn rewritten(pair: &Pair, jobs: &[Job], pins: Pins<'_>) -> Result<Vec<usize>> {
    let (source, target) = tokio::try_join!(files(&pair.source), files(&pair.target))?;
    let differs = |(_, job): &(usize, &Job)| {
        let title = job.relation.title();
        source.get(&title) != pins.source.files.get(&title)
            || target.get(&title) != pins.target.files.get(&title)
    };
    Ok(jobs.iter().enumerate().filter(differs).map(|(table, _)| table).collect())
}

/// Adds the parts of every table up.
fn certify(jobs: &[Job], parts: Vec<Part>, notes: &BTreeMap<usize, &str>) -> Vec<TableCertificate> {
    let mut by_table: BTreeMap<usize, Vec<Part>> = BTreeMap::new();
    for part in parts {
        by_table.entry(part.table).or_default().push(part);
    }
    by_table
        .into_iter()
        .map(|(table, parts)| {
            let note = notes.get(&table).map(ToString::to_string);
            certificate(&jobs[table].relation, parts, note)
        })
        .collect()
}

fn certificate(relation: &Relation, parts: Vec<Part>, note: Option<String>) -> TableCertificate {
    let (mut source, mut target) = (Digest::default(), Digest::default());
    let mut findings = Findings::default();
    let started = parts.iter().map(|part| part.started).min();
    let finished = parts.iter().map(|part| part.finished).max();
    for part in parts {
        source += part.source;
        target += part.target;
        findings.add(part.findings);
    }
    let time = started.zip(finished).map(|(started, finished)| finished - started);
    TableCertificate {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        source_rows: source.rows,
        target_rows: target.rows,
        bytes: u64::try_from(relation.bytes).unwrap_or(0),
        source_digest: source.hex(),
        target_digest: target.hex(),
        equal: findings.count == 0,
        differences: findings.differences,
        difference_count: findings.count,
        unsettled: findings.unsettled,
        milliseconds: time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        note,
    }
}

/// Why rows cannot be compared one by one: the table is missing, or its columns are not the same.
fn why_not_comparable(table: &TablePair) -> Option<String> {
    let names = |relation: &Relation| -> BTreeSet<String> {
        relation.columns.iter().map(|column| column.name.clone()).collect()
    };
    let Some(target) = &table.target else { return Some("missing on the target".into()) };
    let (source, target) = (names(&table.source), names(target));
    let differing: Vec<String> = source.symmetric_difference(&target).cloned().collect();
    (!differing.is_empty()).then(|| format!("columns on one side only: {}", differing.join(", ")))
}

/// The certificate of a table that differs as a whole.
async fn incomparable(
    pair: &Pair,
    table: &TablePair,
    seeds: [i64; 2],
    note: String,
) -> Result<TableCertificate> {
    let started = Instant::now();
    let whole = Range::whole();
    let source = TableReader::new(&table.source, seeds, false).digest(&pair.source, &whole).await?;
    let mut part = Part {
        table: 0,
        source,
        target: Digest::default(),
        findings: Findings { count: source.rows.max(1), ..Findings::default() },
        suspects: Vec::new(),
        started,
        finished: Instant::now(),
    };
    if let Some(target) = &table.target {
        part.target = TableReader::new(target, seeds, false).digest(&pair.target, &whole).await?;
    }
    Ok(certificate(&table.source, vec![part], Some(note)))
}
