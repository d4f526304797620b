//! What a run would do, surveyed before anything is touched: the plan, what stands in its way, and
//! what the tool's role may do.

use anyhow::Result;

use crate::cutover::beginning::reach;
use crate::cutover::event::Side;
use crate::cutover::header::{Direction, Identity};
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

/// Nothing among these stands in the way.
///
/// # Errors
/// Something does; each is named with its fix.
pub(in crate::cutover) fn approve(refusals: &[Refusal]) -> Result<()> {
    let against: Vec<&Refusal> = refusals.iter().filter(|refusal| !refusal.is_warning).collect();
    if against.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> =
        against.iter().map(|one| format!("\n  - {}: {}", one.problem, one.fix)).collect();
    Err(Failure::refused(format!(
        "the plan is refused for {} reasons:{}",
        against.len(),
        reasons.concat()
    ))
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

/// Surveys two sides for a run of one direction; `copies` where it is a root.
///
/// # Errors
/// A side cannot be read, or its role can see too little for a plan.
pub(in crate::cutover) async fn survey(
    operation: &Operation,
    direction: Direction,
    source: &Session,
    target: &Session,
    copies: bool,
) -> Result<Planned> {
    let client = match &operation.options.route {
        Some(route) => Some(route.client()?),
        None => None,
    };
    let [(_, source_peer), (_, target_peer)] = operation.sides(direction);
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
    if refusals.iter().any(|refusal| refusal.name == refusals::NOT_SUPERUSER) {
        // There is nothing to show that such a role could see.
        approve(&refusals)?;
    }
    if let Some(route) = &operation.options.route {
        let [(serving, _), _] = operation.sides(direction);
        refusals.extend(route.objections(&serving).await.into_iter().map(Refusal::from));
    }
    if copies {
        let policy = &operation.options.backup;
        let objections = policy.objections(&operation.source, source).await?;
        refusals.extend(refusals::of_backup(objections));
    }
    let mut plan = Plan::survey(source, target).await?;
    plan.search = operation.options.search.clone().filter(|_| copies);
    plan.without_way_back = sides.without_way_back;
    Ok(Planned {
        refusals,
        privileges,
        plan,
        source: state::identity(source).await?,
        target: state::identity(target).await?,
        expected_pause_ms: expected_pause(source, target).await?,
    })
}
