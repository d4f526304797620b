//! `aim`: what leads clients and needs no live target is led to the target, while both sides are
//! fenced. So nobody waits for it once the target is open.

use std::time::Duration;

use anyhow::Result;

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::event::Record;
use crate::cutover::next::{State, Status};
use crate::cutover::step::Step;
use crate::cutover::steps::evidence;
use crate::failure::Failure;
use crate::route::Routes;

/// How long leading back may keep the clients waiting, before the source is opened all the same.
const BACK_LIMIT: Duration = Duration::from_secs(3);

/// Refuses a command that names no Service and no Secret, where an earlier one has led some away
/// and died: this one could not lead them back.
///
/// # Errors
/// It names none.
pub fn refuse_without_routes(records: &[Record], routes: &Routes) -> Result<()> {
    let state = State::of(records);
    let is_led_away = state.attempt_is_open() && state.status(Step::Aim) != Status::Untouched;
    if is_led_away && routes.aimed().is_empty() {
        return Err(Failure::refused(
            "an attempt has led Services or Secrets away, and none is named",
        )
        .hint("name the same environment again: --env NAME")
        .into());
    }
    Ok(())
}

/// Leads Services and Secrets to the target. Somebody must be there to lead them back should this
/// process die.
///
/// # Errors
/// The cluster does not answer, or refuses.
pub async fn act(engine: &mut Engine) -> Result<()> {
    if !engine.attempt.guardian_is_alive() {
        anyhow::bail!("the guardian of the clients is gone; see guardian.log beside the journal");
    }
    engine.options.routes.aim(&engine.target.endpoint).await
}

/// Done when all of them lead to the target.
///
/// # Errors
/// The cluster does not answer.
pub async fn look(engine: &Engine) -> Result<Seen> {
    let is_there = engine.options.routes.aims_at(&engine.target.endpoint).await?;
    Ok(if is_there { Seen::Done(evidence! {}) } else { Seen::NotDone })
}

/// Leads them back to the source. Where that takes too long the source is opened first, and the
/// undo of `gate` tries again.
///
/// # Errors
/// None: what could not be led back is a warning here.
pub async fn undo(engine: &Engine) -> Result<()> {
    let back = engine.options.routes.aim(&engine.source.endpoint);
    let failed = match tokio::time::timeout(BACK_LIMIT, back).await {
        Ok(led) => led.err().map(|error| format!("{error:#}")),
        Err(_) => Some(format!("the cluster does not answer within {BACK_LIMIT:?}")),
    };
    if let Some(error) = failed {
        engine.story.warning(format!("clients are not led back yet: {error}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutover::event::Event;

    #[test]
    fn what_was_led_away_is_not_forgotten() {
        let led_away = [Record::now(Event::StepStarted { step: Step::Aim })];
        let error = refuse_without_routes(&led_away, &Routes::default()).unwrap_err();
        assert_eq!(crate::failure::kind(&error), crate::failure::Kind::Refused);
        let undone = Record::now(Event::UndoDone { step: Step::Aim, milliseconds: 1.0 });
        let led_back = [led_away[0].clone(), undone];
        refuse_without_routes(&led_back, &Routes::default()).unwrap();
    }
}
