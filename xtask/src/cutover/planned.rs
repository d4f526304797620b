//! What a person is asked to approve: the plan, the reasons against it, and what to expect.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::cutover::approval::settings;
use crate::cutover::arrival::{self, Expected};
use crate::cutover::beginning::reach;
use crate::cutover::event::Side;
use crate::cutover::header::{Direction, Identity};
use crate::cutover::journal::{self, Journal};
use crate::cutover::lineage::Run;
use crate::cutover::outline::{Census, Row, outline};
use crate::cutover::plan::{Plan, expected_pause};
use crate::cutover::privileges::{self, Privilege, Wanted};
use crate::cutover::refusals::{self, Refusal, Sides};
use crate::cutover::verbs::Operation;
use crate::failure::Failure;
use crate::pg::endpoint::Session;
use crate::pg::state;

/// What `plan` found.
#[derive(Debug, serde::Serialize)]
pub struct Planned {
    /// What would be moved.
    pub plan: Plan,
    /// Why not, and what to take note of.
    pub refusals: Vec<Refusal>,
    /// What the tool's roles may do where they are no superusers.
    pub privileges: Vec<Privilege>,
    /// The environment whose values were taken.
    pub environment: Option<String>,
    /// What was given by hand in the place of its values.
    pub by_hand: Vec<String>,
    /// What values and command line say together, without a secret.
    pub settings: BTreeMap<String, String>,
    /// The steps, in order, with what they touch.
    pub outline: Vec<Row>,
    /// The run of these servers whose pause was measured last, and the database part of that
    /// pause in milliseconds.
    pub measured_pause: Option<(String, f64)>,
    /// How long clients take to come through a cluster, where one leads them.
    pub arrival: Option<Expected>,
    /// Who the source is.
    pub source: Identity,
    /// Who the target is.
    pub target: Identity,
    /// What the database part of the pause is expected to take, in milliseconds.
    pub expected_pause_ms: f64,
}

impl Planned {
    /// Whether nothing stands in the way.
    pub fn is_approved(&self) -> bool {
        self.refusals.iter().all(|refusal| refusal.is_warning)
    }

    /// The refusal of the whole plan, where it has one.
    ///
    /// # Errors
    /// Something stands in the way.
    pub fn approve(&self) -> Result<()> {
        approve(&self.refusals)
    }
}

/// The refusal of all that is no warning.
///
/// # Errors
/// Something stands in the way.
pub fn approve(refusals: &[Refusal]) -> Result<()> {
    let against: Vec<&Refusal> = refusals.iter().filter(|refusal| !refusal.is_warning).collect();
    if against.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> =
        against.iter().map(|one| format!("\n  - {}: {}", one.problem, one.fix)).collect();
    let count = match against.len() {
        1 => "1 reason".to_string(),
        count => format!("{count} reasons"),
    };
    Err(Failure::refused(format!("the plan is refused for {count}:{}", reasons.concat()))
        .hint("mend them and run `cargo xtask cutover plan` again; nothing was changed")
        .into())
}

/// Surveys both sides; touches nothing.
///
/// # Errors
/// A side cannot be reached or read. Refusals are no error here.
pub async fn plan(operation: &Operation) -> Result<Planned> {
    let source = reach(&operation.source, Side::Source).await?;
    let target = reach(&operation.target, Side::Target).await?;
    survey(operation, Direction::Forward, &source, &target, true).await
}

