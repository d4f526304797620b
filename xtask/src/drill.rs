//! The rehearsal: two servers, a live load and an oracle around the very verbs of the night.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::backup::BackupPolicy;
use crate::cutover::drive::Log;
use crate::cutover::engine::Options;
use crate::cutover::event::{Event, Story};
use crate::cutover::header::Direction;
use crate::cutover::holder::OnDdl;
use crate::cutover::journal::Journal;
use crate::cutover::lineage::Lineage;
use crate::cutover::step::Step;
use crate::cutover::verbs::{self, Operation};
use crate::failure::Failure;
use crate::ledger::{self, Verdict};
use crate::pg::endpoint::{Endpoint, Session, identifier};
use crate::pg::password;
use crate::pg::replication;
use crate::rag::asked::Searches;
use crate::route::pgbouncer::PgBouncer;
use crate::route::{Route, file};
use crate::servers::pooler::Pooler;
use crate::workload::{self, History, Load, Workload, Writes};
use searcher::Searcher;

mod searcher;

pub mod faults;
pub mod guest;
pub mod sweep;

/// The database that a drill makes on its own servers.
pub const DATABASE: &str = "trading";
/// How long writers may take to be served after a switch.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(30);
/// How many seconds of traffic each side gets between two switches.
const TRAFFIC_SECONDS: f64 = 3.0;
/// The length of a stretch in the chart of a pause.
const PAUSE_STRETCH: Duration = Duration::from_millis(50);
/// What the chart of a pause shows before and after it.
const PAUSE_MARGIN: Duration = Duration::from_millis(1500);
/// In how many stretches the chart of the whole load is cut at most.
const LOAD_STRETCHES: u32 = 300;
/// How long clients' transactions may take to end when a rehearsal's PgBouncer holds them back.
const HOLD_LIMIT: Duration = Duration::from_secs(2);
/// Extension that only ParadeDB has.
const SEARCH_EXTENSION: &str = "pg_search";

/// How to rehearse.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// How much data: 1 is about 200 MB.
    pub scale: f64,
    /// Makes data and load repeatable.
    pub seed: u64,
    /// Transactions per second; none for no limit.
    pub rate: f64,
    /// Sessions that write.
    pub writers: u16,
    /// How often to switch and roll back before the last switch.
    pub cycles: u32,
    /// The endpoint file that writers read.
    pub endpoint_file: PathBuf,
    /// The folder in which a PgBouncer works that writers connect to; none without one. It is
    /// watched over by a keeper.
    pub pooled_in: Option<PathBuf>,
}

/// The routes that can be rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// A file with a connection string: writers are cut off, and connect anew
    File,
    /// PgBouncer: writers are held back between two transactions, and notice nothing
    #[value(name = "pgbouncer")]
    PgBouncer,
}

/// How a rehearsal runs its verbs.
pub fn options(jobs: u8, route: Route, folder: PathBuf) -> Options {
    Options {
        jobs: jobs.max(1).into(),
        pause_limit: Duration::from_secs(5),
        pin_limit: Duration::from_secs(3600),
        snapshot_limit: Duration::from_secs(3600),
        on_ddl: OnDdl::Cancel,
        catch_up_limit: Duration::from_secs(600),
        routes: route.into(),
        workloads: None,
        accepts_unlimited_wal: false,
        without_way_back: false,
        follows: false,
        keep_copy: false,
        folder,
        search: None,
        migrations: PathBuf::new(),
        // What is rehearsed with is made up.
        backup: BackupPolicy::without_backup(),
    }
}

/// One switch or rollback.
#[derive(Debug, Serialize)]
pub struct Turn {
    /// `switch` or `rollback`.
    pub verb: String,
    /// From the fence to the first client let in, as the tool saw it, in milliseconds.
    pub database_ms: f64,
    /// From the last acknowledged write on one side to the first on the other, in milliseconds.
    pub pause_ms: Option<f64>,
    /// The longest time without an acknowledged write of any one writer, in milliseconds.
    pub longest_ms: Option<f64>,
    /// Transactions that were refused in the pause; writers tried them again.
    pub refused: Option<u64>,
    /// Transactions of which a writer does not know.
    pub unknown: Option<u64>,
    /// Time of the certificate, after clients were let go, in milliseconds.
    pub certify_ms: f64,
    /// Milliseconds by step.
    pub steps: Vec<(String, f64)>,
}

