//! The only reader of the environment: every variable that the tool obeys, documented once.

use std::ffi::OsString;
use std::path::PathBuf;

/// The password for every connection string that has none, as libpq reads it.
pub const PGPASSWORD: &str = "PGPASSWORD";
/// A libpq password file; default `~/.pgpass`.
pub const PGPASSFILE: &str = "PGPASSFILE";
/// A libpq service file; default `~/.pg_service.conf`.
pub const PGSERVICEFILE: &str = "PGSERVICEFILE";
/// `sslmode` for every connection string that has none.
pub const PGSSLMODE: &str = "PGSSLMODE";
/// `sslrootcert` for every connection string that has none.
pub const PGSSLROOTCERT: &str = "PGSSLROOTCERT";
/// `sslcert` for every connection string that has none.
pub const PGSSLCERT: &str = "PGSSLCERT";
/// `sslkey` for every connection string that has none.
pub const PGSSLKEY: &str = "PGSSLKEY";
/// Where the journals of runs are kept; default `journal` in the working folder.
pub const XTASK_JOURNAL_DIR: &str = "XTASK_JOURNAL_DIR";
/// The database that `verify` compares, as a connection string.
pub const XTASK_SOURCE: &str = "XTASK_SOURCE";
/// The database that `verify` compares it with, as a connection string.
pub const XTASK_TARGET: &str = "XTASK_TARGET";
/// The admin console of the PgBouncer that clients connect to, as a connection string.
pub const XTASK_PGBOUNCER: &str = "XTASK_PGBOUNCER";
/// Folder with `postgres`, `initdb` and `pg_ctl` for the source of a rehearsal.
pub const XTASK_SOURCE_BINDIR: &str = "XTASK_SOURCE_BINDIR";
/// Folder with `postgres`, `initdb` and `pg_ctl` for the target of a rehearsal.
pub const XTASK_TARGET_BINDIR: &str = "XTASK_TARGET_BINDIR";
/// The Python environment that is active, as its `activate` sets it: its programs come first.
pub const VIRTUAL_ENV: &str = "VIRTUAL_ENV";
/// The base folder of what can be fetched again; default `~/.cache`. Root does not use it.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";

/// The value of a variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the one owner of the environment")]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The same, as text; a value that is not UTF-8 counts as absent.
pub fn text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}

/// The same, as a path.
pub fn path(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

/// The user's home folder, where it has one.
pub fn home() -> Option<PathBuf> {
    path("HOME")
}

/// The folder of what the tool fetched and can fetch again; `None` for a user without a home.
///
/// Root's is in `/var/cache`, because its servers run as another user, who must read it.
pub fn cache_folder() -> Option<PathBuf> {
    let base = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/cache")
    } else {
        path(XDG_CACHE_HOME).or_else(|| home().map(|home| home.join(".cache")))?
    };
    Some(base.join("paradedb-xtask"))
}

/// The name of the person or service that runs the tool, for locks and journals.
pub fn operator() -> String {
    let unnamed = || match rustix::process::geteuid() {
        user if user.is_root() => "root".into(),
        user => format!("uid{}", user.as_raw()),
    };
    text("USER").or_else(|| text("LOGNAME")).unwrap_or_else(unnamed)
}

/// The name of this machine, for locks and journals.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
