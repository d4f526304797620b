//! `plan`: what `up` would do, tried in one transaction that is rolled back. Statements outside a
//! transaction cannot be tried so; they are shown with the lock that they are known to take.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::failure::{Failure, tolerate};
use crate::migrate::files::File;
use crate::migrate::history::{self, State};
use crate::migrate::{Choice, index, place, statements, up};
use crate::pg::endpoint::{Endpoint, Session};

/// What a statement outside a transaction takes: it lets readers and writers pass.
const OUTSIDE_LOCK: &str = "ShareUpdateExclusiveLock";

/// What one file would do.
#[derive(Debug, Clone, Serialize)]
pub struct Rehearsed {
    /// Folder and file name.
    pub file: String,
    /// Whether it runs outside a transaction, and so was not tried.
    pub outside: bool,
    /// Its statements, in order.
    pub statements: Vec<Tried>,
    /// The locks that it takes on relations, by when they are taken.
    pub locks: Vec<Held>,
}

/// One statement.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    /// The line of the file that it begins on.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// How long it took, in milliseconds; none where it was not tried.
    pub milliseconds: Option<f64>,
}

/// One lock.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// On what.
    pub relation: String,
    /// Such as `AccessExclusiveLock`.
    pub mode: String,
    /// Whether the relation is made by these migrations, so that nobody can be waiting for it.
    pub new: bool,
    /// From the statement that took it to the end of the file, in milliseconds; none where the file
    /// was not tried.
    pub milliseconds: Option<f64>,
}

/// Tries what is pending and takes it all back.
///
/// # Errors
/// As [`up::up`]; nothing stays in any case.
pub async fn plan(endpoint: &Endpoint, choice: &Choice, folder: &Path) -> Result<Vec<Rehearsed>> {
    let files = history::all_files(folder, choice)?;
    let session = place::open(endpoint, choice).await?;
    let _lock = up::lock(endpoint).await?;
    place::assert_no_run(&session, choice.engine).await?;
    let entries = history::read(&session, choice, &files).await?;
    history::assert_agreement(&entries)?;
    place::assert_may_make(&session, choice).await?;
    let is_pending = |file: &&File| {
        entries.iter().any(|entry| {
            let is_it = entry.set == file.set && entry.version == file.version();
            is_it && entry.state != State::Applied
        })
    };
    let pending: Vec<&File> = files.iter().filter(is_pending).collect();
    session.batch_execute("BEGIN").await.context("begin the rehearsal")?;
    let tried = all(&session, choice, &pending).await;
    let ended = session.batch_execute("ROLLBACK").await;
    tolerate(ended, "a server that is gone has rolled back by itself");
    tried
}

async fn all(session: &Session, choice: &Choice, files: &[&File]) -> Result<Vec<Rehearsed>> {
    let entering = place::entering(session, choice).await?;
    session.batch_execute(&entering).await.context("make the schema")?;
    let known = relations(session).await?;
    let mut held = locks(session).await?;
    let mut all = Vec::new();
    for file in files {
        let one = match file.is_outside() {
            true => outside(file),
            false => inside(session, choice, file, &known, &mut held).await?,
        };
        all.push(one);
    }
    Ok(all)
}

async fn inside(
    session: &Session,
    choice: &Choice,
    file: &File,
    known: &BTreeSet<u32>,
    held: &mut BTreeSet<(u32, String)>,
) -> Result<Rehearsed> {
    session.batch_execute(&place::becoming(choice, file.is_of_login())).await?;
    let mut tried = Vec::new();
    let mut taken: Vec<(Instant, u32, String)> = Vec::new();
    for statement in statements::split(&file.text) {
        let begun = Instant::now();
        if let Err(error) = session.batch_execute(&statement.text).await {
            let message = format!("{}, line {}: {error:#}", file.title(), statement.line);
            let cause = error.as_db_error().map(|cause| format!(": {}", cause.message()));
            let message = format!("{message}{}", cause.unwrap_or_default());
            return Err(Failure::failed(message)
                .hint("nothing was changed; mend the file or what it waits for")
                .into());
        }
        let milliseconds = Some(begun.elapsed().as_secs_f64() * 1000.0);
        tried.push(Tried { line: statement.line, text: statement.text, milliseconds });
        for lock in locks(session).await? {
            if held.insert(lock.clone()) {
                taken.push((begun, lock.0, lock.1));
            }
        }
    }
    let mut locks = Vec::new();
    for (since, relation, mode) in taken {
        let milliseconds = Some(since.elapsed().as_secs_f64() * 1000.0);
        let new = !known.contains(&relation);
        locks.push(Held { relation: name(session, relation).await?, mode, new, milliseconds });
    }
    Ok(Rehearsed { file: file.title(), outside: false, statements: tried, locks })
}

fn outside(file: &File) -> Rehearsed {
    let tried = statements::split(&file.text).into_iter().map(|statement| Tried {
        line: statement.line,
        text: statement.text,
        milliseconds: None,
    });
    let relation = index::built_on(file).unwrap_or_else(|| "the table of the index".into());
    let mode = OUTSIDE_LOCK.into();
    let lock = Held { relation, mode, new: false, milliseconds: None };
    Rehearsed { file: file.title(), outside: true, statements: tried.collect(), locks: vec![lock] }
}

/// Every relation that is there before the rehearsal.
async fn relations(session: &Session) -> Result<BTreeSet<u32>> {
    let rows = session.query("SELECT oid FROM pg_class", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The locks that this session holds on relations of the service.
async fn locks(session: &Session) -> Result<BTreeSet<(u32, String)>> {
    let rows = session
        .query(
            "SELECT relation, mode FROM pg_locks
             WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted
               AND relation >= 16384",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn name(session: &Session, relation: u32) -> Result<String> {
    let row = session.query_one("SELECT $1::oid::regclass::text", &[&relation]).await?;
    Ok(row.get(0))
}