/// What a drill found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether BM25 was there.
    pub engine: &'static str,
    /// Rows copied.
    pub rows: u64,
    /// Bytes of the COPY streams.
    pub bytes: u64,
    /// Time of the copy, in milliseconds.
    pub copy_ms: f64,
    /// Time of the indexes, in milliseconds.
    pub index_ms: f64,
    /// Time of the live proof, in milliseconds.
    pub prove_ms: f64,
    /// Every switch and rollback.
    pub turns: Vec<Turn>,
    /// Clients' transactions that failed, but for conflicts among themselves.
    pub failed: u64,
    /// Searches beside the writers while the target served; none where it has no search.
    pub searches: Option<Searches>,
    /// What the oracle says.
    pub verdict: Verdict,
    /// Time of the whole, in seconds.
    pub seconds: f64,
}

/// Makes the sample on the source, and what an operator makes on the target: database and roles.
///
/// # Errors
/// A server refuses; databases of that name exist.
pub async fn prepare(
    source: &Endpoint,
    target: &Endpoint,
    rehearsal: &Rehearsal,
    story: &Story,
) -> Result<()> {
    let password = password::random();
    for endpoint in [source, target] {
        create_database(endpoint).await?;
    }
    let session = source.connect("drill").await?;
    workload::install(&session, &password).await?;
    workload::create_roles(&target.connect("drill").await?, &password).await?;
    let begun = Instant::now();
    workload::fill(source, rehearsal.scale, rehearsal.seed, story).await?;
    let size: i64 =
        session.query_one("SELECT pg_database_size(current_database())", &[]).await?.get(0);
    story.note(format!(
        "sample of {} MB filled in {:.1} s",
        size >> 20,
        begun.elapsed().as_secs_f64()
    ));
    let client = source.with_user(workload::APPLICATION, &password);
    file::write(&rehearsal.endpoint_file, &client)
}

async fn create_database(endpoint: &Endpoint) -> Result<()> {
    let maintenance = endpoint.with_database("postgres").connect("drill").await?;
    let name = identifier(&endpoint.database);
    maintenance
        .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
        .await
        .with_context(|| format!("create {endpoint}"))
}

/// Whether the target has BM25. Its database need not be there yet.
///
/// # Errors
/// The target cannot be asked.
pub async fn engine(target: &Endpoint) -> Result<&'static str> {
    engine_of(&target.with_database("postgres")).await
}

async fn engine_of(database: &Endpoint) -> Result<&'static str> {
    let session = database.connect("drill").await?;
    let sql = "SELECT FROM pg_available_extensions WHERE name = $1";
    let is_there = session.query_opt(sql, &[&SEARCH_EXTENSION]).await?.is_some();
    Ok(if is_there { "paradedb" } else { "postgres" })
}

/// Rehearses: start, switch, traffic, rollback, traffic, switch, finish; then the oracle.
///
/// # Errors
/// A verb fails, or the oracle found a fault.
pub async fn rehearse(operation: &Operation, rehearsal: &Rehearsal) -> Result<Report> {
    let begun = Instant::now();
    let engine = engine(&operation.target).await?;
    prepare(&operation.source, &operation.target, rehearsal, &operation.story).await?;
    let (operation, _pooler) = &pool(operation, rehearsal).await?;
    let load = Workload::start(Load {
        writes: Writes::Sample,
        rate: (rehearsal.rate > 0.0).then_some(rehearsal.rate),
        writers: rehearsal.writers,
        seed: rehearsal.seed,
        endpoint_file: rehearsal.endpoint_file.clone(),
        application_name: "trading".into(),
    })?;
    let identities =
        [server_identity(&operation.source).await?, server_identity(&operation.target).await?];
    let has_search = operation.options.search.is_some();
    let mut searcher = has_search.then(|| Searcher::new(operation.target.clone(), rehearsal.seed));
    let turns = Turns { operation, load: &load, rate: rehearsal.rate, identities };
    let phases = turn_all(&turns, rehearsal.cycles, &mut searcher).await?;
    let searches = searcher.and_then(Searcher::end);
    let history = load.stop().await?;
    operation.story.note("asking the oracle");
    let verdict = ledger::check(&history, &operation.target, &phases).await?;
    let follower = check_follower(operation, &history, &phases).await?;
    let database = operation.target.database.clone();
    verbs::finish(operation, Some(&database), None).await.context("finish")?;
    note_for_report(operation, &history, &verdict, searches.as_ref())?;
    let mut report = report(operation, engine, verdict)?;
    report.failed = failed(&history);
    report.searches = searches;
    report.seconds = begun.elapsed().as_secs_f64();
    judge(report, &follower, &history, rehearsal.pooled_in.is_some())
}

