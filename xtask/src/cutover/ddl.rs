//! `cutover ddl`: a change of schema goes to both sides while a run is under way, in the order in
//! which replication can take it, and what is new is followed.
//!
//! Each side has it in one transaction, with a row in `xtask_cutover.change` that says so. That row
//! is the truth: the same command, run again, asks for it and does what is missing. Until both are
//! complete no switch passes its gate.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cutover::beginning::prepare;
use crate::cutover::drive::Log;
use crate::cutover::event::{ChangeStage, Event, Outcome, Side};
use crate::cutover::journal::Journal;
use crate::cutover::lineage::{Phase, Run};
use crate::cutover::opening::Opened;
use crate::cutover::plan::Plan;
use crate::cutover::server::Server;
use crate::cutover::steps::arm;
use crate::cutover::verbs::{Operation, not_now};
use crate::cutover::{fence, search, topology};
use crate::failure::{Failure, tolerate};
use crate::pg::endpoint::Session;
use crate::pg::{facts, replication, state, survey};
use apply::{Along, Rehearsal, Row, Table};
use change::{Change, Order};

mod apply;
mod change;
mod rights;

pub use apply::Maker;

/// How often a subscription that stops while it is waited for is tried again.
const ENABLING_ATTEMPTS: u32 = 3;
/// How often the copy of a new table is looked at.
const COPY_EVERY: Duration = Duration::from_millis(100);

/// What a person asked for.
pub struct Request {
    /// The file with the change.
    pub file: PathBuf,
    /// Rules that it may break.
    pub accepted: Vec<String>,
    /// Who applies it, and where names without a schema lead.
    pub maker: Maker,
}

