//! A database with the store for one measurement.

use anyhow::{Context, Result};

use crate::pg::endpoint::{Endpoint, identifier};

/// The migrations of both engines, in their order.
const COMMON: [&str; 5] = [
    include_str!("../../../migrations/common/V1__vector.sql"),
    include_str!("../../../migrations/common/V2__knowledge_entries.sql"),
    include_str!("../../../migrations/common/V3__ingestion.sql"),
    include_str!("../../../migrations/common/V4__embedding_index.sql"),
    include_str!("../../../migrations/common/V5__search_arguments.sql"),
];
/// What ParadeDB has beside them.
const PARADEDB: [&str; 3] = [
    include_str!("../../../migrations/paradedb/V1__pg_search.sql"),
    include_str!("../../../migrations/paradedb/V2__keyword_index.sql"),
    include_str!("../../../migrations/paradedb/V3__rag_search.sql"),
];
/// What plain PostgreSQL has beside them.
const POSTGRES: [&str; 2] = [
    include_str!("../../../migrations/postgres/V1__keyword_index.sql"),
    include_str!("../../../migrations/postgres/V2__rag_search.sql"),
];

/// The engines that a server can be measured as.
///
/// # Errors
/// The server cannot be asked.
pub async fn engines(server: &Endpoint) -> Result<Vec<&'static str>> {
    let session = server.connect("bench").await?;
    let sql = "SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'pg_search'";
    let has_search = session.query_opt(sql, &[]).await.context("look for pg_search")?.is_some();
    Ok(if has_search { vec!["paradedb", "postgres"] } else { vec!["postgres"] })
}

/// Makes the database, after removing what a dead measurement left, and the store in it.
///
/// # Errors
/// The server refuses.
pub async fn make(endpoint: &Endpoint, engine: &str) -> Result<()> {
    drop_database(endpoint).await?;
    let maintenance = endpoint.with_database("postgres").connect("bench").await?;
    let create = format!("CREATE DATABASE {} TEMPLATE template0", identifier(&endpoint.database));
    maintenance.batch_execute(&create).await.with_context(|| format!("create {endpoint}"))?;
    let session = endpoint.connect("bench").await?;
    session.batch_execute("SET search_path = public").await?;
    let own: &[&str] = if engine == "paradedb" { &PARADEDB } else { &POSTGRES };
    for script in COMMON.iter().chain(own) {
        session.batch_execute(script).await.context("make the store")?;
    }
    Ok(())
}

/// Drops the database with all sessions in it.
///
/// # Errors
/// The server refuses.
pub async fn drop_database(endpoint: &Endpoint) -> Result<()> {
    let maintenance = endpoint.with_database("postgres").connect("bench").await?;
    let name = identifier(&endpoint.database);
    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    maintenance.batch_execute(&drop).await.with_context(|| format!("drop {endpoint}"))
}
