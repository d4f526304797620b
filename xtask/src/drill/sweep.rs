//! The sweep: many turns of the very verbs on real servers under load, each with one thing going
//! wrong that a seed has drawn, each held against the same rules.
//!
//! A turn is one `switch` or `rollback`, run as a child of its own so that it can be killed. When
//! the fault is lifted the verb is run again, as an operator would, until it has come to its end.
//! Then the oracle is asked.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cutover::engine::Interrupt;
use crate::cutover::event::{Story, WayBack};
use crate::cutover::header::Direction;
use crate::cutover::lineage::Lineage;
use crate::drill::RouteKind;
use crate::drill::faults::{self, Fault, Scene, Wound, Written};
use crate::ledger::{self, Verdict};
use crate::pg::replication;
use crate::workload::{History, Workload};
use draw::{Draw, Moment, Verb, draw};
use eye::Eye;
use rules::Seen;
pub use tally::{Cycle, Swept, Tally, Unfinished};
use tool::{Ended, Tool};
use world::{Server, Stage, World};

pub mod draw;
pub mod eye;
pub mod links;
pub mod tool;
pub mod world;

mod rules;
mod tally;

/// How often a verb is run again at most after it was cut short.
const AGAIN: usize = 5;
/// How long an operator waits before that.
const BEFORE_AGAIN: Duration = Duration::from_millis(500);
/// How long clients may take to be served where nothing is in their way.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(30);
/// The promise: with the tool dead or frozen before the decision, the side that served accepts
/// writes again.
const DEAD_TOOL_LIMIT: Duration = Duration::from_secs(5);
/// How many seconds of traffic each side gets before and after a turn.
const TRAFFIC_SECONDS: f64 = 0.5;
/// How many writes that is at least.
const TRAFFIC_LEAST: f64 = 3.0;
/// How long the way back may take to be at work again.
const ARMED_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked at.
const ARMED_EVERY: Duration = Duration::from_millis(250);

/// How to sweep.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// What is drawn depends on it and on nothing else.
    pub seed: u64,
    /// How many cycles.
    pub cycles: u32,
    /// Only this cycle of them.
    pub only: Option<u32>,
    /// Transactions per second of all writers; none for an idle database with one witness.
    pub rate: f64,
    /// Sessions that write.
    pub writers: u16,
    /// How much data: 1 is about 200 MB.
    pub scale: f64,
    /// What may go wrong.
    pub faults: Vec<Fault>,
    /// What may not, because this machine cannot bring it about.
    pub skipped: Vec<Fault>,
    /// Where clients go.
    pub route: RouteKind,
    /// Where the journals of a broken rule are kept.
    pub keep: PathBuf,
    /// Programs of the plain server; those of the environment or the wheel where not named.
    pub source_bindir: Option<PathBuf>,
    /// Programs of the ParadeDB server.
    pub target_bindir: Option<PathBuf>,
}

/// Sweeps; each cycle is told as it ends. What was seen is not lost where a later cycle cannot be
/// made, or somebody asks to stop.
///
/// # Errors
/// The servers do not start. A broken rule is no error here.
pub async fn sweep(
    options: &SweepOptions,
    story: &Story,
    interrupt: &Interrupt,
    tell: impl Fn(&Cycle) -> Result<()>,
) -> Result<Swept> {
    let begun = Instant::now();
    let stage = Stage::set_up(options.clone(), story).await?;
    let mut sweeper = Sweeper { world: None, worlds: 0, stage };
    let mut swept = Swept::new(options);
    let numbers = match options.only {
        Some(only) => only..=only,
        None => 1..=options.cycles,
    };
    for number in numbers {
        if interrupt.is_requested() {
            swept.unfinished = Some(Unfinished::Asked);
            break;
        }
        let drawn = draw(options.seed, number, &options.faults);
        match sweeper.cycle(&drawn).await {
            Ok(cycle) => {
                tell(&cycle)?;
                swept.add(cycle);
            }
            Err(error) => {
                swept.unfinished = Some(Unfinished::Failed(format!("cycle {number}: {error:#}")));
                break;
            }
        }
    }
    swept.worlds = sweeper.worlds;
    if let Err(error) = sweeper.stage.pair.down().await {
        let why = format!("stop the servers: {error:#}");
        swept.unfinished.get_or_insert(Unfinished::Failed(why));
    }
    swept.seconds = begun.elapsed().as_secs_f64();
    Ok(swept)
}

