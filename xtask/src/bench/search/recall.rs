//! How many of the nearest chunks HNSW finds.

use std::time::Instant;

use anyhow::{Context, Result};
use pgvector::Vector;
use serde::Serialize;

use crate::cutover::event::Story;
use crate::rag::sample::Sample;
use crate::rag::search::{Question, search};
use crate::rag::store::Store;

/// How many questions are asked both ways.
const QUESTIONS: u64 = 50;
/// How many answers each has.
const K: i32 = 10;

/// The share of the nearest chunks that were found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recall {
    /// The mean over all questions, from 0 to 1.
    pub mean: f64,
    /// The worst of them.
    pub least: f64,
    /// How many questions were asked.
    pub questions: u64,
    /// How long an exact answer takes, in milliseconds, on average.
    pub exact_ms: f64,
}

/// Asks each question by `rag_search`, and once more of every row.
pub(super) async fn measure(store: &Store, sample: &Sample, story: &Story) -> Result<Recall> {
    let mut shares = Vec::new();
    let begun = Instant::now();
    let mut exact = Vec::new();
    let session = &store.session;
    session.batch_execute("SET enable_indexscan = off").await.context("look at every row")?;
    for number in 0..QUESTIONS {
        let embedding = Vector::from(sample.question(number).embedding);
        let sql = "SELECT id FROM rag_knowledge_entries
            WHERE chunk_embedding IS NOT NULL AND NOT deleted
            ORDER BY chunk_embedding <=> $1 LIMIT $2";
        let rows = session.query(sql, &[&embedding, &i64::from(K)]).await;
        let rows = rows.context("look at every row")?;
        exact.push(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>());
        story.progress("exact answers", number + 1, QUESTIONS, "questions");
    }
    let exact_ms = begun.elapsed().as_secs_f64() * 1000.0 / QUESTIONS as f64;
    session.batch_execute("RESET enable_indexscan").await.context("use indexes again")?;
    for (number, wanted) in (0..QUESTIONS).zip(&exact) {
        let question = Question {
            embedding: Some(sample.question(number).embedding),
            k: K,
            ..Question::default()
        };
        let found = search(store, &question).await?;
        let hits = found.iter().filter(|hit| wanted.contains(&hit.id)).count();
        shares.push(hits as f64 / wanted.len().max(1) as f64);
    }
    Ok(Recall {
        mean: shares.iter().sum::<f64>() / shares.len().max(1) as f64,
        least: shares.iter().copied().fold(1.0, f64::min),
        questions: QUESTIONS,
        exact_ms,
    })
}
