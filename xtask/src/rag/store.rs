//! The store in a database: where its functions are, what it holds, and what it says no to.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session, identifier};

/// The command that makes a store.
const MIGRATE: &str = "cargo xtask migrate up --target URL";
/// What an argument that the store's functions refuse looks like to a program.
const REFUSED_ARGUMENTS: [SqlState; 6] = [
    SqlState::INVALID_PARAMETER_VALUE,
    SqlState::NULL_VALUE_NOT_ALLOWED,
    SqlState::INVALID_DATETIME_FORMAT,
    SqlState::DATETIME_FIELD_OVERFLOW,
    SqlState::INVALID_TEXT_REPRESENTATION,
    SqlState::DATA_EXCEPTION,
];

/// A session in a database that has the store.
pub struct Store {
    /// The session; its search path finds the store and pgvector.
    pub session: Session,
    /// How many dimensions an embedding has.
    pub dimensions: usize,
    /// Whether keywords are ranked by BM25.
    pub has_bm25: bool,
}

impl Store {
    /// Opens a session and finds the store. No statement in it runs longer than `limit`.
    ///
    /// # Errors
    /// The server cannot be reached; the database has no store, or more than one.
    pub async fn open(endpoint: &Endpoint, purpose: &str, limit: Duration) -> Result<Store> {
        let session = endpoint.connect(purpose).await?;
        let homes = "SELECT DISTINCT nspname::text, nspname::text IN (
                SELECT relnamespace::regnamespace::text FROM pg_catalog.pg_class
                WHERE relname = 'idx_rag_knowledge_bm25')
            FROM pg_catalog.pg_proc
            JOIN pg_catalog.pg_namespace ON pg_namespace.oid = pronamespace
            WHERE proname = 'rag_search' ORDER BY 1";
        let homes = session.query(homes, &[]).await.context("look for the store")?;
        let [home] = homes.as_slice() else {
            return Err(one_store(endpoint, homes.iter().map(|row| row.get(0))).into());
        };
        let schema: String = home.get(0);
        let vector = "SELECT nspname::text FROM pg_catalog.pg_extension
            JOIN pg_catalog.pg_namespace ON pg_namespace.oid = extnamespace
            WHERE extname = 'vector'";
        let vector: String = session.query_one(vector, &[]).await.context("find pgvector")?.get(0);
        let settings = format!(
            "SET search_path = {}, {}; SET statement_timeout = {}",
            identifier(&schema),
            identifier(&vector),
            limit.as_millis()
        );
        session.batch_execute(&settings).await.context("find the store")?;
        let dimensions = "SELECT atttypmod FROM pg_catalog.pg_attribute
            WHERE attrelid = 'rag_knowledge_entries'::regclass AND attname = 'chunk_embedding'";
        let dimensions: i32 = session.query_one(dimensions, &[]).await?.get(0);
        let dimensions = usize::try_from(dimensions).context("read the number of dimensions")?;
        Ok(Store { session, dimensions, has_bm25: home.get(1) })
    }
}

fn one_store(endpoint: &Endpoint, homes: impl Iterator<Item = String>) -> Failure {
    let homes: Vec<String> = homes.collect();
    if homes.is_empty() {
        return Failure::usage(format!("{endpoint} has no function rag_search")).hint(MIGRATE);
    }
    let homes = homes.join(", ");
    Failure::usage(format!("{endpoint} has more than one rag_search: in the schemas {homes}"))
        .hint("drop those that no application uses")
}

/// Says what a refusal of the store means to who called the tool.
pub fn explained(error: Error, doing: &'static str) -> anyhow::Error {
    let Some(database) = error.as_db_error() else {
        return anyhow::Error::new(error).context(doing);
    };
    let state = database.code();
    let message = database.message().to_string();
    if REFUSED_ARGUMENTS.contains(state) {
        let failure = Failure::usage(message);
        return match database.hint() {
            Some(hint) => failure.hint(hint).into(),
            None => failure.into(),
        };
    }
    if *state == SqlState::INSUFFICIENT_PRIVILEGE {
        let hint = "SELECT rag_grant('role of the application', 'role that only searches')";
        return Failure::usage(message).hint(hint).into();
    }
    if *state == SqlState::LOCK_NOT_AVAILABLE {
        let hint = "another load works on the same documents; run this one again after it";
        return Failure::failed(message).hint(hint).into();
    }
    anyhow::Error::new(error).context(doing)
}
