//! The sweep: the real `next` and `drive` against a model of two servers, with every fault at
//! every place, every second fault after it, and the tool dead as well as frozen.
//!
//! The model's invariants are asserts on every change: never two writers, the target open only
//! after the decision, nobody held without a guardian. Whatever happens, the same verb run again
//! must end, with the clients free; and a dead tool leaves nobody held on a side that is open.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use anyhow::{Result, bail};
use futures_util::FutureExt;

use crate::cutover::drive::{Hands, Log, Seen, drive};
use crate::cutover::event::{Event, Evidence, Outcome, Record, Side};
use crate::cutover::next::{Goal, State};
use crate::cutover::step::Step;
use crate::cutover::sweep::world::{Decision, Died, FAULTS, Fault, Strike, World};

mod world;

/// One process of the tool: what it knows beyond the journal dies with it.
struct Process<'a> {
    world: &'a mut World,
    fence: bool,
    drained: bool,
    interrupted: bool,
}

impl Process<'_> {
    fn effect(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Quiesce => self.world.stopped = true,
            Step::Gate => {
                if self.world.decision == Decision::Switch {
                    bail!("the target serves");
                }
                self.world.decision = Decision::Open;
                self.world.dead_man = true;
                self.world.guardian = true;
            }
            Step::Hold => self.world.held = true,
            Step::Fence => {
                if self.world.decision != Decision::Open {
                    bail!("the dead-man has unwound the run");
                }
                self.world.source_open = false;
                self.fence = true;
            }
            Step::Drain => self.drained = true,
            Step::Decide => {
                if !(self.fence && self.drained) {
                    bail!("no proofs in this process");
                }
                if self.world.decision != Decision::Open {
                    bail!("the dead-man has unwound the run");
                }
                self.world.decision = Decision::Switch;
            }
            Step::Open => {
                if self.world.decision != Decision::Switch {
                    bail!("not decided");
                }
                self.world.target_open = true;
            }
            Step::Aim | Step::Flip => self.world.clients = Side::Target,
            Step::Release => {
                self.world.held = false;
                self.world.stopped = false;
            }
            _ => {}
        }
        self.world.effects.push(step);
        self.world.check();
        Ok(())
    }
}

impl Hands for Process<'_> {
    async fn is_taken_over(&mut self) -> bool {
        false
    }

    async fn look(&mut self, step: Step, _log: &dyn Log) -> Seen {
        if self.world.strikes(step, Fault::LookBlind) {
            return Seen::Unknown("the server does not answer".into());
        }
        let done = match step {
            Step::Quiesce => self.world.stopped,
            Step::Hold => self.world.held,
            Step::Fence => !self.world.source_open && self.fence,
            Step::Decide => self.world.decision == Decision::Switch,
            Step::Open => self.world.target_open,
            Step::Aim | Step::Flip => self.world.clients == Side::Target,
            Step::Release => self.world.clients_are_free() && !self.world.stopped,
            _ => self.world.effects.contains(&step),
        };
        if done { Seen::Done(Evidence::new()) } else { Seen::NotDone }
    }

    async fn act(&mut self, step: Step, _log: &mut dyn Log) -> Result<()> {
        if self.world.strikes(step, Fault::DiesBefore) {
            resume_unwind(Box::new(Died));
        }
        if self.world.strikes(step, Fault::FailsBefore) {
            bail!("refused");
        }
        if self.world.strikes(step, Fault::Freezes) {
            self.world.silence();
        }
        self.interrupted |= self.world.strikes(step, Fault::Interrupted);
        self.effect(step)?;
        if self.world.strikes(step, Fault::FreezesAfter) {
            self.world.silence();
        }
        if self.world.strikes(step, Fault::DiesAfter) {
            resume_unwind(Box::new(Died));
        }
        if self.world.strikes(step, Fault::AnswerLost) {
            bail!("connection lost");
        }
        Ok(())
    }

    async fn undo(&mut self, step: Step, _log: &mut dyn Log) -> Result<()> {
        if self.world.strikes(step, Fault::DiesUndoing) {
            resume_unwind(Box::new(Died));
        }
        if self.world.strikes(step, Fault::UndoFails) {
            bail!("connection lost");
        }
        if step == Step::Fence {
            if self.world.decision == Decision::Switch {
                bail!("the target serves");
            }
            self.world.decision = Decision::Unwind;
            self.world.source_open = true;
        }
        if step == Step::Quiesce {
            self.world.stopped = false;
        }
        if step == Step::Aim {
            self.world.clients = Side::Source;
        }
        if step == Step::Hold {
            self.world.held = false;
        }
        if step == Step::Gate {
            self.world.dead_man = false;
            self.world.guardian = false;
        }
        // The backup outlives the run.
        self.world.effects.retain(|effect| *effect != step || step == Step::Backup);
        self.world.check();
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted
    }
}

