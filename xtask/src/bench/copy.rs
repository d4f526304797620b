//! The copy against every other way to do it: on the same rows, on the same servers, in one run.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::bench::{median, sample};
use crate::cutover::event::Story;
use crate::pg::endpoint::Endpoint;
use crate::servers::pair::{self, PairOptions};
use crate::servers::programs::{Programs, find_programs};

pub mod contenders;

/// The database with the rows, and each contender's copy of it.
const DATABASE: &str = "bench";
/// Bytes in a megabyte, as rates count them.
const MEGABYTE: f64 = 1e6;
/// Bytes in a gigabyte, as rates count them.
const GIGABYTE: f64 = 1e9;

/// How to measure.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How many rows, all tables together.
    pub rows: u32,
    /// How many rounds; each contender's figure is its median.
    pub rounds: u32,
    /// Sessions or processes per side at once, for every contender.
    pub jobs: u8,
    /// Programs of the plain server; those of the environment or the wheel where not named.
    pub source_bindir: Option<PathBuf>,
    /// Programs of the ParadeDB server.
    pub target_bindir: Option<PathBuf>,
}

/// What the figures are held against.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// The time of this tool against that of the raw limit.
    pub raw: f64,
    /// The time of this tool against that of pgcopydb, where it is there.
    pub pgcopydb: f64,
    /// The peak memory of this tool, in bytes.
    pub memory: u64,
}

/// The ways to copy a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `cutover start`, up to the end of its step `index`.
    Xtask,
    /// Pipes of `psql`, each a range of pages, then the same indexes: no bookkeeping at all.
    Raw,
    /// `pg_dump` into a folder, then `pg_restore`.
    Dump,
    /// PostgreSQL's own subscription, which copies each table by one process.
    Tablesync,
    /// `pgcopydb clone`.
    Pgcopydb,
}

impl Kind {
    /// All, in the order in which they take their turns.
    pub const ALL: [Kind; 5] =
        [Kind::Xtask, Kind::Raw, Kind::Dump, Kind::Tablesync, Kind::Pgcopydb];

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Xtask => "cutover start",
            Kind::Raw => "raw limit",
            Kind::Dump => "pg_dump | pg_restore",
            Kind::Tablesync => "native tablesync",
            Kind::Pgcopydb => "pgcopydb clone",
        }
    }
}

/// What one contender took once, in seconds. All end with keys, indexes and statistics in place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// From its first act to its last, schema included.
    pub whole: f64,
    /// Its part for the rows, where that can be told.
    pub copy: Option<f64>,
    /// Its part for indexes and statistics, where that can be told.
    pub index: Option<f64>,
    /// The most memory of its process, in bytes, where it was looked at.
    pub peak_bytes: Option<u64>,
}

/// One contender over all rounds: medians of the times, the highest peak.
#[derive(Debug, Serialize)]
pub struct Contender {
    /// Which it is.
    pub kind: Kind,
    /// Why it was not measured; nothing where it was.
    pub absent: Option<String>,
    /// Seconds of the whole.
    pub seconds: f64,
    /// Seconds of the rows.
    pub copy_seconds: Option<f64>,
    /// Seconds of indexes and statistics.
    pub index_seconds: Option<f64>,
    /// Megabytes of table per second, over the whole.
    pub mb_per_second: f64,
    /// Seconds for each gigabyte of table, over the whole.
    pub seconds_per_gb: f64,
    /// Its time against that of the raw limit.
    pub against_raw: Option<f64>,
    /// The most memory of its process, in bytes.
    pub peak_bytes: Option<u64>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of all tables on the source, without indexes.
    pub bytes: u64,
    /// Sessions or processes per side.
    pub jobs: u8,
    /// Rounds.
    pub rounds: u32,
    /// Every contender.
    pub contenders: Vec<Contender>,
    /// What they are held against.
    pub limits: Limits,
    /// Which figures are over their limit, in words.
    pub over: Vec<String>,
}

