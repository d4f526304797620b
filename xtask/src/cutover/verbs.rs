//! The verbs of a run. Each finds the present run, asks whether it may, and drives it to a goal.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cutover::approval::Approval;
use crate::cutover::beginning::prepare;
use crate::cutover::drive::{Log, drive};
use crate::cutover::ending::{ending, judge};
use crate::cutover::engine::{Interrupt, Options};
use crate::cutover::event::{Outcome, Side, Story};
use crate::cutover::header::{Direction, FORMAT, Header};
use crate::cutover::journal::{self, Journal};
use crate::cutover::lineage::{Lineage, Phase, Run};
use crate::cutover::next::{Goal, State};
use crate::cutover::opening::Opened;
use crate::cutover::outdated::is_outdated;
use crate::cutover::plan::Plan;
use crate::cutover::planned::{Planned, approve, plan, survey};
use crate::cutover::refusals;
use crate::cutover::search;
use crate::cutover::server::assert_identity;
use crate::cutover::step::Step;
use crate::cutover::steps::{aim, certify};
use crate::cutover::way_back;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;

/// What a person asked for: two servers and how to go about it.
#[derive(Clone)]
pub struct Operation {
    /// The plain server.
    pub source: Endpoint,
    /// The ParadeDB server.
    pub target: Endpoint,
    /// What the target's server dials to reach the source.
    pub source_for_target: Endpoint,
    /// What the source's server dials to reach the target.
    pub target_for_source: Endpoint,
    /// How to go about it.
    pub options: Options,
    /// Folders in which `pg_dump` and `pg_restore` are looked for first.
    pub bindirs: Vec<PathBuf>,
    /// The run; the newest where it is not named.
    pub run: Option<String>,
    /// Whether to end another operator's command.
    pub take_over: bool,
    /// The command line, for the journal.
    pub argv: Vec<String>,
    /// Where progress is told.
    pub story: Story,
    /// Whether somebody asked to stop.
    pub interrupt: Interrupt,
    /// Where all this comes from.
    pub origin: Origin,
}

/// Where an operation comes from, and what a person approved of it.
#[derive(Clone, Default)]
pub struct Origin {
    /// The environment whose values were taken.
    pub environment: Option<String>,
    /// What was given by hand in the place of its values.
    pub by_hand: Vec<String>,
    /// The plan that a run may begin from, where one was named.
    pub approved: Option<Approval>,
}

impl Operation {
    /// The endpoints of a direction's source and target, each with what its peer dials.
    pub(in crate::cutover) fn sides(&self, direction: Direction) -> [(Endpoint, Endpoint); 2] {
        let plain = (self.source.clone(), self.source_for_target.clone());
        let paradedb = (self.target.clone(), self.target_for_source.clone());
        match direction {
            Direction::Forward => [plain, paradedb],
            Direction::Backward => [paradedb, plain],
        }
    }

    /// Both servers, as the operator names them.
    pub(in crate::cutover) fn named_endpoints(&self) -> [(Side, &Endpoint); 2] {
        [(Side::Source, &self.source), (Side::Target, &self.target)]
    }

    fn lineage(&self) -> Result<Option<Lineage>> {
        Lineage::read(&self.options.folder, self.run.as_deref())
    }

    /// The present run.
    ///
    /// # Errors
    /// There is none, or its journal is damaged.
    pub(in crate::cutover) fn existing(&self) -> Result<Lineage> {
        let lineage = self.lineage()?.filter(|lineage| lineage.phase() != Phase::Absent);
        lineage.ok_or_else(|| {
            let folder = self.options.folder.display();
            Failure::refused(format!("there is no run in {folder}"))
                .hint("begin one: cargo xtask cutover start --source … --target …")
                .into()
        })
    }
}

