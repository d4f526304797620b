//! What a database says of the migrations that it has, held against the files.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::failure::Failure;
use crate::migrate::Choice;
use crate::migrate::files::{self, File};
use crate::migrate::index::{self, Standing};
use crate::pg::endpoint::{Session, qualified};

/// The table that notes which statements outside a transaction have begun.
pub const INTENTS: &str = "rag_history_intent";
/// What the names of histories begin with; the folder follows.
const HISTORY_PREFIX: &str = "rag_history_";

/// What is the matter with one migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Done, by the file as it is now.
    Applied,
    /// To be done.
    Pending,
    /// Done by a file that was changed since.
    Drifted,
    /// Done by a file that is gone.
    Missing,
    /// To be done, though a later one is done already.
    Late,
    /// Begun outside a transaction and cut short, or its index is not valid any more.
    HalfBuilt,
}

impl State {
    /// As it is shown and written.
    pub fn name(self) -> &'static str {
        match self {
            State::Applied => "applied",
            State::Pending => "pending",
            State::Drifted => "drifted",
            State::Missing => "missing",
            State::Late => "late",
            State::HalfBuilt => "half-built",
        }
    }
}

/// One migration, as database and folder know it.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its folder.
    pub set: &'static str,
    /// Its version.
    pub version: i32,
    /// Its name, without number and ending.
    pub name: String,
    /// Its file; none where it is gone.
    pub file: Option<String>,
    /// When it was applied, by the clock of the tool's machine.
    pub applied: Option<String>,
    /// What is the matter with it.
    pub state: State,
}

impl Entry {
    /// The file's name, also where it is gone.
    pub fn title(&self) -> String {
        self.file
            .clone()
            .unwrap_or_else(|| format!("{}/V{}__{}.sql", self.set, self.version, self.name))
    }
}

/// A row of a history.
struct Applied {
    version: i32,
    name: String,
    at: String,
    checksum: String,
}

/// The history of a folder, quoted.
pub fn table(choice: &Choice, set: &str) -> String {
    qualified(&choice.schema, &format!("{HISTORY_PREFIX}{set}"))
}

/// The files of an engine, in the order in which they are applied.
///
/// # Errors
/// As [`files::read`].
pub fn all_files(folder: &Path, choice: &Choice) -> Result<Vec<File>> {
    let mut all = Vec::new();
    for set in choice.engine.sets() {
        all.extend(files::read(folder, set)?);
    }
    Ok(all)
}

/// Every migration of the engine, applied or not.
///
/// # Errors
/// The connection is lost.
pub async fn read(session: &Session, choice: &Choice, files: &[File]) -> Result<Vec<Entry>> {
    let begun = begun(session, choice).await?;
    let mut all = Vec::new();
    for set in choice.engine.sets() {
        let applied = applied(session, &table(choice, set)).await?;
        let ours: Vec<&File> = files.iter().filter(|file| file.set == set).collect();
        let mut entries = compare(set, &ours, &applied);
        for entry in &mut entries {
            let Some(file) = ours.iter().find(|file| file.version() == entry.version) else {
                continue;
            };
            if is_half_built(session, choice, file, entry.state, &begun).await? {
                entry.state = State::HalfBuilt;
            }
        }
        all.extend(entries);
    }
    Ok(all)
}

/// Whether a statement outside a transaction was begun and is not whole.
async fn is_half_built(
    session: &Session,
    choice: &Choice,
    file: &File,
    state: State,
    begun: &[(String, i32)],
) -> Result<bool> {
    let Some(name) = index::built_by(file) else { return Ok(false) };
    let has_begun =
        begun.iter().any(|(set, version)| set == file.set && *version == file.version());
    let standing = index::standing(session, &choice.schema, &name).await?;
    Ok(match state {
        State::Applied => standing != Standing::Valid,
        State::Pending => has_begun || standing == Standing::Invalid,
        _ => false,
    })
}

