//! One document as it comes in: read strictly, checked whole, and cut into chunks.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rag::chunk::Chunker;

/// Characters of a repository's or a document's name, at most: the columns' limit.
const NAME_LIMIT: usize = 255;
/// Characters of a source type, at most: the column's limit.
const TYPE_LIMIT: usize = 50;
/// Bytes of a refused document that are kept with its error, at most.
const PAYLOAD_LIMIT: usize = 100_000;

/// What names a document in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Identity {
    /// Such as `ldamasio/robson`.
    pub repo: String,
    /// Such as `github.doc`.
    pub source_type: String,
    /// Such as `docs/adr/ADR-0007.md`.
    pub source_id: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.repo, self.source_type, self.source_id)
    }
}

/// One chunk of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Its text.
    pub text: String,
    /// Its meaning, where it came along.
    pub embedding: Option<Vec<f32>>,
}

/// A document that may be loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its name.
    pub identity: Identity,
    /// Its chunks, in order; at least one.
    pub chunks: Vec<Chunk>,
    /// What else is known about it.
    pub metadata: Map<String, Value>,
    /// When it changed at its source.
    pub updated_at: Timestamp,
}

/// A document that may not.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// What is wrong with it.
    pub reason: String,
    /// Its name, where it could be read.
    pub identity: Option<Identity>,
    /// What came in, as far as it can be kept.
    pub payload: Value,
}

/// A line of a file, before it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    #[serde(default)]
    pub(super) repo: Option<String>,
    #[serde(default)]
    pub(super) source_type: Option<String>,
    pub(super) source_id: String,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) author: Option<String>,
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) content_blocks: Option<Vec<Block>>,
    #[serde(default)]
    pub(super) chunks: Option<Vec<ReadyChunk>>,
    #[serde(default)]
    pub(super) embeddings: Option<Vec<Vec<f32>>>,
    #[serde(default)]
    pub(super) metadata: Map<String, Value>,
    #[serde(default)]
    pub(super) source_updated_at: Option<Timestamp>,
}

/// A part of a document, as an ingestion event has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    #[serde(default, rename = "kind")]
    _kind: Option<String>,
    text: String,
}

/// A chunk that was cut elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyChunk {
    text: String,
    #[serde(default)]
    embedding: Option<Vec<f32>>,
}

/// Reads documents: what a line leaves out, and what it is cut and checked with.
pub struct Reader {
    /// The repository of lines that name none.
    pub repo: Option<String>,
    /// The source type of lines that name none.
    pub source_type: Option<String>,
    /// How many dimensions an embedding has.
    pub dimensions: usize,
    /// Cuts texts.
    pub chunker: Chunker,
}

impl Reader {
    /// Reads one line of JSON. `changed` stands in where it does not say when it changed.
    ///
    /// # Errors
    /// It is no document; the reason names what is wrong.
    pub fn line(&self, line: &[u8], changed: Timestamp) -> Result<Document, Box<Rejected>> {
        let parsed: Line = serde_json::from_slice(line)
            .map_err(|error| self.rejected(line, format!("not a document: {error}")))?;
        self.document(parsed, changed).map_err(|reason| self.rejected(line, reason))
    }

    /// Reads one file of Markdown, named by its path.
    ///
    /// # Errors
    /// As [`Reader::line`].
    pub fn markdown(
        &self,
        path: &str,
        content: &[u8],
        changed: Timestamp,
    ) -> Result<Document, Box<Rejected>> {
        let text = std::str::from_utf8(content).map_err(|error| error.to_string());
        let document = text.and_then(|text| {
            let title = text.lines().find_map(|line| line.strip_prefix("# "));
            let line = Line {
                source_id: path.into(),
                title: title.map(|title| title.trim().to_string()),
                text: Some(text.into()),
                ..Line::default()
            };
            self.document(line, changed)
        });
        document.map_err(|reason| {
            let identity = self.identity(None, None, path).ok();
            Box::new(Rejected { reason, identity, payload: payload(content) })
        })
    }

