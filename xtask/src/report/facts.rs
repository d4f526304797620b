//! The report as data: what its JSON form holds, and what the other two forms are made of.

use jiff::Timestamp;
use serde::Serialize;

use crate::cutover::event::{Evidence, Outcome, WayBack};
use crate::cutover::header::{Direction, Identity};
use crate::cutover::lineage::Phase;
use crate::cutover::verify::Certificate;
use crate::ledger;
use crate::rag::asked::Searches;

/// The format of the JSON form; it grows when a field changes its meaning or goes away.
pub const FORMAT: u32 = 1;

/// How good or bad something is. It decides a color, and a word always stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not over, or to be looked at.
    Careful,
    /// Somebody must act.
    Bad,
}

/// What a reader must know if they read nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// One or two words.
    pub word: String,
    /// How good that is.
    pub tone: Tone,
    /// One sentence.
    pub sentence: String,
    /// What else matters, a sentence each.
    pub details: Vec<String>,
}

/// A root run with its turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// See [`FORMAT`].
    pub format: u32,
    /// The newest run.
    pub run: String,
    /// The run that copied the rows.
    pub root: String,
    /// When the first record was written.
    pub began: Timestamp,
    /// When the last record was written: nothing later is known here.
    pub as_of: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// Where the newest run stands.
    pub phase: Phase,
    /// Who serves by the journals.
    pub serves: String,
    /// The way back as the journals saw it last; `cutover status` looks at the servers.
    pub way_back: Option<WayBack>,
    /// The plain server, then the ParadeDB server.
    pub servers: Vec<Server>,
    /// What was copied, once it was.
    pub moved: Option<Moved>,
    /// Every command of the run, in order.
    pub acts: Vec<Act>,
    /// How far the follower was behind: moments, bytes of WAL.
    pub lag: Vec<Point>,
    /// How far the copy had come: moments, bytes.
    pub copied: Vec<Point>,
    /// The last certificate.
    pub certificate: Option<Certificate>,
    /// Whether it passes.
    pub certificate_passes: Option<bool>,
    /// What was changed on a server.
    pub changes: Vec<Change>,
    /// What the clients of a rehearsal saw over its whole length.
    pub clients: Option<ledger::Window>,
    /// Searches beside the writers of a rehearsal.
    pub searches: Option<Searches>,
    /// What the oracle of a rehearsal found.
    pub oracle: Option<ledger::Verdict>,
    /// Warnings, errors and differences.
    pub remarks: Vec<Remark>,
    /// How many records the journals hold.
    pub records: usize,
}

/// A moment and an amount.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// How much.
    pub value: f64,
}

/// One of the two servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    /// `plain PostgreSQL` or `ParadeDB`.
    pub name: String,
    /// Where it was, without password.
    pub endpoint: String,
    /// What makes it this database and no other.
    pub identity: Identity,
    /// Such as `16.9`.
    pub version: String,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// Tables with rows.
    pub tables: usize,
    /// Rows.
    pub rows: u64,
    /// Bytes of the COPY streams.
    pub bytes: u64,
    /// How long the copy took, in milliseconds.
    pub copy_ms: f64,
    /// How long keys and indexes took, in milliseconds.
    pub index_ms: f64,
    /// From how many snapshots it was read; more than one means that one was lost.
    pub batches: u64,
}

/// One command of the run, from its begin to its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Act {
    /// The run whose journal holds it.
    pub run: String,
    /// `start`, `switch`, `rollback`, `finish`.
    pub verb: String,
    /// What it was about, in a few words.
    pub title: String,
    /// Which way its run goes.
    pub direction: Direction,
    /// Who ran it, where.
    pub operator: String,
    /// The command line.
    pub argv: Vec<String>,
    /// When it began.
    pub began: Timestamp,
    /// Its last record.
    pub ended: Timestamp,
    /// How it ended; none where it was cut off or is still at work.
    pub outcome: Option<Outcome>,
    /// Its steps, in the order in which they began.
    pub steps: Vec<StepSeen>,
    /// When clients were held back, where they were.
    pub pause: Option<Pause>,
    /// When the first client came through a cluster, where one was seen.
    pub arrival: Option<Arrival>,
}

/// How long a change in a cluster took to bring the first client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arrival {
    /// The Services and Secrets that lead clients.
    pub route: String,
    /// From leading them there to the first session of a client, in milliseconds.
    pub milliseconds: f64,
    /// How many sessions there were when somebody looked.
    pub sessions: i64,
}

/// One step of a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSeen {
    /// Its name.
    pub name: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; none where it never did.
    pub ended: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub milliseconds: f64,
    /// What became of it.
    pub state: StepState,
    /// What was seen.
    pub evidence: Evidence,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether clients could not write while it worked.
    pub in_pause: bool,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It was seen to be done.
    Done,
    /// It failed.
    Failed,
    /// Nobody could tell.
    Unknown,
    /// It was undone.
    Undone,
    /// It could not be undone.
    StillThere,
    /// It began, and the journal says no more.
    Begun,
}

/// A time in which clients could not write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pause {
    /// When `fence` began.
    pub began: Timestamp,
    /// From `fence` to the first client let in, as the tool saw it, in milliseconds.
    pub database_ms: f64,
    /// What clients saw, in a rehearsal.
    pub clients: Option<ledger::Window>,
}

/// A setting that was changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// On which server.
    pub server: String,
    /// Which setting or object.
    pub what: String,
    /// Its value before.
    pub former: Option<String>,
    /// Its value then.
    pub now: Option<String>,
    /// When it got its former value back; none where it has not.
    pub restored: Option<Timestamp>,
    /// Whether it was brought to stay, as the extensions of search are.
    pub stays: bool,
}

/// Something to read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remark {
    /// When.
    pub at: Timestamp,
    /// `warning`, `error` or `difference`.
    pub kind: String,
    /// What.
    pub text: String,
}
