//! The search indexes of the store: taken down before it is filled, built afterwards.

use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cutover::event::Story;
use crate::pg::endpoint::identifier;
use crate::rag::store::Store;

/// Workers that build an index beside the session itself.
const WORKERS: u32 = 1;

/// The search indexes there may be.
const NAMES: [&str; 3] =
    ["idx_rag_knowledge_embedding", "idx_rag_knowledge_terms", "idx_rag_knowledge_bm25"];

/// One index that was built.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Built {
    /// Its name.
    pub name: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its size.
    pub bytes: u64,
    /// WAL that was written meanwhile, by anybody.
    pub wal: u64,
}

/// Drops the search indexes; returns the name of each, and how it is made.
///
/// # Errors
/// The server refuses.
pub async fn take_down(store: &Store) -> Result<Vec<(String, String)>> {
    let sql = "SELECT indexname::text, indexdef FROM pg_catalog.pg_indexes
        WHERE schemaname = current_schema() AND indexname = ANY ($1) ORDER BY 1 DESC";
    let names: Vec<&str> = NAMES.to_vec();
    let rows = store.session.query(sql, &[&names]).await.context("find the search indexes")?;
    let mut all = Vec::new();
    for row in rows {
        let name: String = row.get(0);
        let drop = format!("DROP INDEX {}", identifier(&name));
        store.session.batch_execute(&drop).await.with_context(|| format!("drop {name}"))?;
        all.push((name, row.get(1)));
    }
    Ok(all)
}

/// Builds them again, each with so many mebibytes of memory.
///
/// # Errors
/// The server refuses, or an index takes longer than the session's limit.
pub async fn build(
    store: &Store,
    taken: &[(String, String)],
    memory: u64,
    story: &Story,
) -> Result<Vec<Built>> {
    let settings = format!(
        "SET maintenance_work_mem = '{memory}MB'; SET max_parallel_maintenance_workers = {WORKERS}"
    );
    store.session.batch_execute(&settings).await.context("give the builds memory")?;
    let mut all = Vec::new();
    for (name, definition) in taken {
        let (begun, position) = (Instant::now(), wal_position(store).await?);
        let built = store.session.batch_execute(definition).await;
        built.with_context(|| format!("build {name}"))?;
        let seconds = begun.elapsed().as_secs_f64();
        let size = "SELECT pg_relation_size($1::text::regclass)";
        let bytes: i64 = store.session.query_one(size, &[name]).await?.get(0);
        let wal = wal_position(store).await? - position;
        let (size, written) = (bytes >> 20, wal >> 20);
        story.note(format!("{name}: {size} MiB in {seconds:.1} s, {written} MiB of WAL"));
        all.push(Built { name: name.clone(), seconds, bytes: bytes.unsigned_abs(), wal });
    }
    Ok(all)
}

/// How many bytes of WAL the server has written since it was made.
///
/// # Errors
/// The connection is lost.
pub async fn wal_position(store: &Store) -> Result<u64> {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    let row = store.session.query_one(sql, &[]).await.context("read the position of the WAL")?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}
