//! Loads documents: read and checked whole, staged, then merged, all in one transaction. Until its
//! end nobody sees anything of it, and whatever fails leaves the store as it was.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::pin_mut;
use pgvector::Vector;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::rag::chunk::Chunker;
use crate::rag::document::{Document, Identity, Reader, Rejected};
use crate::rag::input::{Input, Item};
use crate::rag::store::{Store, explained};

/// How long one statement of a load may take: staging or merging one batch.
const STATEMENT_LIMIT: Duration = Duration::from_mins(10);
/// How long a load waits for another one that works on the same documents.
const LOCK_LIMIT: Duration = Duration::from_mins(1);
/// Chunks that are staged and merged together; a document is never divided.
const BATCH_CHUNKS: usize = 1000;
/// Bytes of documents, as they were read, that wait to be staged: a thousand chunks that somebody
/// else cut may be of any size.
const BATCH_BYTES: u64 = 8 << 20;
/// How many refused documents are told in full.
const REJECTED_TOLD: usize = 100;
/// The source type of Markdown files that are given none.
const MARKDOWN_TYPE: &str = "github.doc";

/// Where documents wait until all of them are known to be good.
const STAGING: &str = "
    CREATE TEMPORARY TABLE rag_staging (
        batch integer, repo text, source_type text, source_id text, chunk_index integer,
        chunk_text text, chunk_embedding vector, metadata jsonb, source_updated_at timestamptz
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE rag_batch (LIKE rag_staging) ON COMMIT DROP";
const COPY: &str = "COPY pg_temp.rag_staging FROM STDIN (FORMAT binary)";
const MERGE: &str = "SELECT documents, chunks_written, chunks_removed
    FROM rag_merge('pg_temp.rag_batch')";

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The database with the store.
    pub target: Endpoint,
    /// A file of JSON Lines, a file of Markdown, or a folder of Markdown.
    pub input: PathBuf,
    /// The repository of documents that name none.
    pub repo: Option<String>,
    /// The source type of documents that name none.
    pub source_type: Option<String>,
    /// Load the good ones where some are bad, and remember the bad ones.
    pub skip_bad: bool,
    /// Hide documents of the same repository and source type that the folder does not have.
    pub prune: bool,
    /// Read and check only.
    pub dry_run: bool,
}

/// One document that was refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// Its line or its file.
    pub place: String,
    /// Its name, where it could be read.
    pub document: Option<Identity>,
    /// What is wrong with it.
    pub reason: String,
}

/// What a load did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Loaded {
    /// Documents that are good.
    pub documents: u64,
    /// Chunks that they were cut into.
    pub chunks: u64,
    /// Of these, chunks that came with an embedding.
    pub embedded: u64,
    /// Whether the store has them now.
    pub committed: bool,
    /// Chunks that are new or changed; the others were there already.
    pub chunks_written: u64,
    /// Chunks behind the new end of a document.
    pub chunks_removed: u64,
    /// Documents that the folder does not have any more; hidden, where anything was loaded.
    pub gone_count: u64,
    /// The first of them, by their source ids.
    pub gone: Vec<String>,
    /// Documents that were refused.
    pub refused_count: u64,
    /// The first of them.
    pub refused: Vec<Refused>,
    /// Time of the whole, in seconds.
    pub seconds: f64,
}

/// Loads all documents, or none where one is bad and `skip_bad` is not asked for.
///
/// # Errors
/// The input cannot be read, or the server refuses or is lost; the store is as it was. Only where
/// the connection is lost in the very commit it may have everything: a second run tells.
pub async fn load(request: &Request, story: &Story) -> Result<Loaded> {
    let begun = Instant::now();
    let mut input = Input::open(&request.input)?;
    if input.is_markdown() && request.repo.is_none() {
        return Err(Failure::usage("files do not say of which repository they are")
            .hint("pass --repo NAME")
            .into());
    }
    if request.prune && !request.input.is_dir() {
        return Err(Failure::usage("only a whole folder says which documents are gone")
            .hint("name the folder, or leave out --prune")
            .into());
    }
    let Store { mut session, dimensions, .. } =
        Store::open(&request.target, "load", STATEMENT_LIMIT).await?;
    let default_type = input.is_markdown().then(|| MARKDOWN_TYPE.to_string());
    let reader = Reader {
        repo: request.repo.clone(),
        source_type: request.source_type.clone().or(default_type),
        dimensions,
        chunker: Chunker::new()?,
    };
    let transaction = session.transaction().await.context("begin the load")?;
    let scope = match (&reader.repo, &reader.source_type) {
        (Some(repo), Some(source_type)) => Some((repo.clone(), source_type.clone())),
        _ => None,
    };
    let mut load = Load::begin(transaction, request, scope).await?;
    let total = input.bytes();
    let mut read = 0;
    while let Some(item) = input.next(&reader)? {
        read += item.bytes;
        story.progress("read", read.min(total), total, "bytes");
        load.take(item).await?;
    }
    let mut loaded = load.end(story).await?;
    loaded.seconds = begun.elapsed().as_secs_f64();
    Ok(loaded)
}