    fn document(&self, line: Line, changed: Timestamp) -> Result<Document, String> {
        let identity =
            self.identity(line.repo.as_deref(), line.source_type.as_deref(), &line.source_id)?;
        let mut metadata = line.metadata;
        for (key, value) in [("title", line.title), ("author", line.author), ("url", line.url)] {
            if let Some(value) = value {
                metadata.entry(key).or_insert(Value::String(value));
            }
        }
        if contains_nul(&Value::Object(metadata.clone())) {
            return Err("the metadata has a NUL character, which PostgreSQL cannot store".into());
        }
        let texts = [line.text.is_some(), line.content_blocks.is_some(), line.chunks.is_some()];
        if texts.iter().filter(|is_there| **is_there).count() != 1 {
            return Err("it needs one of `text`, `content_blocks` and `chunks`".into());
        }
        let chunks = match line.chunks {
            Some(_) if line.embeddings.is_some() => {
                return Err("`embeddings` goes with `text`; `chunks` have their own".into());
            }
            Some(ready) => ready
                .into_iter()
                .map(|chunk| Chunk { text: chunk.text, embedding: chunk.embedding })
                .collect(),
            None => {
                let blocks = line.content_blocks.unwrap_or_default();
                let blocks = blocks.iter().map(|block| block.text.as_str()).collect::<Vec<_>>();
                let text = line.text.unwrap_or_else(|| blocks.join("\n\n"));
                self.cut(&text, &identity.source_type, line.embeddings)?
            }
        };
        self.check(&chunks)?;
        let updated_at = line.source_updated_at.unwrap_or(changed);
        Ok(Document { identity, chunks, metadata, updated_at })
    }

    fn cut(
        &self,
        text: &str,
        source_type: &str,
        embeddings: Option<Vec<Vec<f32>>>,
    ) -> Result<Vec<Chunk>, String> {
        let texts = self.chunker.split(text, source_type);
        let Some(embeddings) = embeddings else {
            return Ok(texts.into_iter().map(|text| Chunk { text, embedding: None }).collect());
        };
        if embeddings.len() != texts.len() {
            return Err(format!(
                "it has {} embeddings, and its text gives {} chunks",
                embeddings.len(),
                texts.len()
            ));
        }
        let pairs = texts.into_iter().zip(embeddings);
        Ok(pairs.map(|(text, embedding)| Chunk { text, embedding: Some(embedding) }).collect())
    }

    fn check(&self, chunks: &[Chunk]) -> Result<(), String> {
        if chunks.is_empty() {
            return Err("it has no text; to take a document away call rag_delete_document".into());
        }
        for (number, chunk) in chunks.iter().enumerate() {
            if chunk.text.trim().is_empty() {
                return Err(format!("chunk {number} has no text"));
            }
            if chunk.text.contains('\0') {
                return Err(format!(
                    "chunk {number} has a NUL character, which PostgreSQL cannot store"
                ));
            }
            let Some(embedding) = &chunk.embedding else { continue };
            if embedding.len() != self.dimensions {
                return Err(format!(
                    "the embedding of chunk {number} has {} dimensions, and the store has {}",
                    embedding.len(),
                    self.dimensions
                ));
            }
            let finite = embedding.iter().all(|number| number.is_finite());
            if !finite || embedding.iter().all(|number| *number == 0.0) {
                return Err(format!("the embedding of chunk {number} has no direction"));
            }
        }
        Ok(())
    }

    fn identity(
        &self,
        repo: Option<&str>,
        source_type: Option<&str>,
        source_id: &str,
    ) -> Result<Identity, String> {
        let repo = repo.or(self.repo.as_deref());
        let repo = repo.ok_or("it names no repo; name it with --repo")?;
        let source_type = source_type.or(self.source_type.as_deref());
        let source_type = source_type.ok_or("it names no source_type; name it with --type")?;
        let all = [
            ("repo", repo, NAME_LIMIT),
            ("source_type", source_type, TYPE_LIMIT),
            ("source_id", source_id, NAME_LIMIT),
        ];
        for (name, value, limit) in all {
            let count = value.chars().count();
            if value.trim().is_empty() || count > limit || value.contains('\0') {
                return Err(format!("`{name}` has {count} characters; it may have 1 to {limit}"));
            }
        }
        Ok(Identity {
            repo: repo.into(),
            source_type: source_type.into(),
            source_id: source_id.into(),
        })
    }

    /// A line that is no document may still say which it would have been.
    fn rejected(&self, line: &[u8], reason: String) -> Box<Rejected> {
        let value: Value = serde_json::from_slice(line).unwrap_or(Value::Null);
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let identity = text("source_id")
            .and_then(|id| self.identity(text("repo"), text("source_type"), id).ok());
        Box::new(Rejected { reason, identity, payload: payload(line) })
    }
}