/// The report where nothing is wrong with it, else all that is.
fn judge(report: Report, follower: &Verdict, history: &History, are_held: bool) -> Result<Report> {
    // Who reconnects is cut off by the fence once a turn; whom PgBouncer holds notices nothing.
    let is_smooth = !are_held || report.failed == 0;
    let searched = report.searches.as_ref().and_then(|searches| {
        let reason = searches.reason.as_ref()?;
        Some(format!("{} searches failed, the first: {reason}", searches.failed))
    });
    let is_clean = report.verdict.is_clean() && follower.rows.is_clean();
    if is_clean && is_smooth && searched.is_none() {
        return Ok(report);
    }
    let failures = format!("{} clients' transactions failed", report.failed);
    let mut messages: Vec<String> = history.messages.values().cloned().collect();
    messages.extend(searched);
    let findings =
        [vec![failures], messages, report.verdict.lines(), follower.lines()].concat().join("\n  ");
    Err(Failure::undecided(format!("the oracle found faults:\n  {findings}")).into())
}

/// Writes what only a rehearsal knows into the journals, where the report finds it: each pause as
/// clients saw it into the journal of its turn, load and oracle into that of the last.
fn note_for_report(
    operation: &Operation,
    history: &History,
    verdict: &Verdict,
    searches: Option<&Searches>,
) -> Result<()> {
    let folder = &operation.options.folder;
    let lineage = Lineage::read(folder, None)?.context("read the journals")?;
    let open = |run: &str| Journal::open(folder, run, Story::silent());
    for (run, switch) in lineage.runs.iter().zip(&verdict.serving.switches) {
        let seen = ledger::around(history, switch, PAUSE_STRETCH, PAUSE_MARGIN);
        let clients = serde_json::to_value(seen)?;
        open(&run.header.run)?.append(Event::Clients { clients })?;
    }
    let mut last = open(&lineage.latest().header.run)?;
    let clients = serde_json::to_value(ledger::whole(history, LOAD_STRETCHES))?;
    last.append(Event::Clients { clients })?;
    if let Some(searches) = searches {
        last.append(Event::Searches { searches: serde_json::to_value(searches)? })?;
    }
    last.append(Event::Oracle { verdict: serde_json::to_value(verdict)? })
}

/// Puts a PgBouncer between writers and servers, where one is asked for.
async fn pool(operation: &Operation, rehearsal: &Rehearsal) -> Result<(Operation, Option<Pooler>)> {
    let mut operation = operation.clone();
    let Some(folder) = &rehearsal.pooled_in else { return Ok((operation, None)) };
    let client = file::read(&rehearsal.endpoint_file)?;
    let pooler = Pooler::start(folder, "pgbouncer", &client).await?;
    file::write(&rehearsal.endpoint_file, &pooler.through(&client))?;
    let (consoles, inis) = (vec![pooler.console()], vec![pooler.ini()]);
    let route = PgBouncer::new(consoles, inis, rehearsal.endpoint_file.clone(), HOLD_LIMIT);
    operation.options.routes = Route::PgBouncer(route).into();
    Ok((operation, Some(pooler)))
}

/// Transactions that were not acknowledged, but for conflicts among the writers themselves.
fn failed(history: &History) -> u64 {
    let is_failed = |attempt: &&workload::Attempt| {
        attempt.outcome != workload::Outcome::Acknowledged
            && attempt.reason != workload::Reason::Conflict
    };
    history.attempts.iter().filter(is_failed).count() as u64
}

/// The same rows must stand on the side that follows, once it has caught up: it is armed.
async fn check_follower(
    operation: &Operation,
    history: &History,
    phases: &[i64],
) -> Result<Verdict> {
    let lineage = Lineage::read(&operation.options.folder, None)?.context("read the journals")?;
    let header = &lineage.latest().header;
    let name = header.object(header.direction.opposite(), 1);
    let (serves, follows) = match header.direction {
        Direction::Forward => (&operation.target, &operation.source),
        Direction::Backward => (&operation.source, &operation.target),
    };
    let serving = serves.connect("drill").await?;
    let follower = follows.connect("drill").await?;
    let markers = ["marker_1".to_string()];
    let id = replication::mark(&serving, &markers, "oracle").await?;
    replication::await_mark(&follower, &markers, &[name], id, TRAFFIC_LIMIT).await?;
    ledger::check(history, follows, phases).await
}

async fn server_identity(endpoint: &Endpoint) -> Result<i64> {
    let session: Session = endpoint.connect("drill").await?;
    workload::server_identity(&session).await
}

/// What turns need: the verbs, the writers and their pace, and who the servers are.
struct Turns<'a> {
    operation: &'a Operation,
    load: &'a Workload,
    rate: f64,
    /// Plain PostgreSQL, ParadeDB.
    identities: [i64; 2],
}

