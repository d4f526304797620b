//! Folders for what only their owner may read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder in which a journal, a dump or a log of a run may be written, made 0700.
///
/// # Errors
/// The folder cannot be made.
pub fn private_folder(folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("make {}", folder.display()))?;
    Ok(folder.to_path_buf())
}