/// Copies everything and lets the target follow; goes on where an earlier `start` ended.
///
/// # Errors
/// A refused plan, a run that is past this, or a failure; what was made is then removed again.
pub async fn start(operation: &Operation) -> Result<Outcome> {
    prepare(operation).await?;
    if let Some(lineage) = operation.lineage()? {
        let latest = lineage.latest();
        match lineage.phase() {
            Phase::Absent | Phase::Finished => {}
            Phase::Copying => {
                if let Some(approved) = &operation.origin.approved {
                    approved.assert_is_of(&latest.plan()?)?;
                }
                if !State::of(&latest.records).is_done(Step::Backup) {
                    let missing = refusals::of_backup(operation.options.backup.objection());
                    approve(&missing)?;
                }
                return resume(operation, latest, Goal::Follow).await;
            }
            Phase::Following if latest.header.parent.is_none() => {
                return already(operation, latest, Outcome::Following).await;
            }
            phase => return Err(not_now("start", phase, &latest.header.run)),
        }
    }
    let planned = plan(operation).await?;
    for warning in planned.refusals.iter().filter(|refusal| refusal.is_warning) {
        operation.story.warning(format!("{}; {}", warning.problem, warning.fix));
    }
    planned.approve()?;
    if let Some(approved) = &operation.origin.approved {
        approved.assert_holds(&Approval::of(operation, &planned))?;
    }
    let journal = create(operation, Direction::Forward, None, planned)?;
    run(operation, journal, Goal::Follow).await
}

/// Lets ParadeDB serve.
///
/// # Errors
/// The run is not ready, or the switch failed; the error says which side serves.
pub async fn switch(operation: &Operation) -> Result<Outcome> {
    prepare(operation).await?;
    turn(operation, Direction::Forward).await
}

/// What `rollback` will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollback {
    /// Nothing was switched: everything that the run made is removed.
    Remove,
    /// The plain server serves again, with every write since.
    TurnBack,
    /// The plain server serves already.
    Nothing,
}

/// Says what `rollback` would do now.
///
/// # Errors
/// There is no run, or its journal is damaged.
pub fn preview_rollback(operation: &Operation) -> Result<Rollback> {
    let lineage = operation.existing()?;
    if lineage.phase() == Phase::Finished {
        return Err(not_now("rollback", Phase::Finished, &lineage.latest().header.run));
    }
    let is_root = lineage.latest().header.parent.is_none();
    Ok(match (lineage.served_by(), is_root) {
        (Direction::Forward, _) => {
            assert_way_back(&lineage)?;
            Rollback::TurnBack
        }
        (Direction::Backward, true) => Rollback::Remove,
        (Direction::Backward, false) => Rollback::Nothing,
    })
}

/// Refuses where the run was begun without a way back.
fn assert_way_back(lineage: &Lineage) -> Result<()> {
    let Some(decided) = lineage.decided() else { return Ok(()) };
    if decided.plan()?.without_way_back {
        return Err(Failure::refused(format!("there is no way back: {}", way_back::WITHOUT))
            .hint("the target serves: stay there, and cargo xtask cutover finish")
            .into());
    }
    Ok(())
}

/// Lets the plain server serve again.
///
/// # Errors
/// There is no run, it is finished, or the way back failed; the error says which side serves.
pub async fn rollback(operation: &Operation) -> Result<Outcome> {
    prepare(operation).await?;
    match preview_rollback(operation)? {
        Rollback::Remove => {
            let lineage = operation.existing()?;
            resume(operation, lineage.latest(), Goal::Remove).await
        }
        Rollback::TurnBack => turn(operation, Direction::Backward).await,
        Rollback::Nothing => turn(operation, Direction::Backward).await,
    }
}

/// Says that there is nothing to do, so that nobody takes silence for an end cut short; but not of
/// servers that the run knows nothing of. One that is away holds nobody up, and that is told.
async fn already(operation: &Operation, run: &Run, outcome: Outcome) -> Result<Outcome> {
    let header = &run.header;
    let [(source, _), (target, _)] = operation.sides(header.direction);
    let sides = [(Side::Source, source, &header.source), (Side::Target, target, &header.target)];
    for (side, endpoint, identity) in sides {
        match endpoint.connect("plan").await {
            Ok(session) => assert_identity(&session, identity, side).await?,
            Err(error) => operation.story.warning(format!(
                "the {} was not asked, what follows is what the journal says: {error:#}",
                side.name()
            )),
        }
    }
    operation.story.note(format!("nothing to do: {}", ending(outcome, header.direction)));
    Ok(outcome)
}