/// Every turn, with traffic in between; ends on ParadeDB. Returns who served, in order.
async fn turn_all(
    turns: &Turns<'_>,
    cycles: u32,
    searcher: &mut Option<Searcher>,
) -> Result<Vec<i64>> {
    let mut phases = forth_and_back(turns, cycles, searcher).await?;
    let [_, paradedb] = turns.identities;
    turns.operation.story.note("— switch once more, without a copy");
    verbs::switch(turns.operation).await.context("switch")?;
    searched_traffic(turns, paradedb, searcher).await?;
    phases.push(paradedb);
    Ok(phases)
}

/// Start, and so many switches and rollbacks, with traffic in between; ends on plain PostgreSQL.
async fn forth_and_back(
    turns: &Turns<'_>,
    cycles: u32,
    searcher: &mut Option<Searcher>,
) -> Result<Vec<i64>> {
    let (story, [plain, paradedb]) = (&turns.operation.story, turns.identities);
    traffic(turns, plain).await?;
    story.note("— start: everything is copied while clients write");
    verbs::start(turns.operation).await.context("start")?;
    let mut phases = vec![plain];
    for _ in 0..cycles {
        story.note("— switch: plain PostgreSQL → ParadeDB");
        verbs::switch(turns.operation).await.context("switch")?;
        searched_traffic(turns, paradedb, searcher).await?;
        story.note("— rollback: ParadeDB → plain PostgreSQL, with every write since");
        verbs::rollback(turns.operation).await.context("rollback")?;
        traffic(turns, plain).await?;
        phases.extend([paradedb, plain]);
    }
    Ok(phases)
}

/// Traffic on the side that has search, which is asked meanwhile.
async fn searched_traffic(
    turns: &Turns<'_>,
    server: i64,
    searcher: &mut Option<Searcher>,
) -> Result<()> {
    let writing = traffic(turns, server);
    match searcher {
        Some(searcher) => searcher.during(&turns.operation.story, writing).await,
        None => writing.await,
    }
}

/// Waits for acknowledged writes on one side.
async fn traffic(turns: &Turns<'_>, server: i64) -> Result<()> {
    let rate = if turns.rate > 0.0 { turns.rate } else { 100.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let writes = (rate * TRAFFIC_SECONDS).max(1.0) as u64;
    turns.load.wait_for(Some(server), writes, TRAFFIC_LIMIT).await
}

/// Puts together what the journals and the oracle know.
fn report(operation: &Operation, engine: &'static str, verdict: Verdict) -> Result<Report> {
    let lineage = Lineage::read(&operation.options.folder, None)?.context("read the journals")?;
    let first = &lineage.runs[0];
    let fact = |step: Step, name: &str| {
        evidence(&first.records, step).and_then(|facts| facts.get(name)?.as_u64())
    };
    let mut turns = Vec::new();
    for (number, run) in lineage.runs.iter().enumerate() {
        let verb =
            if run.header.parent.is_none() || number % 2 == 0 { "switch" } else { "rollback" };
        let steps: Vec<(String, f64)> = Step::ALL
            .into_iter()
            .filter(|step| (Step::Hold..=Step::Release).contains(step))
            // A step that no route needs is not run.
            .filter(|step| evidence(&run.records, *step).is_some())
            .map(|step| (step.name().to_string(), milliseconds(&run.records, step)))
            .collect();
        let seen = verdict.serving.switches.get(number);
        turns.push(Turn {
            verb: verb.into(),
            database_ms: run.pause_ms().unwrap_or(0.0),
            pause_ms: seen.map(|seen| seen.pause_ms),
            longest_ms: seen.map(|seen| seen.longest_ms),
            refused: seen.map(|seen| seen.refused),
            unknown: seen.map(|seen| seen.unknown),
            certify_ms: milliseconds(&run.records, Step::Certify),
            steps,
        });
    }
    Ok(Report {
        engine,
        rows: fact(Step::Copy, "rows").unwrap_or(0),
        bytes: fact(Step::Copy, "bytes").unwrap_or(0),
        copy_ms: milliseconds(&first.records, Step::Copy),
        index_ms: milliseconds(&first.records, Step::Index),
        prove_ms: milliseconds(&first.records, Step::Prove),
        turns,
        failed: 0,
        searches: None,
        verdict,
        seconds: 0.0,
    })
}

type Records = [crate::cutover::event::Record];

fn evidence(records: &Records, wanted: Step) -> Option<&crate::cutover::event::Evidence> {
    records.iter().rev().find_map(|record| match &record.event {
        Event::StepDone { step, evidence, .. } if *step == wanted => Some(evidence),
        _ => None,
    })
}

fn milliseconds(records: &Records, wanted: Step) -> f64 {
    let last = records.iter().rev().find_map(|record| match &record.event {
        Event::StepDone { step, milliseconds, .. } if *step == wanted => Some(*milliseconds),
        _ => None,
    });
    last.unwrap_or(0.0)
}
