//! The hands of a run on real servers: sessions, identity, ownership, and what an attempt to
//! switch keeps in memory. What each step does stands in `steps/`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::backup::BackupPolicy;
use crate::cutover::drive::{Hands, Log, Seen};
use crate::cutover::event::{Event, Evidence, Story};
use crate::cutover::fence::{Drained, Fence};
use crate::cutover::guardian::Guardian;
use crate::cutover::header::{Direction, Header};
use crate::cutover::holder::{Holder, OnDdl};
use crate::cutover::plan::Plan;
use crate::cutover::server::Server;
use crate::cutover::step::Step;
use crate::cutover::steps;
use crate::kube::workloads::Workloads;
use crate::migrate::Choice;
use crate::pg::endpoint::Session;
use crate::pg::sequences::SequenceReader;
use crate::pg::state;
use crate::route::Routes;
use crate::servers::programs::Programs;

/// How long one step outside the pause may take to look at a server.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// How long the question may take whether another process owns the run. A server that does not
/// answer in time must not delay the release of clients: what it guards checks for itself.
const OWNERSHIP_LIMIT: Duration = Duration::from_millis(250);
/// The same where a server has ended our sessions: who asked it to?
const REOPENING_LIMIT: Duration = Duration::from_secs(2);
/// How long a server may take to come back, outside the pause.
pub const RESTART_LIMIT: Duration = Duration::from_secs(120);
/// How long the source may take to come back where something is to be undone: its clients wait.
const UNDO_LIMIT: Duration = Duration::from_secs(5);
/// How long a look in the pause may take even where the pause has used up its limit.
const LEAST_LOOK: Duration = Duration::from_millis(500);

/// Asks a run to stop; set by a signal, read between acts and at chunk boundaries.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a person may set for a run.
#[derive(Clone)]
pub struct Options {
    /// Sessions per side that work at once.
    pub jobs: usize,
    /// The longest pause before the decision; past it the attempt unwinds.
    pub pause_limit: Duration,
    /// How long pins may be held for the certificate.
    pub pin_limit: Duration,
    /// How long the copy's snapshot may be held.
    pub snapshot_limit: Duration,
    /// What a statement meets with that waits for the copy.
    pub on_ddl: OnDdl,
    /// How long a barrier outside the pause may take.
    pub catch_up_limit: Duration,
    /// Where clients go, in the order in which they are pointed.
    pub routes: Routes,
    /// What is stopped in a cluster for a switch.
    pub workloads: Option<Workloads>,
    /// Whether slots may keep WAL without limit.
    pub accepts_unlimited_wal: bool,
    /// Whether a new run shall have no way back.
    pub without_way_back: bool,
    /// Whether ParadeDB is to follow and answer searches, and never to serve.
    pub follows: bool,
    /// Whether removing a run leaves the copied tables.
    pub keep_copy: bool,
    /// The folder of journals, dumps and logs.
    pub folder: PathBuf,
    /// What the target shall have of search, where a new run is begun; a run keeps to its plan.
    pub search: Option<Choice>,
    /// The folder of the migrations of search.
    pub migrations: PathBuf,
    /// What is done about a backup, where a new run is begun.
    pub backup: BackupPolicy,
}

/// What an attempt to switch keeps in memory. It dies with the process, and so the proofs do.
#[derive(Default)]
pub struct Attempt {
    /// The dead-man's and the heartbeat's sessions.
    pub guard: Option<steps::gate::Guard>,
    /// The process that lets held clients go, where a pooler holds them.
    pub guardian: Option<Guardian>,
    /// The process that gives stopped workloads back, where a cluster has some.
    pub keeper: Option<Guardian>,
    /// The holder that will take the pins.
    pub holder: Option<Holder>,
    /// Statements prepared to read the sequences of the source and of the target.
    pub sequences: Option<(SequenceReader, SequenceReader)>,
    /// The source's catalog when the schema was last seen to be the planned one.
    pub signature: Option<String>,
    /// The barrier row behind the fence.
    pub barrier: Option<i64>,
    /// Nobody can write on the source.
    pub fence: Option<Fence>,
    /// Everything has arrived.
    pub drained: Option<Drained>,
    /// When the pause began.
    pub pause_began: Option<Instant>,
}

