//! The route `file`: one libpq connection string in a file, replaced as a whole.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;

/// Reads where clients go, with their role and password.
///
/// # Errors
/// The file is missing or holds no connection string.
pub fn read(path: &Path) -> Result<Endpoint> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("endpoint file {}: {error}", path.display()))
            .hint("write one libpq connection string into it, the one that clients use now")
    })?;
    Endpoint::parse(text.trim())
}

/// Writes a connection string as a whole or not at all: a reader sees the old one or the new one.
///
/// # Errors
/// The folder cannot be written.
pub fn write(path: &Path, endpoint: &Endpoint) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let describe = || format!("write endpoint file {}", path.display());
    // Made 0600: it holds the clients' password. An existing file keeps its owner and mode.
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(describe)?;
    writeln!(file, "{}", endpoint.secret_conninfo()).with_context(describe)?;
    if let Ok(metadata) = std::fs::metadata(path) {
        use std::os::unix::fs::MetadataExt;
        file.as_file().set_permissions(metadata.permissions()).with_context(describe)?;
        std::os::unix::fs::chown(file.path(), Some(metadata.uid()), Some(metadata.gid()))
            .with_context(describe)?;
    }
    file.as_file().sync_all().with_context(describe)?;
    file.persist(path).map_err(|error| error.error).with_context(describe)?;
    std::fs::File::open(folder)?.sync_all().with_context(describe)?;
    Ok(())
}

/// Points clients at another server: host, port and database change; role and password stay.
///
/// # Errors
/// The file cannot be read or written.
pub fn flip(path: &Path, server: &Endpoint) -> Result<()> {
    write(path, &read(path)?.at_server_of(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_keeps_role_and_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endpoint");
        let app = Endpoint::new("127.0.0.2", 5432, "rbsdb", "robson", "p w'");
        write(&path, &app).unwrap();
        flip(&path, &Endpoint::new("127.0.0.3", 5433, "rbsdb", "postgres", "other")).unwrap();
        assert_eq!(
            read(&path).unwrap(),
            Endpoint::new("127.0.0.3", 5433, "rbsdb", "robson", "p w'")
        );
    }

    #[test]
    fn a_missing_file_says_what_to_write() {
        let error = read(Path::new("/nonexistent/endpoint")).unwrap_err();
        assert_eq!(crate::failure::kind(&error), crate::failure::Kind::Usage);
    }
}
