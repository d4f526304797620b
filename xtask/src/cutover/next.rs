//! The whole control flow: from the journal to the next action, as one pure function.
//!
//! A first run, a resumed run and an unwinding are the same code path. There is no cursor: the
//! state is a fold of the records, and nothing else is stored.

use std::collections::BTreeMap;

use crate::cutover::event::{Event, Outcome, Record};
use crate::cutover::step::Step;

/// What a verb wants of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The target has everything and follows.
    Follow,
    /// The target serves, certified.
    Switch,
    /// Nothing of the run is left; the source serves.
    Remove,
    /// The run is closed.
    Finish,
}

impl Goal {
    /// The verb as a journal names it.
    pub fn verb(self) -> &'static str {
        match self {
            Goal::Follow => "start",
            Goal::Switch => "switch",
            Goal::Remove => "rollback",
            Goal::Finish => "finish",
        }
    }

    fn of_verb(verb: &str) -> Option<Goal> {
        [Goal::Follow, Goal::Switch, Goal::Remove, Goal::Finish]
            .into_iter()
            .find(|goal| goal.verb() == verb)
    }

    /// The last step that the goal needs.
    fn last_step(self) -> Option<Step> {
        match self {
            Goal::Follow => Some(Step::Prove),
            Goal::Switch => Some(Step::Certify),
            Goal::Finish => Some(Step::Retire),
            Goal::Remove => None,
        }
    }
}

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run this step: look, act where it is not done, look again.
    Run(Step),
    /// Undo this step.
    Undo(Step),
    /// The verb ends here.
    Stop(Outcome),
}

/// What the journal says about one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Never begun, or undone.
    #[default]
    Untouched,
    /// Begun; whether it is done only `look` can say.
    Begun,
    /// Seen to be done.
    Done,
}

/// What the journal says about a run: the fold of its records.
#[derive(Debug, Clone, Default)]
pub struct State {
    status: BTreeMap<Step, Status>,
    goal: Option<Goal>,
    /// Steps that failed, or of which nothing is known, since the present verb began.
    failed: BTreeMap<Step, String>,
    undo_failed: BTreeMap<Step, String>,
    decision_unknown: bool,
    interrupted: bool,
    /// An attempt to switch was begun by an earlier process and never concluded.
    inherited_attempt: bool,
    /// That attempt is being asked about, then cleared away; the verb goes on afterwards.
    clearing: bool,
    differs: bool,
    ended: Option<Outcome>,
}

impl State {
    /// Folds the records of a run, first to last.
    pub fn of(records: &[Record]) -> State {
        let mut state = State::default();
        for record in records {
            state.fold(&record.event);
        }
        state
    }

    fn fold(&mut self, event: &Event) {
        match event {
            Event::Verb { verb, .. } => self.begin_verb(Goal::of_verb(verb)),
            Event::StepStarted { step } => {
                self.status.insert(*step, Status::Begun);
                if *step == Step::Decide {
                    self.clearing = std::mem::take(&mut self.inherited_attempt);
                }
            }
            Event::StepDone { step, evidence, .. } => {
                self.status.insert(*step, Status::Done);
                self.failed.remove(step);
                if *step == Step::Certify {
                    self.differs = evidence.get("verdict").is_some_and(|value| value == "differs");
                }
            }
            Event::StepFailed { step: Step::Decide, .. } if self.clearing => {}
            Event::StepFailed { step, error } => {
                self.failed.insert(*step, error.clone());
            }
            Event::StepUnknown { step, error } => {
                self.failed.insert(*step, error.clone());
                self.decision_unknown |= *step == Step::Decide;
            }
            Event::UndoDone { step, .. } => {
                self.status.insert(*step, Status::Untouched);
                self.clearing &= self.attempt_is_open();
            }
            Event::UndoFailed { step, error } => {
                self.undo_failed.insert(*step, error.clone());
            }
            Event::Interrupted => self.interrupted = true,
            Event::Ended { outcome } => self.ended = Some(*outcome),
            _ => {}
        }
    }

    fn begin_verb(&mut self, goal: Option<Goal>) {
        self.goal = goal.or(self.goal);
        self.failed.clear();
        self.undo_failed.clear();
        self.decision_unknown = false;
        self.interrupted = false;
        self.ended = None;
        self.clearing = false;
        self.inherited_attempt = self.attempt_is_open();
    }

    /// What is known about a step.
    pub fn status(&self, step: Step) -> Status {
        self.status.get(&step).copied().unwrap_or_default()
    }

    /// Whether a step was seen to be done.
    pub fn is_done(&self, step: Step) -> bool {
        self.status(step) == Status::Done
    }

    /// Whether the target serves, by this run's decision.
    pub fn is_decided(&self) -> bool {
        self.is_done(Step::Decide)
    }

    /// Whether an attempt to switch has begun and is neither decided nor unwound.
    pub fn attempt_is_open(&self) -> bool {
        !self.is_decided() && self.last_touched(Step::Quiesce, Step::Decide).is_some()
    }

    /// Whether anything of the run may exist on the servers.
    pub fn is_untouched(&self) -> bool {
        self.last_touched(Step::Backup, Step::Retire).is_none()
    }

    /// How the last verb ended, where it did.
    pub fn ended(&self) -> Option<Outcome> {
        self.ended
    }

