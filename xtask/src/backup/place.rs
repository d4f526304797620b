//! The folders of backups: one that is being made, those that a dead process left, and room.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::backup::manifest::{FILE, FileSum, PROOF};
use crate::failure::{Failure, tolerate};
use crate::pg::folder::private_folder;

/// What the name of a backup ends with until it is whole.
pub const PART: &str = ".part";
/// How much more room than the database has on its server's disk a backup must find, in percent.
/// Its files are compressed and hold no indexes, so that it needs less as a rule.
const MARGIN_PERCENT: u64 = 10;
/// How many bytes of a file are read at once.
const CHUNK: usize = 1 << 20;

/// The name of a backup: the database, and the time to the millisecond.
pub fn name(database: &str, now: Timestamp) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let database: String = database.chars().map(plain).collect();
    format!("{database}-{}", now.strftime("%Y%m%dT%H%M%S%3fZ"))
}

/// What the sessions of a backup are called on the server, after the tool's own name: the time in
/// its name, because names of sessions are cut off.
pub fn purpose(name: &str) -> String {
    let time = name.rsplit('-').next().unwrap_or(name);
    format!("backup {time}")
}

/// Refuses where a folder has no room for the backup of a database of this size, in bytes.
///
/// # Errors
/// There is not enough room; or nobody can tell.
pub fn assert_room(folder: &Path, database_bytes: u64) -> Result<()> {
    let needed = database_bytes.saturating_add(database_bytes / 100 * MARGIN_PERCENT);
    // Where the folder is not made yet, it will lie on the disk of what is above it.
    let whole = std::path::absolute(folder).context("find the folder of backups")?;
    let existing = whole.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(existing)
        .with_context(|| format!("ask for the room in {}", existing.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let message = format!(
        "there is no room for a backup in {}: {} MB are free, {} MB may be needed",
        folder.display(),
        megabytes(free),
        megabytes(needed)
    );
    Err(Failure::refused(message).hint("make room, or name another folder").into())
}

/// A backup that is being made. Dropping it removes it; where the process dies, the next backup in
/// that folder does.
pub struct Part {
    folder: PathBuf,
    name: String,
    lock: Option<File>,
}

impl Part {
    /// Makes its folder, for its owner only, and locks it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn begin(folder: &Path, name: &str) -> Result<Part> {
        private_folder(folder)?;
        let mut part = Part { folder: folder.to_path_buf(), name: name.into(), lock: None };
        let path = part.path();
        let describe = || format!("make {}", path.display());
        DirBuilder::new().mode(0o700).create(&path).with_context(describe)?;
        let lock = File::open(&path).with_context(describe)?;
        lock.try_lock().with_context(|| format!("lock {}", path.display()))?;
        part.lock = Some(lock);
        Ok(part)
    }

    /// Where it is until it is whole.
    pub fn path(&self) -> PathBuf {
        self.folder.join(format!("{}{PART}", self.name))
    }

    /// Gives it its name, once everything in it is on disk. Returns its folder.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(mut self) -> Result<PathBuf> {
        let (path, whole) = (self.path(), self.folder.join(&self.name));
        sync_folder(&path)?;
        std::fs::rename(&path, &whole).with_context(|| format!("name {}", whole.display()))?;
        self.lock = None;
        sync_folder(&self.folder)?;
        Ok(whole)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let removed = std::fs::remove_dir_all(self.path());
            tolerate(removed, "the next backup in this folder removes what is left");
        }
    }
}

/// Half of a backup whose process is dead. Nobody else takes it for dead while this lives.
pub struct Half {
    /// The name that the backup would have got.
    pub name: String,
    path: PathBuf,
    _lock: File,
}

impl Half {
    /// Removes it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.path)
            .with_context(|| format!("remove {}", self.path.display()))
    }
}

