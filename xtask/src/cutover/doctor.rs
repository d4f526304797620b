//! `doctor`: whether the environment of a run is fit for it, as one table.
//!
//! What the plan would refuse is asked of the plan itself. Beside it stand the clients, other
//! followers, and the cluster that the servers live in. Nothing is changed.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use crate::cutover::beginning::reach;
use crate::cutover::event::Side;
use crate::cutover::header::Direction;
use crate::cutover::lineage::{Lineage, Phase};
use crate::cutover::planned;
use crate::cutover::refusals::{self, Refusal};
use crate::cutover::verbs::Operation;
use crate::failure;
use crate::pg::endpoint::Session;
use crate::render::cluster::Cluster;
use crate::render::values::Environment;

pub mod clients;
pub mod cluster;
pub mod probes;

/// What a check says. The order is that of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It stands in the way.
    Refuse,
    /// It deserves a look.
    Warn,
    /// It is well.
    Ok,
}

impl Level {
    /// `refuse`, `warn` or `ok`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Refuse => "refuse",
            Level::Warn => "warn",
            Level::Ok => "ok",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it says.
    pub level: Level,
    /// The check, under the name of its entry in RUNBOOK.md.
    pub check: String,
    /// What was found, naming the object.
    pub found: String,
    /// The command or the change that mends it; empty where all is well.
    pub command: String,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &str, found: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, check, found, "")
    }

    /// Worth a look.
    pub fn warn(check: &str, found: impl Into<String>, command: impl Into<String>) -> Finding {
        Finding::new(Level::Warn, check, found, command)
    }

    /// In the way.
    pub fn refuse(check: &str, found: impl Into<String>, command: impl Into<String>) -> Finding {
        Finding::new(Level::Refuse, check, found, command)
    }

    fn new(
        level: Level,
        check: &str,
        found: impl Into<String>,
        command: impl Into<String>,
    ) -> Finding {
        Finding { level, check: check.into(), found: found.into(), command: command.into() }
    }
}

impl From<&Refusal> for Finding {
    fn from(refusal: &Refusal) -> Finding {
        let level = if refusal.is_warning { Level::Warn } else { Level::Refuse };
        Finding::new(level, &refusal.name, &refusal.problem, &refusal.fix)
    }
}

/// Every check, the urgent ones first.
///
/// # Errors
/// A server is lost in the middle of a check. What cannot be reached is a finding.
pub async fn examine(
    operation: &Operation,
    environment: Option<&Environment>,
    cluster: Option<&Cluster>,
) -> Result<Vec<Finding>> {
    let mut all = Vec::new();
    let mut sessions = Vec::new();
    for (side, endpoint) in operation.named_endpoints() {
        match reach(endpoint, side).await {
            Ok(session) => {
                all.push(Finding::ok(REACH, format!("{}: {endpoint}", side.name())));
                sessions.push(session);
            }
            Err(error) => {
                let hint = failure::find(&error).and_then(|failure| failure.hint.clone());
                all.push(Finding::refuse(REACH, error.to_string(), hint.unwrap_or_default()));
            }
        }
    }
    let mut data = None;
    if let [source, target] = sessions.as_slice() {
        let (phase, served_by) = stand(operation)?;
        let copies = matches!(phase, Phase::Absent | Phase::Finished);
        // Where ParadeDB serves, the way back is the next.
        let direction = if copies { Direction::Forward } else { served_by.opposite() };
        all.extend(servers(operation, [source, target], direction, copies).await?);
        if copies {
            data = Some(data_bytes(source).await?);
        }
    }
    if let Some(environment) = environment {
        all.extend(cluster::examine(environment, cluster, &operation.target, data).await);
    }
    all.extend(probes::examine(operation).await);
    all.sort();
    Ok(all)
}

/// The check that a server answers.
const REACH: &str = "reach";

/// Where the present run stands, and which way the service went last.
fn stand(operation: &Operation) -> Result<(Phase, Direction)> {
    let lineage = Lineage::read(&operation.options.folder, operation.run.as_deref())?;
    Ok(lineage.map_or((Phase::Absent, Direction::Backward), |lineage| {
        (lineage.phase(), lineage.served_by())
    }))
}

