//! The pause of many switches and rollbacks under load, as clients saw it and step by step.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::cutover::engine::Interrupt;
use crate::cutover::event::Story;
use crate::cutover::verbs::{Operation, Origin};
use crate::drill::{self, DATABASE, Rehearsal, Report, RouteKind, Turn};
use crate::route::Route;
use crate::servers::pair::{self, PairOptions};

/// How to measure.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How often to switch and roll back.
    pub cycles: u32,
    /// Transactions per second of all writers together.
    pub rate: f64,
    /// Sessions that write.
    pub writers: u16,
    /// How much data: 1 is about 200 MB.
    pub scale: f64,
    /// Programs of the plain server; those of the environment or the wheel where not named.
    pub source_bindir: Option<PathBuf>,
    /// Programs of the ParadeDB server.
    pub target_bindir: Option<PathBuf>,
}

/// How times are spread, in milliseconds: nearest ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Half of them were no longer.
    pub p50_ms: f64,
    /// 95 of 100 were no longer.
    pub p95_ms: f64,
    /// 99 of 100 were no longer.
    pub p99_ms: f64,
    /// The longest.
    pub longest_ms: f64,
}

impl Spread {
    /// The spread of some times.
    pub fn of(times: impl IntoIterator<Item = f64>) -> Spread {
        let mut times: Vec<f64> = times.into_iter().collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or(0.0)
        };
        Spread {
            count: times.len(),
            p50_ms: at(50),
            p95_ms: at(95),
            p99_ms: at(99),
            longest_ms: at(100),
        }
    }
}

/// What was measured on one route.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The route.
    pub route: RouteKind,
    /// The pause of switches, from the last acknowledged write on one side to the first on the
    /// other.
    pub forth: Spread,
    /// The same of rollbacks.
    pub back: Spread,
    /// The same of both.
    pub both: Spread,
    /// The longest time without an acknowledged write of any one writer, of both.
    pub slowest_writer: Spread,
    /// Where the time goes: each step of the pause, what lies between the steps, and the whole.
    pub steps: Vec<(String, Spread)>,
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Acknowledged writes that are not there.
    pub lost: u64,
    /// Writes that are there more than once.
    pub duplicated: u64,
    /// Clients' transactions that failed.
    pub failed: u64,
    /// The limit of the 99th percentile of both, in milliseconds.
    pub limit_ms: f64,
}

impl Measured {
    /// What a rehearsal says about pauses.
    fn of(route: RouteKind, limit_ms: f64, report: &Report) -> Measured {
        let pauses = |verb: &'static str| {
            let turns = report.turns.iter().filter(move |turn| turn.verb == verb);
            turns.filter_map(|turn| turn.pause_ms)
        };
        let rows = &report.verdict.rows;
        Measured {
            route,
            forth: Spread::of(pauses("switch")),
            back: Spread::of(pauses("rollback")),
            both: Spread::of(report.turns.iter().filter_map(|turn| turn.pause_ms)),
            slowest_writer: Spread::of(report.turns.iter().filter_map(|turn| turn.longest_ms)),
            steps: steps(&report.turns),
            acknowledged: rows.acknowledged,
            lost: rows.lost.count,
            duplicated: rows.duplicated.count,
            failed: report.failed,
            limit_ms,
        }
    }

    /// Whether the pause keeps to its limit.
    pub fn passes(&self) -> bool {
        self.both.p99_ms <= self.limit_ms
    }
}

/// Each step over all turns; then what is no step: the journal, and the looks at who owns the run.
fn steps(turns: &[Turn]) -> Vec<(String, Spread)> {
    let names = turns.first().map(|turn| turn.steps.iter().map(|(name, _)| name.clone()));
    let of = |name: &str| {
        let times = turns.iter().flat_map(|turn| &turn.steps);
        Spread::of(times.filter(|(step, _)| step == name).map(|(_, time)| *time))
    };
    let mut all: Vec<(String, Spread)> =
        names.into_iter().flatten().map(|name| (name.clone(), of(&name))).collect();
    let between = |turn: &Turn| {
        let steps: f64 = turn.steps.iter().map(|(_, time)| time).sum();
        (turn.database_ms - steps).max(0.0)
    };
    all.push(("between".into(), Spread::of(turns.iter().map(between))));
    all.push(("whole".into(), Spread::of(turns.iter().map(|turn| turn.database_ms))));
    all
}

/// Rehearses on servers of its own, and measures.
///
/// # Errors
/// A verb fails, or the oracle finds a fault. A pause over its limit is no error here.
pub async fn measure(
    route: RouteKind,
    pace: &Pace,
    limit_ms: f64,
    story: &Story,
) -> Result<Measured> {
    let options = PairOptions {
        source_bindir: pace.source_bindir.clone(),
        target_bindir: pace.target_bindir.clone(),
        ..PairOptions::default()
    };
    let pair = pair::up(&options, story).await?;
    let (source, target) = (pair.source.endpoint(DATABASE), pair.target.endpoint(DATABASE));
    let scratch = pair.scratch()?;
    let endpoint_file = scratch.join("endpoint");
    let operation = Operation {
        source_for_target: source.clone(),
        target_for_source: target.clone(),
        source,
        target,
        options: drill::options(2, Route::File(endpoint_file.clone()), scratch.clone()),
        bindirs: vec![pair.target.bindir().to_path_buf()],
        run: None,
        take_over: false,
        argv: vec!["cargo xtask bench pause".into()],
        story: story.clone(),
        interrupt: Interrupt::default(),
        origin: Origin::default(),
    };
    let rehearsal = Rehearsal {
        scale: pace.scale,
        seed: 1,
        rate: pace.rate,
        writers: pace.writers,
        cycles: pace.cycles,
        endpoint_file,
        pooled_in: (route == RouteKind::PgBouncer).then_some(scratch),
    };
    let report = drill::rehearse(&operation, &rehearsal).await;
    pair.down().await?;
    Ok(Measured::of(route, limit_ms, &report?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_nearest_rank() {
        let spread = Spread::of((1..=200).rev().map(f64::from));
        assert_eq!((spread.count, spread.p50_ms, spread.p95_ms), (200, 100.0, 190.0));
        assert_eq!((spread.p99_ms, spread.longest_ms), (198.0, 200.0));
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn what_is_no_step_is_named() {
        let turn = Turn {
            verb: "switch".into(),
            database_ms: 100.0,
            pause_ms: None,
            longest_ms: None,
            refused: None,
            unknown: None,
            certify_ms: 0.0,
            steps: vec![("fence".into(), 60.0), ("drain".into(), 30.0)],
        };
        let found: Vec<_> =
            steps(&[turn]).into_iter().map(|(name, spread)| (name, spread.longest_ms)).collect();
        let wanted = [("fence", 60.0), ("drain", 30.0), ("between", 10.0), ("whole", 100.0)];
        assert_eq!(found, wanted.map(|(name, time)| (name.to_string(), time)));
    }
}