/// Surveys a side that serves and one that shall.
///
/// # Errors
/// As [`plan`]; or the login may not see what is to be planned.
pub async fn survey(
    operation: &Operation,
    direction: Direction,
    source: &Session,
    target: &Session,
    copies: bool,
) -> Result<Planned> {
    let (refusals, privileges) = reasons(operation, direction, source, target, copies).await?;
    if refusals.iter().any(|refusal| refusal.name == refusals::NOT_SUPERUSER) {
        // There is nothing to show that such a role could see.
        approve(&refusals)?;
    }
    let mut plan = Plan::survey(source, target).await?;
    plan.search = operation.options.search.clone().filter(|_| copies);
    plan.without_way_back = copies && operation.options.without_way_back;
    let census = Census::take(source).await?;
    let earlier = earlier(&operation.options.folder, source, target).await?;
    Ok(Planned {
        environment: operation.origin.environment.clone(),
        by_hand: operation.origin.by_hand.clone(),
        settings: settings(operation),
        outline: if copies { outline(operation, &plan, census) } else { Vec::new() },
        measured_pause: last(&earlier, Run::pause_ms),
        arrival: arrival::route(&operation.options.routes).map(|route| Expected {
            measured: last(&earlier, |run| arrival::measured(run, &route)),
            route,
        }),
        refusals,
        privileges,
        plan,
        source: state::identity(source).await?,
        target: state::identity(target).await?,
        expected_pause_ms: expected_pause(source, target).await?,
    })
}

/// Every reason to say no: those of the two servers and those of the route; and what the tool's
/// roles may do.
///
/// # Errors
/// A side or the route cannot be read. Refusals are no error here.
pub async fn reasons(
    operation: &Operation,
    direction: Direction,
    source: &Session,
    target: &Session,
    copies: bool,
) -> Result<(Vec<Refusal>, Vec<Privilege>)> {
    let routes = &operation.options.routes;
    let [(serving, source_peer), (_, target_peer)] = operation.sides(direction);
    let objections = routes.objections(&serving).await;
    let client = match routes.client(&serving).await {
        // What is wrong with it is a refusal below.
        Err(_) if !objections.is_empty() => None,
        client => client?,
    };
    let sides = Sides {
        source,
        target,
        source_for_target: &source_peer,
        target_for_source: &target_peer,
        client: client.as_ref(),
        copies,
        search: operation.options.search.as_ref().filter(|_| copies),
        migrations: &operation.options.migrations,
        accepts_unlimited_wal: operation.options.accepts_unlimited_wal,
        without_way_back: copies && operation.options.without_way_back,
    };
    let named = match direction {
        Direction::Forward => [("source", source), ("target", target)],
        Direction::Backward => [("target", source), ("source", target)],
    };
    let without_way_back = sides.without_way_back;
    let wanted = Wanted { sides: named, begins: copies, without_way_back };
    let privileges = privileges::table(&wanted).await?;
    let mut refusals: Vec<Refusal> = privileges.iter().filter_map(refusals::missed).collect();
    refusals.extend(refusals::find(&sides, refusals.is_empty()).await?);
    let may_look = refusals.iter().all(|refusal| refusal.name != refusals::NOT_SUPERUSER);
    if may_look {
        refusals.extend(objections.into_iter().map(Refusal::from));
        if let Some(workloads) = &operation.options.workloads {
            refusals.extend(refusals::workloads::find(workloads).await);
        }
    }
    if copies && may_look {
        let policy = &operation.options.backup;
        let objections = policy.objections(&operation.source, source).await?;
        refusals.extend(refusals::of_backup(objections));
    }
    Ok((refusals, privileges))
}

/// The runs between these two clusters that a journal of the folder tells of, the last first: the
/// same machines make the best forecast.
async fn earlier(folder: &Path, source: &Session, target: &Session) -> Result<Vec<(String, Run)>> {
    let here = [state::identity(source).await?.system, state::identity(target).await?.system];
    let mut all = Vec::new();
    for name in journal::runs(folder)?.into_iter().rev() {
        // A damaged journal is told of by whoever needs that run.
        let Ok((header, records)) = Journal::read(&journal::file_of(folder, &name)) else {
            continue;
        };
        if here.contains(&header.source.system) && here.contains(&header.target.system) {
            all.push((name, Run { header, records }));
        }
    }
    Ok(all)
}

/// What was measured last, and by which run.
fn last(
    earlier: &[(String, Run)],
    measured: impl Fn(&Run) -> Option<f64>,
) -> Option<(String, f64)> {
    earlier.iter().find_map(|(name, run)| Some((name.clone(), measured(run)?)))
}
