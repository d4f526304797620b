//! What can go wrong in a sweep: each fault can be brought about on real servers, and taken away
//! again.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::drill::sweep::draw::Draw;
use crate::drill::sweep::tool::Tool;
use crate::drill::sweep::world::{Server, Stage, World};
use crate::failure::tolerate;
use crate::ledger;
use crate::pg::endpoint::{Endpoint, Session};
use crate::servers::disk::Disk;
use crate::workload::{History, Workload};

mod clients;
mod disk;
mod network;
mod prepared;
mod process;
mod schema;
mod server;
mod slot;
mod subscriber;

/// The faults, by the name that the command line knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The tool is killed with SIGKILL
    Kill,
    /// The tool is frozen with SIGSTOP, and goes on later
    Freeze,
    /// A server, or both, is stopped as by a crash, and starts again
    Crash,
    /// A way through the network is cut: for tool and clients, or for a subscription
    Cut,
    /// Everything on a way arrives late
    Slow,
    /// Nothing on a way arrives, and nobody is told
    Silent,
    /// A server gives up the slots that the other side follows by
    Slot,
    /// Somebody leaves a prepared transaction on the serving side
    Prepared,
    /// A superuser writes to the serving server, past the route
    Superuser,
    /// A client keeps its server connection, with a transaction open
    Session,
    /// Somebody changes the schema of the serving side
    Ddl,
    /// Somebody else's database follows the serving side
    Subscriber,
    /// The disk of the ParadeDB server is full; only root can have one that is
    Disk,
}

/// Where a fault strikes.
pub struct Scene<'a> {
    /// Servers and network.
    pub stage: &'a Stage,
    /// The databases.
    pub world: &'a World,
    /// What was drawn.
    pub draw: &'a Draw,
    /// The tool, where it is at work.
    pub tool: Option<&'a Tool>,
}

impl Scene<'_> {
    /// The side that serves when the verb begins, not through the network.
    fn serving(&self) -> &Endpoint {
        self.world.endpoint(self.draw.verb.leaves())
    }
}

/// What must be taken away again.
pub enum Wound {
    /// Nothing: the fault found nobody to strike.
    Nothing,
    /// A tool that is dead.
    Killed,
    /// A tool that stands still.
    Frozen,
    /// Servers that are down.
    Down(Vec<Server>),
    /// A way that is not as it should be.
    Network,
    /// Slots that are lost, and a setting that lost them.
    Slot,
    /// A transaction that is prepared, by its name, and the row that it writes.
    Prepared(String, Expected),
    /// A writer past the route.
    Writer(Workload),
    /// A client that does nothing.
    Session(Session),
    /// A column too many, by its table.
    Column(&'static str),
    /// A database that follows.
    Subscriber,
    /// A disk without room.
    Full(Disk),
}

/// A row that somebody else than the load writes into the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    cycle: u32,
    server: i64,
    is_acknowledged: bool,
}

impl Expected {
    /// One row a cycle, which nobody has acknowledged yet.
    fn of(cycle: u32, server: i64) -> Expected {
        Expected { cycle, server, is_acknowledged: false }
    }

    /// The statement. Loads have positive numbers.
    fn insert(&self) -> String {
        let Expected { cycle, server, .. } = self;
        format!(
            "INSERT INTO public.workload_ledger (run, writer, number, server)
             VALUES (-{cycle}, 0, 0, {server})"
        )
    }

    /// What is wrong with it on the side that serves now.
    async fn broken(&self, session: &Session) -> Result<Option<String>> {
        let sql = "SELECT count(*) FROM public.workload_ledger WHERE run = $1";
        let count: i64 = session.query_one(sql, &[&-i64::from(self.cycle)]).await?.get(0);
        Ok(match (count, self.is_acknowledged) {
            (1, _) | (0, false) => None,
            (0, true) => Some("what was prepared and committed is LOST".into()),
            (count, _) => Some(format!("what was prepared is there {count} times")),
        })
    }
}

