//! Where the programs of a server are, and of which version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::config;
use crate::cutover::event::{Side, Story};
use crate::failure::Failure;
use crate::process::Invocation;
use crate::servers::{account, wheel};

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);
/// The oldest major version that a rehearsal can run.
const OLDEST: i32 = 14;

/// A folder with `postgres`, `initdb` and `pg_ctl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder.
    pub bindir: PathBuf,
    /// The major version of its `postgres`.
    pub major: i32,
}

impl Binaries {
    /// Finds the programs of one side: the folder that was asked for, else the environment's, else
    /// the pinned wheel, which is installed where it is missing.
    ///
    /// # Errors
    /// The folder holds no server that this machine can run, or the wheel cannot be installed.
    pub async fn locate(side: Side, asked_for: Option<&Path>, story: &Story) -> Result<Binaries> {
        let (variable, major) = match side {
            Side::Source => (config::XTASK_SOURCE_BINDIR, 16),
            Side::Target => (config::XTASK_TARGET_BINDIR, 18),
        };
        let given = asked_for.map(Path::to_path_buf).or_else(|| config::path(variable));
        let bindir = match given {
            Some(folder) => std::path::absolute(&folder)
                .with_context(|| format!("find {}", folder.display()))?,
            None => wheel::bindir(major, story).await?,
        };
        Binaries::at(bindir, side).await
    }

    /// Whether the installation has an extension's library, such as `pg_search`.
    pub fn has_library(&self, name: &str) -> bool {
        let file = format!("{name}.so");
        let root = self.bindir.parent().unwrap_or(&self.bindir);
        ["lib/postgresql", "lib"].iter().any(|folder| root.join(folder).join(&file).is_file())
    }

    async fn at(bindir: PathBuf, side: Side) -> Result<Binaries> {
        let hint = format!(
            "--{}-bindir wants the folder that holds postgres, initdb and pg_ctl, \
             such as /usr/lib/postgresql/16/bin",
            side.name()
        );
        let missing =
            ["postgres", "initdb", "pg_ctl"].iter().find(|name| !bindir.join(name).is_file());
        if let Some(name) = missing {
            let message = format!("there is no {name} in {}", bindir.display());
            return Err(Failure::usage(message).hint(hint).into());
        }
        let account = account::server_account()?;
        let major = version(&bindir.join("postgres"), account)
            .await
            .map_err(|error| Failure::usage(format!("{error:#}")).hint(hint))?;
        if major < OLDEST {
            let message = format!("PostgreSQL {major} is too old for a rehearsal");
            return Err(Failure::usage(message).hint(format!("use {OLDEST} or newer")).into());
        }
        Ok(Binaries { bindir, major })
    }
}

/// The major version of one of PostgreSQL's programs, as it tells itself when the given user and
/// group run it; who cannot run it would not get far with it either.
///
/// # Errors
/// It cannot be run, or does not tell a version.
pub async fn version(program: &Path, account: Option<(u32, u32)>) -> Result<i32> {
    let said = Invocation::new(program)
        .argument("--version")
        .user(account)
        .folder("/")
        .clear_environment()
        .deadline(VERSION_LIMIT)
        .run()
        .await
        .with_context(|| format!("ask {} for its version", program.display()))?;
    major_of(&said).with_context(|| format!("{} tells no version: {said}", program.display()))
}

/// The first number that begins a word: `16` of `postgres (PostgreSQL) 16.14`.
fn major_of(said: &str) -> Option<i32> {
    said.split_whitespace().find_map(|word| {
        let digits = word.split(|character: char| !character.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(major_of("postgres (PostgreSQL) 16.14"), Some(16));
        assert_eq!(major_of("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("initdb (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_of("nonsense"), None);
    }
}