impl Attempt {
    /// Whether somebody is there to let clients go should this process die.
    pub fn guardian_is_alive(&mut self) -> bool {
        self.guardian.as_mut().is_some_and(Guardian::is_alive)
    }
}

/// A run and the servers that it is about.
pub struct Engine {
    /// What the run is about.
    pub header: Header,
    /// What it moves.
    pub plan: Plan,
    /// The epoch under which this process owns it.
    pub epoch: i64,
    /// Who serves at the start.
    pub source: Server,
    /// Who shall serve.
    pub target: Server,
    /// What a person set.
    pub options: Options,
    /// `pg_dump` and `pg_restore`.
    pub programs: Option<Programs>,
    /// Folders in which such programs are looked for first.
    pub bindirs: Vec<PathBuf>,
    /// Where progress is told.
    pub story: Story,
    /// Whether somebody asked to stop.
    pub interrupt: Interrupt,
    /// What the present attempt keeps in memory.
    pub attempt: Attempt,
}

impl Engine {
    /// Both sessions.
    ///
    /// # Errors
    /// As [`Server::session`].
    pub async fn sessions(&mut self) -> Result<(Arc<Session>, Arc<Session>)> {
        Ok((self.source.session().await?, self.target.session().await?))
    }

    /// The name of publication, slot and subscription of a batch of this run's direction.
    pub fn ahead(&self, batch: u32) -> String {
        self.header.object(self.header.direction, batch)
    }

    /// The name of publication, slot and subscription of the way back.
    pub fn back(&self) -> String {
        self.header.object(self.header.direction.opposite(), 1)
    }

    /// The role that subscriptions of a direction log in as.
    pub fn role(&self, direction: Direction) -> String {
        self.header.role(direction)
    }

    /// The batches of this run: number and published tables.
    pub fn batches(&self, log: &dyn Log) -> Vec<(u32, Vec<(String, String)>)> {
        let mut batches: Vec<(u32, Vec<(String, String)>)> = Vec::new();
        for record in log.records() {
            match &record.event {
                Event::Batch { number: 1, tables, .. } => batches = vec![(1, tables.clone())],
                Event::Batch { number, tables, .. } => {
                    for (_, earlier) in &mut batches {
                        earlier.retain(|table| !tables.contains(table));
                    }
                    batches.push((*number, tables.clone()));
                }
                _ => {}
            }
        }
        match batches.is_empty() {
            // A child run follows what its parent armed: one publication of everything.
            true => vec![(1, self.plan.published.clone())],
            false => batches.into_iter().filter(|(_, tables)| !tables.is_empty()).collect(),
        }
    }

    /// The marker tables of this run's direction.
    pub fn markers(&self, log: &dyn Log) -> Vec<String> {
        self.batches(log).iter().map(|(number, _)| format!("marker_{number}")).collect()
    }

    /// Every name that a batch of this run's direction can have, opened or not: for what clears
    /// away. A batch that was opened a moment before a crash stands in no journal.
    pub fn every_ahead(&self) -> Vec<String> {
        (1..=steps::publish::BATCH_LIMIT).map(|number| self.ahead(number)).collect()
    }

    /// The subscriptions of this run's direction.
    pub fn subscriptions(&self, log: &dyn Log) -> Vec<String> {
        self.batches(log).iter().map(|(number, _)| self.ahead(*number)).collect()
    }