/// What would be done.
#[derive(Debug, Serialize)]
pub struct Preview {
    /// The file's name.
    pub file: String,
    /// SHA-256 of what it says, in hex.
    pub digest: String,
    /// The names of the two servers' sides in this run, the one that has it first before the other.
    pub sides: [&'static str; 2],
    /// To which side it goes first, and so why.
    pub order: Order,
    /// Its statements.
    pub statements: Vec<String>,
    /// The tables that are new with it, and so published, as `schema.name`.
    pub tables: Vec<String>,
}

/// Which side serves, and what brings its rows to the other.
struct Flow {
    serving_side: Side,
    serving: Arc<Session>,
    follower: Arc<Session>,
    /// What the follower subscribes to; new tables join the first.
    subscriptions: Vec<String>,
    /// The role that they log in as.
    reader: String,
    /// The marker tables of this direction.
    markers: Vec<String>,
    /// The publication on the follower that waits for a switch, where there is one.
    idle: Option<String>,
}

/// The present run, and whether its target serves, where a change may be made.
fn present(operation: &Operation) -> Result<(Run, bool)> {
    let mut lineage = operation.existing()?;
    let phase = lineage.phase();
    let latest = lineage.runs.pop().context("a lineage is never empty")?;
    match phase {
        Phase::Switched if latest.plan()?.without_way_back => Err(Failure::refused(
            "nobody follows any more: the run was begun with --without-way-back",
        )
        .hint("cargo xtask cutover finish, then change the schema as usual")
        .into()),
        Phase::Switched => Ok((latest, true)),
        Phase::Following if latest.header.parent.is_none() => Ok((latest, false)),
        Phase::Following => Err(Failure::refused(
            "a turn that was unwound is still set up, and would not know of the change",
        )
        .hint("clear it away with the verb of the way on: cargo xtask cutover switch, or rollback")
        .into()),
        phase => Err(not_now("ddl", phase, &latest.header.run)),
    }
}

/// Tries the change on the side that follows, takes it back, and says what would be done.
///
/// # Errors
/// The run is not where a change may be made, or the change is refused.
pub async fn preview(operation: &Operation, request: &Request) -> Result<Preview> {
    let change = Change::read(&request.file, &request.accepted)?;
    let (run, is_switched) = present(operation)?;
    let [source, target] = operation.sides(run.header.direction);
    let (side, (endpoint, peer), identity) = match is_switched {
        true => (Side::Source, source, run.header.source.clone()),
        false => (Side::Target, target, run.header.target.clone()),
    };
    let session = Server::new(side, endpoint, peer, identity).session().await?;
    let rehearsal = rehearse(&session, &change, request).await?;
    let first = if change.order == Order::FollowerFirst { side } else { side.other() };
    Ok(Preview {
        sides: [first.name(), first.other().name()],
        order: change.order,
        statements: change.statements.into_iter().map(|one| one.text).collect(),
        tables: rehearsal.tables.iter().map(title).collect(),
        file: change.name,
        digest: change.digest,
    })
}

/// Brings a change to both sides.
///
/// # Errors
/// It is refused, and nothing was changed; or it failed on the second side, and the same command
/// goes on.
pub async fn apply(operation: &Operation, request: &Request) -> Result<()> {
    let change = Change::read(&request.file, &request.accepted)?;
    prepare(operation).await?;
    let (run, is_switched) = present(operation)?;
    let folder = &operation.options.folder;
    let journal = Journal::open(folder, &run.header.run, operation.story.clone())?;
    let mut opened = Opened::begin(operation, journal, "ddl").await?;
    let applied = bring(&mut opened, &change, request, is_switched).await;
    let outcome = if is_switched { Outcome::Switched } else { Outcome::Following };
    let noted = opened.journal.append(Event::Ended { outcome });
    tolerate(noted, "where the run stands does not depend on it");
    opened.end().await;
    applied
}

async fn bring(
    opened: &mut Opened,
    change: &Change,
    request: &Request,
    is_switched: bool,
) -> Result<()> {
    let flow = flow(opened, is_switched).await?;
    for session in [&flow.serving, &flow.follower] {
        state::install(session).await?;
        assert_no_other(session, &change.digest).await?;
    }
    let serving = apply::row(&flow.serving, &change.digest).await?;
    let follower = apply::row(&flow.follower, &change.digest).await?;
    let known = serving.clone().or(follower.clone());
    if [&serving, &follower].iter().all(|row| row.as_ref().is_some_and(|row| row.is_complete)) {
        opened.engine.story.note(format!("{} is applied already, on both sides", change.name));
        return Ok(());
    }
    let wanted = match known.clone() {
        Some(row) => row,
        None => Row {
            tables: try_everywhere(&flow, change, request).await?,
            barrier: rand::random::<i64>().checked_abs().unwrap_or(1),
            is_complete: false,
        },
    };
    let mut missing = Vec::new();
    missing.extend(serving.is_none().then_some(flow.serving_side));
    missing.extend(follower.is_none().then_some(flow.serving_side.other()));
    if change.order == Order::FollowerFirst {
        missing.reverse();
    }
    note(opened, change, ChangeStage::Begun, None)?;
    let mut is_begun = known.is_some();
    for side in missing {
        match on_one_side(opened, &flow, change, request, &wanted, side).await {
            Ok(()) => is_begun = true,
            Err(error) if is_begun => return Err(half_way(change, &error)),
            Err(error) => {
                // An answer that was lost is asked for by the next command.
                let noted = note(opened, change, ChangeStage::Withdrawn, None);
                tolerate(noted, "the servers say whether it is open");
                return Err(error);
            }
        }
    }
    let completed = complete(opened, &flow, change, &wanted, is_switched).await;
    completed.map_err(|error| half_way(change, &error))
}

fn note(
    opened: &mut Opened,
    change: &Change,
    stage: ChangeStage,
    side: Option<Side>,
) -> Result<()> {
    let (file, digest) = (change.name.clone(), change.digest.clone());
    opened.journal.append(Event::SchemaChange { file, digest, stage, side })
}

fn half_way(change: &Change, error: &anyhow::Error) -> anyhow::Error {
    let name = &change.name;
    Failure::undecided(format!("{name} is not complete on both sides: {error:#}"))
        .hint("the same command again goes on; until then no switch passes its gate")
        .into()
}

/// Refuses while another change is half way.
async fn assert_no_other(session: &Session, digest: &str) -> Result<()> {
    let Some((file, other)) = apply::open(session).await? else { return Ok(()) };
    if other == digest {
        return Ok(());
    }
    let short = &other[..other.len().min(12)];
    Err(Failure::refused(format!("another change is not complete: {file} ({short})"))
        .hint(format!("first: cargo xtask cutover ddl {file}"))
        .into())
}

/// Which side serves, by where the run stands.
async fn flow(opened: &mut Opened, is_switched: bool) -> Result<Flow> {
    let (source, target) = opened.engine.sessions().await?;
    let (engine, direction) = (&opened.engine, opened.engine.header.direction);
    Ok(match is_switched {
        true => Flow {
            serving_side: Side::Target,
            serving: target,
            follower: source,
            subscriptions: vec![engine.back()],
            reader: engine.role(direction.opposite()),
            markers: vec!["marker_1".into()],
            idle: None,
        },
        false => Flow {
            serving_side: Side::Source,
            serving: source,
            follower: target,
            subscriptions: engine.subscriptions(&opened.journal),
            reader: engine.role(direction),
            markers: engine.markers(&opened.journal),
            idle: (!engine.plan.without_way_back).then(|| engine.back()),
        },
    })
}

/// Tries the change where nobody is served; then, where it would come there last, on the side that
/// serves. Says which tables are new.
async fn try_everywhere(flow: &Flow, change: &Change, request: &Request) -> Result<Vec<Table>> {
    let differences = facts::differences(&flow.serving, &flow.follower).await?;
    if let Some(one) = search::without(differences).first() {
        return Err(Failure::refused(format!(
            "the two sides differ already: {} {}",
            one.kind, one.object
        ))
        .hint("make them alike first, by hand; `cargo xtask verify` shows all of it")
        .into());
    }
    let rehearsal = rehearse(&flow.follower, change, request).await?;
    if change.order == Order::FollowerFirst {
        rehearse(&flow.serving, change, request).await?;
    }
    if !rehearsal.tables.is_empty() && !flow.serving.is_superuser {
        rights::assert_may_let_read(&flow.serving).await?;
    }
    Ok(rehearsal.tables)
}

/// A rehearsal whose every failure is a refusal: nothing was changed.
async fn rehearse(session: &Session, change: &Change, request: &Request) -> Result<Rehearsal> {
    let tried = apply::rehearse(session, change, &request.maker).await;
    let rehearsal = tried.map_err(refusal)?;
    if rehearsal.objections.is_empty() {
        return Ok(rehearsal);
    }
    let reasons: String = rehearsal.objections.iter().map(|one| format!("\n  - {one}")).collect();
    Err(Failure::refused(format!("{} is refused:{reasons}", change.name))
        .hint("mend the file; nothing was changed")
        .into())
}

fn refusal(error: anyhow::Error) -> anyhow::Error {
    let hint = match apply::is_busy(&error) {
        true => "somebody else holds the lock; the same command again when they are done",
        false => "mend the file; nothing was changed",
    };
    Failure::refused(format!("{error:#}")).hint(hint).into()
}

/// Applies it on one side, behind what must have come before.
async fn on_one_side(
    opened: &mut Opened,
    flow: &Flow,
    change: &Change,
    request: &Request,
    wanted: &Row,
    side: Side,
) -> Result<()> {
    let tables = wanted.tables.clone();
    if side == flow.serving_side {
        let along = Along {
            tables,
            publication: flow.subscriptions.first().cloned(),
            reader: Some(flow.reader.clone()),
            is_guarded: false,
            barrier: (wanted.barrier, flow.markers.clone()),
        };
        apply::apply(&flow.serving, change, &request.maker, &along).await.map_err(refusal)?;
    } else {
        if change.order == Order::ServingFirst {
            // What was written before the change must be here first. What comes after it may not
            // fit yet: that stops a subscription, loses nothing, and goes on behind the change.
            arrive(opened, flow, wanted.barrier).await?;
        }
        let along = Along {
            tables,
            publication: flow.idle.clone(),
            reader: None,
            is_guarded: fence::is_searchable(&flow.follower).await?,
            barrier: (wanted.barrier, Vec::new()),
        };
        apply::apply(&flow.follower, change, &request.maker, &along).await.map_err(refusal)?;
    }
    let does = if side == flow.serving_side { "serves" } else { "follows" };
    opened.engine.story.note(format!("{} is on the {}, which {does}", change.name, side.name()));
    note(opened, change, ChangeStage::Applied, Some(side))
}

/// Waits for a barrier row on the follower. A subscription that a row has stopped is tried again.
async fn arrive(opened: &Opened, flow: &Flow, barrier: i64) -> Result<()> {
    let limit = opened.engine.options.catch_up_limit;
    let (markers, names) = (&flow.markers, &flow.subscriptions);
    let mut attempt = 1;
    loop {
        let stopped = enable(flow).await?;
        let waited = replication::await_mark(&flow.follower, markers, names, barrier, limit).await;
        match waited {
            Ok(_) => return Ok(()),
            // What it met with before the change may have stopped it a moment after.
            Err(_) if attempt < ENABLING_ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.context(format!("{stopped} subscriptions had stopped"))),
        }
    }
}

