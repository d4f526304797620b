//! Making a backup: one snapshot, dumped and digested at the same time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use crate::backup::facts::Facts;
use crate::backup::manifest::{FORMAT, Manifest, Table};
use crate::backup::place::{self, Part};
use crate::backup::progress::Progress;
use crate::cutover::event::Story;
use crate::failure::{Failure, tolerate};
use crate::pg::archive;
use crate::pg::digest::{self, Digest, whole};
use crate::pg::endpoint::{APPLICATION_NAME, Endpoint, Session};
use crate::pg::snapshot::Snapshot;
use crate::pg::survey::Relation;
use crate::process::Invocation;
use crate::servers::programs::{Programs, find_programs, with_server};

/// How long a dump may take.
const DUMP_LIMIT: Duration = Duration::from_hours(48);
/// How long the list of roles may take.
const ROLES_LIMIT: Duration = Duration::from_mins(2);
/// How long `pg_dump` waits for a table that a change of schema has locked.
const LOCK_WAIT: &str = "--lock-wait-timeout=10s";
/// How long ending the sessions of a backup may take.
const ENDING_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody asked to stop, or waits for us.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a statement may wait behind the dump's locks before it is cancelled: every reader of
/// that table waits behind it.
const PATIENCE_WITH_WAITERS: Duration = Duration::from_secs(1);

/// The folder of the dump in a backup.
pub const DUMP: &str = "dump";
/// The file with the roles in a backup.
pub const ROLES: &str = "roles.sql";

/// What to back up, and how.
pub struct Request<'a> {
    /// The database.
    pub source: &'a Endpoint,
    /// The folder in which backups have their folders.
    pub folder: &'a Path,
    /// How many sessions dump, and how many digest, at once.
    pub jobs: usize,
    /// Folders in which `pg_dump` is looked for first.
    pub bindirs: &'a [PathBuf],
    /// The run that it is made for.
    pub run: Option<String>,
    /// Whether somebody asked to stop.
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// A backup that is whole.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Its folder.
    pub folder: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

/// Makes a backup. Nothing is left of one that fails.
///
/// # Errors
/// There is no room, a program is missing or fails, or somebody asked to stop.
pub async fn create(request: &Request<'_>, story: &Story) -> Result<Backup> {
    let session = request.source.connect("backup").await?;
    let facts = Facts::read(request.source, &session).await?;
    place::assert_room(request.folder, facts.database_bytes)?;
    let wants_tls = request.source.wants_tls();
    let programs = find_programs(facts.major(), wants_tls, request.bindirs, story).await?;
    for half in place::dead_halves(request.folder)? {
        story.note(format!("removing {}{}, which a dead process left", half.name, place::PART));
        // Its `pg_dump` may have outlived it, and would go on to write.
        end_sessions(&session, &place::purpose(&half.name)).await?;
        half.remove()?;
    }
    let name = place::name(&facts.identity.database, Timestamp::now());
    let part = Part::begin(request.folder, &name)?;
    let purpose = place::purpose(&name);
    let work = dump_and_digest(request, &programs, (&part, &purpose), story);
    let done = tokio::select! {
        done = work => done,
        error = stopped(request, &session, &purpose, story) => Err(error),
    };
    if done.is_err() {
        // Children of `pg_dump` outlive it for as long as their table takes.
        tolerate(end_sessions(&session, &purpose).await, "the error to tell is the first one");
    }
    let (snapshot, digests, seeds, roles) = done?;
    let rows = snapshot.relations.iter().filter(|relation| relation.has_rows());
    let tables = rows.zip(&digests).map(|(relation, digest)| table(relation, digest)).collect();
    let path = part.path();
    let files = tokio::task::spawn_blocking(move || place::seal(&path));
    let files = files.await.context("wait for the check sums")??;
    let manifest = Manifest {
        format: FORMAT,
        tool: env!("CARGO_PKG_VERSION").into(),
        name,
        run: request.run.clone(),
        snapshot_at: snapshot.at,
        position: snapshot.position.clone(),
        finished: Timestamp::now(),
        source: facts,
        dump_major: programs.major,
        roles,
        seeds,
        tables,
        sequences: snapshot.sequences.clone(),
        files,
    };
    manifest.write(&part.path())?;
    Ok(Backup { folder: part.finish()?, manifest })
}

fn table(relation: &Relation, digest: &Digest) -> Table {
    Table {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        columns: relation.columns.iter().map(|column| column.name.clone()).collect(),
        rows: digest.rows,
        digest: digest.hex(),
    }
}

/// The snapshot, the digest of each of its tables with rows, their seeds, and what became of roles.
type Done = (Snapshot, Vec<Digest>, [i64; 2], String);

