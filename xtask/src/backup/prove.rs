//! The proof of a backup: every file as it was sealed, restored elsewhere, every row compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::backup::create::DUMP;
use crate::backup::manifest::{Manifest, Proof, Table};
use crate::backup::place;
use crate::backup::scratch::{Room, Scratch};
use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::digest::{Digest, whole};
use crate::pg::endpoint::Endpoint;
use crate::pg::sequences::{self, SequenceRule};
use crate::pg::survey::{self, Relation};
use crate::process::Invocation;
use crate::servers::programs::{find_programs, with_server};

/// How long a restore may take, indexes included.
const RESTORE_LIMIT: Duration = Duration::from_hours(48);
/// How often it is looked whether somebody asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What the sessions of a proof are called on the server.
const PURPOSE: &str = "restore";

/// What `pg_restore` says where the server is to blame, and not the backup.
const NOT_ITS_FAULT: [&str; 4] =
    ["No space left", "connection to server", "server closed", "terminating connection"];

/// How to go about a restore.
pub struct Means<'a> {
    /// How many sessions restore, and how many compare, at once.
    pub jobs: usize,
    /// Folders in which `pg_restore` is looked for first.
    pub bindirs: &'a [PathBuf],
    /// Where progress is told.
    pub story: &'a Story,
    /// Whether somebody asked to stop.
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// Restores a backup on the scratch server, compares it with its manifest, and writes down what
/// came out, beside the manifest.
///
/// # Errors
/// We could not look: the server refuses, a program is missing, somebody asked to stop. That the
/// backup is not good is no error here; it stands in the proof.
pub async fn prove(folder: &Path, scratch: &Scratch, means: &Means<'_>) -> Result<Proof> {
    let manifest = Manifest::read(folder)?;
    scratch.assert_fits(&manifest.source).await?;
    let mut proof = Proof {
        at: Timestamp::now(),
        scratch: scratch.title(),
        tables: 0,
        rows: 0,
        problems: damages(folder, &manifest).await?,
    };
    if proof.is_good() {
        let room = scratch.make_room(&manifest.source).await?;
        let tried = restore_and_compare(folder, &manifest, (scratch, &room), means).await;
        let cleared = scratch.clear(room).await;
        let compared = tried?;
        cleared?;
        (proof.tables, proof.rows) = (compared.tables, compared.rows);
        proof.problems = compared.problems;
    }
    proof.at = Timestamp::now();
    if let Err(error) = proof.write(folder) {
        means.story.warning(format!("the proof is not written down: {error:#}"));
    }
    Ok(proof)
}

/// The refusal of a backup that is not good.
///
/// # Errors
/// It is not good; the message has every reason.
pub fn assert_good(folder: &Path, proof: &Proof) -> Result<()> {
    if proof.is_good() {
        return Ok(());
    }
    let problems: Vec<String> = proof.problems.iter().map(|one| format!("\n  - {one}")).collect();
    let message = format!("backup {} is not good:{}", folder.display(), problems.concat());
    Err(Failure::refused(message)
        .hint("keep it for a look, and make another: cargo xtask backup create")
        .into())
}

/// Everything that is not as it was sealed.
///
/// # Errors
/// The folder cannot be read.
pub async fn damages(folder: &Path, manifest: &Manifest) -> Result<Vec<String>> {
    let (folder, files) = (folder.to_path_buf(), manifest.files.clone());
    let looked = tokio::task::spawn_blocking(move || place::damages(&folder, &files));
    looked.await.context("wait for the check sums")?
}

async fn restore_and_compare(
    folder: &Path,
    manifest: &Manifest,
    (scratch, room): (&Scratch, &Room),
    means: &Means<'_>,
) -> Result<Compared> {
    let with_owners = scratch.has_roles(&manifest.source).await?;
    let bare: &[&str] = if with_owners { &[] } else { &["--no-owner", "--no-privileges"] };
    if !with_owners {
        means.story.note("the scratch server lacks roles: owners and grants are not restored");
    }
    let jobs = format!("--jobs={}", means.jobs.max(1));
    let arguments: Vec<&str> = bare.iter().copied().chain([jobs.as_str()]).collect();
    match restore(folder, manifest, &room.endpoint, &arguments, means).await {
        Ok(()) => compare(manifest, &room.endpoint, means).await,
        Err(error) if is_answer(&error) => {
            let problems = vec![format!("it cannot be restored: {error:#}")];
            Ok(Compared { tables: 0, rows: 0, problems })
        }
        Err(error) => Err(error),
    }
}

