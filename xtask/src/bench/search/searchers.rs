//! Sessions that ask questions, and how long the answers took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::pg::endpoint::Endpoint;
use crate::rag::sample::Sample;
use crate::rag::search::{Filter, Question, open, search};
use crate::rag::store::Store;

/// Chunks that are asked for.
const K: i32 = 10;
/// Questions before these are for recall; the same question is never asked for two purposes.
const FIRST_QUESTION: u64 = 1_000_000;
/// Questions with which a server warms up.
const WARMING_QUESTION: u64 = 2_000_000;

/// What a question has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Words alone.
    Keyword,
    /// An embedding alone.
    Vector,
    /// Both.
    Hybrid,
    /// Both, in one repository of twenty.
    Filtered,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Keyword, Kind::Vector, Kind::Hybrid, Kind::Filtered];

    /// As a table names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Keyword => "keyword",
            Kind::Vector => "vector",
            Kind::Hybrid => "hybrid",
            Kind::Filtered => "hybrid, filtered",
        }
    }

    fn question(self, sample: &Sample, number: u64) -> Question {
        let made = sample.question(number);
        let filter = match self {
            Kind::Filtered => {
                Filter { repos: vec![Sample::repository(number)], ..Filter::default() }
            }
            _ => Filter::default(),
        };
        Question {
            text: (self != Kind::Vector).then_some(made.text),
            embedding: (self != Kind::Keyword).then_some(made.embedding),
            k: K,
            filter,
        }
    }
}

/// How long searches of one kind took, in milliseconds, as the client saw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latencies {
    /// Which kind.
    pub kind: Kind,
    /// How many were asked.
    pub count: u64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
}

impl Latencies {
    fn of(kind: Kind, mut all: Vec<Duration>) -> Latencies {
        all.sort_unstable();
        let at = |share: f64| {
            let place = (all.len() as f64 * share).ceil() as usize;
            let took = all.get(place.saturating_sub(1)).copied().unwrap_or_default();
            took.as_secs_f64() * 1000.0
        };
        let count = all.len() as u64;
        Latencies { kind, count, p50_ms: at(0.50), p95_ms: at(0.95), p99_ms: at(0.99) }
    }
}

/// Asks questions of every kind, unmeasured.
pub(super) async fn warm(store: &Store, sample: &Sample, count: u64) -> Result<()> {
    for number in 0..count {
        for kind in Kind::ALL {
            search(store, &kind.question(sample, WARMING_QUESTION + number)).await?;
        }
    }
    Ok(())
}

/// Asks questions of one kind for a while, each session one after the other.
pub(super) async fn alone(
    endpoint: &Endpoint,
    sample: &Arc<Sample>,
    kind: Kind,
    sessions: usize,
    time: Duration,
) -> Result<Latencies> {
    let took = ask(endpoint, sample, vec![kind], sessions, None, time).await?;
    Ok(Latencies::of(kind, took.into_iter().map(|(_, took)| took).collect()))
}

/// Asks questions of all kinds in turn for a while, so many a second. A question that could not be
/// asked in time counts from when it should have been.
pub(super) async fn paced(
    endpoint: &Endpoint,
    sample: &Arc<Sample>,
    sessions: usize,
    rate: f64,
    time: Duration,
) -> Result<Vec<Latencies>> {
    let took = ask(endpoint, sample, Kind::ALL.to_vec(), sessions, Some(rate), time).await?;
    let of = |kind: Kind| {
        let of_kind = took.iter().filter(|(one, _)| *one == kind);
        Latencies::of(kind, of_kind.map(|(_, took)| *took).collect())
    };
    Ok(Kind::ALL.map(of).to_vec())
}

async fn ask(
    endpoint: &Endpoint,
    sample: &Arc<Sample>,
    kinds: Vec<Kind>,
    sessions: usize,
    rate: Option<f64>,
    time: Duration,
) -> Result<Vec<(Kind, Duration)>> {
    let next = Arc::new(AtomicU64::new(0));
    let mut stores = Vec::new();
    for _ in 0..sessions {
        stores.push(open(endpoint).await?);
    }
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for store in stores {
        let (sample, next, kinds) = (Arc::clone(sample), Arc::clone(&next), kinds.clone());
        asking.spawn(async move {
            let mut all = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let kind = kinds[(number % kinds.len() as u64) as usize];
                let question = kind.question(&sample, FIRST_QUESTION + number);
                let due = rate.map(|rate| begun + Duration::from_secs_f64(number as f64 / rate));
                let asked = due.unwrap_or_else(Instant::now);
                if asked.saturating_duration_since(begun) >= time || begun.elapsed() >= time {
                    return anyhow::Ok(all);
                }
                tokio::time::sleep_until(asked.into()).await;
                search(&store, &question).await?;
                all.push((kind, asked.elapsed()));
            }
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = asking.join_next().await {
        all.extend(ended.context("a searcher ended by a panic")??);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let all = (1..=200).rev().map(Duration::from_millis).collect();
        let latencies = Latencies::of(Kind::Hybrid, all);
        let seen = [latencies.p50_ms, latencies.p95_ms, latencies.p99_ms];
        assert_eq!((latencies.count, seen), (200, [100.0, 190.0, 198.0]));
        assert_eq!(Latencies::of(Kind::Hybrid, Vec::new()).p99_ms, 0.0);
    }
}
