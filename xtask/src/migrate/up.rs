//! `up`: applies what is pending, file by file, each whole or not at all.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use refinery::{Migration, Runner, Target};
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use serde::Serialize;
use tokio_postgres::error::SqlState;

use crate::config;
use crate::cutover::event::Story;
use crate::failure::{self, Failure};
use crate::migrate::files::File;
use crate::migrate::history::{self, INTENTS, State};
use crate::migrate::{Choice, index, place, repair};
use crate::pg::endpoint::{Endpoint, Session, literal, qualified};
use crate::pg::state::Lock;

/// How often a migration that found a lock taken is tried.
const ATTEMPTS: u32 = 6;
/// The wait before the second attempt; each one after waits twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// How long a statement outside a transaction may wait for a lock. Nobody who reads or writes
/// waits behind it; it waits for transactions that are older than itself.
const OUTSIDE_LOCK_LIMIT: Duration = Duration::from_secs(600);
/// How long a statement outside a transaction may take: an index of a large table.
const OUTSIDE_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// A migration that was applied just now.
#[derive(Debug, Clone, Serialize)]
pub struct Done {
    /// Folder and file name.
    pub file: String,
    /// How long it took, with waits for locks, in milliseconds.
    pub milliseconds: f64,
    /// How often it was tried.
    pub attempts: u32,
}

/// Takes the lock that keeps operators of this database apart: other migrations and runs alike.
///
/// # Errors
/// Another process holds it; the refusal says which, from where and since when.
pub async fn lock(endpoint: &Endpoint) -> Result<Lock> {
    let operator = format!("migrate {}:{}", config::host(), std::process::id());
    Lock::take(endpoint, &operator).await.map_err(|error| match failure::find(&error) {
        Some(refusal) => Failure::refused(refusal.message.clone())
            .hint("wait for it to end; SELECT pg_terminate_backend(…) ends one that hangs")
            .into(),
        None => error,
    })
}

/// Applies what is pending.
///
/// # Errors
/// The server is not what the person says, files and history disagree, or a migration fails; those
/// before it stay applied.
pub async fn up(
    endpoint: &Endpoint,
    choice: &Choice,
    folder: &Path,
    story: &Story,
) -> Result<Vec<Done>> {
    let files = history::all_files(folder, choice)?;
    let session = place::open(endpoint, choice).await?;
    let _lock = lock(endpoint).await?;
    place::assert_no_run(&session, choice.engine).await?;
    apply(session, choice, &files, story).await
}

/// The same on a session of the caller, who holds the lock.
///
/// # Errors
/// As [`up`].
pub async fn apply(
    mut session: Session,
    choice: &Choice,
    files: &[File],
    story: &Story,
) -> Result<Vec<Done>> {
    history::assert_agreement(&history::read(&session, choice, files).await?)?;
    enter(&session, choice).await?;
    let mut all = Vec::new();
    for entry in history::read(&session, choice, files).await? {
        let file =
            files.iter().find(|file| file.set == entry.set && file.version() == entry.version);
        let Some(file) = file.filter(|_| entry.state != State::Applied) else { continue };
        if entry.state == State::HalfBuilt && entry.applied.is_some() {
            let message = format!("the index of {} is not valid any more", file.title());
            return Err(Failure::failed(message).hint("cargo xtask migrate repair").into());
        }
        let done = one(&mut session, choice, files, file).await;
        let done = done.map_err(|error| {
            let count = all.len();
            let hint = "what was applied before it stays; mend the cause and run it again";
            let hint =
                failure::find(&error).and_then(|one| one.hint.clone()).unwrap_or(hint.into());
            let message = format!("{}: {error:#}; {count} were applied before it", file.title());
            anyhow!(Failure::failed(message).hint(hint))
        })?;
        story.note(format!("{:<40} {:>7.0} ms", done.file, done.milliseconds));
        all.push(done);
    }
    Ok(all)
}

/// Makes schema and histories where they are missing, and points the session at them.
async fn enter(session: &Session, choice: &Choice) -> Result<()> {
    place::assert_may_make(session, choice).await?;
    let entering = place::entering(session, choice).await?;
    let [common, own] = choice.engine.sets().map(|set| {
        <Hands as AsyncMigrate>::assert_migrations_table_query(&history::table(choice, set))
    });
    let intents = qualified(&choice.schema, INTENTS);
    session
        .batch_execute(&format!(
            "{entering}
             {};
             {common}
             {own}
             CREATE TABLE IF NOT EXISTS {intents} (
                 set text NOT NULL,
                 version integer NOT NULL,
                 name text NOT NULL,
                 begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                 PRIMARY KEY (set, version)
             )",
            place::becoming(choice, false)
        ))
        .await
        .with_context(|| format!("make the histories in schema {}", choice.schema))
}

