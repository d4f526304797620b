//! `backup`: dumps that are proved, one file a verb; and what a cutover is told about a backup.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::backup::{BackupPolicy, Kind};
use crate::cmd::environment::Chosen;
use crate::config;
use crate::pg::endpoint::Endpoint;
use crate::render::values::cutover::RunBackup;
use crate::ui::Ui;

mod create;
mod list;
mod restore;
mod verify;

/// The option whose value may hold a key, and is left out of journals.
pub const COMMAND: &str = "--backup-command";

/// Make backups, prove them by restoring, and bring them back
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Dump a database while it is in use, restore the dump elsewhere, compare every row
    Create(create::Arguments),
    /// Restore a backup on a scratch server and compare every row with its manifest
    Verify(verify::Arguments),
    /// Restore a backup into an empty database, and compare every row
    Restore(restore::Arguments),
    /// List backups, newest first, with what is known of their last proof
    List(list::Arguments),
}

/// Runs the verb that was asked for.
///
/// # Errors
/// The verb's own.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    match arguments.verb {
        Verb::Create(arguments) => create::run(&arguments, ui).await,
        Verb::Verify(arguments) => verify::run(&arguments, ui).await,
        Verb::Restore(arguments) => restore::run(&arguments, ui).await,
        Verb::List(arguments) => list::run(&arguments, ui),
    }
}

/// What is done about a backup before a database is moved.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Backup")]
pub struct PolicyArguments {
    /// What is done about a backup before anything else; without a word about it nothing is moved
    #[arg(long, value_enum)]
    backup: Option<Kind>,
    /// The folder for the dump of --backup dump
    #[arg(long, value_name = "DIR")]
    backup_folder: Option<PathBuf>,
    /// The server on which the dump is proved; never the source's. Without it a throw-away server
    /// on this machine is used
    #[arg(long, value_name = "URL")]
    backup_scratch: Option<String>,
    /// What a shell runs for --backup external. It gets libpq's variables, and XTASK_BACKUP_RUN,
    /// _HOST, _PORT, _DATABASE and _USER; what it says is kept as evidence
    #[arg(long, value_name = "COMMAND")]
    backup_command: Option<String>,
    /// Go on without a backup
    #[arg(long)]
    i_have_no_backup: bool,
}

impl PolicyArguments {
    /// What the arguments mean; what is missing among them is for the plan to say.
    ///
    /// # Errors
    /// A connection string is none.
    pub fn policy(&self) -> Result<BackupPolicy> {
        Ok(BackupPolicy {
            kind: self.backup,
            folder: self.backup_folder.clone(),
            scratch: self.backup_scratch.as_deref().map(Endpoint::parse).transpose()?,
            command: self.backup_command.clone(),
            has_no_backup: self.i_have_no_backup,
        })
    }
}

impl PolicyArguments {
    /// Whether they say anything.
    pub fn is_given(&self) -> bool {
        self.backup.is_some()
            || self.i_have_no_backup
            || self.backup_folder.is_some()
            || self.backup_scratch.is_some()
            || self.backup_command.is_some()
    }

    /// What the arguments mean; where they say nothing, what the values of the environment say.
    ///
    /// # Errors
    /// As [`PolicyArguments::policy`]; or a password is not where the values say.
    pub async fn policy_or_written(&self, chosen: &mut Chosen) -> Result<BackupPolicy> {
        let given = self.is_given().then(|| self.policy()).transpose()?;
        let given = chosen.pick("--backup", given, |_| None);
        let written = chosen.cutover().and_then(|cutover| cutover.backup.as_ref());
        Ok(match (given, written) {
            (Some(given), _) => given,
            (None, None) => BackupPolicy::default(),
            (None, Some(RunBackup { folder: Some(folder), scratch, .. })) => {
                let scratch = match scratch {
                    Some(login) => Some(chosen.login(login).await?),
                    None => None,
                };
                BackupPolicy::dump(PathBuf::from(folder), scratch)
            }
            (None, Some(RunBackup { command, .. })) => {
                command.as_ref().map(BackupPolicy::external).unwrap_or_default()
            }
        })
    }
}

/// How a dump or a restore is gone about.
#[derive(Debug, Clone, clap::Args)]
struct MeansArguments {
    /// Sessions that dump, restore or compare at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// A folder with `pg_dump` and `pg_restore`, tried before the usual places; may be repeated
    #[arg(long, value_name = "DIR")]
    bindir: Vec<PathBuf>,
}

impl MeansArguments {
    fn bindirs(&self) -> Vec<PathBuf> {
        let mut all = self.bindir.clone();
        all.extend(config::path(config::XTASK_TARGET_BINDIR));
        all
    }
}

/// Where a backup is proved.
#[derive(Debug, Clone, clap::Args)]
struct ScratchArguments {
    /// The server to restore on, in a database of its own that is dropped afterwards; never the one
    /// that was dumped. Without it a throw-away server on this machine is used
    #[arg(long, value_name = "URL")]
    scratch: Option<String>,
}

impl ScratchArguments {
    fn endpoint(&self) -> Result<Option<Endpoint>> {
        self.scratch.as_deref().map(Endpoint::parse).transpose()
    }
}