/// Holds the files of one folder against its history.
fn compare(set: &'static str, files: &[&File], applied: &[Applied]) -> Vec<Entry> {
    let newest = applied.iter().map(|row| row.version).max().unwrap_or(0);
    let mut all: Vec<Entry> = files
        .iter()
        .map(|file| {
            let version = file.version();
            let row = applied.iter().find(|row| row.version == version);
            let checksum = file.migration.checksum().to_string();
            let state = match row {
                Some(row) if row.checksum == checksum => State::Applied,
                Some(_) => State::Drifted,
                None if version < newest => State::Late,
                None => State::Pending,
            };
            let name = file.migration.name().to_string();
            let applied = row.map(|row| row.at.clone());
            Entry { set, version, name, file: Some(file.title()), applied, state }
        })
        .collect();
    let is_gone = |row: &&Applied| files.iter().all(|file| file.version() != row.version);
    all.extend(applied.iter().filter(is_gone).map(|row| Entry {
        set,
        version: row.version,
        name: row.name.clone(),
        file: None,
        applied: Some(row.at.clone()),
        state: State::Missing,
    }));
    all.sort_by_key(|entry| entry.version);
    all
}

async fn exists(session: &Session, table: &str) -> Result<bool> {
    let row = session.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
    Ok(row.get(0))
}

async fn applied(session: &Session, table: &str) -> Result<Vec<Applied>> {
    if !exists(session, table).await? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT version, name, applied_on, checksum FROM {table} ORDER BY version");
    let rows = session.query(&sql, &[]).await.with_context(|| format!("read {table}"))?;
    let applied = |row: &tokio_postgres::Row| Applied {
        version: row.get(0),
        name: row.get(1),
        at: row.get(2),
        checksum: row.get(3),
    };
    Ok(rows.iter().map(applied).collect())
}

/// The statements that have begun outside a transaction: folder and version.
async fn begun(session: &Session, choice: &Choice) -> Result<Vec<(String, i32)>> {
    let table = qualified(&choice.schema, INTENTS);
    if !exists(session, &table).await? {
        return Ok(Vec::new());
    }
    let rows = session.query(&format!("SELECT set, version FROM {table}"), &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Refuses to go on where files and history disagree; each with its file's name.
///
/// # Errors
/// A file was changed, is gone, or has a number below one that is applied.
pub fn assert_agreement(entries: &[Entry]) -> Result<()> {
    let tell = |entry: &Entry| {
        let title = entry.title();
        match entry.state {
            State::Drifted => Some(format!("{title} was changed after it was applied")),
            State::Missing => Some(format!("{title} is applied, and its file is missing")),
            State::Late => Some(format!("{title} is not applied, and a later one is")),
            State::Applied | State::Pending | State::HalfBuilt => None,
        }
    };
    let told: Vec<String> = entries.iter().filter_map(tell).collect();
    if told.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(told.join("; "))
        .hint("bring the file back as it was, and put what is new into a file with the next number")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use refinery::Migration;

    use crate::migrate::COMMON;

    fn file(name: &str, text: &str) -> File {
        File {
            set: COMMON,
            path: format!("{name}.sql").into(),
            text: text.into(),
            migration: Migration::unapplied(name, text).unwrap(),
        }
    }

    fn row(file: &File) -> Applied {
        Applied {
            version: file.version(),
            name: file.migration.name().into(),
            at: "2026-01-01T00:00:00Z".into(),
            checksum: file.migration.checksum().to_string(),
        }
    }

    #[test]
    fn what_disagrees_is_told_with_the_name_of_its_file() {
        let one = file("V1__one", "SELECT 1;");
        let two = file("V2__two", "SELECT 2;");
        let three = file("V3__three", "SELECT 3;");
        let four = file("V4__four", "SELECT 4;");
        let changed = file("V2__two", "SELECT 2 ;");
        let applied = [row(&one), row(&two), row(&four)];
        let entries = compare(COMMON, &[&one, &changed, &three], &applied);
        let states: Vec<State> = entries.iter().map(|entry| entry.state).collect();
        assert_eq!(states, [State::Applied, State::Drifted, State::Late, State::Missing]);
        let error = format!("{:#}", assert_agreement(&entries).unwrap_err());
        for name in ["common/V2__two.sql was", "common/V3__three.sql is", "common/V4__four.sql is"]
        {
            assert!(error.contains(name), "{name}: {error}");
        }
        assert!(assert_agreement(&compare(COMMON, &[&one, &two], &[row(&one)])).is_ok());
    }
}
