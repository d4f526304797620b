//! How a verb ends, for its reader: where things stand, what comes next, and which exit code.

use anyhow::Result;

use crate::cutover::drive::Log;
use crate::cutover::event::Outcome;
use crate::cutover::header::Direction;
use crate::cutover::journal::Journal;
use crate::cutover::next::{Goal, State};
use crate::failure::{Failure, Kind};

/// Where things stand after a good end, and what comes next.
pub fn ending(outcome: Outcome, direction: Direction) -> String {
    let (ahead, behind, turn) = match direction {
        Direction::Forward => ("ParadeDB", "plain PostgreSQL", "rollback"),
        Direction::Backward => ("plain PostgreSQL", "ParadeDB", "cutover switch"),
    };
    match outcome {
        Outcome::Following => {
            format!("{ahead} follows, {behind} serves. Next: cargo xtask cutover switch")
        }
        Outcome::Switched => {
            format!("{ahead} serves, {behind} follows. Next: cargo xtask {turn}, or cutover finish")
        }
        Outcome::Finished => format!("{ahead} serves alone. {behind} keeps its data and its fence"),
        Outcome::Removed => "nothing of the run is left; plain PostgreSQL serves".into(),
        Outcome::Unwound
        | Outcome::Halted
        | Outcome::Degraded
        | Outcome::Differs
        | Outcome::TakenOver => {
            format!("{behind} serves, as before")
        }
    }
}

/// An outcome that is not what was wanted is an error with the right kind, which names the step.
///
/// # Errors
/// The verb did not come where it was sent.
pub fn judge(goal: Goal, outcome: Outcome, journal: &Journal) -> Result<Outcome> {
    let state = State::of(journal.records());
    let why = state.failure().map_or(String::new(), |(step, error)| format!(": {step}: {error}"));
    let run = &journal.header().run;
    let failure = |kind: Kind, message: String, hint: &str| {
        Err(Failure { kind, message, hint: Some(hint.into()) }.into())
    };
    if let (Outcome::Halted, Some((step, error))) = (outcome, state.left_over()) {
        return failure(
            Kind::Undecided,
            format!(
                "the side that served goes on serving, and not all is as it was: {step}: {error}"
            ),
            "mend what it names, then run the same command again; cargo xtask cutover status",
        );
    }
    match outcome {
        Outcome::Removed if goal != Goal::Remove => failure(
            Kind::Failed,
            format!("run {run} failed and was removed; the source serves{why}"),
            "mend the cause, then start again",
        ),
        Outcome::Unwound if goal == Goal::Follow => failure(
            Kind::Failed,
            format!("run {run} did not pass its proof; the source serves{why}"),
            "cargo xtask cutover status; then start again, or rollback --yes",
        ),
        Outcome::Unwound if goal != Goal::Remove => failure(
            Kind::Failed,
            format!("the attempt was unwound; the side that served goes on serving{why}"),
            "mend the cause, then run the same command again",
        ),
        Outcome::TakenOver => failure(
            Kind::Failed,
            format!(
                "another operator has taken run {run} over; this command touched nothing since"
            ),
            "cargo xtask cutover status",
        ),
        Outcome::Halted => failure(
            Kind::Undecided,
            format!("run {run} halted: who serves is unknown{why}"),
            "cargo xtask cutover status; when both servers answer, run the same command again",
        ),
        Outcome::Degraded => failure(
            Kind::Undecided,
            format!("the switch is decided, and a later step failed{why}"),
            "run the same command again; cargo xtask cutover status shows what is open",
        ),
        Outcome::Differs => failure(
            Kind::Undecided,
            format!("run {run} has switched, and its certificate found differences"),
            "cargo xtask cutover status shows them; then rollback, or finish --accept-differences",
        ),
        outcome => Ok(outcome),
    }
}