/// What contenders work with.
pub struct Field {
    /// The database with the rows.
    pub source: Endpoint,
    /// The empty database to fill.
    pub target: Endpoint,
    /// `pg_dump` and `pg_restore` of the target's version.
    pub programs: Programs,
    /// The target's programs.
    pub bindir: PathBuf,
    /// A folder of the run's own.
    pub scratch: PathBuf,
    /// Sessions or processes per side.
    pub jobs: u8,
}

/// Starts servers of its own, lets everyone copy, and compares.
///
/// # Errors
/// A contender fails, or its copy does not hold what the source holds. A figure over its limit is
/// no error here.
pub async fn measure(pace: &Pace, limits: Limits, story: &Story) -> Result<Measured> {
    let options = PairOptions {
        source_bindir: pace.source_bindir.clone(),
        target_bindir: pace.target_bindir.clone(),
        target_settings: vec![("max_sync_workers_per_subscription".into(), pace.jobs.to_string())],
        ..PairOptions::default()
    };
    let pair = pair::up(&options, story).await?;
    let bindir = pair.target.bindir().to_path_buf();
    let programs =
        find_programs(pair.target.major(), false, std::slice::from_ref(&bindir), story).await?;
    let (source, target) = (pair.source.endpoint(DATABASE), pair.target.endpoint(DATABASE));
    let field =
        Field { source, target, programs, bindir, scratch: pair.scratch()?, jobs: pace.jobs };
    let measured = compete(&field, pace, limits, story).await;
    pair.down().await?;
    measured
}

async fn compete(field: &Field, pace: &Pace, limits: Limits, story: &Story) -> Result<Measured> {
    sample::fill(&field.source, pace.rows).await?;
    let wanted = sample::contents(&field.source).await?;
    let bytes = sample::bytes(&field.source).await?;
    let mut taken: Vec<(Kind, std::result::Result<Vec<Took>, String>)> = Kind::ALL
        .into_iter()
        .map(|kind| (kind, contenders::absent(kind).map_or(Ok(Vec::new()), Err)))
        .collect();
    // Whoever comes first would pay for making the target's WAL files, which the others reuse.
    story.note("warming up: the raw limit, once, not counted");
    contend(Kind::Raw, field, wanted).await.with_context(|| Kind::Raw.title())?;
    for round in 1..=pace.rounds {
        // Nor shall anybody always come behind the same other.
        taken.rotate_left(usize::from(round > 1));
        for (kind, taken) in &mut taken {
            let Ok(taken) = taken else { continue };
            story.note(format!("round {round} of {}: {}", pace.rounds, kind.title()));
            let took = contend(*kind, field, wanted).await;
            taken.push(took.with_context(|| kind.title())?);
        }
    }
    taken.sort_by_key(|(kind, _)| Kind::ALL.iter().position(|one| one == kind));
    let raw = taken.iter().find(|(kind, _)| *kind == Kind::Raw);
    let raw = raw
        .and_then(|(_, taken)| taken.as_ref().ok())
        .map_or(0.0, |taken| median(taken.iter().map(|took| took.whole)));
    let contenders: Vec<Contender> =
        taken.into_iter().map(|(kind, taken)| contender(kind, taken, bytes, raw)).collect();
    Ok(Measured {
        rows: u64::try_from(wanted.0)?,
        bytes,
        jobs: pace.jobs,
        rounds: pace.rounds,
        over: over(&contenders, limits),
        contenders,
        limits,
    })
}

