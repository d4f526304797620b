//! What became of many searches: the figures that a verdict needs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Searches beside something else, as the client saw them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Searches {
    /// Chunks in the store.
    pub chunks: u64,
    /// Searches that were answered.
    pub count: u64,
    /// Searches that failed, or found nothing.
    pub failed: u64,
    /// Half took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 took no longer, in milliseconds.
    pub p95_ms: f64,
    /// None took longer, in milliseconds.
    pub longest_ms: f64,
    /// What the first that failed said.
    pub reason: Option<String>,
}

impl Searches {
    /// The figures of searches that took so long, and of those that failed with a reason.
    pub fn of(chunks: u64, mut took: Vec<Duration>, reasons: &[String]) -> Searches {
        took.sort_unstable();
        let at = |share: f64| {
            let place = (took.len() as f64 * share).ceil() as usize;
            let one = took.get(place.saturating_sub(1)).copied().unwrap_or_default();
            one.as_secs_f64() * 1000.0
        };
        Searches {
            chunks,
            count: took.len() as u64,
            failed: reasons.len() as u64,
            p50_ms: at(0.50),
            p95_ms: at(0.95),
            longest_ms: at(1.0),
            reason: reasons.first().cloned(),
        }
    }
}
