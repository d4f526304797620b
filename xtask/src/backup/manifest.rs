//! The manifest of a backup: what is in it, and by what it is recognised when it is restored.

use std::path::{Component, Path};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backup::facts::Facts;
use crate::backup::place;
use crate::failure::Failure;
use crate::pg::sequences::SequenceValue;

/// The format of manifests that this tool writes and reads.
pub const FORMAT: u32 = 1;
/// The file's name in the folder of a backup.
pub const FILE: &str = "manifest.json";
/// What is known of the last proof, beside the manifest.
pub const PROOF: &str = "proof.json";

/// One table with rows, as the snapshot shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns in the order in which the digest reads them.
    pub columns: Vec<String>,
    /// How many rows.
    pub rows: u64,
    /// The digest of all of them, under the seeds of the manifest.
    pub digest: String,
}

impl Table {
    /// `schema.name`, for people.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its path below the folder of the backup.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of what is in it, in hexadecimal.
    pub sha256: String,
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// The version of the tool that made it.
    pub tool: String,
    /// Its name, which is that of its folder.
    pub name: String,
    /// The run that it was made for; none where it was made by itself.
    pub run: Option<String>,
    /// When the snapshot was taken, by the server's clock.
    pub snapshot_at: Timestamp,
    /// How far the write-ahead log was written just after.
    pub position: String,
    /// When the dump was whole, by the clock of the tool's machine.
    pub finished: Timestamp,
    /// The database.
    pub source: Facts,
    /// The major version of `pg_dump`.
    pub dump_major: i32,
    /// Whether roles are in it, without their passwords; or why not.
    pub roles: String,
    /// The seeds of the digests.
    pub seeds: [i64; 2],
    /// Every table with rows.
    pub tables: Vec<Table>,
    /// Where every sequence stood. The dump has them there or further on.
    pub sequences: Vec<SequenceValue>,
    /// Every file but the manifest itself and the proof.
    pub files: Vec<FileSum>,
}

impl Manifest {
    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// The folder is no backup, or its manifest is damaged or newer than this tool.
    pub fn read(folder: &Path) -> Result<Manifest> {
        let shown = folder.display();
        let text = std::fs::read_to_string(folder.join(FILE)).map_err(|error| {
            Failure::usage(format!("{shown} is no backup: its {FILE} cannot be read: {error}"))
                .hint("cargo xtask backup list --folder DIR shows those that are")
        })?;
        let damaged = |reason: String| Failure::refused(format!("{shown}: {FILE} is {reason}"));
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| damaged(format!("damaged: {error}")))?;
        if manifest.format != FORMAT {
            let reason = format!("of format {}, this tool reads {FORMAT}", manifest.format);
            return Err(damaged(reason).into());
        }
        // A name that leads out of the folder was not written by this tool.
        let is_inside = |file: &FileSum| {
            Path::new(&file.path).components().all(|part| matches!(part, Component::Normal(_)))
        };
        if !manifest.files.iter().all(is_inside) {
            return Err(damaged("damaged: a file lies outside the folder".into()).into());
        }
        Ok(manifest)
    }

    /// Writes it, last of all files, whole or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("write the manifest")?;
        place::write_whole(&folder.join(FILE), &text)
    }

    /// How many rows are in it.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// Size of its files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The last proof of a backup: restored, and held against the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When it ended, by the clock of the tool's machine.
    pub at: Timestamp,
    /// Where it was restored.
    pub scratch: String,
    /// How many tables were compared.
    pub tables: usize,
    /// How many rows the restored tables have.
    pub rows: u64,
    /// Everything that is not as the manifest says; empty where the backup is good.
    pub problems: Vec<String>,
}

impl Proof {
    /// Whether the restored database is the dumped one.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// Reads the last proof of a backup; none where it was never tried.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Proof>> {
        let file = folder.join(PROOF);
        if !file.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {PROOF}"))?;
        serde_json::from_str(&text).with_context(|| format!("understand {}", file.display()))
    }

    /// Writes it beside the manifest, in place of the one before.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("write the proof")?;
        place::write_whole(&folder.join(PROOF), &text)
    }
}