/// What is kept of a refused document: itself where PostgreSQL can store it, else its text.
fn payload(content: &[u8]) -> Value {
    if content.len() <= PAYLOAD_LIMIT
        && let Ok(value) = serde_json::from_slice::<Value>(content)
        && !contains_nul(&value)
    {
        return value;
    }
    let head = &content[..content.len().min(PAYLOAD_LIMIT)];
    Value::String(String::from_utf8_lossy(head).replace('\0', "\u{fffd}"))
}

fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(all) => all.iter().any(contains_nul),
        Value::Object(all) => {
            all.iter().any(|(key, value)| key.contains('\0') || contains_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader {
            repo: Some("rbx/robson".into()),
            source_type: None,
            dimensions: 2,
            chunker: Chunker::new().unwrap(),
        }
    }

    fn read(line: &str) -> Result<Document, Box<Rejected>> {
        reader().line(line.as_bytes(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_line_becomes_a_document() {
        let line = r##"{"source_type":"github.pr","source_id":"rbx/robson#1","author":"me",
            "text":"# Fence\n\nNobody writes.","embeddings":[[0.5,1]],
            "metadata":{"labels":["ops"]},"source_updated_at":"2026-02-03T04:05:06Z"}"##;
        let document = read(line).unwrap();
        assert_eq!(document.identity.repo, "rbx/robson");
        assert_eq!(document.chunks.len(), 1);
        assert_eq!(document.chunks[0].embedding.as_deref(), Some([0.5, 1.0].as_slice()));
        assert_eq!(document.metadata["author"], "me");
        assert_eq!(document.updated_at.to_string(), "2026-02-03T04:05:06Z");
    }

    #[test]
    fn blocks_and_ready_chunks_are_documents_too() {
        let blocks = r#"{"source_type":"t","source_id":"1","content_blocks":
            [{"kind":"body","text":"one"},{"text":"two"}]}"#;
        assert_eq!(read(blocks).unwrap().chunks[0].text, "one\n\ntwo");
        let ready = r#"{"source_type":"t","source_id":"1","chunks":
            [{"text":"one","embedding":[1,2]},{"text":"two"}]}"#;
        let chunks = read(ready).unwrap().chunks;
        assert_eq!((chunks.len(), chunks[1].embedding.is_none()), (2, true));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_document_where_it_can_be_known() {
        let named = r#""source_type":"t","source_id":"1""#;
        for (line, reason) in [
            ("{".to_string(), "not a document"),
            (r#"{"source_id":"1","text":"x"}"#.into(), "--type"),
            (r#"{"source_type":"t","source_id":" ","text":"x"}"#.into(), "source_id"),
            (format!("{{{named}}}"), "one of"),
            (format!("{{{named},\"text\":\"x\",\"chunks\":[]}}"), "one of"),
            (format!("{{{named},\"text\":\"  \"}}"), "no text"),
            (format!("{{{named},\"txt\":\"x\"}}"), "unknown field `txt`"),
            (format!("{{{named},\"text\":\"a\\u0000\"}}"), "NUL"),
            (format!("{{{named},\"text\":\"a\",\"metadata\":{{\"a\":\"\\u0000\"}}}}"), "NUL"),
            (format!("{{{named},\"text\":\"a\",\"embeddings\":[[1,2],[1,2]]}}"), "2 embeddings"),
            (format!("{{{named},\"text\":\"a\",\"embeddings\":[[1,2,3]]}}"), "3 dimensions"),
            (format!("{{{named},\"text\":\"a\",\"embeddings\":[[0,0]]}}"), "no direction"),
            (format!("{{{named},\"text\":\"a\",\"embeddings\":[[1e39,0]]}}"), "no direction"),
            (format!("{{{named},\"text\":\"a\",\"source_updated_at\":\"May\"}}"), "not a document"),
        ] {
            let rejected = read(&line).unwrap_err();
            assert!(rejected.reason.contains(reason), "{line}: {}", rejected.reason);
            assert_eq!(rejected.identity.is_some(), line.contains(named), "{line}");
        }
    }

    #[test]
    fn a_payload_is_always_something_that_can_be_stored() {
        assert_eq!(payload(b"{\"a\":1}"), serde_json::json!({"a": 1}));
        assert_eq!(payload(b"a\0b"), Value::String("a\u{fffd}b".into()));
        assert_eq!(payload(b"\"\\u0000\""), Value::String("\"\\u0000\"".into()));
    }
}