    /// Our own backends on the source, which the fence spares.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn spared(&self) -> Result<Vec<i32>> {
        let mut all = self.source.backends().await?;
        if let Some(guard) = &self.attempt.guard {
            all.extend(&guard.backends);
        }
        all.extend(self.attempt.guardian.as_ref().map(|guardian| guardian.backend));
        if let Some(holder) = &self.attempt.holder {
            all.extend(&holder.backends);
        }
        Ok(all)
    }

    /// Our own backends on the target.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn spared_on_target(&self) -> Result<Vec<i32>> {
        self.target.backends().await
    }

    /// What is left of the pause's limit.
    fn pause_left(&self) -> Duration {
        let began = self.attempt.pause_began.unwrap_or_else(Instant::now);
        self.options.pause_limit.saturating_sub(began.elapsed())
    }

    /// Whether somebody has raised the epoch. A session that was lost is opened anew: that may be
    /// how another operator made itself heard.
    async fn find_other_owner(&mut self) -> Result<bool> {
        let source = self.source.session().await?;
        let epoch = state::epoch(&source, &self.header.run).await?;
        Ok(epoch.is_some_and(|epoch| epoch != self.epoch))
    }

    /// Before every act: the run is still ours.
    async fn assert_ownership(&mut self, step: Step) -> Result<()> {
        if step.is_after_decision() {
            return Ok(());
        }
        self.assert_locks(step).await?;
        self.assert_epoch().await
    }

    /// The operator's locks are held. Outside the pause a server may have been restarted since:
    /// then its lock is taken anew, and the epoch tells whether somebody was faster.
    async fn assert_locks(&mut self, step: Step) -> Result<()> {
        for server in [&mut self.source, &mut self.target] {
            if !server.has_lost_its_lock() {
                continue;
            }
            if step.is_in_pause() {
                bail!("the operator's lock was lost: a server ended its session");
            }
            server.session_within(RESTART_LIMIT).await?;
            server.lock().await?;
        }
        Ok(())
    }

    /// An act of the pause: whoever takes the run over ends our sessions after raising the epoch,
    /// so with the sessions bound there is no moment between this look and the act.
    async fn act_in_pause(&mut self, step: Step, log: &mut dyn Log) -> Result<()> {
        self.assert_ownership(step).await?;
        let left = self.pause_left();
        let limit = self.options.pause_limit;
        tokio::time::timeout(left, steps::act(step, self, log))
            .await
            .with_context(|| format!("the pause reached its limit of {limit:?}"))?
    }

    fn bind_sessions(&mut self, is_bound: bool) {
        self.source.bind(is_bound);
        self.target.bind(is_bound);
    }

    async fn assert_epoch(&mut self) -> Result<()> {
        let source = self.source.session().await?;
        state::assert_epoch(&source, &self.header.run, self.epoch).await
    }
}

/// The evidence of the last time that a step was seen done.
pub fn evidence(log: &dyn Log, wanted: Step) -> Option<&Evidence> {
    log.records().iter().rev().find_map(|record| match &record.event {
        Event::StepDone { step, evidence, .. } if *step == wanted => Some(evidence),
        _ => None,
    })
}

impl Hands for Engine {
    async fn look(&mut self, step: Step, log: &dyn Log) -> Seen {
        // Whether the decision stands is worth any wait; the rest of the pause is not.
        let is_bounded = step.is_in_pause() && step != Step::Decide;
        let limit = if is_bounded { self.pause_left().max(LEAST_LOOK) } else { LOOK_LIMIT };
        let looked = tokio::time::timeout(limit, steps::look(step, self, log)).await;
        match looked {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => Seen::Unknown(format!("{error:#}")),
            Err(_) => Seen::Unknown(format!("no answer within {limit:?}")),
        }
    }

    async fn act(&mut self, step: Step, log: &mut dyn Log) -> Result<()> {
        if !step.is_in_pause() {
            self.assert_ownership(step).await?;
            return steps::act(step, self, log).await;
        }
        if step == Step::Hold {
            self.attempt.pause_began = Some(Instant::now());
        }
        // A lock that was lost says so at once, where a server that is gone would not answer.
        self.assert_locks(step).await?;
        let left = self.pause_left();
        tokio::time::timeout(left, self.sessions())
            .await
            .context("reach both servers in time")??;
        self.bind_sessions(true);
        let acted = self.act_in_pause(step, log).await;
        self.bind_sessions(false);
        acted
    }

    async fn undo(&mut self, step: Step, log: &mut dyn Log) -> Result<()> {
        // A process that was frozen must not clear away what its successor has built.
        self.source.session_within(UNDO_LIMIT).await?;
        self.assert_epoch().await?;
        steps::undo(step, self, log).await
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.is_requested()
    }

    async fn is_taken_over(&mut self) -> bool {
        let has_lost_a_lock = self.source.has_lost_its_lock() || self.target.has_lost_its_lock();
        let limit = if has_lost_a_lock { REOPENING_LIMIT } else { OWNERSHIP_LIMIT };
        let asked = tokio::time::timeout(limit, self.find_other_owner()).await;
        matches!(asked, Ok(Ok(true)))
    }
}