/// A load on its way.
struct Load<'a> {
    transaction: Transaction<'a>,
    request: &'a Request,
    types: Vec<Type>,
    waiting: Vec<Document>,
    waiting_chunks: usize,
    waiting_bytes: u64,
    batches: i32,
    seen: HashSet<[u8; 16]>,
    /// Repository and source type of documents that name none.
    scope: Option<(String, String)>,
    loaded: Loaded,
}

impl<'a> Load<'a> {
    async fn begin(
        transaction: Transaction<'a>,
        request: &'a Request,
        scope: Option<(String, String)>,
    ) -> Result<Load<'a>> {
        let settings = format!("SET LOCAL lock_timeout = {}", LOCK_LIMIT.as_millis());
        transaction.batch_execute(&settings).await.context("limit the wait for locks")?;
        transaction.batch_execute(STAGING).await.context("make room for the documents")?;
        let columns = transaction.prepare("TABLE pg_temp.rag_staging").await;
        let columns = columns.context("read the types of the columns")?;
        let types = columns.columns().iter().map(|column| column.type_().clone()).collect();
        Ok(Load {
            transaction,
            request,
            types,
            waiting: Vec::new(),
            waiting_chunks: 0,
            waiting_bytes: 0,
            batches: 0,
            seen: HashSet::new(),
            scope,
            loaded: Loaded::default(),
        })
    }

    /// Takes one document, or notes why it is none.
    async fn take(&mut self, item: Item) -> Result<()> {
        let document = match item.content {
            Ok(document) => document,
            Err(rejected) => return self.refuse(item.place, *rejected).await,
        };
        if !self.seen.insert(fingerprint(&document.identity)) {
            let rejected = Rejected {
                reason: "the document is there a second time".into(),
                identity: None,
                payload: Value::Null,
            };
            return self.refuse(item.place, rejected).await;
        }
        self.loaded.documents += 1;
        self.loaded.chunks += document.chunks.len() as u64;
        let embedded = document.chunks.iter().filter(|chunk| chunk.embedding.is_some()).count();
        self.loaded.embedded += embedded as u64;
        if self.is_pointless() {
            return Ok(());
        }
        self.waiting_chunks += document.chunks.len();
        self.waiting_bytes += item.bytes;
        self.waiting.push(document);
        let is_full = self.waiting_chunks >= BATCH_CHUNKS || self.waiting_bytes >= BATCH_BYTES;
        if is_full { self.stage().await } else { Ok(()) }
    }

    /// Whether nothing will be loaded anyway, and reading goes on only to find all that is bad.
    fn is_pointless(&self) -> bool {
        self.request.dry_run || (self.loaded.refused_count > 0 && !self.request.skip_bad)
    }

    async fn refuse(&mut self, place: String, rejected: Rejected) -> Result<()> {
        let Rejected { reason, identity, payload } = rejected;
        if let Some((repo, source_type)) = &self.scope {
            // It is bad, and still there: nothing that is gone.
            let (repo, source_type) = (repo.clone(), source_type.clone());
            let there = Identity { repo, source_type, source_id: place.clone() };
            self.seen.insert(fingerprint(identity.as_ref().unwrap_or(&there)));
        }
        if self.request.skip_bad
            && !self.request.dry_run
            && let Some(Identity { repo, source_type, source_id }) = &identity
        {
            let sql = "SELECT rag_fail_document($1, $2, $3, $4, $5)";
            let error = format!("{place}: {reason}");
            let letter = self
                .transaction
                .execute(sql, &[repo, source_type, source_id, &payload, &error])
                .await;
            letter.map_err(|error| explained(error, "remember a refused document"))?;
        }
        self.loaded.refused_count += 1;
        if self.loaded.refused.len() < REJECTED_TOLD {
            self.loaded.refused.push(Refused { place, document: identity, reason });
        }
        Ok(())
    }

    /// Sends the documents that wait.
    async fn stage(&mut self) -> Result<()> {
        let sink = self.transaction.copy_in(COPY).await.context("stage documents")?;
        let writer = BinaryCopyInWriter::new(sink, &self.types);
        pin_mut!(writer);
        for document in self.waiting.drain(..) {
            let Document { identity, chunks, metadata, updated_at } = document;
            let metadata = Value::Object(metadata);
            for (index, chunk) in chunks.into_iter().enumerate() {
                let index = i32::try_from(index).context("count the chunks of a document")?;
                let embedding = chunk.embedding.map(Vector::from);
                let row: [&(dyn ToSql + Sync); 9] = [
                    &self.batches,
                    &identity.repo,
                    &identity.source_type,
                    &identity.source_id,
                    &index,
                    &chunk.text,
                    &embedding,
                    &metadata,
                    &updated_at,
                ];
                let written = writer.as_mut().write(&row).await;
                written.with_context(|| format!("stage {identity}"))?;
            }
        }
        writer.finish().await.map_err(|error| explained(error, "stage documents"))?;
        (self.waiting_chunks, self.waiting_bytes) = (0, 0);
        self.batches += 1;
        Ok(())
    }

    /// Merges everything and commits, or leaves the store as it was.
    async fn end(mut self, story: &Story) -> Result<Loaded> {
        let gone = self.gone().await?;
        self.loaded.gone_count = gone.len() as u64;
        self.loaded.gone = gone.iter().take(REJECTED_TOLD).cloned().collect();
        if self.is_pointless() {
            self.transaction.rollback().await.context("leave the store as it was")?;
            return Ok(self.loaded);
        }
        if !self.waiting.is_empty() {
            self.stage().await?;
        }
        // All locks first and in one order, so that two loads cannot each wait for the other.
        let locks = "SELECT rag_lock_documents('pg_temp.rag_staging')";
        let locked = self.transaction.execute(locks, &[]).await;
        locked.map_err(|error| explained(error, "wait for another load"))?;
        let index = "CREATE INDEX ON pg_temp.rag_staging (batch); ANALYZE pg_temp.rag_staging";
        self.transaction.batch_execute(index).await.context("order the documents")?;
        for batch in 0..self.batches {
            let fill = "INSERT INTO pg_temp.rag_batch
                SELECT * FROM pg_temp.rag_staging WHERE batch = $1";
            let filled = self.transaction.execute(fill, &[&batch]).await;
            filled.map_err(|error| explained(error, "take a batch"))?;
            let merged = self.transaction.query_one(MERGE, &[]).await;
            let merged = merged.map_err(|error| explained(error, "merge documents"))?;
            let count = |column: &str| merged.get::<_, i64>(column).unsigned_abs();
            self.loaded.chunks_written += count("chunks_written");
            self.loaded.chunks_removed += count("chunks_removed");
            self.transaction.batch_execute("TRUNCATE pg_temp.rag_batch").await?;
            let done = u64::from((batch + 1).unsigned_abs());
            story.progress("merge", done, self.batches.unsigned_abs().into(), "batches");
        }
        self.hide(&gone).await?;
        self.transaction.commit().await.context("commit the load")?;
        self.loaded.committed = true;
        Ok(self.loaded)
    }
}

