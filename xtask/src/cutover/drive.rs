//! Carries out what `next` says, one action at a time, and writes each to the journal first.

use std::time::Instant;

use anyhow::Result;

use crate::cutover::event::{Event, Evidence, Outcome, Record};
use crate::cutover::next::{Action, State, Status, next};
use crate::cutover::step::Step;
use crate::failure::{self, tolerate};

/// What `look` saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// The step is done, and this is what shows it.
    Done(Evidence),
    /// The step is not done.
    NotDone,
    /// It cannot be told.
    Unknown(String),
}

/// The write-ahead log of a run.
pub trait Log {
    /// Adds a record so that it survives the machine. In memory it is kept in any case, so that
    /// what is under way can be brought to safety without a disk.
    ///
    /// # Errors
    /// The record may not be stored: nothing new may be begun.
    fn append(&mut self, event: Event) -> Result<()>;

    /// All records, first to last.
    fn records(&self) -> &[Record];
}

/// What carries out a step: real servers, or the model of the sweep.
#[expect(async_fn_in_trait, reason = "used within this crate, never as a trait object")]
pub trait Hands {
    /// Whether the step is done. The only one who may say so.
    async fn look(&mut self, step: Step, log: &dyn Log) -> Seen;

    /// Does the step. Must be safe to run twice.
    async fn act(&mut self, step: Step, log: &mut dyn Log) -> Result<()>;

    /// Makes the step not done. Must be safe to run twice, and where nothing was done.
    async fn undo(&mut self, step: Step, log: &mut dyn Log) -> Result<()>;

    /// Whether a person or a service manager asked to stop.
    fn is_interrupted(&self) -> bool;
}

/// Drives a run until its verb ends. A journal that cannot be written fails the step at hand
/// before the decision, and delays nothing after it.
pub async fn drive(course: &[Step], log: &mut dyn Log, hands: &mut impl Hands) -> Outcome {
    loop {
        if hands.is_interrupted() && !is_marked_interrupted(log.records()) {
            tolerate(log.append(Event::Interrupted), "it stands in memory, where `next` reads it");
        }
        match next(course, log.records()) {
            Action::Run(step) => run(step, log, hands).await,
            Action::Undo(step) => undo(step, log, hands).await,
            Action::Stop(outcome) => {
                tolerate(log.append(Event::Ended { outcome }), "the outcome is returned as well");
                return outcome;
            }
        }
    }
}

/// Whether the present verb was already told to stop.
fn is_marked_interrupted(records: &[Record]) -> bool {
    let present =
        records.iter().rev().take_while(|record| !matches!(record.event, Event::Verb { .. }));
    present.into_iter().any(|record| record.event == Event::Interrupted)
}

async fn run(step: Step, log: &mut dyn Log, hands: &mut impl Hands) {
    let begun = Instant::now();
    let fresh = State::of(log.records()).status(step) == Status::Untouched;
    if !noted(step, Event::StepStarted { step }, log) {
        return;
    }
    // A step that was never begun cannot be done: within the pause a look costs time.
    let mut seen = if fresh { Seen::NotDone } else { hands.look(step, log).await };
    let mut error = None;
    if seen == Seen::NotDone {
        error = hands.act(step, log).await.err();
        seen = hands.look(step, log).await;
    }
    let failed = error.map(|error| describe(&error));
    let event = match seen {
        Seen::Done(evidence) => {
            Event::StepDone { step, evidence, milliseconds: milliseconds(begun) }
        }
        Seen::NotDone => {
            let error = failed.unwrap_or_else(|| "it ran, and its effect cannot be seen".into());
            Event::StepFailed { step, error }
        }
        Seen::Unknown(reason) => {
            let error = failed.map_or(reason.clone(), |failed| format!("{failed}; {reason}"));
            Event::StepUnknown { step, error }
        }
    };
    noted(step, event, log);
}

/// Appends, and turns a journal that cannot be written into a failure of the step, unless the
/// target already serves: then the clients' release matters more than the record of it.
fn noted(step: Step, event: Event, log: &mut dyn Log) -> bool {
    // Once the decision was sent it may stand, so its end is no longer something to fail on.
    let is_asked_too_late = step == Step::Decide && !matches!(event, Event::StepStarted { .. });
    match log.append(event) {
        Err(error) if step <= Step::Decide && !is_asked_too_late => {
            let failed = Event::StepFailed { step, error: format!("journal: {error:#}") };
            tolerate(log.append(failed), "it stands in memory, where `next` reads it");
            false
        }
        Err(_) | Ok(()) => true,
    }
}

async fn undo(step: Step, log: &mut dyn Log, hands: &mut impl Hands) {
    let begun = Instant::now();
    let reason = "a journal that cannot be written never blocks an un-fence";
    tolerate(log.append(Event::UndoStarted { step }), reason);
    let event = match hands.undo(step, log).await {
        Ok(()) => Event::UndoDone { step, milliseconds: milliseconds(begun) },
        Err(error) => Event::UndoFailed { step, error: describe(&error) },
    };
    tolerate(log.append(event), reason);
}

/// An error as text, with what its reader can do.
fn describe(error: &anyhow::Error) -> String {
    match failure::find(error).and_then(|failure| failure.hint.as_deref()) {
        Some(hint) => format!("{error:#}; what to do: {hint}"),
        None => format!("{error:#}"),
    }
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}
