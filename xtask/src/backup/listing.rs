//! Which backups there are.

use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::backup::manifest::{FILE, Manifest, Proof};
use crate::backup::place::{self, PART};

/// One folder among the backups.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Where it is.
    pub folder: PathBuf,
    /// What it is; none for what is no backup: a half, or one whose manifest cannot be read.
    pub backup: Option<Listed>,
    /// Why it is no backup.
    pub problem: Option<String>,
}

/// A backup in a list.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// When the snapshot was taken.
    pub snapshot_at: Timestamp,
    /// The database.
    pub database: String,
    /// `server_version_num` of its server.
    pub server_version: i32,
    /// The run that it was made for.
    pub run: Option<String>,
    /// How many tables have rows of their own.
    pub tables: usize,
    /// How many rows.
    pub rows: u64,
    /// Size of its files, in bytes.
    pub bytes: u64,
    /// The last proof; none where it was never tried.
    pub proof: Option<Proof>,
}

/// Every backup and every half of one in a folder, newest first.
///
/// # Errors
/// The folder cannot be read. A backup that cannot be is told in its entry.
pub fn list(folder: &Path) -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    for name in place::names(folder)? {
        let path = folder.join(&name);
        if name.ends_with(PART) {
            let problem = Some("not whole: it is being made, or its process died".into());
            all.push(Entry { folder: path, backup: None, problem });
        } else if path.join(FILE).is_file() {
            all.push(entry(path));
        }
    }
    let age = |entry: &Entry| entry.backup.as_ref().map(|backup| backup.snapshot_at);
    all.sort_by(|one, other| (age(other), &other.folder).cmp(&(age(one), &one.folder)));
    Ok(all)
}

fn entry(folder: PathBuf) -> Entry {
    match read(&folder) {
        Ok(backup) => Entry { folder, backup: Some(backup), problem: None },
        Err(error) => Entry { folder, backup: None, problem: Some(format!("{error:#}")) },
    }
}

fn read(folder: &Path) -> Result<Listed> {
    let manifest = Manifest::read(folder)?;
    Ok(Listed {
        snapshot_at: manifest.snapshot_at,
        server_version: manifest.source.server_version,
        tables: manifest.tables.len(),
        rows: manifest.rows(),
        bytes: manifest.bytes(),
        proof: Proof::read(folder)?,
        database: manifest.source.identity.database,
        run: manifest.run,
    })
}
