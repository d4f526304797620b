//! What a sweep came to: each cycle, counts by fault, and the pauses.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SweepOptions;
use super::draw::{Moment, Verb};
use crate::cutover::event::WayBack;
use crate::drill::RouteKind;
use crate::drill::faults::Fault;

/// What became of one cycle.
#[derive(Debug, Clone, Serialize)]
pub struct Cycle {
    /// From 1.
    pub cycle: u32,
    /// The turn.
    pub verb: Verb,
    /// What went wrong.
    pub fault: Fault,
    /// When it was to strike.
    pub moment: Moment,
    /// On what, and for how long.
    pub detail: String,
    /// Whether it struck while the verb worked.
    pub struck: bool,
    /// The exit codes of the verb, run until it ended; none where a signal ended it.
    pub codes: Vec<Option<i32>>,
    /// From the last acknowledged write on one side to the first on the other, in milliseconds;
    /// the fault included.
    pub pause_ms: Option<f64>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Those of them that are not there.
    pub lost: u64,
    /// Writes that are there more than once.
    pub duplicated: u64,
    /// Writes that were acknowledged by a server that no longer served.
    pub rivals: u64,
    /// The way back afterwards.
    pub way_back: WayBack,
    /// The rules that were broken, in sentences.
    pub broken: Vec<String>,
    /// Time of the cycle, in seconds.
    pub seconds: f64,
}

/// The cycles of one fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many were drawn.
    pub cycles: u32,
    /// Those in which it struck while the verb worked, or stood there before.
    pub struck: u32,
    /// Those in which the verb came to its end at the first try.
    pub at_once: u32,
    /// Those in which it did so later.
    pub again: u32,
    /// Those in which it never did, as told.
    pub given_up: u32,
    /// Those in which a rule was broken.
    pub broken: u32,
}

/// Why a sweep has ended before its last cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfinished {
    /// Somebody asked it to stop.
    Asked,
    /// It does not work itself, and this is what it met with.
    Failed(String),
}

/// A whole sweep.
#[derive(Debug, Clone, Serialize)]
pub struct Swept {
    /// What drew everything.
    pub seed: u64,
    /// Transactions per second that were asked for.
    pub rate: f64,
    /// Where clients went.
    pub route: RouteKind,
    /// The cycles.
    pub cycles: Vec<Cycle>,
    /// Why there are fewer of them than were wanted, where it is so.
    pub unfinished: Option<Unfinished>,
    /// By fault.
    pub faults: BTreeMap<Fault, Tally>,
    /// What could not be brought about on this machine, and was not drawn.
    pub skipped: Vec<Fault>,
    /// How often databases were made anew.
    pub worlds: u32,
    /// Time of the whole, in seconds.
    pub seconds: f64,
}

impl Swept {
    /// Nothing yet.
    pub(super) fn new(options: &SweepOptions) -> Swept {
        Swept {
            seed: options.seed,
            rate: options.rate,
            route: options.route,
            cycles: Vec::new(),
            unfinished: None,
            faults: BTreeMap::new(),
            skipped: options.skipped.clone(),
            worlds: 0,
            seconds: 0.0,
        }
    }

    /// Takes a cycle.
    pub(super) fn add(&mut self, cycle: Cycle) {
        let tally = self.faults.entry(cycle.fault).or_default();
        tally.cycles += 1;
        tally.struck += u32::from(cycle.struck);
        match cycle.codes.as_slice() {
            [Some(0)] => tally.at_once += 1,
            [.., Some(0)] => tally.again += 1,
            _ => tally.given_up += 1,
        }
        tally.broken += u32::from(!cycle.broken.is_empty());
        self.cycles.push(cycle);
    }

    /// The cycles in which a rule was broken.
    pub fn broken(&self) -> impl Iterator<Item = &Cycle> {
        self.cycles.iter().filter(|cycle| !cycle.broken.is_empty())
    }

    /// A sum over all cycles.
    pub fn sum(&self, of: impl Fn(&Cycle) -> u64) -> u64 {
        self.cycles.iter().map(of).sum()
    }

    /// The pause, in milliseconds, that so many of 100 turns did not exceed, faults included; none
    /// where nothing turned.
    pub fn pause_ms(&self, percent: usize) -> Option<f64> {
        let mut all: Vec<f64> = self.cycles.iter().filter_map(|cycle| cycle.pause_ms).collect();
        all.sort_by(f64::total_cmp);
        let place = (all.len() * percent).div_ceil(100).saturating_sub(1);
        all.get(place).copied()
    }
}