struct Sweeper {
    stage: Stage,
    /// None at first, and where the last one cannot go on.
    world: Option<World>,
    worlds: u32,
}

impl Sweeper {
    /// One cycle, in a world that can go this way.
    async fn cycle(&mut self, drawn: &Draw) -> Result<Cycle> {
        let mut world = match self.world.take() {
            Some(world) => world,
            None => self.new_world().await?,
        };
        let turned = turn(&self.stage, &mut world, drawn).await;
        if !turned.as_ref().is_ok_and(|cycle| cycle.broken.is_empty()) {
            keep(&world.folder, &self.place(drawn.cycle), &self.stage)?;
        }
        let cycle = turned?;
        let can_go_on = cycle.broken.is_empty() && cycle.codes.last() == Some(&Some(0));
        let is_lost = matches!(cycle.way_back, WayBack::Lost(_));
        if can_go_on && !is_lost {
            self.world = Some(world);
        } else {
            world.remove().await?;
        }
        Ok(cycle)
    }

    async fn new_world(&mut self) -> Result<World> {
        self.worlds += 1;
        World::make(&self.stage, self.worlds).await.context("make databases and let one follow")
    }

    fn place(&self, cycle: u32) -> PathBuf {
        let options = &self.stage.options;
        options.keep.join(format!("sweep-{}-{cycle}", options.seed))
    }
}

/// Goes the way that was drawn, under its fault, and holds it against the rules.
async fn turn(stage: &Stage, world: &mut World, drawn: &Draw) -> Result<Cycle> {
    if world.serves != drawn.verb.leaves() {
        // Only where the ones before came elsewhere than drawn.
        let verb = Verb::away_from(world.serves);
        let turned = world.run(stage, verb.arguments()).await?;
        anyhow::ensure!(turned.code == Some(0), "without a fault: {}", turned.told);
        world.serves = verb.reaches();
    }
    let mut turn = Turn::begin(stage, world, drawn).await?;
    match turn.run().await {
        Ok(()) => turn.end().await,
        Err(error) => {
            let first = format!("{error:#}");
            turn.broken.push(first.clone());
            turn.end().await.context(first)
        }
    }
}

/// Copies journals, logs and what the tool told to where they stay; no file with a password.
fn keep(folder: &Path, place: &Path, stage: &Stage) -> Result<()> {
    std::fs::create_dir_all(place).with_context(|| format!("make {}", place.display()))?;
    let copy = |from: &Path, name: &std::ffi::OsStr| {
        std::fs::copy(from, place.join(name)).with_context(|| format!("keep {}", from.display()))
    };
    for entry in std::fs::read_dir(folder).context("list the journals")?.flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("jsonl" | "log" | "told")) {
            copy(&path, &entry.file_name())?;
        }
    }
    for server in [Server::Plain, Server::Paradedb] {
        let name = format!("server-{}.log", server.name());
        copy(&stage.cluster(server).log(), name.as_ref())?;
    }
    Ok(())
}

/// One cycle at work.
struct Turn<'a> {
    stage: &'a Stage,
    world: &'a mut World,
    drawn: &'a Draw,
    load: Workload,
    eye: Eye,
    begun: Instant,
    struck: bool,
    codes: Vec<Option<i32>>,
    written: Written,
    broken: Vec<String>,
}

