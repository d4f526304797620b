//! The digest of every row against what PostgreSQL itself takes to read and hash the same rows, and
//! what a snapshot that is held for it costs a service.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::bench::{median, sample};
use crate::cutover::event::Story;
use crate::pg::digest::{self, Range, TableReader};
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::password;
use crate::pg::survey;
use crate::route::file;
use crate::servers::pair::{self, Pair, PairOptions};
use crate::workload::{self, Load, Workload, Writes};

/// The database with the rows that are hashed.
const DATABASE: &str = "bench";
/// The database with the service that goes on writing.
const SERVICE: &str = "trading";
/// Bytes in a megabyte, as rates count them.
const MEGABYTE: f64 = 1e6;
/// One process for each query, so that a rate is that of one core; else as the proof reads.
const READING: &str =
    "SET row_security = off; SET jit = off; SET max_parallel_workers_per_gather = 0";
/// How long writers may take to write what is waited for.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(60);
/// How many writes are waited for before anything is looked at.
const WRITES_BEFORE: u64 = 100;
/// How long a server may take to count what the last transactions did.
const STATISTICS_DELAY: Duration = Duration::from_millis(1200);

/// How to measure.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How many rows, all tables together.
    pub rows: u32,
    /// How many rounds; each figure is their median.
    pub rounds: u32,
    /// For how long a snapshot is held under load, in seconds; 0 for not at all.
    pub hold: f64,
    /// Transactions per second of all writers together while it is held.
    pub rate: f64,
    /// Sessions that write.
    pub writers: u16,
    /// How much data the service has: 1 is about 200 MB.
    pub scale: f64,
    /// Programs of the plain server; those of the environment or the wheel where not named.
    pub source_bindir: Option<PathBuf>,
    /// Programs of the ParadeDB server.
    pub target_bindir: Option<PathBuf>,
}

/// The times of one table, or of all, in seconds, read by one process from a warm cache.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Rate {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes, without indexes.
    pub bytes: u64,
    /// Seconds of `count(*)`.
    pub count_seconds: f64,
    /// Seconds of `sum(hashtext(t::text))`: 32 bits.
    pub hashtext_seconds: f64,
    /// Seconds of the digest: a count and 128 bits.
    pub digest_seconds: f64,
    /// Rows that the digest reads in a second.
    pub rows_per_second: f64,
    /// Megabytes that the digest reads in a second.
    pub mb_per_second: f64,
    /// The time of the digest against that of `count(*)`.
    pub against_count: f64,
    /// The time of the digest against that of `hashtext`.
    pub against_hashtext: f64,
}

/// What happened to the service's tables in a stretch of time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Stretch {
    /// Its length in seconds.
    pub seconds: f64,
    /// Writes that were acknowledged in it.
    pub writes: u64,
    /// By how many transactions the oldest snapshot was behind at its end.
    pub horizon_age: i64,
    /// By how many dead rows there are more.
    pub dead_rows: i64,
    /// By how many bytes the tables have grown, without indexes.
    pub grown_bytes: i64,
}

/// The cost of a snapshot that is held while every row is hashed.
#[derive(Debug, Serialize)]
pub struct Horizon {
    /// Seconds to hash every row of the service once, under load.
    pub certify_seconds: f64,
    /// The service with the snapshot held.
    pub held: Stretch,
    /// The service for as long without one.
    pub free: Stretch,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Rounds.
    pub rounds: u32,
    /// Every table.
    pub tables: Vec<Rate>,
    /// All of them.
    pub total: Rate,
    /// The cost of a held snapshot; nothing where none was held.
    pub horizon: Option<Horizon>,
    /// The limit of the digest's time against that of `hashtext`, over all tables.
    pub limit: f64,
}

impl Measured {
    /// Whether the digest keeps to its limit.
    pub fn passes(&self) -> bool {
        self.total.against_hashtext <= self.limit
    }
}

