//! A question to the store, and the chunks that answer it.

use std::time::Duration;

use anyhow::Result;
use pgvector::Vector;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::pg::endpoint::Endpoint;
use crate::rag::store::{Store, explained};

/// How long one search may take, its plan included.
pub const SEARCH_LIMIT: Duration = Duration::from_secs(60);

/// What to search for. At least one of text and embedding is there.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Words, as a person types them.
    pub text: Option<String>,
    /// The same as a vector, from the model that the chunks were embedded with.
    pub embedding: Option<Vec<f32>>,
    /// How many chunks are wanted.
    pub k: i32,
    /// Which chunks count.
    pub filter: Filter,
}

/// Which chunks count. What is empty does not restrict.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Any of these repositories.
    pub repos: Vec<String>,
    /// Any of these source types.
    pub source_types: Vec<String>,
    /// All of these labels.
    pub labels: Vec<String>,
    /// This author.
    pub author: Option<String>,
    /// Changed at its source then or later.
    pub since: Option<String>,
    /// Changed at its source before.
    pub until: Option<String>,
}

impl Filter {
    /// The filter as `rag_search` takes it.
    pub fn as_json(&self) -> Value {
        let mut all = Map::new();
        let lists =
            [("repo", &self.repos), ("source_type", &self.source_types), ("labels", &self.labels)];
        for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            all.insert(key.into(), json!(list));
        }
        let ones = [("author", &self.author), ("since", &self.since), ("until", &self.until)];
        for (key, one) in ones {
            if let Some(one) = one {
                all.insert(key.into(), json!(one));
            }
        }
        Value::Object(all)
    }
}

/// One chunk that answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The chunk's key.
    pub id: i64,
    /// Sum of 1 / (60 + rank) over the branches that found it; higher is better.
    pub score: f64,
    /// Its place among the keyword matches, from 1; `None` where it is none.
    pub keyword_rank: Option<i32>,
    /// Its place by distance, from 1; `None` where it is too far.
    pub vector_rank: Option<i32>,
    /// Its repository.
    pub repo: String,
    /// What kind of document it is from.
    pub source_type: String,
    /// The document.
    pub source_id: String,
    /// Its position in the document, from 0.
    pub chunk_index: i32,
    /// Its text around the matches, which stand in `<mark>` and `</mark>`.
    pub snippet: String,
}

/// The best chunks, best first.
///
/// # Errors
/// The store refuses the question, with what is wrong with it; the connection is lost.
pub async fn search(store: &Store, question: &Question) -> Result<Vec<Hit>> {
    let sql = "SELECT id, score, keyword_rank, vector_rank, repo, source_type, source_id,
            chunk_index, snippet
        FROM rag_search($1, $2, $3, $4)";
    let rows = ask(store, sql, question).await?;
    Ok(rows
        .iter()
        .map(|row| Hit {
            id: row.get(0),
            score: row.get(1),
            keyword_rank: row.get(2),
            vector_rank: row.get(3),
            repo: row.get(4),
            source_type: row.get(5),
            source_id: row.get(6),
            chunk_index: row.get(7),
            snippet: row.get(8),
        })
        .collect())
}

/// How the server answers: its plan, with the times of this very run.
///
/// # Errors
/// As [`search`].
pub async fn explain(store: &Store, question: &Question) -> Result<Vec<String>> {
    let sql = "SELECT rag_search_explain($1, $2, $3, $4)";
    let rows = ask(store, sql, question).await?;
    Ok(rows.iter().map(|row| readable(row.get(0))).collect())
}

/// A line of a plan without the numbers of the vector, which are kilobytes.
fn readable(line: &str) -> String {
    match (line.find("'["), line.rfind("]'")) {
        (Some(begin), Some(end)) if end > begin => {
            format!("{}'[…{}", &line[..begin], &line[end..])
        }
        _ => line.to_string(),
    }
}

async fn ask(store: &Store, sql: &str, question: &Question) -> Result<Vec<tokio_postgres::Row>> {
    let embedding = question.embedding.clone().map(Vector::from);
    let filter = question.filter.as_json();
    let rows = store.session.query(sql, &[&question.text, &embedding, &question.k, &filter]).await;
    rows.map_err(|error| explained(error, "search"))
}

/// Opens the store at an endpoint for searching.
///
/// # Errors
/// As [`Store::open`].
pub async fn open(endpoint: &Endpoint) -> Result<Store> {
    Store::open(endpoint, "search", SEARCH_LIMIT).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_shown_without_its_vector() {
        let line = "Order By: (chunk_embedding <=> '[0.1,0.2]'::vector)";
        assert_eq!(readable(line), "Order By: (chunk_embedding <=> '[…]'::vector)");
        assert_eq!(readable("Limit"), "Limit");
    }

    #[test]
    fn an_empty_filter_restricts_nothing() {
        assert_eq!(Filter::default().as_json(), json!({}));
    }

    #[test]
    fn a_filter_has_the_keys_of_the_function() {
        let filter = Filter {
            repos: vec!["one".into(), "two".into()],
            author: Some("me".into()),
            since: Some("2026-01-01".into()),
            ..Filter::default()
        };
        let wanted = json!({"repo": ["one", "two"], "author": "me", "since": "2026-01-01"});
        assert_eq!(filter.as_json(), wanted);
    }
}