async fn dump_and_digest(
    request: &Request<'_>,
    programs: &Programs,
    (part, purpose): (&Part, &str),
    story: &Story,
) -> Result<Done> {
    let snapshot = Snapshot::take(request.source, purpose).await?;
    let relations: Vec<Relation> =
        snapshot.relations.iter().filter(|relation| relation.has_rows()).cloned().collect();
    let seeds = digest::seeds();
    let reading = whole::Reading {
        endpoint: request.source,
        purpose,
        snapshot: Some(&snapshot.id),
        seeds,
        jobs: request.jobs,
    };
    let progress = Progress::new(&relations, story);
    let digest_story = progress.of_digest();
    let dump = dump(request, programs, (part, purpose), &snapshot.id);
    let (digests, (), roles) = tokio::try_join!(
        whole::digests(&reading, &relations, &digest_story),
        progress.during(request.source, purpose, &relations, dump),
        roles(request, programs, (part, purpose), story),
    )?;
    if snapshot.is_lost() {
        return Err(Failure::failed("the server ended the session that kept the snapshot").into());
    }
    Ok((snapshot, digests, seeds, roles))
}

async fn dump(
    request: &Request<'_>,
    programs: &Programs,
    (part, purpose): (&Part, &str),
    snapshot: &str,
) -> Result<()> {
    // A subscription would hold a password, and a copy that publishes or subscribes by itself is
    // what nobody wants.
    let invocation = Invocation::new(&programs.pg_dump)
        .arguments(["--format=directory", "--no-publications", "--no-subscriptions"])
        .arguments(["--exclude-schema=xtask_cutover", "--no-password", LOCK_WAIT])
        .argument(format!("--jobs={}", request.jobs.max(1)))
        .argument(format!("--snapshot={snapshot}"))
        .argument(format!("--file={}", part.path().join(DUMP).display()))
        .deadline(DUMP_LIMIT);
    named(invocation, request.source, purpose).run().await.context("dump the database")?;
    // Without them any server can take the backup, and a bare `pg_restore` is enough.
    archive::leave_out_marks(&part.path().join(DUMP).join(archive::CONTENTS))
}

/// Roles belong to the server and not to the database: without them owners and grants are lost.
async fn roles(
    request: &Request<'_>,
    programs: &Programs,
    (part, purpose): (&Part, &str),
    story: &Story,
) -> Result<String> {
    let program = programs.pg_dump.with_file_name("pg_dumpall");
    let file = part.path().join(ROLES);
    let invocation = Invocation::new(&program)
        .arguments(["--globals-only", "--no-role-passwords", "--no-password"])
        .argument(format!("--database={}", request.source.database))
        .argument(format!("--file={}", file.display()))
        .deadline(ROLES_LIMIT);
    match named(invocation, request.source, purpose).run().await {
        Ok(_) => Ok("without passwords".into()),
        Err(error) => {
            let reason = format!("not in it: {error:#}");
            story.warning(format!("roles are {reason}"));
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).context("remove half a list of roles")
                }
                Ok(()) | Err(_) => Ok(reason),
            }
        }
    }
}

/// A libpq program whose sessions can be told from those of other backups.
fn named(invocation: Invocation, endpoint: &Endpoint, purpose: &str) -> Invocation {
    let name = format!("{APPLICATION_NAME} {purpose}");
    with_server(invocation, endpoint).variable("PGAPPNAME", name)
}

/// Returns when somebody asks to stop. Until then it keeps the dump's locks from holding everybody
/// up: a statement that waits for one of them too long is cancelled.
async fn stopped(
    request: &Request<'_>,
    session: &Session,
    purpose: &str,
    story: &Story,
) -> anyhow::Error {
    while !(request.is_stopped)() {
        match cancel_waiters(session, purpose).await {
            Ok(0) => {}
            Ok(count) => story.warning(format!(
                "cancelled {count} statements that waited for the dump: every reader behind them \
                 would have waited, too"
            )),
            Err(error) => return error,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Failure::interrupted("interrupted; nothing is left of the backup").into()
}

async fn cancel_waiters(session: &Session, purpose: &str) -> Result<usize> {
    let (ours, patience) = (format!("{APPLICATION_NAME} {purpose}"), PATIENCE_WITH_WAITERS);
    let rows = session
        .query(
            // Everybody may see since when a lock is waited for; what others do, not everybody.
            "SELECT pg_cancel_backend(waiting.pid)
             FROM (SELECT DISTINCT pid FROM pg_locks
                   WHERE NOT granted
                     AND clock_timestamp() - waitstart > make_interval(secs => $2)) AS lock
             JOIN pg_stat_activity AS waiting USING (pid)
             WHERE waiting.datname = current_database()
               AND waiting.application_name IS DISTINCT FROM $1
               AND EXISTS (SELECT FROM pg_stat_activity AS holding
                           WHERE holding.application_name = $1
                             AND holding.pid = ANY (pg_blocking_pids(waiting.pid)))",
            &[&ours, &patience.as_secs_f64()],
        )
        .await
        .context("look for statements that wait for the dump")?;
    Ok(rows.len())
}

/// Ends the sessions of a backup that is given up, and waits until they are gone.
async fn end_sessions(session: &Session, purpose: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let ended = session
            .query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = $1",
                &[&format!("{APPLICATION_NAME} {purpose}")],
            )
            .await
            .context("end the sessions of a backup that is given up")?;
        if ended.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > ENDING_LIMIT {
            bail!("the sessions of a backup that is given up did not end in {ENDING_LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