/// Starts servers of its own, and measures.
///
/// # Errors
/// A server refuses, or the writers cannot write. A figure over its limit is no error here.
pub async fn measure(pace: &Pace, limit: f64, story: &Story) -> Result<Measured> {
    let options = PairOptions {
        source_bindir: pace.source_bindir.clone(),
        target_bindir: pace.target_bindir.clone(),
        ..PairOptions::default()
    };
    let pair = pair::up(&options, story).await?;
    let measured = look(&pair, pace, limit, story).await;
    pair.down().await?;
    measured
}

async fn look(pair: &Pair, pace: &Pace, limit: f64, story: &Story) -> Result<Measured> {
    let endpoint = pair.source.endpoint(DATABASE);
    sample::fill(&endpoint, pace.rows).await?;
    let session = endpoint.connect("bench").await?;
    session.batch_execute(READING).await?;
    let mut tables = Vec::new();
    for relation in survey::tables(&session).await? {
        story.note(format!("reading {}", relation.title()));
        tables.push(rate(&session, &relation, pace.rounds).await?);
    }
    let total = total(&tables);
    let horizon = match pace.hold > 0.0 {
        true => {
            let service = pair.source.endpoint(SERVICE);
            Some(horizon(&service, &pair.scratch()?, pace, story).await?)
        }
        false => None,
    };
    Ok(Measured { rounds: pace.rounds, tables, total, horizon, limit })
}

/// Every query once to warm the cache, then all of them in turns.
async fn rate(session: &Session, relation: &survey::Relation, rounds: u32) -> Result<Rate> {
    let table = relation.qualified();
    let count = format!("SELECT count(*) FROM ONLY {table}");
    let hashtext = format!("SELECT sum(hashtext(t::text)) FROM ONLY {table} AS t");
    let reader = TableReader::new(relation, digest::seeds(), true);
    let mut rows = 0;
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..=rounds {
        let mut seconds = [0.0; 3];
        for (sql, seconds) in [&count, &hashtext].into_iter().zip(&mut seconds) {
            let begun = Instant::now();
            session.query_one(sql, &[]).await.with_context(|| sql.clone())?;
            *seconds = begun.elapsed().as_secs_f64();
        }
        let begun = Instant::now();
        rows = reader.digest(session, &Range::whole()).await?.rows;
        seconds[2] = begun.elapsed().as_secs_f64();
        if round > 0 {
            times.iter_mut().zip(seconds).for_each(|(all, one)| all.push(one));
        }
    }
    let [count_seconds, hashtext_seconds, digest_seconds] = times.map(median);
    Ok(Rate {
        table: relation.title(),
        rows,
        bytes: u64::try_from(relation.bytes)?,
        count_seconds,
        hashtext_seconds,
        digest_seconds,
        ..Rate::default()
    }
    .with_ratios())
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    fn with_ratios(mut self) -> Rate {
        let ratio = |one: f64, other: f64| if other > 0.0 { one / other } else { 0.0 };
        self.rows_per_second = ratio(self.rows as f64, self.digest_seconds);
        self.mb_per_second = ratio(self.bytes as f64 / MEGABYTE, self.digest_seconds);
        self.against_count = ratio(self.digest_seconds, self.count_seconds);
        self.against_hashtext = ratio(self.digest_seconds, self.hashtext_seconds);
        self
    }
}

fn total(tables: &[Rate]) -> Rate {
    let sum = |of: fn(&Rate) -> f64| tables.iter().map(of).sum();
    Rate {
        table: "all".into(),
        rows: tables.iter().map(|table| table.rows).sum(),
        bytes: tables.iter().map(|table| table.bytes).sum(),
        count_seconds: sum(|table| table.count_seconds),
        hashtext_seconds: sum(|table| table.hashtext_seconds),
        digest_seconds: sum(|table| table.digest_seconds),
        ..Rate::default()
    }
    .with_ratios()
}

