//! A disk of a server's own that can be full: a file system in memory, mounted on the server's data
//! folder. Only who may mount can have one; for the others there is none.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::failure::tolerate;
use crate::servers::account;

/// Where the kernel lists what is mounted.
const MOUNTS: &str = "/proc/self/mounts";
/// As large as any rehearsal needs, in bytes: only what is written takes memory.
const ROOM: u64 = 16 << 30;
/// The room of the disk that only shows whether one can be mounted, in bytes.
const TRIAL_ROOM: u64 = 1 << 20;
/// How often a disk is made as small as what is on it: something is written meanwhile.
const FILL_ATTEMPTS: u32 = 100;

/// A disk. What unmounts it is the end of the run's keeper; see [`unmount_below`].
#[derive(Debug, Clone)]
pub struct Disk {
    place: PathBuf,
}

impl Disk {
    /// Mounts one on a new folder, for the user that servers run as.
    ///
    /// # Errors
    /// The folder exists, or this process may not mount.
    pub fn mount(place: &Path) -> Result<Disk> {
        make(place, ROOM)?;
        Ok(Disk { place: place.to_path_buf() })
    }

    /// Leaves no room on it beyond what is written: as when somebody else's files fill a disk, but
    /// without the memory that these would take.
    ///
    /// # Errors
    /// It is written faster than it can be filled.
    pub fn fill(&self) -> Result<()> {
        let mut refused = Ok(());
        for _ in 0..FILL_ATTEMPTS {
            let it = rustix::fs::statvfs(self.place.as_path()).context("look at the disk")?;
            refused = self.resize((it.f_blocks - it.f_bfree) * it.f_frsize);
            if refused.is_ok() {
                return Ok(());
            }
        }
        refused.context("fill the disk")
    }

    /// Gives it its room again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn clear(&self) -> Result<()> {
        self.resize(ROOM).context("give the disk its room again")
    }

    fn resize(&self, bytes: u64) -> Result<()> {
        let size = CString::new(format!("size={bytes}")).context("write the size")?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        Ok(mount_remount(self.place.as_path(), flags, size.as_c_str())?)
    }
}

/// Why this process cannot have a disk of its own; none where it can.
///
/// # Errors
/// No folder can be made to try it on.
pub fn impossible() -> Result<Option<String>> {
    let place = Path::new("/var/tmp").join(format!("xtask-trial-{}", std::process::id()));
    let tried = make(&place, TRIAL_ROOM);
    if tried.is_ok() {
        unmount(&place, UnmountFlags::DETACH).context("unmount the trial disk")?;
    }
    tolerate(std::fs::remove_dir(&place), "it was not made, and the reason is told");
    Ok(tried.err().map(|error| format!("{error:#}")))
}

fn make(place: &Path, bytes: u64) -> Result<()> {
    let (user, group) = match account::server_account()? {
        Some(account) => account,
        None => bail!("only root may mount a disk"),
    };
    std::fs::create_dir(place).with_context(|| format!("make {}", place.display()))?;
    let options = format!("size={bytes},mode=0700,uid={user},gid={group}");
    let options = CString::new(options).context("write the options")?;
    mount("tmpfs", place, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str())
        .with_context(|| format!("mount a disk on {}", place.display()))
}

/// Unmounts every disk in a folder whose servers have ended. There are none for who may not mount.
///
/// # Errors
/// Something still works there.
pub fn unmount_below(folder: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mounts = std::fs::read_to_string(MOUNTS).context("read what is mounted")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for place in places.filter(|place| place.starts_with(folder)) {
        unmount(place, UnmountFlags::empty())
            .with_context(|| format!("unmount {}", place.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_full_takes_nothing_and_what_is_cleared_does() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("disk");
        let Ok(disk) = Disk::mount(&place) else {
            assert!(impossible().unwrap().is_some());
            return;
        };
        assert_eq!(impossible().unwrap(), None);
        let mut file = std::fs::File::create(place.join("file")).unwrap();
        let page = [7; 1 << 16];
        file.write_all(&page).unwrap();
        disk.fill().unwrap();
        let full = file.write_all(&page).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        assert!(unmount_below(folder.path()).is_err(), "a file is open there");
        disk.clear().unwrap();
        file.write_all(&page).unwrap();
        drop(file);
        unmount_below(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    }
}