async fn servers(
    operation: &Operation,
    [source, target]: [&Session; 2],
    direction: Direction,
    copies: bool,
) -> Result<Vec<Finding>> {
    let (serving, other) = match direction {
        Direction::Forward => (source, target),
        Direction::Backward => (target, source),
    };
    let (reasons, _) = planned::reasons(operation, direction, serving, other, copies).await?;
    let mut all: Vec<Finding> = reasons.iter().map(Finding::from).collect();
    let mut unasked = Vec::new();
    if operation.options.search.is_none() {
        unasked.push("migrations");
    }
    if operation.options.routes.is_empty() {
        unasked.push("client-login");
    }
    all.extend(well(&reasons, copies, &unasked));
    if !reasons.iter().any(|reason| reason.name == refusals::NOT_SUPERUSER) {
        all.extend(clients::around_the_route(operation, direction, serving).await?);
        for (side, session) in [(Side::Source, source), (Side::Target, target)] {
            all.extend(clients::standbys(side, session).await?);
        }
    }
    Ok(all)
}

/// A row for each rule of the plan that found nothing, or could not be asked; none for those that
/// this operation does not ask.
fn well(reasons: &[Refusal], copies: bool, unasked: &[&str]) -> Vec<Finding> {
    let fired: BTreeSet<&str> = reasons.iter().map(|reason| reason.name.as_str()).collect();
    let stops = |name: &&str| ["same-database", refusals::NOT_SUPERUSER].contains(name);
    let is_stopped = fired.iter().any(stops);
    let is_refused = reasons.iter().any(|reason| !reason.is_warning);
    let mut all = Vec::new();
    for rule in refusals::RULES {
        let is_unasked = unasked.contains(&rule.name) || (rule.copies && !copies);
        if fired.contains(rule.name) || is_unasked {
            continue;
        }
        let comes_last = ["peer", "client-login"].contains(&rule.name);
        let was_asked = !(is_stopped || comes_last && is_refused) || stops(&rule.name);
        all.push(match was_asked {
            true => Finding::ok(rule.name, rule.well),
            false => Finding::warn(rule.name, "not looked at yet", "mend what is refused first"),
        });
    }
    all
}

/// What the source's database takes on its disk, in bytes.
async fn data_bytes(source: &Session) -> Result<u64> {
    let row = source.query_one("SELECT pg_database_size(current_database())", &[]).await?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checks that are the doctor's own.
    const OWN: [&str; 11] = [
        REACH,
        clients::AROUND,
        clients::STANDBY,
        cluster::REACHED,
        cluster::PRUNED,
        cluster::RECLAIM,
        cluster::DISK,
        cluster::MAJOR,
        cluster::MANAGED,
        cluster::PROBE,
        cluster::PASSWORD,
    ];

    #[test]
    fn the_runbook_knows_every_check() {
        let page = include_str!("../../../RUNBOOK.md");
        for name in OWN {
            assert!(page.contains(&format!("### doctor: {name}\n")), "{name}");
        }
        let rules: Vec<&str> = refusals::RULES.iter().map(|rule| rule.name).collect();
        let entries = page.lines().filter_map(|line| line.strip_prefix("### refusal: "));
        // A run that is there already is told in the place of a target that is not empty, and what
        // a pooler, a route or a cluster lacks only where there is one.
        let choices = ["run-", "pgbouncer-", "cluster-", "route-", "workload-"];
        let of_a_choice = |name: &&str| choices.iter().any(|choice| name.starts_with(choice));
        for name in entries.filter(|name| !of_a_choice(name)) {
            assert!(rules.contains(&name), "{name} has no row");
        }
    }

    #[test]
    fn what_was_not_asked_is_not_called_well() {
        let superuser = Refusal {
            name: refusals::NOT_SUPERUSER.into(),
            problem: String::new(),
            fix: String::new(),
            is_warning: false,
        };
        let level = |all: &[Finding], name: &str| {
            all.iter().find(|one| one.check == name).map(|one| one.level)
        };
        let all = well(std::slice::from_ref(&superuser), true, &[]);
        assert_eq!(level(&all, "wal-level"), Some(Level::Warn));
        assert_eq!(level(&all, refusals::NOT_SUPERUSER), None);
        let slots = Refusal { name: "slots".into(), ..superuser };
        let all = well(&[slots], false, &[]);
        assert_eq!(level(&all, "wal-level"), Some(Level::Ok));
        assert_eq!(level(&all, "peer"), Some(Level::Warn));
        assert_eq!(level(&all, "target-not-empty"), None);
        assert_eq!(level(&well(&[], true, &["migrations"]), "peer"), Some(Level::Ok));
        assert_eq!(level(&well(&[], true, &["migrations"]), "migrations"), None);
    }
}