impl Load<'_> {
    /// The documents of the same repository and source type that were not read, where somebody
    /// asked for them.
    async fn gone(&self) -> Result<Vec<String>> {
        let Some((repo, source_type)) = self.scope.as_ref().filter(|_| self.request.prune) else {
            return Ok(Vec::new());
        };
        let sql = "SELECT DISTINCT source_id FROM rag_knowledge_entries
            WHERE repo = $1 AND source_type = $2 AND NOT deleted ORDER BY 1";
        let rows = self.transaction.query(sql, &[repo, source_type]).await;
        let rows = rows.context("look for documents that are gone")?;
        let is_gone = |source_id: &String| {
            let (repo, source_type) = (repo.clone(), source_type.clone());
            let identity = Identity { repo, source_type, source_id: source_id.clone() };
            !self.seen.contains(&fingerprint(&identity))
        };
        Ok(rows.iter().map(|row| row.get(0)).filter(is_gone).collect())
    }

    /// Hides documents; their rows stay, so that a later load brings them back.
    async fn hide(&self, gone: &[String]) -> Result<()> {
        let Some((repo, source_type)) = &self.scope else { return Ok(()) };
        let sql = "SELECT rag_delete_document($1, $2, $3)";
        for source_id in gone {
            let hidden = self.transaction.execute(sql, &[repo, source_type, source_id]).await;
            hidden.map_err(|error| explained(error, "hide a document that is gone"))?;
        }
        Ok(())
    }
}

/// A document's name in 16 bytes: what a large load remembers of each.
fn fingerprint(identity: &Identity) -> [u8; 16] {
    let Identity { repo, source_type, source_id } = identity;
    let digest = Sha256::digest([repo.as_str(), source_type, source_id].join("\u{1f}"));
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}
