//! How a command takes a run over: both servers as the run knows them, their locks, a higher epoch,
//! and the journal with its mirrors.

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::config;
use crate::cutover::beginning::reach;
use crate::cutover::drive::Log;
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Side};
use crate::cutover::journal::Journal;
use crate::cutover::lag;
use crate::cutover::lineage::Run;
use crate::cutover::next::State;
use crate::cutover::server::Server;
use crate::cutover::step::Step;
use crate::cutover::verbs::Operation;
use crate::pg::state;
use crate::servers::programs::find_programs;

/// A run in this process's hands.
pub struct Opened {
    /// The hands.
    pub engine: Engine,
    /// What is written down.
    pub journal: Journal,
    mirrors: Vec<JoinHandle<()>>,
    telling: JoinHandle<()>,
}

impl Opened {
    /// Takes the run over for a verb.
    ///
    /// # Errors
    /// A server cannot be reached or is another one, another operator is at work, or the journal
    /// cannot be written.
    pub async fn begin(operation: &Operation, mut journal: Journal, verb: &str) -> Result<Opened> {
        let mut engine = open(operation, &journal).await?;
        let mut mirrors = Vec::new();
        for server in [&engine.source, &engine.target] {
            let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
            let mirror = state::mirror(server.endpoint.clone(), lines, server.mirror.clone());
            mirrors.push(tokio::spawn(mirror));
            journal.mirror_to(sender);
        }
        journal.append(Event::Verb {
            verb: verb.into(),
            epoch: engine.epoch,
            argv: operation.argv.clone(),
            operator: format!("{}@{}:{}", config::operator(), config::host(), std::process::id()),
        })?;
        let story = journal.story();
        let endpoints = [engine.source.endpoint.clone(), engine.target.endpoint.clone()];
        let telling = tokio::spawn(lag::tell(endpoints, engine.header.prefix(), story.clone()));
        engine.story = story;
        Ok(Opened { engine, journal, mirrors, telling })
    }

    /// Lets the run go, once the mirrors have what was written.
    pub async fn end(mut self) -> Journal {
        self.telling.abort();
        self.journal.end_mirrors();
        for mirror in self.mirrors {
            state::finish_mirror(mirror).await;
        }
        self.journal
    }
}

async fn open(operation: &Operation, journal: &Journal) -> Result<Engine> {
    let header = journal.header().clone();
    let plan = Run { header: header.clone(), records: journal.records().to_vec() }.plan()?;
    for (side, endpoint) in operation.named_endpoints() {
        reach(endpoint, side).await?;
    }
    let [(source, source_peer), (target, target_peer)] = operation.sides(header.direction);
    let mut source = Server::new(Side::Source, source, source_peer, header.source.clone());
    let mut target = Server::new(Side::Target, target, target_peer, header.target.clone());
    // Both are the servers that the run knows, before anything is touched on either.
    for server in [&mut source, &mut target] {
        server.session().await?;
    }
    for server in [&mut source, &mut target] {
        server.lock().await?;
    }
    let session = source.session().await?;
    let major = plan.source_version.max(plan.target_version) / 10_000;
    let needs_programs =
        !State::of(journal.records()).is_done(Step::Follow) && header.parent.is_none();
    let wants_tls = source.endpoint.wants_tls() || target.endpoint.wants_tls();
    let programs = match needs_programs {
        true => Some(find_programs(major, wants_tls, &operation.bindirs, &operation.story).await?),
        false => None,
    };
    state::install(&session).await?;
    let operator = format!("{}@{}", config::operator(), config::host());
    let epoch = state::own_run(&session, &header, &operator).await?;
    Ok(Engine {
        header,
        plan,
        epoch,
        source,
        target,
        options: operation.options.clone(),
        programs,
        bindirs: operation.bindirs.clone(),
        story: operation.story.clone(),
        interrupt: operation.interrupt.clone(),
        attempt: Default::default(),
    })
}