/// The halves of backups whose process is dead.
///
/// # Errors
/// The folder cannot be read.
pub fn dead_halves(folder: &Path) -> Result<Vec<Half>> {
    let mut all = Vec::new();
    for name in names(folder)? {
        let path = folder.join(&name);
        let Some(name) = name.strip_suffix(PART) else { continue };
        let Ok(lock) = File::open(&path) else { continue };
        match lock.try_lock() {
            Ok(()) => all.push(Half { name: name.into(), path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
    }
    Ok(all)
}

/// The names of the folders in a folder; none where it does not exist.
///
/// # Errors
/// It cannot be read.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let describe = || format!("read {}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(describe),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.with_context(describe)?;
        if entry.path().is_dir() {
            all.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(all)
}

/// Writes a file for its owner only, whole or not at all.
///
/// # Errors
/// The disk refuses.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let describe = || format!("write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(describe)?;
    file.write_all(text.as_bytes()).with_context(describe)?;
    file.as_file().sync_all().with_context(describe)?;
    file.persist(path).with_context(describe)?;
    sync_folder(folder)
}

/// Makes every file of a backup private and durable, and sums it up. In order of path.
///
/// # Errors
/// A file cannot be read.
pub fn seal(folder: &Path) -> Result<Vec<FileSum>> {
    let mut all = Vec::new();
    for path in files(folder)? {
        let whole = folder.join(&path);
        std::fs::set_permissions(&whole, Permissions::from_mode(0o600))
            .with_context(|| format!("keep {path} private"))?;
        all.push(sum(folder, &path)?);
        let file = OpenOptions::new().write(true).open(&whole);
        file.and_then(|file| file.sync_all()).with_context(|| format!("sync {path}"))?;
    }
    for path in folders(folder)? {
        sync_folder(&path)?;
    }
    Ok(all)
}

/// Everything that is not as it was when the backup was sealed.
///
/// # Errors
/// The folder cannot be read.
pub fn damages(folder: &Path, sealed: &[FileSum]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for wanted in sealed {
        let path = &wanted.path;
        if !folder.join(path).is_file() {
            all.push(format!("file {path} is missing"));
            continue;
        }
        let found = sum(folder, path)?;
        if found.bytes != wanted.bytes {
            all.push(format!("file {path} has {} bytes, not {}", found.bytes, wanted.bytes));
        } else if found.sha256 != wanted.sha256 {
            all.push(format!("file {path} was changed: its SHA-256 is another"));
        }
    }
    let is_known = |path: &String| sealed.iter().any(|file| file.path == *path);
    let strangers = files(folder)?.into_iter().filter(|path| !is_known(path));
    all.extend(strangers.map(|path| format!("file {path} does not belong to it")));
    Ok(all)
}

fn sum(folder: &Path, path: &str) -> Result<FileSum> {
    let describe = || format!("read {path}");
    let mut file = File::open(folder.join(path)).with_context(describe)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut chunk).with_context(describe)?;
        if count == 0 {
            break;
        }
        hash.update(&chunk[..count]);
        bytes += count as u64;
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(FileSum { path: path.into(), bytes, sha256 })
}

/// The files of a backup but for manifest and proof, in order of path.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for below in folders(folder)? {
        for entry in
            std::fs::read_dir(&below).with_context(|| format!("read {}", below.display()))?
        {
            let path = entry.context("read the folder of a backup")?.path();
            if path.is_dir() {
                continue;
            }
            let path = path.strip_prefix(folder).context("a file outside its folder")?;
            let path = path.to_string_lossy().into_owned();
            if path != FILE && path != PROOF {
                all.push(path);
            }
        }
    }
    all.sort();
    Ok(all)
}

/// The folder itself and every folder below it.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![folder.to_path_buf()];
    for name in names(folder)? {
        all.extend(folders(&folder.join(name))?);
    }
    Ok(all)
}

fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|opened| opened.sync_all());
    synced.with_context(|| format!("sync {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_and_sorts_by_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let names = [name("a/b é", at(5)), name("a/b é", at(6))];
        assert_eq!(names[0], "a_b__-19700101T000005000Z");
        assert!(names.is_sorted());
        assert_eq!(purpose(&names[0]), "backup 19700101T000005000Z");
    }

    #[test]
    fn a_full_disk_is_refused_with_both_figures() {
        let folder = tempfile::tempdir().unwrap();
        assert_room(&folder.path().join("not/made/yet"), 1 << 10).unwrap();
        let error = assert_room(folder.path(), 1 << 60).unwrap_err();
        assert_eq!(crate::failure::kind(&error), crate::failure::Kind::Refused);
        let wanted = (1_u64 << 60).saturating_add((1 << 60) / 100 * MARGIN_PERCENT) >> 20;
        assert!(error.to_string().contains(&format!("{} MB may be needed", wanted + 1)), "{error}");
    }

    #[test]
    fn a_half_of_a_dead_process_goes_and_one_that_is_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let alive = Part::begin(folder.path(), "alive").unwrap();
        std::fs::create_dir(folder.path().join("dead.part")).unwrap();
        std::fs::create_dir(folder.path().join("whole")).unwrap();
        let mut dead = dead_halves(folder.path()).unwrap();
        assert_eq!(dead.len(), 1);
        dead.remove(0).remove().unwrap();
        let mut left = names(folder.path()).unwrap();
        left.sort();
        assert_eq!(left, ["alive.part", "whole"]);
        std::fs::write(alive.path().join("file"), "x").unwrap();
        let whole = alive.finish().unwrap();
        assert_eq!(whole, folder.path().join("alive"));
        drop(Part::begin(folder.path(), "given up").unwrap());
        assert_eq!(names(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn every_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dump")).unwrap();
        for file in ["dump/1", "dump/2", "dump/3", "dump/4", FILE] {
            std::fs::write(folder.path().join(file), format!("the file {file}")).unwrap();
        }
        let sealed = seal(folder.path()).unwrap();
        assert_eq!(sealed.len(), 4);
        assert_eq!(damages(folder.path(), &sealed).unwrap(), Vec::<String>::new());
        std::fs::write(folder.path().join("dump/1"), "the file dump/7").unwrap();
        std::fs::write(folder.path().join("dump/2"), "the file dump/1").unwrap();
        std::fs::write(folder.path().join("dump/3"), "short").unwrap();
        std::fs::remove_file(folder.path().join("dump/4")).unwrap();
        std::fs::write(folder.path().join("stranger"), "").unwrap();
        let found = damages(folder.path(), &sealed).unwrap();
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[2].contains("has 5 bytes") && found[3].contains("missing"), "{found:?}");
    }
}
