//! A pair for hand work: it outlives the command that started it, until `servers down`.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cutover::event::{Side, Story};
use crate::failure::Failure;
use crate::servers::binaries::Binaries;
use crate::servers::cluster::Cluster;
use crate::servers::folder;
use crate::servers::keeper::Keeper;
use crate::servers::lock;
use crate::servers::pair::{self, PairOptions};
use crate::servers::wheel;

/// How long one command of this user waits for another that starts or stops the pair.
const COMMAND_LIMIT: Duration = Duration::from_mins(5);

/// The two servers, as the marker file remembers them. The file is for its owner only: it holds
/// the passwords.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    /// The source.
    pub source: Cluster,
    /// The target.
    pub target: Cluster,
    #[serde(skip)]
    folder: PathBuf,
}

/// Starts the pair. One that is there already is used again: what is stopped starts.
///
/// # Errors
/// A server does not start, or the pair that is there has other programs than those asked for.
pub async fn up(options: &PairOptions, story: &Story) -> Result<Kept> {
    let _one_at_a_time = one_at_a_time().await?;
    if let Some(kept) = find()? {
        check(&kept.source, Side::Source, options.source_bindir.as_deref(), story).await?;
        check(&kept.target, Side::Target, options.target_bindir.as_deref(), story).await?;
        for cluster in [&kept.source, &kept.target] {
            if !cluster.is_running().await? {
                cluster.start().await?;
            }
        }
        story.warning(
            "this pair was there already, with what it holds; somebody may be at work on it. \
             One of your own: cargo xtask servers up --foreground",
        );
        return Ok(kept);
    }
    let pair = pair::up(options, story).await?;
    let folder = pair.folder().path().to_path_buf();
    let kept = Kept { source: pair.source.clone(), target: pair.target.clone(), folder };
    kept.save()?;
    pair.leave()?;
    Ok(kept)
}

/// Stops and removes the pair; `false` where there was none.
///
/// # Errors
/// Something is left.
pub async fn down() -> Result<bool> {
    let _one_at_a_time = one_at_a_time().await?;
    let Some(kept) = find()? else { return Ok(false) };
    Keeper::watch(&kept.folder)?.end().await?;
    Ok(true)
}

/// The pair that is kept, running or not.
///
/// # Errors
/// Its marker cannot be read.
pub fn find() -> Result<Option<Kept>> {
    let Some(marker) = folder::kept()?.into_iter().next() else { return Ok(None) };
    let text = std::fs::read(&marker).with_context(|| format!("read {}", marker.display()))?;
    let mut kept: Kept = serde_json::from_slice(&text)
        .with_context(|| format!("understand {}", marker.display()))?;
    kept.folder = marker.parent().unwrap_or(&marker).to_path_buf();
    Ok(Some(kept))
}

impl Kept {
    /// Writes the marker whole or not at all.
    fn save(&self) -> Result<()> {
        let (new, marker) = (self.folder.join("new"), self.folder.join(folder::MARKER));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .context("make the marker")?;
        serde_json::to_writer_pretty(&file, self).context("write the marker")?;
        file.sync_all().context("write the marker")?;
        std::fs::rename(&new, &marker).context("put the marker in its place")
    }
}

/// Refuses a kept server that is not the one asked for.
async fn check(kept: &Cluster, side: Side, asked: Option<&Path>, story: &Story) -> Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let asked = Binaries::locate(side, Some(asked), story).await?;
    if asked.bindir == kept.bindir() {
        return Ok(());
    }
    let message = format!(
        "the {} that is up runs PostgreSQL {} from {}",
        side.name(),
        kept.major(),
        kept.bindir().display()
    );
    Err(Failure::refused(message).hint("cargo xtask servers down").into())
}

async fn one_at_a_time() -> Result<File> {
    lock::hold(&wheel::cache()?.join("servers.lock"), COMMAND_LIMIT).await
}