/// Drives the service one way: by the present run, or by a child of it.
async fn turn(operation: &Operation, direction: Direction) -> Result<Outcome> {
    let lineage = operation.existing()?;
    if direction == Direction::Forward && lineage.served_by() == Direction::Backward {
        refuse_where_it_follows(operation)?;
    }
    let latest = lineage.latest();
    let verb = if direction == Direction::Forward { "switch" } else { "rollback" };
    match (latest.phase(), latest.header.direction == direction) {
        (Phase::Copying | Phase::Finished, _) => {
            Err(not_now(verb, latest.phase(), &latest.header.run))
        }
        // Whatever else is done: nobody may be left waiting.
        (Phase::Switched, true) if !State::of(&latest.records).is_done(Step::Release) => {
            resume(operation, latest, Goal::Switch).await
        }
        (Phase::Switched, true) => already(operation, latest, Outcome::Switched).await,
        (_, true) if is_outdated(operation, latest).await? => {
            resume(operation, latest, Goal::Remove).await?;
            let again = operation.existing()?;
            turn_by_child(operation, again.latest(), direction).await
        }
        // The present run goes this way: begin, go on, or finish what is open after the decision.
        (_, true) => resume(operation, latest, Goal::Switch).await,
        (Phase::Switched, false) => turn_by_child(operation, latest, direction).await,
        (Phase::Releasing, false) => {
            // The way back is not proven yet: first the present run completes.
            match resume(operation, latest, Goal::Switch).await? {
                Outcome::Switched | Outcome::Differs => {}
                outcome => return Ok(outcome),
            }
            let again = operation.existing()?;
            turn_by_child(operation, again.latest(), direction).await
        }
        // An attempt the other way never came to a decision: clear it away.
        (_, false) => resume(operation, latest, Goal::Remove).await,
    }
}

/// Refuses to let ParadeDB serve where it is there to follow. What is decided is completed.
fn refuse_where_it_follows(operation: &Operation) -> Result<()> {
    if operation.options.follows {
        let message = "ParadeDB is there to follow and to answer searches, not to serve";
        return Err(Failure::refused(message)
            .hint("where it shall serve all the same: `cutover.topology: switch` in the values")
            .into());
    }
    Ok(())
}

async fn turn_by_child(
    operation: &Operation,
    parent: &Run,
    direction: Direction,
) -> Result<Outcome> {
    let [(source, _), (target, _)] = operation.sides(direction);
    let source = source.connect("plan").await?;
    let target = target.connect("plan").await?;
    let mut planned = survey(operation, direction, &source, &target, false).await?;
    planned.approve()?;
    let standing = search::standing(&source).await?;
    planned.plan.keep_to(&parent.plan()?, standing);
    if !planned.plan.left_behind.is_empty() {
        let names = planned.plan.left_behind.join(", ");
        operation.story.note(format!("stays behind, no run moves it: {names}"));
    }
    let journal = create(operation, direction, Some(&parent.header), planned)?;
    run(operation, journal, Goal::Switch).await
}

/// Gives up the way back for good.
///
/// # Errors
/// There is no switched run, its certificate does not pass and the differences were not accepted,
/// or the name of the database was not given.
pub async fn finish(
    operation: &Operation,
    confirmed: Option<&str>,
    accepted: Option<&str>,
) -> Result<Outcome> {
    prepare(operation).await?;
    let lineage = operation.existing()?;
    let (phase, latest) = (lineage.phase(), lineage.latest());
    if phase == Phase::Finished {
        return already(operation, latest, Outcome::Finished).await;
    }
    let serving =
        lineage.decided().filter(|_| [Phase::Switched, Phase::Following].contains(&phase));
    let Some(serving) = serving else {
        return Err(not_now("finish", phase, &latest.header.run));
    };
    let journal =
        Journal::open(&operation.options.folder, &serving.header.run, operation.story.clone())?;
    let certificate = certify::last_certificate(&journal)
        .context("the run has no certificate; run `cargo xtask cutover switch` to certify it")?;
    let digest = certificate.digest_of_differences();
    if !certificate.passes() && accepted != Some(digest.as_str()) {
        let message = format!("the certificate has {} differences", certificate.difference_count());
        return Err(Failure::refused(message)
            .hint(format!("roll back, or accept them: --accept-differences {digest}"))
            .into());
    }
    let database = &serving.header.target.database;
    if confirmed != Some(database.as_str()) {
        return Err(Failure::refused("finish gives up the way back for good")
            .hint(format!("confirm with the database's name: --confirm {database}"))
            .into());
    }
    if phase == Phase::Following {
        // A turn that was unwound has left its way back; it goes first.
        resume(operation, latest, Goal::Remove).await?;
    }
    run(operation, journal, Goal::Finish).await
}

