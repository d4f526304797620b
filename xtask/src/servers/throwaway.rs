//! One server for one purpose, such as the proof of a backup; it goes with this process.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cutover::event::{Side, Story};
use crate::failure::Failure;
use crate::servers::binaries::Binaries;
use crate::servers::cluster::Cluster;
use crate::servers::folder::{self, Folder};
use crate::servers::keeper::Keeper;

/// What makes it fast and is forbidden where data matters: a crash may lose all of it.
const CARELESS: [(&str, &str); 3] =
    [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")];

/// A running server, which ends with this, or with the process, however it ends.
pub struct Throwaway {
    /// The server.
    pub server: Cluster,
    // In this order: the folder stays locked until the keeper has removed it.
    keeper: Keeper,
    folder: Folder,
}

impl Throwaway {
    /// Starts a server of a target's programs, after removing what dead runs left.
    ///
    /// # Errors
    /// The programs are not found or older than `least_major`, or the server does not start.
    pub async fn start(
        least_major: i32,
        bindir: Option<&Path>,
        story: &Story,
    ) -> Result<Throwaway> {
        folder::sweep(story).await.context("sweep dead runs")?;
        let binaries = Binaries::locate(Side::Target, bindir, story).await?;
        if binaries.major < least_major {
            let message = format!(
                "PostgreSQL {least_major} is asked for, and the programs of a throw-away server \
                 are of {}",
                binaries.major
            );
            return Err(Failure::usage(message)
                .hint("name newer ones by XTASK_TARGET_BINDIR, or a server")
                .into());
        }
        let folder = Folder::create()?;
        let keeper = Keeper::watch(folder.path())?;
        let careless = CARELESS.map(|(name, value)| (name.to_string(), value.to_string()));
        let server = Cluster::create(&folder.path().join("server"), &binaries, &careless)
            .await
            .context("start a throw-away server")?;
        Ok(Throwaway { server, keeper, folder })
    }

    /// The folder that holds the server's data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the server and removes everything, and waits for it. Dropping does so too, but cannot
    /// tell that something was left.
    ///
    /// # Errors
    /// Something is left.
    pub async fn down(self) -> Result<()> {
        self.keeper.end().await
    }
}
