//! A run and its children: which of them is the present one, where it stands, and who serves.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::cutover::event::{Event, Outcome, Record};
use crate::cutover::header::{Direction, Header};
use crate::cutover::journal::{self, Journal};
use crate::cutover::next::State;
use crate::cutover::step::Step;
use crate::failure::Failure;

/// Where the present run stands. The table of verbs in ARCHITECTURE.md is over these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// There is no run, or the last one was removed.
    Absent,
    /// Rows, indexes or the proof are not complete yet.
    Copying,
    /// The other side follows; a switch is possible.
    Following,
    /// An attempt to switch has begun and is not decided.
    Switching,
    /// Decided, and some later step is open.
    Releasing,
    /// The run's target serves, certified.
    Switched,
    /// The run is closed.
    Finished,
}

/// One run as its journal tells it.
pub struct Run {
    /// What it is about.
    pub header: Header,
    /// What happened.
    pub records: Vec<Record>,
}

impl Run {
    /// Where it stands by itself.
    pub fn phase(&self) -> Phase {
        let state = State::of(&self.records);
        if state.is_done(Step::Retire) {
            Phase::Finished
        } else if state.is_decided() {
            let is_certified = state.is_done(Step::Certify);
            if is_certified { Phase::Switched } else { Phase::Releasing }
        } else if state.attempt_is_open() {
            Phase::Switching
        } else if self.header.parent.is_some() {
            Phase::Following
        } else if state.ended() == Some(Outcome::Removed) || state.is_untouched() {
            Phase::Absent
        } else if state.is_done(Step::Prove) {
            Phase::Following
        } else {
            Phase::Copying
        }
    }

    /// From the last `fence` to the last `release`, in milliseconds: the database's part of the
    /// pause. None where it did not come so far.
    pub fn pause_ms(&self) -> Option<f64> {
        let begun = self.records.iter().rev().find_map(|record| match record.event {
            Event::StepStarted { step: Step::Fence } => Some(record.at),
            _ => None,
        })?;
        let ended = self.records.iter().rev().find_map(|record| match record.event {
            Event::StepDone { step: Step::Release, .. } => Some(record.at),
            _ => None,
        })?;
        let took = ended.duration_since(begun).as_secs_f64() * 1000.0;
        (took >= 0.0).then_some(took)
    }

    /// Whether the run's target serves.
    pub fn is_decided(&self) -> bool {
        State::of(&self.records).is_decided()
    }

    /// Whether it is a turn of which nothing is left: it was never begun, or cleared away.
    fn is_void(&self) -> bool {
        self.header.parent.is_some() && State::of(&self.records).is_untouched()
    }

    /// The plan as the journal keeps it.
    ///
    /// # Errors
    /// The journal holds no plan.
    pub fn plan(&self) -> Result<crate::cutover::plan::Plan> {
        let plan = self.records.iter().rev().find_map(|record| match &record.event {
            Event::Planned { plan } => serde_json::from_value(plan.clone()).ok(),
            _ => None,
        });
        plan.ok_or_else(|| Failure::usage("the journal holds no plan").into())
    }
}

/// A root run and its children, oldest first.
pub struct Lineage {
    /// Never empty.
    pub runs: Vec<Run>,
}

impl Lineage {
    /// Reads the lineage of a run, or that of the newest run in the folder.
    ///
    /// # Errors
    /// The named run does not exist, or a journal is damaged.
    pub fn read(folder: &Path, wanted: Option<&str>) -> Result<Option<Lineage>> {
        let names = journal::runs(folder)?;
        let name = match wanted {
            Some(wanted) if !names.iter().any(|name| name == wanted) => {
                let message =
                    format!("there is no journal of run {wanted} in {}", folder.display());
                return Err(Failure::usage(message)
                    .hint("cargo xtask cutover adopt --source … --target … rebuilds it")
                    .into());
            }
            Some(wanted) => Some(wanted.to_string()),
            None => names.last().cloned(),
        };
        let Some(name) = name else { return Ok(None) };
        let mut runs = Vec::new();
        for name in &names {
            let (header, records) = Journal::read(&folder.join(format!("{name}.jsonl")))?;
            runs.push(Run { header, records });
        }
        Ok(Some(Lineage::around(runs, &name)))
    }

    /// The same from the lines that the servers keep, for a machine that has no journal. It writes
    /// none: who only looks leaves nothing behind.
    ///
    /// # Errors
    /// What a server keeps cannot be read.
    pub fn of_lines(
        kept: &BTreeMap<String, Vec<String>>,
        wanted: Option<&str>,
    ) -> Result<Option<Lineage>> {
        let mut runs = Vec::new();
        for (name, lines) in kept {
            let (header, records) = journal::parse(&lines.join("\n"), Path::new(name))?;
            runs.push(Run { header, records });
        }
        let name = match wanted {
            Some(wanted) => kept.keys().find(|name| *name == wanted),
            None => kept.keys().last(),
        };
        Ok(name.map(|name| Lineage::around(runs, name)))
    }

    /// A run with those before and after it.
    fn around(mut runs: Vec<Run>, name: &str) -> Lineage {
        let root =
            runs.iter().find(|run| run.header.run == name).map(|run| run.header.root.clone());
        runs.retain(|run| Some(&run.header.root) == root.as_ref());
        while runs.len() > 1 && runs.last().is_some_and(Run::is_void) {
            runs.pop();
        }
        Lineage { runs }
    }

    /// The newest run.
    pub fn latest(&self) -> &Run {
        &self.runs[self.runs.len() - 1]
    }

    /// Where the lineage stands.
    pub fn phase(&self) -> Phase {
        self.latest().phase()
    }

    /// The run that brought the service where it is; none before the first switch.
    pub fn decided(&self) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.is_decided())
    }

    /// Which way the service went last: `Forward` where ParadeDB serves.
    pub fn served_by(&self) -> Direction {
        self.decided().map_or(Direction::Backward, |run| run.header.direction)
    }
}
