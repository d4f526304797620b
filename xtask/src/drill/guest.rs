//! A rehearsal on servers that an environment names: its own database goes forth and back, by its
//! own routes. Of the drill's there is one ledger, which its writers fill, and where they have no
//! way in a role; nothing else of the database is written.
//!
//! It ends where it began: plain PostgreSQL serves.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::{Report, Turns, check_follower, engine_of, failed, forth_and_back, judge};
use super::{note_for_report, report, server_identity};
use crate::cutover::engine::Options;
use crate::cutover::lineage::{Lineage, Phase};
use crate::cutover::verbs::{self, Operation};
use crate::ledger;
use crate::pg::password;
use crate::route::{Route, file};
use crate::workload::{Load, Workload, Writes, guest};

/// How to rehearse as a guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Makes the load repeatable.
    pub seed: u64,
    /// Transactions per second; none for no limit.
    pub rate: f64,
    /// Sessions that write.
    pub writers: u16,
    /// How often to switch and roll back.
    pub cycles: u32,
    /// Whether to close the run at the end, and to remove what is the drill's own.
    pub finishes: bool,
}

/// Where the writers get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// As clients do, by the endpoint file that they read, in the role that stands there.
    Clients(PathBuf, String),
    /// By a file and a role of the drill's own, beside the routes.
    Own,
}

impl Door {
    /// The door of an operation. Where clients are stopped for a switch, theirs is closed: no
    /// session of their role may be left then.
    ///
    /// # Errors
    /// The endpoint file cannot be read.
    pub fn of(options: &Options) -> Result<Door> {
        match options.routes.endpoint_file().filter(|_| options.workloads.is_none()) {
            Some(path) => Ok(Door::Clients(path.clone(), file::read(path)?.user)),
            None => Ok(Door::Own),
        }
    }

    /// What removes by hand what the drill has made.
    pub fn removal(&self) -> String {
        match self {
            Door::Clients(..) => guest::REMOVAL.to_string(),
            Door::Own => format!("{}; {}", guest::REMOVAL, guest::ROLE_REMOVAL),
        }
    }

    /// Refuses servers on which another drill writes in the role that this one would.
    ///
    /// # Errors
    /// There is one, or a server is lost.
    pub async fn assert_is_free(&self, operation: &Operation) -> Result<()> {
        if *self == Door::Own {
            for side in [&operation.source, &operation.target] {
                guest::assert_role_is_idle(&side.connect("drill").await?).await?;
            }
        }
        Ok(())
    }

    /// The role of the writers.
    pub fn role(&self) -> &str {
        match self {
            Door::Clients(_, role) => role,
            Door::Own => guest::ROLE,
        }
    }
}

/// Rehearses: start, and so many switches and rollbacks; then the oracle. Where nothing of a run is
/// left after a failure, nothing of the drill's is either. `folder` is for a file that holds a
/// password.
///
/// # Errors
/// A verb fails, or the oracle found a fault; the run is left as it stands then.
pub async fn rehearse(
    operation: &Operation,
    how: &Guest,
    door: &Door,
    folder: &Path,
) -> Result<Report> {
    let rehearsed = match enter(operation, door, folder).await {
        Ok((operation, file)) => night(&operation, how, door, &file).await,
        Err(error) => Err(error),
    };
    let story = &operation.story;
    if is_open(operation)? {
        story.note("the run and the ledger xtask_drill stay as they are now");
    } else if let Err(error) = leave(operation, door).await {
        story.warning(format!("what is the drill's own could not be removed: {error:#}"));
    }
    rehearsed
}

/// Whether a run stands between the servers.
///
/// # Errors
/// Its journal is damaged.
pub fn is_open(operation: &Operation) -> Result<bool> {
    let lineage = Lineage::read(&operation.options.folder, None)?;
    let is_over = |phase| matches!(phase, Phase::Absent | Phase::Finished);
    Ok(lineage.is_some_and(|lineage| !is_over(lineage.phase())))
}

/// Makes the ledger, and a way to it.
async fn enter(operation: &Operation, door: &Door, folder: &Path) -> Result<(Operation, PathBuf)> {
    let mut operation = operation.clone();
    let file = match door {
        Door::Clients(file, _) => file.clone(),
        Door::Own => {
            let (file, password) = (folder.join("endpoint"), password::random());
            for side in [&operation.source, &operation.target] {
                guest::create_role(&side.connect("drill").await?, &password).await?;
            }
            file::write(&file, &operation.source.with_user(guest::ROLE, &password))?;
            operation.options.routes = operation.options.routes.with(Route::File(file.clone()));
            file
        }
    };
    guest::install(&operation.source.connect("drill").await?, door.role()).await?;
    Ok((operation, file))
}

/// Removes the ledger from both sides, and the role where it was made: another database of the
/// server may be rehearsed with one.
async fn leave(operation: &Operation, door: &Door) -> Result<()> {
    for side in [&operation.source, &operation.target] {
        let admin = side.connect("drill").await?;
        guest::remove(&admin).await?;
        if *door == Door::Own {
            guest::drop_role(&admin).await?;
        }
    }
    Ok(())
}

async fn night(operation: &Operation, how: &Guest, door: &Door, file: &Path) -> Result<Report> {
    let begun = Instant::now();
    let load = Workload::start(Load {
        writes: Writes::Guest,
        rate: (how.rate > 0.0).then_some(how.rate),
        writers: how.writers,
        seed: how.seed,
        endpoint_file: file.to_path_buf(),
        application_name: "xtask drill".into(),
    })?;
    let identities =
        [server_identity(&operation.source).await?, server_identity(&operation.target).await?];
    let turns = Turns { operation, load: &load, rate: how.rate, identities };
    let phases = forth_and_back(&turns, how.cycles, &mut None).await?;
    let history = load.stop().await?;
    operation.story.note("asking the oracle");
    let verdict = ledger::check(&history, &operation.source, &phases).await?;
    let follower = check_follower(operation, &history, &phases).await?;
    note_for_report(operation, &history, &verdict, None)?;
    let mut report = report(operation, engine_of(&operation.target).await?, verdict)?;
    report.failed = failed(&history);
    report.seconds = begun.elapsed().as_secs_f64();
    let are_held = *door != Door::Own && operation.options.routes.pooler().is_some();
    let report = judge(report, &follower, &history, are_held)?;
    if how.finishes {
        let database = operation.source.database.clone();
        verbs::finish(operation, Some(&database), None).await.context("finish")?;
    }
    Ok(report)
}
