//! The folder of one run, and the sweep of those whose run is dead.
//!
//! A live run holds a lock on its folder; the kernel lets go of it on any death. (Services that
//! clean `/var/tmp` by age respect such a lock, too.) A folder with a marker is kept on purpose.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::distr::{Alphanumeric, SampleString};

use crate::cutover::event::Story;
use crate::failure::tolerate;
use crate::servers::account;
use crate::servers::keeper::Keeper;

/// Where runs have their folders: on disk, and not lost when the machine restarts.
const PARENT: &str = "/var/tmp";
/// What their names begin with.
const PREFIX: &str = "paradedb-xtask-";
/// How many random characters follow. All names are equally long, so none begins another.
const RANDOM: usize = 12;
/// The file in a folder that tells that it is kept for hand work.
pub const MARKER: &str = "kept.json";
/// How often a folder is made anew when a sweep was faster than its lock.
const ATTEMPTS: usize = 20;

/// A folder that is ours for as long as this lives.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes a folder for the user that servers run as, with nobody else allowed in.
    ///
    /// # Errors
    /// `/var/tmp` cannot be written.
    pub fn create() -> Result<Folder> {
        for _ in 0..ATTEMPTS {
            let name = format!("{PREFIX}{}", Alphanumeric.sample_string(&mut rand::rng(), RANDOM));
            let path = Path::new(PARENT).join(name);
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("make {}", path.display()))?;
            if let Some(lock) = lock_own(&path)? {
                give_to_servers(&path)?;
                return Ok(Folder { path, _lock: lock });
            }
        }
        bail!("sweeps of other runs took {ATTEMPTS} new folders in {PARENT}")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir(&self.path);
        tolerate(removed, "only an empty folder that never got a keeper is left to remove");
    }
}

/// Makes a file or folder the property of the user that servers run as.
///
/// # Errors
/// The owner cannot be changed.
pub fn give_to_servers(path: &Path) -> Result<()> {
    if let Some((user, group)) = account::server_account()? {
        std::os::unix::fs::chown(path, Some(user), Some(group))
            .with_context(|| format!("give {} to the servers' user", path.display()))?;
    }
    Ok(())
}

/// Locks a new folder. Nothing where a sweep got in between: the folder was unlocked for a moment.
fn lock_own(path: &Path) -> Result<Option<File>> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    let locked = file.metadata().context("look at the locked folder")?.ino();
    let there = std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == locked);
    Ok(there.then_some(file))
}

/// Stops and removes what dead runs of this user left.
///
/// # Errors
/// `/var/tmp` cannot be read. What cannot be removed is only told.
pub async fn sweep(story: &Story) -> Result<()> {
    for path in all()? {
        let Ok(file) = File::open(&path) else { continue };
        match file.try_lock() {
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => continue,
            Ok(()) if path.join(MARKER).exists() => continue,
            Ok(()) => {}
        }
        story.note(format!("removing what a dead run left: {}", path.display()));
        if let Err(error) = Keeper::watch(&path)?.end().await {
            story.warning(format!("{error:#}"));
        }
        drop(file);
    }
    Ok(())
}

/// The marker of every folder that this user keeps for hand work.
///
/// # Errors
/// `/var/tmp` cannot be read.
pub fn kept() -> Result<Vec<PathBuf>> {
    let own = rustix::process::geteuid().as_raw();
    let markers = all()?.into_iter().map(|path| path.join(MARKER));
    let ours = |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| found.uid() == own);
    Ok(markers.filter(ours).collect())
}

/// The folders of all runs, dead or alive, of this user or of the one that its servers run as.
fn all() -> Result<Vec<PathBuf>> {
    let owners = [rustix::process::geteuid().as_raw(), account::server_user()?];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(PARENT).with_context(|| format!("read {PARENT}"))? {
        let entry = entry.with_context(|| format!("read {PARENT}"))?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        match path.symlink_metadata() {
            Ok(found_there) if found_there.is_dir() && owners.contains(&found_there.uid()) => {
                found.push(path);
            }
            other => tolerate(other, "somebody else's, or gone by now"),
        }
    }
    Ok(found)
}