/// The refusal of a verb that does not fit where the run stands.
pub(in crate::cutover) fn not_now(verb: &str, phase: Phase, run: &str) -> anyhow::Error {
    let (state, next) = match phase {
        Phase::Absent => ("does not exist", "cutover start"),
        Phase::Copying => ("is not following yet", "cutover start"),
        Phase::Following => ("follows and has not switched", "cutover switch"),
        Phase::Switching => ("is in the middle of a switch", "cutover switch"),
        Phase::Releasing => ("is decided and not complete", "cutover switch"),
        Phase::Switched => ("has switched", "cutover finish, or rollback"),
        Phase::Finished => ("is finished", "cutover start, for a new run"),
    };
    Failure::refused(format!("`{verb}` does not fit: run {run} {state}"))
        .hint(format!("cargo xtask {next}"))
        .into()
}

fn create(
    operation: &Operation,
    direction: Direction,
    parent: Option<&Header>,
    planned: Planned,
) -> Result<Journal> {
    let run = journal::new_run_name();
    let [(source, _), (target, _)] = operation.sides(direction);
    let header = Header {
        format: FORMAT,
        root: parent.map_or(run.clone(), |parent| parent.root.clone()),
        parent: parent.map(|parent| parent.run.clone()),
        run,
        direction,
        plan_digest: planned.plan.digest()?,
        source: planned.source,
        target: planned.target,
        source_endpoint: source.to_string(),
        target_endpoint: target.to_string(),
        argv: operation.argv.clone(),
    };
    let plan = serde_json::to_value(&planned.plan)?;
    Journal::create(&operation.options.folder, header, plan, operation.story.clone())
}

async fn resume(operation: &Operation, run_to_resume: &Run, goal: Goal) -> Result<Outcome> {
    let name = &run_to_resume.header.run;
    let journal = Journal::open(&operation.options.folder, name, operation.story.clone())?;
    run(operation, journal, goal).await
}

/// The steps that a run has: a child inherits the copy, and search is made where it was asked for.
pub fn course(header: &Header, plan: &Plan, options: &Options) -> Vec<Step> {
    let is_root = header.parent.is_none();
    let has = |step: &Step| match step {
        Step::Quiesce => options.workloads.is_some(),
        Step::Aim => !options.routes.aimed().is_empty(),
        Step::Migrate => is_root && plan.search.is_some(),
        Step::Arm => !plan.without_way_back,
        step => is_root || *step >= Step::Quiesce,
    };
    Step::ALL.into_iter().filter(has).collect()
}

/// Takes the run over, drives it to its goal, and turns a bad end into an error.
async fn run(operation: &Operation, journal: Journal, goal: Goal) -> Result<Outcome> {
    if operation.interrupt.is_requested() {
        return Err(Failure::interrupted("interrupted before anything had begun").into());
    }
    aim::refuse_without_routes(journal.records(), &operation.options.routes)?;
    let mut opened = Opened::begin(operation, journal, goal.verb()).await?;
    let course = course(&opened.engine.header, &opened.engine.plan, &opened.engine.options);
    let outcome = drive(&course, &mut opened.journal, &mut opened.engine).await;
    let direction = opened.engine.header.direction;
    let journal = opened.end().await;
    let outcome = judge(goal, outcome, &journal)?;
    operation.story.note(ending(outcome, direction));
    Ok(outcome)
}
