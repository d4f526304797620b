//! `cut`, `slow` and `silent`: a way through the network.

use std::time::Duration;

use super::{Fault, Scene, Wound};
use crate::drill::sweep::links::Weather;

/// A slow way holds everything up by this part of the time that it lasts.
const SLOWNESS: u32 = 10;
/// And by this at most: beyond it nothing differs from silence.
const SLOWEST: Duration = Duration::from_millis(300);

/// Makes a way as bad as was drawn.
pub(super) fn disturb(fault: Fault, scene: &Scene<'_>) -> Wound {
    let weather = match fault {
        Fault::Cut => Weather::Down,
        Fault::Slow => Weather::Slow((scene.draw.lasts / SLOWNESS).min(SLOWEST)),
        _ => Weather::Silent,
    };
    scene.stage.links.on(scene.draw.way).set(weather);
    Wound::Network
}

/// Makes it good again.
pub(super) fn clear(scene: &Scene<'_>) {
    scene.stage.links.on(scene.draw.way).set(Weather::Clear);
}
