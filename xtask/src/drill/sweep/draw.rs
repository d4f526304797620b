//! What happens in which cycle: drawn from the seed and the number of the cycle, and from nothing
//! else, so that one cycle can be had again by itself.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Serialize, Serializer};

use super::links::Way;
use super::world::Server;
use crate::cutover::step::Step;
use crate::drill::faults::Fault;

/// Spreads seeds apart: the golden ratio in 64 bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Sets the draw of the disk apart from all the others.
const OF_THE_DISK: u64 = 0xD15C;
/// How long after a step's record a fault strikes at most, in milliseconds: steps of the pause
/// take a few.
const JITTER: u64 = 30;
/// How long after the start of the verb a fault strikes at most, where no step is waited for.
const ANY_TIME: u64 = 3000;
/// A short fault lasts so many milliseconds.
const SHORT: std::ops::Range<u64> = 50..1000;
/// A long one so many: longer than the dead-man's patience, shorter than its own limits.
const LONG: std::ops::Range<u64> = 1000..8000;

/// What a cycle does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// To ParadeDB.
    Switch,
    /// Back to the plain server.
    Rollback,
}

impl Verb {
    /// The arguments of the tool.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Verb::Switch => &["cutover", "switch"],
            Verb::Rollback => &["rollback", "--yes"],
        }
    }

    /// The verb that leads away from a server.
    pub fn away_from(server: Server) -> Verb {
        match server {
            Server::Plain => Verb::Switch,
            Server::Paradedb => Verb::Rollback,
        }
    }

    /// Who serves before it.
    pub fn leaves(self) -> Server {
        match self {
            Verb::Switch => Server::Plain,
            Verb::Rollback => Server::Paradedb,
        }
    }

    /// Who serves after it.
    pub fn reaches(self) -> Server {
        self.leaves().other()
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Verb::Switch => "switch",
            Verb::Rollback => "rollback",
        })
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the verb begins.
    Before,
    /// So long after the journal says that a step has begun.
    Begun(Step, Duration),
    /// So long after the journal says that a step is done.
    Done(Step, Duration),
    /// So long after the verb was started.
    After(Duration),
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Moment::Before => "before it".into(),
            Moment::Begun(step, by) => format!("{step} + {} ms", by.as_millis()),
            Moment::Done(step, by) => format!("{step} done + {} ms", by.as_millis()),
            Moment::After(by) => format!("after {} ms", by.as_millis()),
        };
        formatter.pad(&text)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One cycle as it was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// From 1.
    pub cycle: u32,
    /// The turn to be made.
    pub verb: Verb,
    /// What goes wrong.
    pub fault: Fault,
    /// When.
    pub moment: Moment,
    /// For how long, where the fault has a length.
    pub lasts: Duration,
    /// On which server, where it strikes one.
    pub server: Server,
    /// Whether it strikes the other one as well.
    pub strikes_both: bool,
    /// On which way, where it strikes the network.
    pub way: Way,
}

/// Draws a cycle. Odd cycles switch and even ones roll back, whatever the ones before came to.
///
/// Whether a disk can be full depends on who sweeps. So it takes its share of the cycles by a draw
/// of its own: in all others the same seed brings the same, with it and without.
pub fn draw(seed: u64, cycle: u32, faults: &[Fault]) -> Draw {
    let seed = seed.wrapping_mul(SPREAD) ^ u64::from(cycle);
    let mut random = StdRng::seed_from_u64(seed);
    let others: Vec<Fault> = faults.iter().copied().filter(|one| *one != Fault::Disk).collect();
    let strikes_disk = others.len() < faults.len()
        && StdRng::seed_from_u64(seed ^ OF_THE_DISK).random_range(0..faults.len()) == 0;
    let fault =
        if strikes_disk { Fault::Disk } else { others[random.random_range(0..others.len())] };
    let moment = moment(&mut random, fault);
    let lasts = if random.random() { SHORT } else { LONG };
    let lasts = Duration::from_millis(random.random_range(lasts));
    Draw {
        cycle,
        verb: if cycle % 2 == 1 { Verb::Switch } else { Verb::Rollback },
        fault,
        moment,
        lasts,
        server: if random.random() { Server::Plain } else { Server::Paradedb },
        strikes_both: random.random_ratio(1, 4),
        way: Way::ALL[random.random_range(0..Way::ALL.len())],
    }
}

/// Most faults strike at a step; the faults of people also stand there before.
fn moment(random: &mut StdRng, fault: Fault) -> Moment {
    let steps: Vec<Step> = Step::ALL
        .into_iter()
        // A turn of a sweep has no cluster, so nothing to aim.
        .filter(|step| *step == Step::Arm || (Step::Gate..=Step::Certify).contains(step))
        .filter(|step| *step != Step::Aim)
        .collect();
    let step = steps[random.random_range(0..steps.len())];
    let jitter = Duration::from_millis(random.random_range(0..=JITTER));
    let any_time = Duration::from_millis(random.random_range(0..=ANY_TIME));
    match random.random_range(0..10) {
        0..3 if fault.may_stand_before() => Moment::Before,
        0 => Moment::After(any_time),
        1..4 => Moment::Done(step, jitter),
        _ => Moment::Begun(step, jitter),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_cycles() {
        let all = |seed| (1..=50).map(move |cycle| draw(seed, cycle, Fault::value_variants()));
        assert!(all(7).eq(all(7)));
        assert!(!all(7).eq(all(8)));
    }

    #[test]
    fn a_disk_that_cannot_be_full_changes_no_other_cycle() {
        let all = Fault::value_variants();
        let others: Vec<Fault> = all.iter().copied().filter(|one| *one != Fault::Disk).collect();
        let drawn = |faults| (1..=300).map(|cycle| draw(1, cycle, faults)).collect::<Vec<_>>();
        let (with, without) = (drawn(all), drawn(&others));
        let differing = with.iter().zip(&without).filter(|(one, other)| one != other);
        let faults: Vec<Fault> = differing.map(|(one, _)| one.fault).collect();
        assert!(faults.len() > 10 && faults.iter().all(|fault| *fault == Fault::Disk));
        // What was drawn before there was this fault is drawn still.
        let told = |cycle| {
            let one = draw(5, cycle, &others);
            format!("{} {} {} {}", one.verb, one.fault.name(), one.moment, one.lasts.as_millis())
        };
        assert_eq!(told(1), "switch session gate done + 20 ms 3963");
        assert_eq!(told(2), "rollback silent arm + 24 ms 2621");
        assert_eq!(told(24), "rollback crash fence + 20 ms 7786");
        assert!((1..=9).all(|cycle| draw(1, cycle, &[Fault::Disk]).fault == Fault::Disk));
    }

    #[test]
    fn a_hundred_cycles_meet_every_fault() {
        let all = Fault::value_variants();
        let met: HashSet<Fault> = (1..=100).map(|cycle| draw(1, cycle, all).fault).collect();
        assert_eq!(met.len(), all.len());
    }

    #[test]
    fn only_what_people_leave_stands_there_before() {
        for cycle in 1..=500 {
            let drawn = draw(3, cycle, Fault::value_variants());
            assert!(drawn.moment != Moment::Before || drawn.fault.may_stand_before());
        }
    }
}
