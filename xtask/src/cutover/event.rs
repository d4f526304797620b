//! What happened: one owned type that the journal stores, the screen shows and a report renders.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cutover::step::Step;

/// Facts that a step observed, by name.
pub type Evidence = Map<String, Value>;

/// The two sides of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Serves when the run begins.
    Source,
    /// Serves when the run has switched.
    Target,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }

    /// `source` or `target`.
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }
}

/// The state of the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum WayBack {
    /// Every write on the serving side reaches the other.
    Armed,
    /// Being set up or catching up.
    Arming,
    /// It works, but something threatens it.
    AtRisk(String),
    /// It is gone.
    Lost(String),
    /// It was given up on purpose: the run is finished.
    Closed,
    /// There is none to speak of yet: the source serves and nothing was switched.
    NotNeeded,
}

impl fmt::Display for WayBack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WayBack::Armed => formatter.write_str("ARMED"),
            WayBack::Arming => formatter.write_str("ARMING"),
            WayBack::AtRisk(reason) => write!(formatter, "AT RISK because {reason}"),
            WayBack::Lost(reason) => write!(formatter, "LOST because {reason}"),
            WayBack::Closed => formatter.write_str("closed: the run is finished"),
            WayBack::NotNeeded => formatter.write_str("not needed: the source serves"),
        }
    }
}

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The target has everything and follows; the source serves.
    Following,
    /// The target serves.
    Switched,
    /// The run is closed; the target serves alone.
    Finished,
    /// The attempt was unwound; the source serves, and the target still follows.
    Unwound,
    /// Everything that the run created is gone; the source serves.
    Removed,
    /// Nobody may go on without a human: who serves is unknown.
    Halted,
    /// The target serves, and the certificate found differences.
    Differs,
    /// The target serves by decision, and a later step failed: the same verb goes on from there.
    Degraded,
    /// Another operator has taken the run over: this process has nothing more to say.
    TakenOver,
}

