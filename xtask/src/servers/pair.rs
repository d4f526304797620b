//! The two servers of a rehearsal.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cutover::event::{Side, Story};
use crate::servers::binaries::Binaries;
use crate::servers::cluster::{self, Cluster};
use crate::servers::disk::Disk;
use crate::servers::folder::{self, Folder};
use crate::servers::keeper::Keeper;
use crate::servers::settings::Setting;

/// What a caller may choose; the default is PostgreSQL 16 and 18 from the pinned wheel.
#[derive(Debug, Clone, Default)]
pub struct PairOptions {
    /// The source's programs.
    pub source_bindir: Option<PathBuf>,
    /// The target's programs.
    pub target_bindir: Option<PathBuf>,
    /// Settings of the source beyond those of every rehearsal.
    pub source_settings: Vec<Setting>,
    /// Settings of the target beyond those of every rehearsal.
    pub target_settings: Vec<Setting>,
    /// Whether the target's data is on a disk of its own, which can be made full.
    pub target_has_a_disk: bool,
}

/// Two running servers, which end with this, or with the process, however it ends.
pub struct Pair {
    /// Serves when a run begins.
    pub source: Cluster,
    /// Serves when a run has switched.
    pub target: Cluster,
    /// The disk of the target, where it has one of its own.
    pub target_disk: Option<Disk>,
    // In this order: the folder stays locked until the keeper has removed it.
    keeper: Keeper,
    folder: Folder,
}

impl Pair {
    /// Stops both servers and removes everything, and waits for it. Dropping does so too, but
    /// cannot tell that something was left.
    ///
    /// # Errors
    /// Something is left.
    pub async fn down(self) -> Result<()> {
        self.keeper.end().await
    }

    /// A folder for the run's own files, which goes with the servers.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("run");
        std::fs::DirBuilder::new().mode(0o700).create(&path).context("make the run's folder")?;
        // The keeper, which removes it, is not root.
        folder::give_to_servers(&path)?;
        Ok(path)
    }

    /// Lets the servers outlive the tool. The marker by which the sweep knows that the folder is
    /// kept must be there by now.
    ///
    /// # Errors
    /// The keeper is dead.
    pub(super) fn leave(self) -> Result<()> {
        self.keeper.leave()
    }

    /// The folder of both.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }
}

/// Starts a pair, after removing what dead runs left.
///
/// # Errors
/// The programs are not found, or a server does not start; nothing is left then.
pub async fn up(options: &PairOptions, story: &Story) -> Result<Pair> {
    folder::sweep(story).await.context("sweep dead runs")?;
    let (source, target) = tokio::try_join!(
        Binaries::locate(Side::Source, options.source_bindir.as_deref(), story),
        Binaries::locate(Side::Target, options.target_bindir.as_deref(), story),
    )?;
    let folder = Folder::create()?;
    let keeper = Keeper::watch(folder.path())?;
    let places = (folder.path().join("source"), folder.path().join("target"));
    for place in [&places.0, &places.1] {
        cluster::make_folder(place)?;
    }
    let wants_disk = options.target_has_a_disk;
    let target_disk =
        wants_disk.then(|| Disk::mount(&cluster::data_folder(&places.1))).transpose()?;
    story.note("starting two servers of its own");
    let (source, target) = tokio::try_join!(
        Cluster::create_in(&places.0, &source, &options.source_settings),
        Cluster::create_in(&places.1, &target, &options.target_settings),
    )
    .context("start the servers")?;
    Ok(Pair { source, target, target_disk, keeper, folder })
}
