//! The Python of the proof: a virtual environment with Django and its driver, pinned by hash, in
//! the cache; and Django's own source distribution, which has its tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::process::Invocation;
use crate::servers::{lock, pip, wheel};

/// The version of Django.
pub const DJANGO: &str = "5.2.19";
/// What pip is to install, and nothing else.
const REQUIREMENTS: &str = include_str!("../../django/requirements.txt");
/// The source distribution.
const SUITE_REQUIREMENTS: &str = include_str!("../../django/suite_requirements.txt");
/// How long a download may take, and another process's that we wait for.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);
/// How long Python may take to say its version, or to make an empty environment.
const PYTHON_LIMIT: Duration = Duration::from_mins(1);
/// The oldest Python that the pinned Django runs on.
const OLDEST: (u32, u32) = (3, 10);

/// The environment's Python, installed if need be.
///
/// # Errors
/// There is no Python or no pip, or what is pinned cannot be fetched.
pub async fn environment(story: &Story) -> Result<PathBuf> {
    let (major, minor) = version().await?;
    if (major, minor) < OLDEST {
        return Err(Failure::usage(format!("python3 is {major}.{minor}; Django needs 3.10")).into());
    }
    let place = wheel::cache()?.join(format!("django-{DJANGO}-python-{major}.{minor}"));
    let python = place.join("bin/python");
    if !python.exists() {
        let cache = wheel::cache()?;
        let _one_at_a_time = lock::hold(&cache.join(wheel::INSTALL_LOCK), INSTALL_LIMIT).await?;
        if !python.exists() {
            let site = format!("lib/python{major}.{minor}/site-packages");
            install(&cache, &place, &site, story).await.context("install Django from PyPI")?;
        }
    }
    Ok(python)
}

async fn version() -> Result<(u32, u32)> {
    let ask = "import sys; print(*sys.version_info[:2])";
    let said = Invocation::new("python3").arguments(["-c", ask]).deadline(PYTHON_LIMIT);
    let said = said.run().await.map_err(|error| {
        Failure::usage(format!("there is no python3: {error:#}"))
            .hint("apt-get install python3 python3-pip")
    })?;
    let mut numbers = said.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(Failure::failed("python3 does not tell its version").into()),
    }
}

/// Makes the environment beside its place and renames it, so that nobody ever sees a half of it.
async fn install(cache: &Path, place: &Path, site: &str, story: &Story) -> Result<()> {
    pip::check("").await?;
    story.note(format!("installing Django {DJANGO} from PyPI into {}", cache.display()));
    if place.exists() {
        // Its Python is gone: the system's was replaced.
        std::fs::remove_dir_all(place).context("remove an environment without Python")?;
    }
    let temporary = temporary(cache)?;
    let made = temporary.path().join("environment");
    // Without pip, which Debian keeps in a package of its own: pip comes from outside.
    Invocation::new("python3")
        .arguments(["-m", "venv", "--without-pip"])
        .argument(&made)
        .deadline(PYTHON_LIMIT)
        .run()
        .await
        .context("make a virtual environment")?;
    let requirements = temporary.path().join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).context("write the list for pip")?;
    pip::pip(INSTALL_LIMIT)
        .arguments(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile"])
        .arguments([OsString::from("--target"), made.join(site).into()])
        .arguments([OsString::from("--require-hashes"), "-r".into(), requirements.into()])
        .run()
        .await
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    wheel::open_to_all(temporary.path())?;
    std::fs::rename(&made, place)
        .with_context(|| format!("move the environment to {}", place.display()))
}

/// The folder `tests` of Django's source distribution, fetched if need be.
///
/// # Errors
/// It cannot be fetched.
pub async fn suite(python: &Path, story: &Story) -> Result<PathBuf> {
    let cache = wheel::cache()?;
    let place = cache.join(format!("django-{DJANGO}-source"));
    if !place.is_dir() {
        let _one_at_a_time = lock::hold(&cache.join(wheel::INSTALL_LOCK), INSTALL_LIMIT).await?;
        if !place.is_dir() {
            fetch(&cache, &place, python, story).await.context("fetch Django's tests from PyPI")?;
        }
    }
    Ok(place.join("tests"))
}

async fn fetch(cache: &Path, place: &Path, python: &Path, story: &Story) -> Result<()> {
    pip::check("").await?;
    story.note(format!("fetching Django {DJANGO} with its tests into {}", cache.display()));
    let temporary = temporary(cache)?;
    let requirements = temporary.path().join("requirements.txt");
    std::fs::write(&requirements, SUITE_REQUIREMENTS).context("write the list for pip")?;
    let folder = temporary.path().join("download");
    pip::pip(INSTALL_LIMIT)
        .arguments(["download", "--quiet", "--no-deps", "--no-binary=:all:"])
        .arguments([OsString::from("-d"), folder.clone().into()])
        .arguments([OsString::from("--require-hashes"), "-r".into(), requirements.into()])
        .run()
        .await
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    let archive = std::fs::read_dir(&folder).context("look for the archive")?.next();
    let archive = archive.context("pip brought no archive")??.path();
    let unpacked = temporary.path().join("unpacked");
    Invocation::new(python)
        .arguments(["-m", "tarfile", "--extract"])
        .argument(&archive)
        .argument(&unpacked)
        .deadline(INSTALL_LIMIT)
        .run()
        .await
        .context("unpack the archive")?;
    let inner = std::fs::read_dir(&unpacked).context("look into the archive")?.next();
    let inner = inner.context("the archive is empty")??.path();
    std::fs::rename(&inner, place).with_context(|| format!("move the tests to {}", place.display()))
}

/// A folder in the cache that is removed at the end; what a killed installation left goes first.
/// The caller holds the lock of installations.
fn temporary(cache: &Path) -> Result<tempfile::TempDir> {
    wheel::remove_abandoned(cache);
    tempfile::Builder::new()
        .prefix(wheel::INSTALLING)
        .tempdir_in(cache)
        .with_context(|| format!("make a folder in {}", cache.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_pinned_by_hash_and_named_by_one_version() {
        assert!(REQUIREMENTS.contains(&format!("Django=={DJANGO} ")), "{REQUIREMENTS}");
        assert!(SUITE_REQUIREMENTS.contains(&format!("Django=={DJANGO} ")));
        for name in ["asgiref==", "sqlparse==", "psycopg2-binary==", "typing-extensions=="] {
            assert!(REQUIREMENTS.contains(name), "{name}");
        }
        // One driver for each of five Pythons and two architectures, and four more.
        assert_eq!(REQUIREMENTS.matches("--hash=sha256:").count(), 14);
    }
}