    /// The error that stopped or degraded the present verb, with its step.
    pub fn failure(&self) -> Option<(Step, &str)> {
        self.failed.iter().next().map(|(step, error)| (*step, error.as_str()))
    }

    /// What could not be undone of an attempt whose fence is: the source serves.
    pub fn left_over(&self) -> Option<(Step, &str)> {
        let is_harmless =
            |step: &Step| (Step::Quiesce..=Step::Gate).contains(step) || is_undone_later(*step);
        if self.decision_unknown || !self.undo_failed.keys().all(is_harmless) {
            return None;
        }
        self.undo_failed.iter().next().map(|(step, error)| (*step, error.as_str()))
    }

    /// Whether something could not be undone that what comes before it must wait for.
    fn is_stuck(&self) -> bool {
        self.undo_failed.keys().any(|step| !is_undone_later(*step))
    }

    /// The step of an attempt that is to be undone next.
    fn to_undo(&self) -> Option<Step> {
        let mut touched = self.status.range(Step::Quiesce..=Step::Decide).rev();
        let found = touched.find(|(step, status)| {
            **status != Status::Untouched && !self.undo_failed.contains_key(step)
        });
        found.map(|(step, _)| *step)
    }

    /// The latest step in a range that is begun or done.
    fn last_touched(&self, first: Step, last: Step) -> Option<Step> {
        let touched = self.status.range(first..=last).rev();
        touched.filter(|(_, status)| **status != Status::Untouched).map(|(step, _)| *step).next()
    }
}

/// Whether clients need not wait for this step's undoing: it concerns the target alone, and a
/// target that is away must not keep the source fenced. The next verb undoes it.
fn is_undone_later(step: Step) -> bool {
    matches!(step, Step::Detach | Step::Pin)
}

/// The next action for a run with this course of steps and these records.
pub fn next(course: &[Step], records: &[Record]) -> Action {
    let state = State::of(records);
    if state.decision_unknown || state.is_stuck() {
        return Action::Stop(Outcome::Halted);
    }
    if state.is_decided() {
        return after_decision(course, &state);
    }
    if state.inherited_attempt {
        // The one question after a crash inside an attempt: who serves? `look` reads the row;
        // `act` has no proofs in this process and fails. Then the attempt is cleared away.
        return Action::Run(Step::Decide);
    }
    before_decision(course, &state)
}

/// Before the decision a failure unwinds: an attempt to switch back to following, the rest whole.
fn before_decision(course: &[Step], state: &State) -> Action {
    let goal = state.goal.unwrap_or(Goal::Remove);
    let stopping = state.interrupted || !state.failed.is_empty() || goal == Goal::Remove;
    if state.clearing
        && let Some(step) = state.to_undo()
    {
        return Action::Undo(step);
    }
    if !state.undo_failed.is_empty() {
        return match state.to_undo() {
            Some(step) => Action::Undo(step),
            None => Action::Stop(Outcome::Halted),
        };
    }
    if !stopping {
        let wanted = course.iter().filter(|step| Some(**step) <= goal.last_step());
        return match wanted.copied().find(|step| !state.is_done(*step)) {
            Some(step) => Action::Run(step),
            None => Action::Stop(Outcome::Following),
        };
    }
    if let Some(step) = state.to_undo() {
        return Action::Undo(step);
    }
    let keeps_what_was_moved = match goal {
        Goal::Remove => false,
        // A failed proof leaves the copy for a look; so does everything once it follows.
        Goal::Follow => state.failed.keys().any(|step| *step == Step::Prove),
        Goal::Switch | Goal::Finish => state.is_done(Step::Arm) || !state.arm_failed(),
    };
    match state.last_touched(Step::Backup, Step::Prove) {
        Some(step) if !keeps_what_was_moved => Action::Undo(step),
        _ if course.contains(&Step::Publish) && !keeps_what_was_moved => {
            Action::Stop(Outcome::Removed)
        }
        _ => Action::Stop(Outcome::Unwound),
    }
}

/// After the decision there is only forward. Nothing but opening and flipping may stop short of
/// the rest, and both are tried again by the same verb.
fn after_decision(course: &[Step], state: &State) -> Action {
    let goal = state.goal.unwrap_or(Goal::Switch);
    let blocked = [Step::Open, Step::Flip].iter().any(|step| state.failed.contains_key(step));
    let released = state.is_done(Step::Release) || state.failed.contains_key(&Step::Release);
    if blocked || (state.interrupted && released) {
        return Action::Stop(Outcome::Degraded);
    }
    let last = if goal == Goal::Finish { Step::Retire } else { Step::Certify };
    let wanted = course.iter().filter(|step| step.is_after_decision() && **step <= last);
    let open =
        wanted.copied().find(|step| !state.is_done(*step) && !state.failed.contains_key(step));
    match open {
        Some(step) => Action::Run(step),
        None if !state.failed.is_empty() => Action::Stop(Outcome::Degraded),
        None if state.is_done(Step::Retire) => Action::Stop(Outcome::Finished),
        None if state.differs => Action::Stop(Outcome::Differs),
        None => Action::Stop(Outcome::Switched),
    }
}

impl State {
    fn arm_failed(&self) -> bool {
        self.failed.contains_key(&Step::Arm)
    }
}
