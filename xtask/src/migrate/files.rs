//! The files of a folder of migrations, read strictly: refinery passes over a misnamed file in
//! silence, and so its statements would never run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use refinery::Migration;

use crate::failure::Failure;

/// What the head of a file says about how it is applied.
const MARK: &str = "-- xtask: ";
/// Its one statement cannot run inside a transaction.
const NO_TRANSACTION: &str = "no-transaction";
/// It needs rights that the owner of the tables does not have, as for making an extension.
const LOGIN_ROLE: &str = "login-role";

/// One migration.
#[derive(Debug, Clone)]
pub struct File {
    /// The name of its folder.
    pub set: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    /// The same, as refinery sees it.
    pub migration: Migration,
}

impl File {
    /// Its version within the folder.
    pub fn version(&self) -> i32 {
        self.migration.version()
    }

    /// Folder and file name, for people.
    pub fn title(&self) -> String {
        title(self.set, &self.path)
    }

    /// Whether it runs outside a transaction, because its statement must.
    pub fn is_outside(&self) -> bool {
        self.marks().any(|mark| mark == NO_TRANSACTION)
    }

    /// Whether it runs as the role of the login, and not as the owner.
    pub fn is_of_login(&self) -> bool {
        self.marks().any(|mark| mark == LOGIN_ROLE)
    }

    /// What its first lines say, after the mark.
    pub fn marks(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map_while(|line| line.strip_prefix(MARK)).map(str::trim_end)
    }
}

/// Folder and file name, for people.
fn title(set: &str, path: &Path) -> String {
    format!("{set}/{}", path.file_name().unwrap_or_default().to_string_lossy())
}

/// The migrations of one folder, by version.
///
/// # Errors
/// The folder or a file cannot be read, a file is misnamed, or two have one version; the refusal
/// names the file.
pub fn read(folder: &Path, set: &'static str) -> Result<Vec<File>> {
    let folder = folder.join(set);
    let entries = std::fs::read_dir(&folder).map_err(|error| {
        Failure::usage(format!("the migrations {} cannot be read: {error}", folder.display()))
            .hint("run it inside the workspace, or name the folder with --migrations")
    })?;
    let mut all: BTreeMap<i32, File> = BTreeMap::new();
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let file = read_file(set, path)?;
        let name = file.title();
        if let Some(other) = all.insert(file.version(), file) {
            let message = format!("{} and {name} have one version", other.title());
            return Err(Failure::refused(message)
                .hint("give the newer one the next number")
                .into());
        }
    }
    Ok(all.into_values().collect())
}

fn read_file(set: &'static str, path: PathBuf) -> Result<File> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = is_well_named(&name).then(|| name.trim_end_matches(".sql"));
    let Some(stem) = stem.filter(|_| path.is_file()) else {
        return Err(Failure::refused(format!(
            "{set}/{name} is misnamed: it would never be applied"
        ))
        .hint("name it V<number>__<what_it_does>.sql, in lower case, or move it elsewhere")
        .into());
    };
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let migration = Migration::unapplied(stem, &text)
        .with_context(|| format!("read the name of {}", path.display()))?;
    Ok(File { set, path, text, migration })
}

/// Whether a name is `V<number>__<words>.sql`. Stricter than refinery, whose pattern lets through
/// names that it cannot read afterwards.
fn is_well_named(name: &str) -> bool {
    let parts = name.strip_prefix('V').and_then(|rest| rest.strip_suffix(".sql"));
    let Some((number, words)) = parts.and_then(|rest| rest.split_once("__")) else {
        return false;
    };
    let is_number =
        number.starts_with(|first| matches!(first, '1'..='9')) && number.parse::<i32>().is_ok();
    let is_word =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    is_number && !words.is_empty() && words.chars().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(is_well_named("V1__vector.sql"));
        assert!(is_well_named("V12__rag_search_2.sql"));
        for bad in [
            "v1__vector.sql",
            "V1_vector.sql",
            "V1__vec-tor.sql",
            "V1.5__vector.sql",
            "V01__vector.sql",
            "V0__vector.sql",
            "V+1__vector.sql",
            "|1__vector.sql",
            "U1__vector.sql",
            "V1__.sql",
            "V1__vector.sql~",
            "V1__Vector.sql",
            "V99999999999__vector.sql",
            "README.md",
        ] {
            assert!(!is_well_named(bad), "{bad}");
        }
    }

    #[test]
    fn a_misnamed_file_and_a_doubled_version_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let common = folder.path().join("common");
        std::fs::create_dir(&common).unwrap();
        let write = |name: &str| std::fs::write(common.join(name), "SELECT 1;\n").unwrap();
        write("V2__two.sql");
        write("V10__ten.sql");
        let versions: Vec<i32> =
            read(folder.path(), "common").unwrap().iter().map(File::version).collect();
        assert_eq!(versions, [2, 10]);
        write("V2__again.sql");
        let error = format!("{:#}", read(folder.path(), "common").unwrap_err());
        assert!(error.contains("V2__two.sql") && error.contains("V2__again.sql"), "{error}");
        std::fs::remove_file(common.join("V2__again.sql")).unwrap();
        write("V3__add-foo.sql");
        let error = format!("{:#}", read(folder.path(), "common").unwrap_err());
        assert!(error.contains("common/V3__add-foo.sql is misnamed"), "{error}");
    }
}
