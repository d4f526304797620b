//! How fast the store answers beside an application that trades, and how much of what it should
//! find it finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::bench::place;
use crate::cutover::event::Story;
use crate::pg::endpoint::Endpoint;
use crate::pg::password;
use crate::rag::indexes::{self, Built};
use crate::rag::sample::{FILL_LIMIT, Sample, fill};
use crate::rag::search::open;
use crate::rag::store::Store;
use crate::route::file;
use crate::workload::{self, Load, Workload, Writes};

mod plots;
mod recall;
mod searchers;

pub use plots::page;
pub use recall::Recall;
pub use searchers::{Kind, Latencies};

/// Makes chunks, questions and trades repeatable.
const SEED: u64 = 1;
/// How much trading data there is; 1 is about 200 MB.
const TRADING_SCALE: f64 = 0.1;
/// Sessions that trade.
const WRITERS: u16 = 4;
/// Sessions that search.
const SEARCHERS: usize = 2;
/// Questions that are asked before any is measured, so that indexes are in memory.
const WARMING: u64 = 40;
/// How long the first trades may take.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Request {
    /// The server; databases are made on it, and dropped.
    pub server: Endpoint,
    /// How many chunks the store has.
    pub chunks: u64,
    /// How long all phases take together.
    pub time: Duration,
    /// Searches per second while the application trades.
    pub rate: f64,
    /// Memory for the build of an index, in mebibytes.
    pub build_memory: u64,
    /// A folder for the file with the connection string that the application reads.
    pub scratch: PathBuf,
}

/// What was measured on one engine.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `paradedb` or `postgres`.
    pub engine: &'static str,
    /// Chunks in the store.
    pub chunks: u64,
    /// Dimensions of an embedding.
    pub dimensions: usize,
    /// Time to fill the table without its search indexes, in seconds.
    pub fill_s: f64,
    /// The search indexes, with time and size.
    pub indexes: Vec<Built>,
    /// HNSW against the exact answer.
    pub recall: Recall,
    /// Latencies of searches alone, by kind.
    pub alone: Vec<Latencies>,
    /// Latencies of searches beside trades, by kind.
    pub beside: Vec<Latencies>,
    /// Searches per second that were asked beside trades.
    pub search_rate: f64,
    /// Trades per second without searches.
    pub trades_alone: f64,
    /// Trades per second beside searches.
    pub trades_beside: f64,
}

impl Report {
    /// The share of trades that is left beside searches.
    pub fn kept(&self) -> f64 {
        self.trades_beside / self.trades_alone.max(f64::MIN_POSITIVE)
    }

    /// The slowest p95 of any kind of search, in milliseconds.
    pub fn worst_p95_ms(&self) -> f64 {
        let all = self.alone.iter().chain(&self.beside);
        all.map(|latencies| latencies.p95_ms).fold(0.0, f64::max)
    }
}

/// Measures one engine in a database of its own.
///
/// # Errors
/// The server refuses, or is lost.
pub async fn measure(request: &Request, engine: &'static str, story: &Story) -> Result<Report> {
    let endpoint = request.server.with_database(&format!("xtask_bench_search_{engine}"));
    let admin = request.server.with_database("postgres").connect("bench").await?;
    workload::assert_roles_are_new(&admin).await?;
    place::make(&endpoint, engine).await?;
    let measured = measure_in(request, engine, &endpoint, story).await;
    // Whatever became of it, hundreds of megabytes are not left behind.
    let dropped = place::drop_database(&endpoint).await;
    // Roles that were left would refuse the next measurement.
    let cleared = match dropped {
        Ok(()) => workload::drop_roles(&admin).await,
        Err(error) => Err(error),
    };
    let report = measured?;
    cleared?;
    Ok(report)
}