/// Turns on what has stopped; returns how many had.
async fn enable(flow: &Flow) -> Result<usize> {
    let mut count = 0;
    for name in &flow.subscriptions {
        let known = replication::subscription(&flow.follower, name).await?;
        if known.is_some_and(|known| !known.enabled) {
            replication::enable(&flow.follower, name).await?;
            count += 1;
        }
    }
    Ok(count)
}

/// Lets what is new be followed, sees that rows come through, and writes down what the run moves
/// from now on.
async fn complete(
    opened: &mut Opened,
    flow: &Flow,
    change: &Change,
    wanted: &Row,
    is_switched: bool,
) -> Result<()> {
    enable(flow).await?;
    if fence::is_searchable(&flow.follower).await? {
        // What is new may have partitions, which its own trigger says nothing about.
        topology::guard_copies(&flow.follower).await?;
    }
    if !wanted.tables.is_empty() {
        follow(flow, opened.engine.options.catch_up_limit).await?;
        if !is_switched && !opened.engine.plan.without_way_back {
            // A subscription that is off learns of new tables only when it is made.
            replication::unsubscribe(&flow.serving, &opened.engine.back()).await?;
            arm::act(&mut opened.engine).await?;
        }
    }
    let id = replication::mark(&flow.serving, &flow.markers, "change").await?;
    arrive(opened, flow, id).await?;
    let differences = search::without(facts::differences(&flow.serving, &flow.follower).await?);
    for one in differences {
        let text = format!("{} {} differs between the two sides now", one.kind, one.object);
        opened.journal.append(Event::Warning { text })?;
    }
    replan(opened).await?;
    // The side that serves comes last: while it is open the gate says no.
    apply::complete(&flow.follower, &change.digest).await?;
    apply::complete(&flow.serving, &change.digest).await?;
    note(opened, change, ChangeStage::Done, None)?;
    opened.engine.story.note(format!("{} is on both sides", change.name));
    Ok(())
}