/// The journal: a disk that can fail or tear, and a memory that cannot.
struct Disk {
    records: Vec<Record>,
    stored: Vec<Record>,
    strikes: Vec<Strike>,
    broken: bool,
}

impl Disk {
    fn strikes(&mut self, step: Step, fault: Fault) -> bool {
        let found = self.strikes.iter().position(|strike| *strike == (step, fault));
        found.map(|index| self.strikes.remove(index)).is_some()
    }
}

/// A death while the journal was written carries what was stored until then.
struct DiedWriting;

impl Log for Disk {
    fn append(&mut self, event: Event) -> Result<()> {
        let begins = match &event {
            Event::StepStarted { step } => Some(*step),
            _ => None,
        };
        let ends = match &event {
            Event::StepDone { step, .. } => Some(*step),
            _ => None,
        };
        let record = Record::now(event);
        self.records.push(record.clone());
        if let Some(step) = begins {
            self.broken |= self.strikes(step, Fault::JournalFails);
            if self.strikes(step, Fault::JournalTears) {
                resume_unwind(Box::new(DiedWriting));
            }
        }
        if self.broken {
            bail!("no space left on device");
        }
        self.stored.push(record);
        if ends.is_some_and(|step| self.strikes(step, Fault::DiesOnceNoted)) {
            resume_unwind(Box::new(DiedWriting));
        }
        Ok(())
    }

    fn records(&self) -> &[Record] {
        &self.records
    }
}

/// Runs one verb in one process; `None` when the process died.
fn run_once(world: &mut World, course: &[Step], goal: Goal) -> Option<Outcome> {
    let mut disk = Disk {
        records: world.stored.clone(),
        stored: world.stored.clone(),
        strikes: world.strikes.extract_if(.., |(_, fault)| fault.is_of_the_disk()).collect(),
        broken: false,
    };
    let mut hands = Process { world, fence: false, drained: false, interrupted: false };
    let verb = Event::Verb {
        verb: goal.verb().into(),
        epoch: 1,
        argv: Vec::new(),
        operator: String::new(),
    };
    disk.append(verb).unwrap();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        drive(course, &mut disk, &mut hands).now_or_never().expect("the model never waits")
    }));
    world.strikes.extend(disk.strikes);
    world.stored = disk.stored;
    ran.ok()
}

/// Runs a verb again and again, as an operator would, until it has ended well.
fn run_until_settled(world: &mut World, course: &[Step], goal: Goal, waits: bool) -> Outcome {
    for _ in 0..8 {
        match run_once(world, course, goal) {
            Some(Outcome::Halted | Outcome::Degraded) | None => {}
            Some(settled) => {
                assert!(!world.stopped, "{settled:?} with workloads stopped: {world:?}");
                return settled;
            }
        }
        if waits {
            world.silence();
            // Only a target that is decided and not open yet may keep them waiting.
            let waits_for_open = world.decision == Decision::Switch && !world.target_open;
            assert!(world.clients_are_free() || waits_for_open, "left waiting: {world:?}");
        }
    }
    panic!("{goal:?} never ends: {world:?}");
}

