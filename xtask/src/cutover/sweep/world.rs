//! The model's two servers, their route, and what can go wrong.

use crate::cutover::event::{Record, Side};
use crate::cutover::guardian::rules::{DEAD_MAN_LIMIT, Deed, Facts, Row, judge};
use crate::cutover::step::Step;

/// What can go wrong at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `act` fails before it had any effect.
    FailsBefore,
    /// `act` had its effect and the answer was lost.
    AnswerLost,
    /// `look` cannot tell, once.
    LookBlind,
    /// The process dies before `act`.
    DiesBefore,
    /// The process dies after `act`.
    DiesAfter,
    /// The process is frozen before `act` for longer than the dead-man waits.
    Freezes,
    /// The process is frozen after `act`, as long.
    FreezesAfter,
    /// `undo` fails, once.
    UndoFails,
    /// The process dies in `undo`, before its effect.
    DiesUndoing,
    /// The record that the step begins cannot be stored, nor any after it.
    JournalFails,
    /// The process dies as the record that the step begins is written: it is torn.
    JournalTears,
    /// The process dies just after the record that the step is done.
    DiesOnceNoted,
    /// A person presses Ctrl-C at this step.
    Interrupted,
}

impl Fault {
    pub fn is_of_the_disk(self) -> bool {
        matches!(self, Fault::JournalFails | Fault::JournalTears | Fault::DiesOnceNoted)
    }
}

pub const FAULTS: [Fault; 13] = [
    Fault::FailsBefore,
    Fault::AnswerLost,
    Fault::LookBlind,
    Fault::DiesBefore,
    Fault::DiesAfter,
    Fault::Freezes,
    Fault::FreezesAfter,
    Fault::UndoFails,
    Fault::DiesUndoing,
    Fault::JournalFails,
    Fault::JournalTears,
    Fault::DiesOnceNoted,
    Fault::Interrupted,
];

/// One fault at one step; it strikes once.
pub type Strike = (Step, Fault);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Open,
    Switch,
    Unwind,
}

/// Two servers, a route and a disk, as far as the engine can tell.
#[derive(Debug)]
pub struct World {
    pub effects: Vec<Step>,
    pub source_open: bool,
    pub target_open: bool,
    pub decision: Decision,
    pub dead_man: bool,
    pub clients: Side,
    /// A pooler holds clients back, and the guardian watches over them.
    pub held: bool,
    pub guardian: bool,
    /// Workloads of a cluster are stopped.
    pub stopped: bool,
    pub stored: Vec<Record>,
    pub strikes: Vec<Strike>,
}

/// The payload of a simulated death.
pub struct Died;

impl World {
    pub fn new(strikes: &[Strike]) -> World {
        World {
            effects: Vec::new(),
            source_open: true,
            target_open: false,
            decision: Decision::Open,
            dead_man: false,
            clients: Side::Source,
            held: false,
            guardian: false,
            stopped: false,
            stored: Vec::new(),
            strikes: strikes.to_vec(),
        }
    }

    pub fn strikes(&mut self, step: Step, fault: Fault) -> bool {
        let found = self.strikes.iter().position(|strike| *strike == (step, fault));
        found.map(|index| self.strikes.remove(index)).is_some()
    }

    pub fn check(&self) {
        assert!(!(self.source_open && self.target_open), "two writers: {self:?}");
        assert!(!self.target_open || self.decision == Decision::Switch, "opened early: {self:?}");
        assert!(!self.source_open || self.decision != Decision::Switch, "un-fenced late: {self:?}");
        assert!(!self.held || self.guardian, "held without a guardian: {self:?}");
        let is_led_away = self.clients == Side::Target && self.decision != Decision::Switch;
        assert!(!is_led_away || self.guardian, "led away without a guardian: {self:?}");
    }

    /// The source's dead-man after a silence of the tool, and then the guardian by its rules.
    pub fn silence(&mut self) {
        if self.dead_man && self.decision == Decision::Open {
            self.decision = Decision::Unwind;
            self.source_open = true;
            self.check();
        }
        if self.guardian {
            self.watch();
        }
    }

    pub fn watch(&mut self) {
        let row = match self.decision {
            Decision::Open => Row::Open { guarded: self.dead_man },
            Decision::Switch => Row::Switch,
            Decision::Unwind => Row::Unwind,
        };
        let facts = Facts {
            is_alone: true,
            row,
            source_is_open: Some(self.source_open),
            target_is_open: Some(self.target_open),
        };
        // Long enough for a dead-man, and not for giving up.
        match judge(&facts, DEAD_MAN_LIMIT) {
            Deed::LetIn(side) => {
                self.clients = side;
                self.held = false;
            }
            Deed::Wait => {}
            deed => panic!("{deed:?} where the dead-man is alive: {self:?}"),
        }
        self.check();
    }

    pub fn clients_are_free(&self) -> bool {
        !self.held
            && match self.clients {
                Side::Source => self.source_open,
                Side::Target => self.target_open,
            }
    }
}