/// Lets the follower's subscription take up the tables that are new in its publication. It copies
/// what they hold by then, so no row can have come too early.
async fn follow(flow: &Flow, limit: Duration) -> Result<()> {
    let Some(name) = flow.subscriptions.first() else { return Ok(()) };
    replication::refresh(&flow.follower, name).await?;
    let begun = Instant::now();
    while replication::copying(&flow.follower, name).await? > 0 {
        let state = replication::subscription(&flow.follower, name).await?;
        if state.is_none_or(|state| !state.enabled) {
            bail!("subscription {name} stopped at an error while it copied a new table");
        }
        if begun.elapsed() > limit {
            bail!("the new tables were not copied within {limit:?}");
        }
        tokio::time::sleep(COPY_EVERY).await;
    }
    Ok(())
}

/// The run moves what both sides have, and its gate knows the schema as it is now.
async fn replan(opened: &mut Opened) -> Result<()> {
    let (source, target) = opened.engine.sessions().await?;
    let before = opened.engine.plan.clone();
    let mut plan = Plan::survey(&source, &target).await?;
    let there: Vec<String> =
        survey::tables(&target).await?.iter().map(|relation| relation.title()).collect();
    plan.tables.retain(|table| there.contains(&table.title()));
    plan.published.retain(|table| there.contains(&title(table)));
    plan.superuser_clients = before.superuser_clients;
    plan.search = before.search;
    plan.without_way_back = before.without_way_back;
    plan.kept = before.kept;
    plan.left_behind = before.left_behind;
    let value = serde_json::to_value(&plan)?;
    opened.journal.append(Event::Planned { plan: value })?;
    opened.engine.plan = plan;
    Ok(())
}

/// The change of schema that a run has begun and not ended, by its file's name.
pub fn open_change(run: &Run) -> Option<String> {
    let last = run.records.iter().rev().find_map(|record| match &record.event {
        Event::SchemaChange { file, stage, .. } => Some((file.clone(), *stage)),
        _ => None,
    })?;
    let is_open = !matches!(last.1, ChangeStage::Done | ChangeStage::Withdrawn);
    is_open.then_some(last.0)
}

/// Refuses a switch while one side has a change that the other lacks, or nobody follows.
///
/// # Errors
/// There is such a change, or a server cannot be asked.
pub async fn assert_none_open(sides: [&Session; 2]) -> Result<()> {
    for session in sides {
        if let Some((file, _)) = apply::open(session).await? {
            return Err(Failure::failed(format!(
                "the change of schema {file} is not complete on both sides"
            ))
            .hint(format!("the same command again goes on: cargo xtask cutover ddl {file}"))
            .into());
        }
    }
    Ok(())
}

fn title(table: &Table) -> String {
    format!("{}.{}", table.0, table.1)
}
