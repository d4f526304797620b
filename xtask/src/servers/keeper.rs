//! What makes a run's servers and its folder vanish when the run ends, be it by `kill -9`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, ensure};

use crate::failure::tolerate;
use crate::process::Invocation;
use crate::servers::{account, disk};

/// The keeper: a shell that waits for the end of its standard input. It is bounded in time by
/// itself: ten seconds for a stop, ten more for a kill, a minute for what a killed server left.
const SCRIPT: &str = include_str!("keeper.sh");

/// A process that watches over one folder. The kernel closes the pipe between us on any death of
/// ours; then, or when this is dropped, the keeper stops what runs in the folder and removes it.
pub struct Keeper {
    child: Child,
    folder: PathBuf,
}

impl Keeper {
    /// Starts the watch.
    ///
    /// # Errors
    /// There is no shell.
    pub fn watch(folder: &Path) -> Result<Keeper> {
        let child = Invocation::new("sh")
            .arguments(["-c", SCRIPT, "keeper"])
            .argument(folder)
            .user(account::server_account()?)
            .folder("/")
            .spawn_apart()
            .context("start the keeper of the servers")?;
        Ok(Keeper { child, folder: folder.to_path_buf() })
    }

    /// Ends the watch and leaves everything as it is.
    ///
    /// # Errors
    /// The keeper is dead, and nobody else would clean up.
    pub fn leave(mut self) -> Result<()> {
        let mut pipe = self.child.stdin.take().context("the keeper has no pipe")?;
        pipe.write_all(b"leave\n").context("tell the keeper to leave")?;
        drop(pipe);
        let end = self.child.wait().context("wait for the keeper")?;
        ensure!(end.success(), "the keeper did not leave: {end}");
        Ok(())
    }

    /// Ends the watch, the servers and the folder, and waits until they are gone.
    ///
    /// # Errors
    /// Something is left; the message names the folder.
    pub async fn end(mut self) -> Result<()> {
        tokio::task::spawn_blocking(move || self.clean()).await.context("wait for the keeper")?
    }

    fn clean(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let end = self.child.wait().context("wait for the keeper")?;
        if self.folder.exists() {
            // The keeper could empty a disk in there; only who mounted it can take it away.
            disk::unmount_below(&self.folder)?;
            // A run of root's that died before it gave the folder to the servers' user.
            std::fs::remove_dir_all(&self.folder)
                .with_context(|| format!("remove {} ({end})", self.folder.display()))?;
        }
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.child.stdin.is_some() {
            tolerate(self.clean(), "what is left is swept by the next run");
        }
    }
}
