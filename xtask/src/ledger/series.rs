//! The load over time, for charts and for the figures of a report.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Switch, acknowledged, milliseconds};
use crate::workload::{Attempt, History, Outcome};

/// How long acknowledged attempts took, in milliseconds, from the begin of the attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub longest_ms: f64,
}

/// What happened in one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Where it begins, in milliseconds since the start of the load.
    pub at_ms: f64,
    /// Attempts acknowledged in it.
    pub acknowledged: u64,
    /// Attempts refused in it.
    pub refused: u64,
    /// Attempts given up in it, of which nobody knew.
    pub unknown: u64,
    /// How long the acknowledged ones took.
    pub latency: Latency,
}

/// What clients saw over a part of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The wall clock at the start of the load, from which the stretches count.
    pub load_began: Timestamp,
    /// The length of a stretch, in milliseconds.
    pub stretch_ms: f64,
    /// The change of the server that it is about; none where it shows the whole load.
    pub switch: Option<Switch>,
    /// The stretches, one after another.
    pub buckets: Vec<Bucket>,
}

/// The load around one change of the server.
pub fn around(history: &History, switch: &Switch, stretch: Duration, margin: Duration) -> Window {
    let margin = margin.as_secs_f64() * 1000.0;
    let from = milliseconds(switch.last_acknowledged) - margin;
    let until = milliseconds(switch.first_acknowledged) + margin;
    let mut buckets = series(history, stretch);
    buckets.retain(|bucket| bucket.at_ms >= from && bucket.at_ms <= until);
    window(history, stretch, Some(switch.clone()), buckets)
}

/// The whole load in at most so many stretches, of whole tenths of a second.
pub fn whole(history: &History, most: u32) -> Window {
    /// The shortest stretch.
    const LEAST: u32 = 100;
    let end = history.attempts.iter().map(Attempt::ended).max().unwrap_or(0) / 1000;
    let least = u32::try_from(end).unwrap_or(u32::MAX) / most.max(1) + 1;
    let stretch = Duration::from_millis(least.div_ceil(LEAST).saturating_mul(LEAST).into());
    window(history, stretch, None, series(history, stretch))
}

fn window(
    history: &History,
    stretch: Duration,
    switch: Option<Switch>,
    buckets: Vec<Bucket>,
) -> Window {
    let stretch_ms = stretch.as_secs_f64() * 1000.0;
    Window { load_began: history.started, stretch_ms, switch, buckets }
}

/// How long the acknowledged attempts of a load took.
pub fn latency(history: &History) -> Latency {
    percentiles(acknowledged(history).map(|attempt| attempt.took).collect())
}

/// The load in stretches of equal length, 100 ms for a chart; an attempt counts where it ended.
pub fn series(history: &History, stretch: Duration) -> Vec<Bucket> {
    let width = u64::try_from(stretch.as_micros()).unwrap_or(u64::MAX).max(1);
    let mut sorted: Vec<&Attempt> = history.attempts.iter().collect();
    sorted.sort_by_key(|attempt| attempt.ended());
    let end = sorted.last().map_or(0, |attempt| attempt.ended() / width + 1);
    let mut rest = sorted.as_slice();
    let mut all = Vec::new();
    for place in 0..end {
        let size = rest.partition_point(|attempt| attempt.ended() / width == place);
        let (inside, after) = rest.split_at(size);
        rest = after;
        all.push(bucket(place * width, inside));
    }
    all
}

fn bucket(at: u64, inside: &[&Attempt]) -> Bucket {
    let count = |outcome| inside.iter().filter(|one| one.outcome == outcome).count() as u64;
    let acknowledged = inside.iter().filter(|one| one.outcome == Outcome::Acknowledged);
    Bucket {
        at_ms: milliseconds(at),
        acknowledged: count(Outcome::Acknowledged),
        refused: count(Outcome::Refused),
        unknown: count(Outcome::Unknown),
        latency: percentiles(acknowledged.map(|one| one.took).collect()),
    }
}

fn percentiles(mut took: Vec<u32>) -> Latency {
    took.sort_unstable();
    let at = |percent: usize| {
        let place = (took.len() * percent).div_ceil(100).saturating_sub(1);
        took.get(place).map_or(0.0, |took| milliseconds(u64::from(*took)))
    };
    Latency { p50_ms: at(50), p99_ms: at(99), longest_ms: at(100) }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{A, B, history};
    use super::*;
    use Outcome::{Acknowledged, Refused};

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let seen = percentiles((1..=100).map(|one| one * 1000).collect());
        assert_eq!(seen, Latency { p50_ms: 50.0, p99_ms: 99.0, longest_ms: 100.0 });
        assert_eq!(percentiles(Vec::new()), Latency::default());
    }

    #[test]
    fn attempts_count_where_they_end() {
        let history = history(&[
            (0, A, 0, 99_999, Acknowledged),
            (1, A, 0, 100_000, Refused),
            (0, A, 210_000, 250_000, Acknowledged),
        ]);
        let seen = series(&history, Duration::from_millis(100));
        let counts: Vec<_> = seen.iter().map(|one| (one.acknowledged, one.refused)).collect();
        assert_eq!(counts, [(1, 0), (0, 1), (1, 0)]);
        assert_eq!(seen[2].latency.p50_ms, 40.0);
    }

    #[test]
    fn a_window_holds_what_lies_around_a_pause() {
        let turns =
            [(0, A, 0, 1_000_000), (0, B, 1_300_000, 1_400_000), (0, B, 9_000_000, 9_900_000)];
        let history =
            history(&turns.map(|(writer, server, began, ended)| {
                (writer, server, began, ended, Acknowledged)
            }));
        let switch = &super::super::serving(&history, &[A, B]).switches[0];
        let seen = around(&history, switch, Duration::from_millis(50), Duration::from_secs(1));
        assert_eq!(seen.buckets.first().map(|bucket| bucket.at_ms), Some(0.0));
        assert_eq!(seen.buckets.last().map(|bucket| bucket.at_ms), Some(2400.0));
        let seen = whole(&history, 10);
        assert_eq!((seen.stretch_ms, seen.buckets.len()), (1000.0, 10));
    }
}