/// Applies one file, again where it found a lock taken.
async fn one(session: &mut Session, choice: &Choice, files: &[File], file: &File) -> Result<Done> {
    let begun = Instant::now();
    let mut backoff = FIRST_BACKOFF;
    for attempt in 1.. {
        let error = match try_one(session, choice, files, file).await {
            Ok(()) => {
                let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
                return Ok(Done { file: file.title(), milliseconds, attempts: attempt });
            }
            Err(error) => error,
        };
        if !found_a_lock(&error) || file.is_outside() {
            return Err(error);
        }
        if attempt == ATTEMPTS {
            let message = format!("found a lock taken {ATTEMPTS} times: {error:#}");
            return Err(Failure::failed(message)
                .hint("end the transaction that holds it, or run it again in a quieter hour")
                .into());
        }
        tokio::time::sleep(backoff).await;
        backoff *= 2;
    }
    unreachable!("the loop returns")
}

/// Whether a statement waited too long for a lock.
fn found_a_lock(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
        .any(|cause| cause.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
}

async fn try_one(
    session: &mut Session,
    choice: &Choice,
    files: &[File],
    file: &File,
) -> Result<()> {
    session.batch_execute(&place::becoming(choice, file.is_of_login())).await?;
    let ours: Vec<Migration> =
        files.iter().filter(|one| one.set == file.set).map(|one| one.migration.clone()).collect();
    let mut runner = Runner::new(&ours).set_target(Target::Version(file.version()));
    runner.set_migration_table_name(history::table(choice, file.set));
    let ending = match file.is_outside() {
        true => Some(begin_outside(session, choice, file).await?),
        false => None,
    };
    let mut hands = Hands { session, ending };
    let applied = runner.run_async(&mut hands).await;
    let is_outside = hands.ending.is_some();
    if let Err(error) = applied {
        if is_outside {
            let cleared = repair::clear(session, choice, file).await;
            failure::tolerate(cleared, "the intent stands: the next run clears it away");
        }
        return Err(error.into());
    }
    if is_outside {
        session.batch_execute(&limits(place::LOCK_LIMIT, place::STATEMENT_LIMIT)).await?;
    }
    Ok(())
}

/// The limits of a statement outside a transaction.
pub fn outside_limits() -> String {
    limits(OUTSIDE_LOCK_LIMIT, OUTSIDE_LIMIT)
}

fn limits(lock: Duration, statement: Duration) -> String {
    let (lock, statement) = (lock.as_millis(), statement.as_millis());
    format!("SET lock_timeout = {lock}; SET statement_timeout = {statement}")
}

/// Notes that a statement outside a transaction begins, and clears away what an earlier try of it
/// left behind. Returns what is to be said with its row in the history, all or nothing.
async fn begin_outside(session: &Session, choice: &Choice, file: &File) -> Result<String> {
    let intents = qualified(&choice.schema, INTENTS);
    let name = file.migration.name();
    session
        .execute(
            &format!(
                "INSERT INTO {intents} (set, version, name) VALUES ($1, $2, $3)
                 ON CONFLICT (set, version) DO UPDATE SET begun_at = clock_timestamp()"
            ),
            &[&file.set, &file.version(), &name],
        )
        .await
        .context("note that it begins")?;
    repair::clear(session, choice, file).await?;
    session.batch_execute(&outside_limits()).await?;
    let proof = index::built_by(file).map(|index| index::proof(&choice.schema, &index));
    Ok(format!(
        "{};
         DELETE FROM {intents} WHERE set = {} AND version = {}",
        proof.unwrap_or_default(),
        literal(file.set),
        file.version()
    ))
}

/// What refinery does its work with.
struct Hands<'a> {
    session: &'a mut Session,
    /// For a statement outside a transaction: what is said with its row in the history.
    ending: Option<String>,
}

impl AsyncTransaction for Hands<'_> {
    type Error = tokio_postgres::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, Self::Error> {
        let queries: Vec<&str> = queries.collect();
        // A migration comes as its text and its row in the history; what comes alone is refinery's
        // own.
        if let (Some(ending), [text, row]) = (&self.ending, queries.as_slice()) {
            self.session.batch_execute(text).await?;
            self.session.batch_execute(&format!("{ending}; {row}")).await?;
            return Ok(queries.len());
        }
        let client: &mut tokio_postgres::Client = self.session;
        AsyncTransaction::execute(client, queries.into_iter()).await
    }
}

impl AsyncQuery<Vec<Migration>> for Hands<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, Self::Error> {
        let client: &mut tokio_postgres::Client = self.session;
        AsyncQuery::query(client, query).await
    }
}

impl AsyncMigrate for Hands<'_> {}