fn root_course() -> Vec<Step> {
    Step::ALL.to_vec()
}

fn child_course() -> Vec<Step> {
    Step::ALL.into_iter().filter(|step| *step == Step::Arm || *step >= Step::Quiesce).collect()
}

/// Follow, switch, and check; then again until it is switched. Every strike must have a good end.
fn sweep_one(course: &[Step], strikes: &[Strike], waits: bool) {
    let mut world = World::new(strikes);
    if course.contains(&Step::Publish) {
        let outcome = run_until_settled(&mut world, course, Goal::Follow, waits);
        assert!(world.clients_are_free(), "{outcome:?} {strikes:?} {world:?}");
    }
    let outcome = run_until_settled(&mut world, course, Goal::Switch, waits);
    assert!(world.clients_are_free(), "{outcome:?} {strikes:?} {world:?}");
    let decided = State::of(&world.stored).is_decided();
    assert_eq!(decided, world.decision == Decision::Switch, "{strikes:?} {world:?}");
    let outcome = match outcome {
        Outcome::Switched => outcome,
        _ => {
            world.strikes.clear();
            if course.contains(&Step::Publish) {
                run_until_settled(&mut world, course, Goal::Follow, waits);
            }
            run_until_settled(&mut world, course, Goal::Switch, waits)
        }
    };
    assert_eq!(outcome, Outcome::Switched, "{strikes:?} {world:?}");
    assert!(world.target_open && world.clients == Side::Target, "{strikes:?} {world:?}");
}

fn every_strike(course: &[Step]) -> Vec<Strike> {
    let all = course.iter().flat_map(|step| FAULTS.map(|fault| (*step, fault)));
    all.filter(|(step, _)| *step != Step::Retire).collect()
}

#[test]
fn without_faults_it_switches() {
    sweep_one(&root_course(), &[], false);
    sweep_one(&child_course(), &[], false);
}

#[test]
fn every_fault_at_every_step() {
    for course in [root_course(), child_course()] {
        for strike in every_strike(&course) {
            for waits in [false, true] {
                sweep_one(&course, &[strike], waits);
            }
        }
    }
}

#[test]
fn every_second_fault_after_every_first() {
    for course in [root_course(), child_course()] {
        let all = every_strike(&course);
        for first in &all {
            for second in &all {
                for waits in [false, true] {
                    sweep_one(&course, &[*first, *second], waits);
                }
            }
        }
    }
}

/// A target that goes away before the decision keeps nobody waiting on the source.
#[test]
fn what_only_the_target_can_undo_waits_until_clients_are_free() {
    for course in [root_course(), child_course()] {
        for step in [Step::Detach, Step::Pin] {
            let strikes = [(Step::Decide, Fault::FailsBefore), (step, Fault::UndoFails)];
            let mut world = World::new(&strikes);
            if course.contains(&Step::Publish) {
                run_until_settled(&mut world, &course, Goal::Follow, false);
            }
            assert_eq!(run_once(&mut world, &course, Goal::Switch), Some(Outcome::Halted));
            assert!(world.source_open && world.clients_are_free(), "{step}: {world:?}");
            assert_eq!(State::of(&world.stored).left_over().map(|(step, _)| step), Some(step));
            let outcome = run_until_settled(&mut world, &course, Goal::Switch, false);
            assert_eq!(outcome, Outcome::Switched, "{step}: {world:?}");
        }
    }
}

#[test]
fn a_removal_leaves_nothing_and_the_source_serves() {
    let course = root_course();
    for strike in every_strike(&course) {
        let mut world = World::new(&[strike]);
        run_until_settled(&mut world, &course, Goal::Follow, true);
        let outcome = run_until_settled(&mut world, &course, Goal::Remove, true);
        assert_eq!(outcome, Outcome::Removed, "{strike:?}");
        let is_left = world.effects.iter().any(|effect| *effect != Step::Backup);
        assert!(!is_left && world.source_open, "{strike:?} {world:?}");
    }
}