async fn measure_in(
    request: &Request,
    engine: &'static str,
    endpoint: &Endpoint,
    story: &Story,
) -> Result<Report> {
    let application = prepare_trading(endpoint, story).await?;
    let store = Store::open(endpoint, "bench", FILL_LIMIT).await?;
    let sample = Arc::new(Sample::new(store.dimensions, SEED));
    let taken = indexes::take_down(&store).await?;
    let begun = Instant::now();
    fill(&store, &sample, request.chunks, story).await?;
    let fill_s = begun.elapsed().as_secs_f64();
    story.note(format!("{engine}: {} chunks filled in {fill_s:.1} s", request.chunks));
    let indexes = indexes::build(&store, &taken, request.build_memory, story).await?;
    store.session.batch_execute("VACUUM ANALYZE rag_knowledge_entries").await?;
    let recall = recall::measure(&store, &sample, story).await?;
    let endpoint_file = request.scratch.join(format!("endpoint-{engine}"));
    file::write(&endpoint_file, &application)?;
    searchers::warm(&open(endpoint).await?, &sample, WARMING).await?;
    let phases = phases(request, engine, endpoint, (&sample, &endpoint_file), story).await?;
    Ok(Report {
        engine,
        chunks: request.chunks,
        dimensions: store.dimensions,
        fill_s,
        indexes,
        recall,
        alone: phases.alone,
        beside: phases.beside,
        search_rate: request.rate,
        trades_alone: phases.trades_alone,
        trades_beside: phases.trades_beside,
    })
}

/// What the three phases gave.
struct Phases {
    alone: Vec<Latencies>,
    beside: Vec<Latencies>,
    trades_alone: f64,
    trades_beside: f64,
}

/// A quarter of the time trades alone, a quarter searches alone, one kind after the other, and half
/// of it both.
async fn phases(
    request: &Request,
    engine: &str,
    endpoint: &Endpoint,
    (sample, endpoint_file): (&Arc<Sample>, &Path),
    story: &Story,
) -> Result<Phases> {
    let quarter = request.time / 4;
    story.note(format!("{engine}: trades alone"));
    let load = start(endpoint_file)?;
    load.wait_for(None, 1, TRAFFIC_LIMIT).await?;
    let trades_alone = trades(&load, quarter).await;
    load.stop().await?;
    story.note(format!("{engine}: searches alone"));
    let mut alone = Vec::new();
    for kind in Kind::ALL {
        alone.push(searchers::alone(endpoint, sample, kind, SEARCHERS, quarter / 4).await?);
    }
    story.note(format!("{engine}: both"));
    let load = start(endpoint_file)?;
    load.wait_for(None, 1, TRAFFIC_LIMIT).await?;
    let searching = searchers::paced(endpoint, sample, SEARCHERS, request.rate, quarter * 2);
    let (beside, trades_beside) = tokio::join!(searching, trades(&load, quarter * 2));
    load.stop().await?;
    Ok(Phases { alone, beside: beside?, trades_alone, trades_beside })
}

/// The sample of a trading platform in the same database, and its application's login.
async fn prepare_trading(endpoint: &Endpoint, story: &Story) -> Result<Endpoint> {
    let password = password::random();
    let admin = endpoint.connect("bench").await?;
    workload::install(&admin, &password).await?;
    workload::fill(endpoint, TRADING_SCALE, SEED, story).await?;
    Ok(endpoint.with_user(workload::APPLICATION, &password))
}

fn start(endpoint_file: &Path) -> Result<Workload> {
    Workload::start(Load {
        writes: Writes::Sample,
        rate: None,
        writers: WRITERS,
        seed: SEED,
        endpoint_file: endpoint_file.to_path_buf(),
        application_name: "trading".into(),
    })
}

/// Trades per second that were acknowledged in a stretch of time.
async fn trades(load: &Workload, time: Duration) -> f64 {
    let before = load.counts().acknowledged_on(None);
    let begun = Instant::now();
    tokio::time::sleep(time).await;
    let count = load.counts().acknowledged_on(None) - before;
    count as f64 / begun.elapsed().as_secs_f64()
}