/// A service under load, with a snapshot held while its rows are hashed over and over, then for as
/// long without one.
async fn horizon(
    service: &Endpoint,
    scratch: &Path,
    pace: &Pace,
    story: &Story,
) -> Result<Horizon> {
    sample::create(service).await?;
    let password = password::random();
    let session = service.connect("bench").await?;
    workload::install(&session, &password).await?;
    workload::fill(service, pace.scale, 1, story).await?;
    let endpoint_file = scratch.join("endpoint");
    file::write(&endpoint_file, &service.with_user(workload::APPLICATION, &password))?;
    let load = Workload::start(Load {
        writes: Writes::Sample,
        rate: (pace.rate > 0.0).then_some(pace.rate),
        writers: pace.writers,
        seed: 1,
        endpoint_file,
        application_name: SERVICE.into(),
    })?;
    load.wait_for(None, WRITES_BEFORE, TRAFFIC_LIMIT).await?;
    story.note("holding a snapshot under load");
    let observer = Observer { session, load: &load };
    let reading = service.connect("bench").await?;
    reading.batch_execute(READING).await?;
    reading.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let tables = survey::tables(&reading).await?;
    let before = observer.look().await?;
    let mut certify_seconds = None;
    while before.at.elapsed().as_secs_f64() < pace.hold {
        let begun = Instant::now();
        for table in tables.iter().filter(|table| table.has_rows()) {
            let reader = TableReader::new(table, digest::seeds(), true);
            reader.digest(&reading, &Range::whole()).await?;
        }
        certify_seconds.get_or_insert(begun.elapsed().as_secs_f64());
    }
    let held = observer.since(&before).await?;
    reading.batch_execute("COMMIT").await?;
    story.note("and for as long without one");
    let before = observer.look().await?;
    let left = Duration::from_secs_f64(held.seconds).saturating_sub(STATISTICS_DELAY);
    tokio::time::sleep(left).await;
    let free = observer.since(&before).await?;
    drop(observer);
    load.stop().await?;
    ensure!(held.writes > 0 && free.writes > 0, "nobody wrote while a snapshot was held");
    Ok(Horizon { certify_seconds: certify_seconds.unwrap_or(0.0), held, free })
}

/// Looks at the service while others work on it.
struct Observer<'a> {
    session: Session,
    load: &'a Workload,
}

/// The service at one moment.
struct Moment {
    at: Instant,
    writes: u64,
    horizon_age: i64,
    dead_rows: i64,
    bytes: i64,
}

impl Observer<'_> {
    async fn look(&self) -> Result<Moment> {
        let writes = self.load.counts().acknowledged_on(None);
        let row = self
            .session
            .query_one(
                "SELECT coalesce((SELECT max(age(backend_xmin)) FROM pg_stat_activity
                                  WHERE datname = current_database()), 0)::bigint,
                        coalesce(sum(n_dead_tup), 0)::bigint,
                        coalesce(sum(pg_table_size(relid)), 0)::bigint
                 FROM pg_stat_user_tables",
                &[],
            )
            .await
            .context("look at the service's tables")?;
        let (horizon_age, dead_rows, bytes) = (row.get(0), row.get(1), row.get(2));
        Ok(Moment { at: Instant::now(), writes, horizon_age, dead_rows, bytes })
    }

    /// What happened since; waits for the server's statistics first.
    async fn since(&self, before: &Moment) -> Result<Stretch> {
        tokio::time::sleep(STATISTICS_DELAY).await;
        let now = self.look().await?;
        Ok(Stretch {
            seconds: now.at.duration_since(before.at).as_secs_f64(),
            writes: now.writes.saturating_sub(before.writes),
            horizon_age: now.horizon_age,
            dead_rows: now.dead_rows - before.dead_rows,
            grown_bytes: now.bytes - before.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tables_together_are_held_against_the_limit() {
        let table = |digest_seconds| Rate {
            rows: 10,
            bytes: 2_000_000,
            hashtext_seconds: 1.0,
            digest_seconds,
            ..Rate::default()
        };
        let tables = vec![table(1.0), table(1.5)];
        let total = total(&tables);
        assert!((total.against_hashtext - 1.25).abs() < f64::EPSILON);
        assert!((total.mb_per_second - 1.6).abs() < 1e-9);
        let measured = |limit| {
            let (tables, total) = (tables.clone(), total.clone());
            Measured { rounds: 1, tables, total, horizon: None, limit }
        };
        assert!(measured(1.3).passes() && !measured(1.2).passes());
    }
}
