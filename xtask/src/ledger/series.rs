//! The load over time, for charts and for the figures of a report.

use serde::{Deserialize, Serialize};

use super::{acknowledged, milliseconds};
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

/// How long the acknowledged attempts of a load took.
pub fn latency(history: &History) -> Latency {
    percentiles(acknowledged(history).map(|attempt| attempt.took).collect())
}

/// The load in stretches of equal length, 100 ms for a chart; an attempt counts where it ended.
pub fn series(history: &History, stretch: std::time::Duration) -> Vec<Bucket> {
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
    use super::super::made_up::{A, history};
    use super::*;
    use Outcome::{Acknowledged, Refused};
    use std::time::Duration;

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
}