impl<'a> Turn<'a> {
    async fn begin(stage: &'a Stage, world: &'a mut World, drawn: &'a Draw) -> Result<Turn<'a>> {
        let begun = Instant::now();
        let load = world.load(stage, stage.options.seed ^ u64::from(drawn.cycle))?;
        let eye = Eye::open(&world.source, &world.target);
        let turn = Turn {
            stage,
            world,
            drawn,
            load,
            eye,
            begun,
            struck: false,
            codes: Vec::new(),
            written: Written::default(),
            broken: Vec::new(),
        };
        turn.is_served(drawn.verb.leaves(), turn.traffic(), TRAFFIC_LIMIT).await?;
        Ok(turn)
    }

    /// How many writes prove that a side serves.
    fn traffic(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let writes = (self.stage.options.rate * TRAFFIC_SECONDS).max(TRAFFIC_LEAST) as u64;
        writes
    }

    async fn is_served(&self, server: Server, writes: u64, limit: Duration) -> Result<()> {
        let identity = self.world.identity(server);
        let served = self.load.wait_for(Some(identity), writes, limit).await;
        served.with_context(|| format!("clients are not served by {}", server.name()))
    }

    /// The verb under its fault, and then until it has ended.
    async fn run(&mut self) -> Result<()> {
        let ended = self.strike().await?;
        self.judge(&ended, true).await?;
        for _ in 0..AGAIN {
            if self.codes.last() == Some(&Some(0)) {
                break;
            }
            tokio::time::sleep(BEFORE_AGAIN).await;
            let ended = self.world.run(self.stage, self.drawn.verb.arguments()).await?;
            self.judge(&ended, false).await?;
        }
        Ok(())
    }

    /// Runs the verb, and lets the fault strike at its moment.
    async fn strike(&mut self) -> Result<Ended> {
        let (drawn, stage) = (self.drawn, self.stage);
        let mut wound = Wound::Nothing;
        let stands_before = drawn.moment == Moment::Before;
        if stands_before {
            wound = drawn.fault.inject(&self.scene(None)).await.context("inject")?;
        }
        let mut tool = self.world.spawn(stage, drawn.verb.arguments())?;
        if !stands_before && tool.reaches(drawn.moment).await? {
            wound = drawn.fault.inject(&self.scene(Some(&tool))).await.context("inject")?;
        }
        // What did not happen excuses nothing.
        self.struck = !matches!(wound, Wound::Nothing);
        self.wait_under().await;
        self.written = faults::lift(wound, &self.scene(Some(&tool))).await.context("lift")?;
        tool.ended().await
    }

    fn scene<'b>(&'b self, tool: Option<&'b Tool>) -> Scene<'b> {
        Scene { stage: self.stage, world: self.world, draw: self.drawn, tool }
    }

    /// Lets the fault last. Whoever waits for a dead or frozen tool is let in meanwhile.
    async fn wait_under(&mut self) {
        if !self.struck {
            return;
        }
        let lasts = self.drawn.fault.lasts(self.drawn);
        let begun = Instant::now();
        let is_gone = match self.drawn.fault {
            Fault::Kill => true,
            Fault::Freeze => lasts >= DEAD_TOOL_LIMIT,
            _ => false,
        };
        if is_gone && let Err(error) = self.lets_in().await {
            self.broken.push(format!("{error:#}"));
        }
        tokio::time::sleep(lasts.saturating_sub(begun.elapsed())).await;
    }

    /// Clients are served within the promised time, unless the decision stands: then they wait for
    /// the next command.
    async fn lets_in(&self) -> Result<()> {
        if self.world.status().await?.serves == serves(self.drawn.verb.reaches()) {
            return Ok(());
        }
        let served = self.is_served(self.drawn.verb.leaves(), 1, DEAD_TOOL_LIMIT).await;
        served.context("a dead tool keeps clients waiting")
    }

    /// What was at work in this cycle, if anything.
    fn fault(&self) -> Option<Fault> {
        self.struck.then_some(self.drawn.fault)
    }

    /// Holds an end of the verb against the rules. Who was told no goes on where it was.
    async fn judge(&mut self, ended: &Ended, is_struck: bool) -> Result<()> {
        self.codes.push(ended.code);
        let is_killed = is_struck && self.struck && self.drawn.fault == Fault::Kill;
        let (fault, code, told) = (self.fault(), ended.code, ended.told.as_str());
        let objection = rules::objection(Seen { fault, is_killed, code, told });
        self.broken.extend(objection);
        match ended.code {
            Some(0) => {
                self.world.serves = self.drawn.verb.reaches();
                self.is_served(self.world.serves, self.traffic(), TRAFFIC_LIMIT).await
            }
            Some(1 | 3) => {
                let status = self.world.status().await?;
                // What was decided before goes only forward; this verb changed nothing about it.
                if status.serves == serves(self.drawn.verb.reaches()) {
                    return Ok(());
                }
                self.is_served(self.drawn.verb.leaves(), 1, TRAFFIC_LIMIT).await
            }
            _ => Ok(()),
        }
    }

    /// What the servers and the oracle say at the end.
    async fn end(mut self) -> Result<Cycle> {
        let has_ended = self.codes.last() == Some(&Some(0));
        let (way_back, warnings) = self.way_back(has_ended).await?;
        if !has_ended && let Err(error) = self.is_served(self.world.serves, 1, TRAFFIC_LIMIT).await
        {
            // Whatever the verb could not do, nobody may be left waiting.
            self.broken.push(format!("{error:#}"));
        }
        let fault = self.fault();
        let objection = if has_ended {
            rules::objection_to_way_back(fault, &way_back)
        } else {
            rules::objection_to_giving_up(fault, &way_back, &warnings)
        };
        self.broken.extend(objection);
        let Turn { stage: _, world, drawn, load, eye, begun, struck, codes, written, mut broken } =
            self;
        if eye.close() {
            broken.push("both sides were open at the same time".into());
        }
        let history = load.stop().await?;
        let mut phases = vec![world.identity(drawn.verb.leaves())];
        if world.serves == drawn.verb.reaches() {
            phases.push(world.identity(world.serves));
        }
        let verdict = ledger::check(&history, world.endpoint(world.serves), &phases).await?;
        broken.extend(findings(&verdict, "the serving side"));
        broken.extend(written.broken(world.endpoint(world.serves)).await?);
        if way_back == WayBack::Armed {
            broken.extend(follows(world, &history, &phases).await);
        }
        let detail = detail(drawn);
        Ok(Cycle {
            cycle: drawn.cycle,
            verb: drawn.verb,
            fault: drawn.fault,
            moment: drawn.moment,
            detail,
            struck,
            codes,
            pause_ms: verdict.serving.switches.first().map(|switch| switch.pause_ms),
            acknowledged: verdict.rows.acknowledged,
            lost: verdict.rows.lost.count,
            duplicated: verdict.rows.duplicated.count,
            rivals: verdict.serving.rivals.count,
            way_back,
            broken,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// The way back, once it has settled.
    async fn way_back(&mut self, has_ended: bool) -> Result<(WayBack, Vec<String>)> {
        let begun = Instant::now();
        loop {
            let status = self.world.status().await?;
            if status.serves == serves(self.drawn.verb.reaches()) {
                self.world.serves = self.drawn.verb.reaches();
            }
            let is_settled = matches!(status.way_back, WayBack::Armed | WayBack::Lost(_));
            if is_settled || !has_ended || begun.elapsed() > ARMED_LIMIT {
                return Ok((status.way_back, status.warnings));
            }
            tokio::time::sleep(ARMED_EVERY).await;
        }
    }
}

/// What `status` calls a server.
fn serves(server: Server) -> &'static str {
    match server {
        Server::Plain => "source",
        Server::Paradedb => "target",
    }
}

/// What the oracle found on a side.
fn findings(verdict: &Verdict, side: &str) -> Option<String> {
    (!verdict.is_clean()).then(|| format!("{side}: {}", verdict.lines().join("; ")))
}

/// What is wrong with the side that follows, which shall have the same rows once it has caught up.
async fn follows(world: &World, history: &History, phases: &[i64]) -> Option<String> {
    let checked = async {
        let lineage = Lineage::read(&world.folder, None)?.context("read the journals")?;
        let away = match world.serves {
            Server::Plain => Direction::Forward,
            Server::Paradedb => Direction::Backward,
        };
        let name = lineage.latest().header.object(away, 1);
        let serving = world.endpoint(world.serves).connect("drill").await?;
        let following = world.endpoint(world.serves.other());
        let follower = following.connect("drill").await?;
        let markers = ["marker_1".to_string()];
        let id = replication::mark(&serving, &markers, "oracle").await?;
        replication::await_mark(&follower, &markers, &[name], id, TRAFFIC_LIMIT).await?;
        ledger::check(history, following, phases).await
    };
    match checked.await {
        Ok(verdict) => {
            // Sequences of the side that follows are set at the next turn.
            let rows = Verdict { sequences: Vec::new(), ..verdict };
            findings(&rows, "the side that follows")
        }
        Err(error) => Some(format!("the way back is armed, and does not work: {error:#}")),
    }
}

/// On what a fault strikes, and for how long.
fn detail(drawn: &Draw) -> String {
    let lasts = format!("{} ms", drawn.fault.lasts(drawn).as_millis());
    match drawn.fault {
        Fault::Kill => String::new(),
        Fault::Crash if drawn.strikes_both => format!("both, {lasts}"),
        Fault::Crash => format!("{}, {lasts}", drawn.server.name()),
        Fault::Cut | Fault::Slow | Fault::Silent => format!("{}, {lasts}", drawn.way.name()),
        Fault::Ddl if drawn.strikes_both => format!("a busy table, {lasts}"),
        Fault::Slot => format!("{}, {lasts}", drawn.server.name()),
        Fault::Ddl => format!("a quiet table, {lasts}"),
        Fault::Disk if drawn.server == Server::Paradedb => format!("WAL as well, {lasts}"),
        _ => lasts,
    }
}