/// What others than the load wrote meanwhile: the oracle must know it.
#[derive(Default)]
pub struct Written {
    rows: Vec<Expected>,
    histories: Vec<History>,
}

impl Written {
    /// What is wrong with it on the side that serves in the end. Writers past the route were on
    /// one server only.
    ///
    /// # Errors
    /// The side cannot be read.
    pub async fn broken(&self, serving: &Endpoint) -> Result<Vec<String>> {
        let session = serving.connect("oracle").await?;
        let mut all = Vec::new();
        for row in &self.rows {
            all.extend(row.broken(&session).await?);
        }
        for history in &self.histories {
            let verdict = ledger::check(history, serving, &[]).await?;
            if !verdict.rows.is_clean() {
                all.push(format!("a superuser's: {}", verdict.lines().join("; ")));
            }
        }
        Ok(all)
    }
}

impl Fault {
    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Freeze => "freeze",
            Fault::Crash => "crash",
            Fault::Cut => "cut",
            Fault::Slow => "slow",
            Fault::Silent => "silent",
            Fault::Slot => "slot",
            Fault::Prepared => "prepared",
            Fault::Superuser => "superuser",
            Fault::Session => "session",
            Fault::Ddl => "ddl",
            Fault::Subscriber => "subscriber",
            Fault::Disk => "disk",
        }
    }

    /// Whether it is something that stands there before a verb begins.
    pub fn may_stand_before(self) -> bool {
        self >= Fault::Slot
    }

    /// Whether it may cost the way back, honestly told.
    pub fn may_cost_the_way_back(self) -> bool {
        matches!(self, Fault::Slot | Fault::Ddl)
    }

    /// Whether it may leave the way back at risk until the next turn mends it: a subscription stops
    /// at a lost server as it does at a bad row.
    pub fn may_put_at_risk(self) -> bool {
        !matches!(self, Fault::Kill | Fault::Freeze)
    }

    /// Brings it about.
    ///
    /// # Errors
    /// It cannot be: this is no finding, the sweep itself does not work.
    pub async fn inject(self, scene: &Scene<'_>) -> Result<Wound> {
        match self {
            Fault::Kill => process::kill(scene),
            Fault::Freeze => process::freeze(scene),
            Fault::Crash => server::crash(scene).await,
            Fault::Cut | Fault::Slow | Fault::Silent => Ok(network::disturb(self, scene)),
            Fault::Slot => slot::give_up(scene).await,
            Fault::Prepared => prepared::leave(scene).await,
            Fault::Superuser => clients::write_directly(scene),
            Fault::Session => clients::keep_a_session(scene).await,
            Fault::Ddl => schema::change(scene).await,
            Fault::Subscriber => subscriber::follow(scene).await,
            Fault::Disk => disk::fill(scene).await,
        }
    }

    /// For how long it lasts; a part of what was drawn.
    pub fn lasts(self, draw: &Draw) -> Duration {
        match self {
            Fault::Kill => Duration::ZERO,
            _ => draw.lasts,
        }
    }
}

/// Takes a fault away. Returns what others have written meanwhile.
///
/// # Errors
/// It stays: the sweep itself does not work.
pub async fn lift(wound: Wound, scene: &Scene<'_>) -> Result<Written> {
    let mut written = Written::default();
    match wound {
        Wound::Nothing | Wound::Killed => {}
        Wound::Frozen => process::thaw(scene)?,
        Wound::Down(servers) => server::start(&servers, scene).await?,
        Wound::Network => network::clear(scene),
        Wound::Slot => slot::reset(scene).await?,
        Wound::Prepared(name, row) => {
            written.rows.push(prepared::commit(&name, row, scene).await?);
        }
        Wound::Writer(writer) => written.histories.push(writer.stop().await?),
        Wound::Session(session) => {
            tolerate(session.batch_execute("COMMIT").await, "a fence may have ended it");
        }
        Wound::Column(table) => schema::undo(table, scene).await?,
        Wound::Subscriber => subscriber::leave(scene).await?,
        Wound::Full(full) => disk::clear(&full, scene).await?,
    }
    Ok(written)
}
