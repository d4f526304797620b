//! What is done about a backup before a database is moved, as a person or a file of values says it.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use crate::backup::facts::Facts;
use crate::backup::place;
use crate::backup::scratch::Scratch;
use crate::cutover::event::Story;
use crate::failure;
use crate::pg::endpoint::{Endpoint, Session};

/// The two lines that mend a word that is missing.
const WAYS: &str = "--backup dump --backup-folder DIR makes a proved one; --i-have-no-backup goes \
                    on without";

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The tool dumps under a snapshot, restores the dump elsewhere, and compares every row
    Dump,
    /// A command of yours makes it: --backup-command
    External,
    /// There is none: --i-have-no-backup
    None,
}

/// What is done about a backup. The default says nothing, and is refused.
#[derive(Debug, Clone, Default)]
pub struct BackupPolicy {
    /// How; none where nobody said so.
    pub kind: Option<Kind>,
    /// The folder in which backups have their folders, for [`Kind::Dump`].
    pub folder: Option<PathBuf>,
    /// The server on which the dump is proved; without one a throw-away server.
    pub scratch: Option<Endpoint>,
    /// What a shell runs, for [`Kind::External`].
    pub command: Option<String>,
    /// That there is no backup, in so many words, for [`Kind::None`].
    pub has_no_backup: bool,
}

/// How, where to, and where it is proved. A command is not told: it may hold a key.
impl fmt::Display for BackupPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(how) = self.how() else { return formatter.write_str("nobody said") };
        write!(formatter, "{}", format!("{how:?}").to_lowercase())?;
        if let Some(folder) = &self.folder {
            write!(formatter, " to {}", folder.display())?;
        }
        match &self.scratch {
            Some(scratch) => write!(formatter, ", proved on {scratch}"),
            None => Ok(()),
        }
    }
}

/// A reason to say no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// What is wrong.
    pub problem: String,
    /// What mends it.
    pub fix: String,
}

impl Objection {
    fn new(problem: impl Into<String>, fix: impl Into<String>) -> Objection {
        Objection { problem: problem.into(), fix: fix.into() }
    }
}

impl BackupPolicy {
    /// A dump in this folder, proved on the named server, else on a throw-away one.
    pub fn dump(folder: impl Into<PathBuf>, scratch: Option<Endpoint>) -> BackupPolicy {
        let kind = Some(Kind::Dump);
        BackupPolicy { kind, folder: Some(folder.into()), scratch, ..BackupPolicy::default() }
    }

    /// A command.
    pub fn external(command: impl Into<String>) -> BackupPolicy {
        let kind = Some(Kind::External);
        BackupPolicy { kind, command: Some(command.into()), ..BackupPolicy::default() }
    }

    /// No backup, in so many words.
    pub fn without_backup() -> BackupPolicy {
        BackupPolicy { has_no_backup: true, ..BackupPolicy::default() }
    }

    /// How; whoever says that there is no backup need not say it twice.
    pub fn how(&self) -> Option<Kind> {
        self.kind.or(self.has_no_backup.then_some(Kind::None))
    }

    /// What can be said against it without a look at any server.
    pub fn objection(&self) -> Option<Objection> {
        match self.how() {
            None => Some(Objection::new("nobody said what is done about a backup", WAYS)),
            Some(Kind::Dump) if self.folder.is_none() => {
                Some(Objection::new("a dump has no folder to go to", "--backup-folder DIR"))
            }
            Some(Kind::External) if self.command.is_none() => {
                Some(Objection::new("no command makes the backup", "--backup-command COMMAND"))
            }
            Some(Kind::None) if !self.has_no_backup => Some(Objection::new(
                "a database is moved without a backup only in so many words",
                WAYS,
            )),
            Some(_) => None,
        }
    }

    /// Everything that can be said against it; touches nothing.
    ///
    /// # Errors
    /// The source cannot be asked.
    pub async fn objections(&self, source: &Endpoint, session: &Session) -> Result<Vec<Objection>> {
        if let Some(objection) = self.objection() {
            return Ok(vec![objection]);
        }
        let (Some(Kind::Dump), Some(folder)) = (self.how(), &self.folder) else {
            return Ok(Vec::new());
        };
        let facts = Facts::read(source, session).await?;
        let mut all = Vec::new();
        all.extend(objection_of(place::assert_room(folder, facts.database_bytes)));
        if let Some(named) = &self.scratch {
            let fits = async {
                let scratch = Scratch::open(Some(named), facts.major(), &Story::silent()).await?;
                scratch.assert_fits(&facts).await
            };
            all.extend(objection_of(fits.await));
        }
        Ok(all)
    }
}

fn objection_of(checked: Result<()>) -> Option<Objection> {
    let error = checked.err()?;
    let hint = failure::find(&error).and_then(|failure| failure.hint.clone());
    let fix = hint.unwrap_or_else(|| "name another server: --backup-scratch URL".into());
    Some(Objection::new(format!("the backup cannot be made: {error:#}"), fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_never_moved_without_a_word() {
        let refused = |policy: BackupPolicy| policy.objection().map(|one| one.problem);
        assert!(refused(BackupPolicy::default()).unwrap().contains("nobody said"));
        let silent = |kind| BackupPolicy { kind: Some(kind), ..BackupPolicy::default() };
        assert!(refused(silent(Kind::None)).unwrap().contains("in so many words"));
        assert!(refused(silent(Kind::Dump)).unwrap().contains("no folder"));
        assert!(refused(silent(Kind::External)).unwrap().contains("no command"));
        assert_eq!(refused(BackupPolicy::without_backup()), None);
        assert_eq!(refused(BackupPolicy::external("true")), None);
        assert_eq!(refused(BackupPolicy::dump("/backups", None)), None);
    }
}