/// One turn: an empty database, the copy, a look at what it holds; then it goes.
async fn contend(kind: Kind, field: &Field, wanted: (i64, i64)) -> Result<Took> {
    sample::create(&field.target).await?;
    // Nobody shall pay for what the one before has left to write.
    for endpoint in [&field.source, &field.target] {
        endpoint.connect("bench").await?.batch_execute("CHECKPOINT").await?;
    }
    let took = contenders::run(kind, field).await?;
    let found = sample::contents(&field.target).await?;
    ensure!(
        found == wanted,
        "its copy holds {} rows and {} indexes, and the source {} and {}",
        found.0,
        found.1,
        wanted.0,
        wanted.1
    );
    contenders::leave(kind, field).await?;
    sample::remove(&field.target).await?;
    Ok(took)
}

fn contender(
    kind: Kind,
    taken: std::result::Result<Vec<Took>, String>,
    bytes: u64,
    raw: f64,
) -> Contender {
    let (taken, absent) = match taken {
        Ok(taken) => (taken, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let part = |of: fn(&Took) -> Option<f64>| {
        let known: Vec<f64> = taken.iter().filter_map(of).collect();
        (!known.is_empty()).then(|| median(known))
    };
    let seconds = median(taken.iter().map(|took| took.whole));
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let bytes = bytes as f64;
    Contender {
        kind,
        seconds,
        copy_seconds: part(|took| took.copy),
        index_seconds: part(|took| took.index),
        mb_per_second: if seconds > 0.0 { bytes / MEGABYTE / seconds } else { 0.0 },
        seconds_per_gb: if bytes > 0.0 { seconds * GIGABYTE / bytes } else { 0.0 },
        against_raw: (absent.is_none() && raw > 0.0).then_some(seconds / raw),
        peak_bytes: taken.iter().filter_map(|took| took.peak_bytes).max(),
        absent,
    }
}

/// What is over its limit.
fn over(contenders: &[Contender], limits: Limits) -> Vec<String> {
    let find =
        |wanted: Kind| contenders.iter().find(|one| one.kind == wanted && one.absent.is_none());
    let Some(own) = find(Kind::Xtask) else { return Vec::new() };
    let mut over = Vec::new();
    let rivals = [(Kind::Raw, limits.raw), (Kind::Pgcopydb, limits.pgcopydb)];
    for (rival, limit) in rivals {
        let Some(theirs) = find(rival).filter(|theirs| theirs.seconds > 0.0) else { continue };
        let ratio = own.seconds / theirs.seconds;
        if ratio > limit {
            let rival = rival.title();
            over.push(format!("{ratio:.2} times the time of {rival}, and {limit} is the limit"));
        }
    }
    if let Some(peak) = own.peak_bytes.filter(|peak| *peak > limits.memory) {
        over.push(format!("{peak} bytes of memory, and {} is the limit", limits.memory));
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { raw: 1.15, pgcopydb: 0.8, memory: 64 << 20 };

    fn took(whole: f64, peak_bytes: u64) -> Vec<Took> {
        vec![Took { whole, peak_bytes: Some(peak_bytes), ..Took::default() }]
    }

    #[test]
    fn each_limit_is_told_by_name() {
        let all = |own: f64, peak, pgcopydb: std::result::Result<Vec<Took>, String>| {
            let contenders = [
                contender(Kind::Xtask, Ok(took(own, peak)), 1, 10.0),
                contender(Kind::Raw, Ok(took(10.0, 0)), 1, 10.0),
                contender(Kind::Pgcopydb, pgcopydb, 1, 10.0),
            ];
            over(&contenders, LIMITS)
        };
        let absent = || Err("it is not there".to_string());
        assert_eq!(all(11.0, 1, absent()), Vec::<String>::new());
        assert!(all(12.0, 1, absent())[0].contains("raw limit"));
        assert!(all(9.0, 1, Ok(took(10.0, 0)))[0].contains("pgcopydb"));
        assert!(all(9.0, 65 << 20, absent())[0].contains("memory"));
    }

    #[test]
    fn who_is_absent_has_no_ratio() {
        let absent = contender(Kind::Pgcopydb, Err("it is not there".into()), 1, 10.0);
        assert_eq!((absent.against_raw, absent.absent.is_some()), (None, true));
    }
}