/// How far a change of schema has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStage {
    /// It is about to be applied.
    Begun,
    /// One side has it.
    Applied,
    /// Both have it, and what is new is followed.
    Done,
    /// It was not applied anywhere.
    Withdrawn,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A verb took the run over.
    Verb {
        /// Such as `start`.
        verb: String,
        /// The run's epoch from here on.
        epoch: i64,
        /// The command line; it never holds a secret.
        argv: Vec<String>,
        /// Host and process that run it.
        operator: String,
    },
    /// What the run is going to move; the value is a `Plan`.
    Planned {
        /// The plan.
        plan: Value,
    },
    /// What was done about a backup; the value is what the step `backup` keeps.
    Backup {
        /// Policy, and what shows that it was done; never a secret.
        backup: Value,
    },
    /// Tables are read under one snapshot and followed from it; a later batch takes tables over
    /// from an earlier one whose snapshot was lost.
    Batch {
        /// From 1.
        number: u32,
        /// The tables that the publication of the batch names, as schema and name.
        tables: Vec<(String, String)>,
        /// The exported snapshot, which a holder keeps.
        snapshot: String,
    },
    /// Rows, schema and sequences were compared.
    Certified {
        /// The certificate, by table.
        certificate: Value,
    },
    /// Both sides are held at the same logical instant.
    Pinned {
        /// The source's snapshot.
        source: String,
        /// The target's snapshot.
        target: String,
        /// The file of every table of the source, by `schema.name`.
        source_files: BTreeMap<String, u32>,
        /// The same of the target.
        target_files: BTreeMap<String, u32>,
    },
    /// A step begins.
    StepStarted {
        /// Which.
        step: Step,
    },
    /// `look` saw that a step is done.
    StepDone {
        /// Which.
        step: Step,
        /// What was seen.
        evidence: Evidence,
        /// Time from start to seen.
        milliseconds: f64,
    },
    /// A step failed; the error is text without a secret.
    StepFailed {
        /// Which.
        step: Step,
        /// Why.
        error: String,
    },
    /// It cannot be told whether a step is done.
    StepUnknown {
        /// Which.
        step: Step,
        /// Why.
        error: String,
    },
    /// A step is being undone.
    UndoStarted {
        /// Which.
        step: Step,
    },
    /// A step is undone.
    UndoDone {
        /// Which.
        step: Step,
        /// Time from start to undone.
        milliseconds: f64,
    },
    /// A step could not be undone.
    UndoFailed {
        /// Which.
        step: Step,
        /// Why.
        error: String,
    },
    /// A person or a service manager asked the tool to stop.
    Interrupted,
    /// A setting or option of a server was changed; it is to be restored.
    Changed {
        /// Where.
        side: Side,
        /// Which setting or object.
        what: String,
        /// Its value before.
        former: Option<String>,
        /// Its value now.
        now: Option<String>,
    },
    /// A changed setting has its former value again.
    Restored {
        /// Where.
        side: Side,
        /// Which setting or object.
        what: String,
    },
    /// Workloads of a cluster are about to be stopped; they are to be given back what they had.
    Workloads {
        /// How the cluster is reached, without a secret; the value is a `kube::Cluster`.
        cluster: Value,
        /// What each had; a list of `kube::workloads::Former`.
        former: Value,
    },
    /// Workloads have again what they had.
    WorkloadsRestored {
        /// Which, as people call them.
        names: Vec<String>,
    },
    /// The first client came to the target behind a Service or a Secret.
    Arrived {
        /// What leads clients, as people call it.
        route: String,
        /// From leading it there to the first session of a client.
        milliseconds: f64,
        /// How many there were when somebody looked.
        sessions: i64,
    },
    /// Long work goes on. For the screen only; never journaled.
    Progress {
        /// What is counted, such as `copy`.
        what: String,
        /// How much is done.
        done: u64,
        /// Of how much; 0 where it is not known.
        total: u64,
        /// `bytes`, `rows`, `indexes`.
        unit: String,
    },
    /// How far the follower is behind, in bytes of WAL. For the screen only; never journaled.
    Lag {
        /// Bytes of WAL between what the serving side wrote and what the other applied.
        bytes: i64,
    },
    /// A change of schema goes to both sides while a run is under way.
    SchemaChange {
        /// The file's name.
        file: String,
        /// SHA-256 of what it says, in hex.
        digest: String,
        /// How far it has come.
        stage: ChangeStage,
        /// Where it was applied just now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        side: Option<Side>,
    },
    /// The state of the way back.
    WayBack {
        /// As observed.
        way_back: WayBack,
    },
    /// A difference between the two sides.
    Difference {
        /// Which object.
        object: String,
        /// What differs.
        detail: String,
    },
    /// Something a reader may like to know.
    Note {
        /// A sentence.
        text: String,
    },
    /// Something a reader should act on.
    Warning {
        /// A sentence.
        text: String,
    },
    /// How far long work had come, moment by moment; written when its step ends. Steps of the
    /// pause write none.
    Samples {
        /// What was counted, as in `progress`; or `lag`.
        what: String,
        /// `bytes`, `rows`, `indexes`.
        unit: String,
        /// Of how much; 0 where it is not known.
        total: u64,
        /// When, in milliseconds since 1970 UTC, and how much by then.
        points: Vec<(i64, u64)>,
    },
    /// What the clients of a rehearsal saw; the value is a `ledger::Window`. A real night has none.
    Clients {
        /// Acknowledged, refused and unknown writes, and how long they took, by stretch of time.
        clients: Value,
    },
    /// Searches beside the writers of a rehearsal; the value is a `rag::asked::Searches`.
    Searches {
        /// How many, how many failed, and how long they took.
        searches: Value,
    },
    /// What the oracle of a rehearsal found; the value is a `ledger::Verdict`.
    Oracle {
        /// Every acknowledged write, held against the database.
        verdict: Value,
    },
    /// A verb ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

impl Event {
    /// Whether the journal keeps it. Progress is for the screen only.
    pub fn is_journaled(&self) -> bool {
        !matches!(self, Event::Progress { .. } | Event::Lag { .. })
    }
}

/// An event and when it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// By the clock of the tool's machine; never used to decide anything.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Record {
    /// The event, now.
    pub fn now(event: Event) -> Record {
        Record { at: Timestamp::now(), event }
    }
}

/// Where events are told; the screen listens. Cheap to clone.
#[derive(Clone)]
pub struct Story(Arc<dyn Fn(&Record) + Send + Sync>);

impl Story {
    /// A story with one listener.
    pub fn new(listener: impl Fn(&Record) + Send + Sync + 'static) -> Story {
        Story(Arc::new(listener))
    }

    /// A story that nobody hears.
    pub fn silent() -> Story {
        Story::new(|_| {})
    }

    /// Tells a record.
    pub fn tell(&self, record: &Record) {
        (self.0)(record);
    }

    /// Tells an event, now.
    pub fn event(&self, event: Event) {
        self.tell(&Record::now(event));
    }

    /// Tells a sentence.
    pub fn note(&self, text: impl Into<String>) {
        self.event(Event::Note { text: text.into() });
    }

    /// Tells a sentence that asks for action.
    pub fn warning(&self, text: impl Into<String>) {
        self.event(Event::Warning { text: text.into() });
    }

    /// Tells how far long work has come.
    pub fn progress(&self, what: &str, done: u64, total: u64, unit: &str) {
        self.event(Event::Progress { what: what.into(), done, total, unit: unit.into() });
    }
}
