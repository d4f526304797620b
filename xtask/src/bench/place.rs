//! A database with the store for one measurement.

use anyhow::{Context, Result};

use crate::cutover::event::Story;
use crate::migrate::{Choice, Engine, FOLDER, Roles, history, up};
use crate::pg::endpoint::{Endpoint, identifier};
use crate::render;

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
    let engine = if engine == "paradedb" { Engine::Paradedb } else { Engine::Postgres };
    let choice = Choice { engine, schema: "public".into(), roles: Roles::default() };
    let here = std::env::current_dir().context("read the working folder")?;
    let files = history::all_files(&render::workspace(&here)?.join(FOLDER), &choice)?;
    // Not `up`: it refuses to make a plain store on ParadeDB, and here both are compared on one
    // server.
    let session = endpoint.connect("bench").await?;
    up::apply(session, &choice, &files, &Story::silent()).await.context("make the store")?;
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
