//! The knowledge store on a real server: its SQL, and the verbs that fill and ask it.

mod export;
mod figures;
mod load;
mod search;
mod services;

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use xtask::pg::endpoint::{Endpoint, Session};

use crate::support::{fresh_database, fresh_databases, pair};
use crate::tool::Tool;

/// The folder of the migrations.
const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
/// A store that a planner takes seriously: 4,096 chunks of 64 topics.
const FILL: &str = include_str!("rag/fill.sql");

/// The engine of the shared target.
pub async fn engine(maintenance: &Endpoint) -> &'static str {
    let session = maintenance.connect("test").await.unwrap();
    let sql = "SELECT FROM pg_available_extensions WHERE name = 'pg_search'";
    match session.query_opt(sql, &[]).await.unwrap() {
        Some(_) => "paradedb",
        None => "postgres",
    }
}

/// Makes the store in a database, as its migrations do.
pub async fn install(endpoint: &Endpoint) -> Session {
    let session = endpoint.connect("test").await.unwrap();
    session.batch_execute("SET search_path = public").await.unwrap();
    for folder in ["common", engine(endpoint).await] {
        let folder = PathBuf::from(MIGRATIONS).join(folder);
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = files.collect();
        files.sort();
        for file in files {
            let sql = std::fs::read_to_string(&file).unwrap();
            if let Err(error) = session.batch_execute(&sql).await {
                panic!("{}: {error:?}", file.display());
            }
        }
    }
    session
}

static FILLED: OnceCell<Endpoint> = OnceCell::const_new();

/// The filled store that all tests that only read share.
pub async fn filled() -> Session {
    let make = || async {
        let maintenance = pair().await.target.endpoint("postgres");
        let endpoint = fresh_database(&maintenance, "rag_filled").await;
        let session = install(&endpoint).await;
        session.batch_execute(FILL).await.unwrap();
        session.batch_execute("VACUUM ANALYZE rag_knowledge_entries").await.unwrap();
        endpoint
    };
    let session = FILLED.get_or_init(make).await.connect("test").await.unwrap();
    session.batch_execute("SET search_path = public").await.unwrap();
    session
}

/// The tool with an empty store of its own, and a folder for what it shall load.
pub async fn empty(name: &str) -> (Tool, Session, TempDir) {
    let (source, target) = fresh_databases(name).await;
    let session = install(&target).await;
    (Tool::new(pair().await, source, target), session, tempfile::tempdir().unwrap())
}

/// The tool on the filled store.
pub async fn tool_on_filled() -> Tool {
    drop(filled().await);
    let target = FILLED.get().unwrap().clone();
    Tool::new(pair().await, target.with_database("postgres"), target)
}