/// Whether a failed restore speaks of the backup, rather than of the server or of us.
fn is_answer(error: &anyhow::Error) -> bool {
    let said = format!("{error:#}");
    crate::failure::find(error).is_none()
        && said.contains("pg_restore: error")
        && !NOT_ITS_FAULT.iter().any(|sign| said.contains(sign))
}

/// Runs `pg_restore` into a database.
///
/// # Errors
/// The program is missing or fails, or somebody asked to stop.
pub async fn restore(
    folder: &Path,
    manifest: &Manifest,
    endpoint: &Endpoint,
    arguments: &[&str],
    means: &Means<'_>,
) -> Result<()> {
    let wants_tls = endpoint.wants_tls();
    let programs =
        find_programs(manifest.dump_major, wants_tls, means.bindirs, means.story).await?;
    let invocation = Invocation::new(&programs.pg_restore)
        .arguments(["--exit-on-error", "--no-password"])
        .argument(format!("--dbname={}", endpoint.database))
        .arguments(arguments)
        .argument(folder.join(DUMP))
        .deadline(RESTORE_LIMIT);
    let restoring = with_server(invocation, endpoint).run();
    tokio::select! {
        restored = restoring => restored.context("restore the database").map(drop),
        () = stopped(means) => Err(Failure::interrupted("interrupted while restoring").into()),
    }
}

async fn stopped(means: &Means<'_>) {
    while !(means.is_stopped)() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a comparison of a restored database with its manifest found.
pub struct Compared {
    /// How many tables were compared.
    pub tables: usize,
    /// How many rows they have.
    pub rows: u64,
    /// Everything that is not as the manifest says.
    pub problems: Vec<String>,
}

/// Holds every table and sequence of a database against the manifest.
///
/// # Errors
/// The database cannot be read.
pub async fn compare(
    manifest: &Manifest,
    endpoint: &Endpoint,
    means: &Means<'_>,
) -> Result<Compared> {
    let session = endpoint.connect(PURPOSE).await?;
    let mut there: BTreeMap<String, Relation> = survey::tables(&session)
        .await?
        .into_iter()
        .filter(Relation::has_rows)
        .map(|relation| (relation.title(), relation))
        .collect();
    let mut problems = Vec::new();
    let mut wanted: Vec<&Table> = Vec::new();
    let mut relations = Vec::new();
    for table in &manifest.tables {
        match there.remove(&table.title()).map(|relation| in_order(relation, &table.columns)) {
            None => problems.push(format!("table {} is missing", table.title())),
            Some(None) => problems.push(format!("table {} has other columns", table.title())),
            Some(Some(relation)) => {
                wanted.push(table);
                relations.push(relation);
            }
        }
    }
    problems.extend(there.keys().map(|title| format!("table {title} is not in the manifest")));
    let reading = whole::Reading {
        endpoint,
        purpose: PURPOSE,
        snapshot: None,
        seeds: manifest.seeds,
        jobs: means.jobs,
    };
    let digests = tokio::select! {
        digests = whole::digests(&reading, &relations, means.story) => digests?,
        () = stopped(means) => {
            return Err(Failure::interrupted("interrupted while comparing").into());
        }
    };
    problems.extend(wanted.iter().zip(&digests).filter_map(|(table, found)| judge(table, found)));
    let stand = sequences::read(&session).await?;
    let differences = sequences::compare(&manifest.sequences, &stand, SequenceRule::NotBehind);
    problems.extend(differences.iter().map(|one| {
        let [wanted, found] = [&one.source, &one.target];
        let text = |side: &Option<String>| side.clone().unwrap_or_else(|| "missing".into());
        let (wanted, found) = (text(wanted), text(found));
        format!("sequence {}: {wanted} in the manifest, {found} restored", one.sequence)
    }));
    let rows = digests.iter().map(|digest| digest.rows).sum();
    Ok(Compared { tables: relations.len(), rows, problems })
}

/// A table whose columns are read in the given order; none where they are others.
fn in_order(mut relation: Relation, columns: &[String]) -> Option<Relation> {
    let mut ordered = Vec::new();
    for name in columns {
        ordered.push(relation.columns.iter().find(|column| column.name == *name)?.clone());
    }
    let is_whole = ordered.len() == relation.columns.len();
    relation.columns = ordered;
    is_whole.then_some(relation)
}

fn judge(table: &Table, found: &Digest) -> Option<String> {
    let title = table.title();
    if found.rows != table.rows {
        let (wanted, found) = (table.rows, found.rows);
        return Some(format!("table {title} has {found} rows restored, {wanted} in the manifest"));
    }
    (found.hex() != table.digest)
        .then(|| format!("table {title} has other rows: its digest differs"))
}
