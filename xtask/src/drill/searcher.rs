//! Searches of a rehearsal, beside its writers: by keywords and by meaning, on the side that has
//! search, while it serves.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cutover::event::Story;
use crate::pg::endpoint::Endpoint;
use crate::rag::asked::Searches;
use crate::rag::sample::{FILL_LIMIT, Sample, fill};
use crate::rag::search::{Question, open, search};
use crate::rag::store::Store;

/// Chunks that the store is given after the first switch.
const CHUNKS: u64 = 300;
/// How often a question is asked.
const EVERY: Duration = Duration::from_millis(250);
/// How many are asked at least, however short the other thing is.
const LEAST: usize = 5;
/// How long asking so many may take longer than it.
const LEAST_LIMIT: Duration = Duration::from_secs(30);
/// Chunks that are asked for.
const K: i32 = 10;

/// Who searches, and what came of it so far.
pub(super) struct Searcher {
    endpoint: Endpoint,
    seed: u64,
    sample: Option<Sample>,
    asked: u64,
    took: Vec<Duration>,
    reasons: Vec<String>,
}

impl Searcher {
    /// One that has asked nothing yet.
    pub(super) fn new(endpoint: Endpoint, seed: u64) -> Searcher {
        let (sample, took, reasons) = (None, Vec::new(), Vec::new());
        Searcher { endpoint, seed, sample, asked: 0, took, reasons }
    }

    /// Asks while something else goes on; before the first question the store is filled.
    ///
    /// # Errors
    /// The work's own; or the store cannot be filled.
    pub(super) async fn during<T>(
        &mut self,
        story: &Story,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.sample.is_none() {
            let store = Store::open(&self.endpoint, "drill", FILL_LIMIT).await?;
            let sample = Sample::new(store.dimensions, self.seed);
            fill(&store, &sample, CHUNKS, &Story::silent()).await?;
            story.note(format!("{CHUNKS} chunks to search among"));
            self.sample = Some(sample);
        }
        let mut store = None;
        let before = self.count();
        let ended = tokio::select! {
            ended = work => ended,
            () = self.ask_on(&mut store) => unreachable!("it never ends"),
        };
        let begun = Instant::now();
        while self.count() < before + LEAST && begun.elapsed() < LEAST_LIMIT {
            self.ask_next(&mut store).await;
        }
        ended
    }

    /// How many questions had an end.
    fn count(&self) -> usize {
        self.took.len() + self.reasons.len()
    }

    async fn ask_on(&mut self, store: &mut Option<Store>) {
        loop {
            let begun = Instant::now();
            self.ask_next(store).await;
            tokio::time::sleep_until((begun + EVERY).into()).await;
        }
    }

    async fn ask_next(&mut self, store: &mut Option<Store>) {
        let begun = Instant::now();
        match self.ask_once(store).await {
            Ok(()) => self.took.push(begun.elapsed()),
            Err(error) => {
                self.reasons.push(format!("{error:#}"));
                *store = None;
            }
        }
    }

    async fn ask_once(&mut self, store: &mut Option<Store>) -> Result<()> {
        let Some(sample) = &self.sample else { return Ok(()) };
        if store.is_none() {
            *store = Some(open(&self.endpoint).await?);
        }
        let made = sample.question(self.asked);
        self.asked += 1;
        let question = Question {
            text: Some(made.text),
            embedding: Some(made.embedding),
            k: K,
            ..Question::default()
        };
        if let Some(store) = store
            && search(store, &question).await?.is_empty()
        {
            anyhow::bail!("a search found nothing");
        }
        Ok(())
    }

    /// The figures; none where nothing was asked.
    pub(super) fn end(self) -> Option<Searches> {
        let is_asked = !self.took.is_empty() || !self.reasons.is_empty();
        is_asked.then(|| Searches::of(CHUNKS, self.took, &self.reasons))
    }
}
