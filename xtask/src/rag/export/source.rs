//! The chunks of the store, read in pages under one snapshot: what is exported is the store as it
//! was at one instant, whatever is loaded meanwhile.

use anyhow::{Context, Result};
use pgvector::Vector;
use tokio_postgres::{IsolationLevel, Portal, Row, Transaction};

use crate::failure::Failure;
use crate::pg::endpoint::Session;
use crate::pg::lock;
use crate::rag::export::point::{Name, Payload, Point};
use crate::rag::store::{Store, explained};

/// Every chunk, those of one document in their order and together.
const CHUNKS: &str = "
    SELECT repo, source_type, source_id, chunk_index, chunk_text, chunk_embedding, metadata, author,
           labels, source_updated_at, deleted
    FROM rag_knowledge_entries WHERE $1 OR NOT deleted
    ORDER BY repo, source_type, source_id, chunk_index";
const COUNT: &str = "
    SELECT count(*), count(chunk_embedding) FROM rag_knowledge_entries WHERE $1 OR NOT deleted";

/// The store at one instant.
pub(super) struct Source<'session> {
    transaction: Transaction<'session>,
    portal: Portal,
    /// How many chunks there are to export.
    pub(super) chunks: u64,
    /// How many of them have an embedding.
    pub(super) embedded: u64,
}

impl Source<'_> {
    /// Takes the snapshot, and makes sure that nobody else exports to the same place.
    pub(super) async fn open<'session>(
        store: &'session mut Store,
        place: &str,
        include_deleted: bool,
    ) -> Result<Source<'session>> {
        lock(&store.session, place).await?;
        let transaction = store
            .session
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start();
        let transaction = transaction.await.context("take a snapshot of the store")?;
        let count = transaction.query_one(COUNT, &[&include_deleted]).await;
        let count = count.map_err(|error| explained(error, "count the chunks"))?;
        let portal = transaction.bind(CHUNKS, &[&include_deleted]).await;
        let portal = portal.map_err(|error| explained(error, "read the store"))?;
        let number = |column: usize| count.get::<_, i64>(column).unsigned_abs();
        Ok(Source { chunks: number(0), embedded: number(1), transaction, portal })
    }

    /// The next chunks, up to so many; none at the end.
    pub(super) async fn next(&self, rows: i32) -> Result<Vec<Point>> {
        let rows = self.transaction.query_portal(&self.portal, rows).await;
        let rows = rows.map_err(|error| explained(error, "read the store"))?;
        rows.iter().map(|row| point(row).context("read a chunk")).collect()
    }
}

fn point(row: &Row) -> Result<Point> {
    let labels: Option<Vec<Option<String>>> = row.try_get("labels")?;
    let name = Name {
        repo: row.try_get("repo")?,
        source_type: row.try_get("source_type")?,
        source_id: row.try_get("source_id")?,
        chunk_index: row.try_get("chunk_index")?,
    };
    let payload = Payload {
        name,
        chunk_text: row.try_get("chunk_text")?,
        metadata: row.try_get("metadata")?,
        author: row.try_get("author")?,
        labels: labels.into_iter().flatten().flatten().collect(),
        source_updated_at: row.try_get("source_updated_at")?,
        deleted: row.try_get("deleted")?,
    };
    let embedding: Option<Vector> = row.try_get("chunk_embedding")?;
    Ok(Point { payload, embedding: embedding.map(|vector| vector.to_vec()) })
}
/// Keeps two exports to one place apart, until the session ends.
async fn lock(session: &Session, place: &str) -> Result<()> {
    if lock::take(session, place).await? {
        return Ok(());
    }
    Err(Failure::refused(format!("another export of this store to {place} is at work"))
        .hint("wait for its end; the same command then only looks")
        .into())
}
