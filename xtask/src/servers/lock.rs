//! One at a time, among all processes of this machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::failure::Failure;

/// How often a taken lock is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Takes the lock on a file, which is made where it is missing. The lock ends with the returned
/// handle, and so with the process.
///
/// # Errors
/// The file cannot be opened, or another process holds the lock for longer than `limit`.
pub async fn hold(path: &Path, limit: Duration) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < limit => {
                tokio::time::sleep(RETRY_EVERY).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::failed(format!(
                    "another process has held {} for {limit:?}",
                    path.display()
                ))
                .hint(format!("fuser -v {}", path.display()))
                .into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_lock_is_refused_and_then_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = hold(&path, Duration::ZERO).await.unwrap();
        let error = hold(&path, Duration::from_millis(1)).await.unwrap_err();
        assert!(error.to_string().contains("another process has held"), "{error}");
        drop(held);
        hold(&path, Duration::ZERO).await.unwrap();
    }
}
