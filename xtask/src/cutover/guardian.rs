//! The guardian: a detached process on the tool's machine that lets clients go when the tool dies
//! or is frozen while it holds them back.
//!
//! It is started before anybody is held, and reads its request, passwords included, from standard
//! input. That pipe ends when the tool does, however that happens, or when the tool has no more use
//! for it; then the guardian sees to it that clients are where the decision wants them, and ends.
//! What it does is told by [`rules::judge`].
//!
//! Another one keeps the workloads that are stopped in a cluster, from before the first is touched
//! until the last runs again. It does nothing while the tool is there, and gives them back by the
//! same rules when it has died.

mod request;
pub mod rules;
pub mod workloads;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};

use crate::cutover::decision;
use crate::cutover::event::{Side, Story};
use crate::cutover::fence;
use crate::cutover::guardian::rules::{Deed, Facts, Row, judge};
use crate::cutover::guardian::workloads::{Entry, Stopped};
use crate::failure::tolerate;
use crate::pg::endpoint::{APPLICATION_NAME, Endpoint, Session};
use crate::process::Invocation;
use crate::route::pgbouncer::PgBouncer;
use crate::route::{self, Aimed};

pub use request::{Request, Subject};

/// How long the guardian may take to be at work.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a guardian that is not needed any more may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long it waits after a deed that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How long one look at a server may take.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// How long it tries, once it is alone.
const LIFE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long a guardian of a dead tool stays once all is well: a call to the cluster that the tool
/// had begun may take effect without it.
const STRAGGLER_LIMIT: Duration = Duration::from_secs(20);
/// How often it looks for such a one.
const STRAGGLER_EVERY: Duration = Duration::from_secs(1);
/// What the tool says when it lets a guardian go; one that dies says nothing.
const DISMISSED: &[u8] = b"dismissed\n";
/// Who has decided, where the guardian does so in place of a dead-man that is dead.
const DECIDED_BY: &str = "guardian";

/// What a guardian answers when it is at work.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    backend: Option<i32>,
    error: Option<String>,
}

/// The tool's end of a guardian.
pub struct Guardian {
    child: Child,
    input: ChildStdin,
    /// Its backend on the source, which the fence spares.
    pub backend: i32,
}

impl Guardian {
    /// Starts a guardian and waits until it is at work.
    ///
    /// # Errors
    /// It cannot be started, or does not reach what it should watch.
    pub async fn start(request: &Request, folder: &Path) -> Result<Guardian> {
        let tool = std::env::current_exe().context("find this program")?;
        let log = folder.join("guardian.log");
        let mut child = Invocation::new(tool).argument("guardian").spawn(&log, true)?;
        let mut input = child.stdin.take().context("open the guardian's input")?;
        let output = child.stdout.take().context("open the guardian's output")?;
        let line = format!("{}\n", serde_json::to_string(request)?);
        input.write_all(line.as_bytes()).await.context("ask the guardian")?;
        input.flush().await.context("ask the guardian")?;
        let mut lines = BufReader::new(output).lines();
        let line = tokio::time::timeout(START_LIMIT, lines.next_line())
            .await
            .with_context(|| format!("the guardian did not answer within {START_LIMIT:?}"))?
            .context("read from the guardian")?
            .context("the guardian is gone; see guardian.log beside the journal")?;
        let answer: Answer = serde_json::from_str(&line).context("understand the guardian")?;
        match (answer.backend, answer.error) {
            (Some(backend), None) => Ok(Guardian { child, input, backend }),
            (_, error) => bail!("the guardian cannot watch: {}", error.unwrap_or_default()),
        }
    }

    /// Whether it is there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Lets it go: it looks for itself that nobody is held any more, and ends.
    pub async fn let_go(self) {
        self.without_input().await;
    }

    /// The same, and waits until it has ended.
    pub async fn dismiss(self) {
        let mut child = self.without_input().await;
        let ended = tokio::time::timeout(END_LIMIT, child.wait()).await;
        tolerate(ended, "it goes on by itself where it found something to do");
    }

    async fn without_input(self) -> Child {
        let Guardian { child, mut input, .. } = self;
        let told = input.write_all(DISMISSED).await;
        tolerate(told, "it is gone, or takes this process for dead and looks for itself");
        child
    }
}

/// The guardian's own process.
///
/// # Errors
/// Its request cannot be read, or clients could not be let go within its lifetime.
pub async fn serve_on_standard_streams(story: &Story) -> Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line).await.context("read the request")?;
    let request: Request = serde_json::from_str(&line).context("understand the request")?;
    let (answer, watch) = match Watch::begin(request).await {
        Ok((watch, backend)) => (Answer { backend: Some(backend), error: None }, Some(watch)),
        Err(error) => (Answer { backend: None, error: Some(format!("{error:#}")) }, None),
    };
    let mut output = tokio::io::stdout();
    let said = format!("{}\n", serde_json::to_string(&answer)?);
    tolerate(output.write_all(said.as_bytes()).await, "the tool may have died; then it matters");
    tolerate(output.flush().await, "the tool may have died; then it matters");
    let Some(watch) = watch else { return Ok(()) };
    let dismissed = Arc::new(AtomicBool::new(false));
    let is_dismissed = dismissed.clone();
    let alone = tokio::spawn(async move {
        // Nothing but the word of dismissal is ever written: this ends with the tool.
        let mut rest = Vec::new();
        tolerate(input.read_to_end(&mut rest).await, "an error ends the pipe as well");
        is_dismissed.store(rest == DISMISSED, Ordering::Release);
    });
    let tool = || match (alone.is_finished(), dismissed.load(Ordering::Acquire)) {
        (false, _) => Tool::AtWork,
        (true, true) => Tool::LetGo,
        (true, false) => Tool::Dead,
    };
    watch.run(&tool, story).await
}

/// What has become of the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    /// It is there.
    AtWork,
    /// It has no more use for this guardian.
    LetGo,
    /// It has died.
    Dead,
}

/// What a guardian knows.
struct Watch {
    run: String,
    subject: Subject,
    source: Endpoint,
    target: Endpoint,
    pooler: Option<PgBouncer>,
    aimed: Vec<Aimed>,
    stopped: Option<(Stopped, Entry)>,
    on_source: Option<Session>,
    decided: Option<Row>,
}

impl Watch {
    async fn begin(request: Request) -> Result<(Watch, i32)> {
        let pooler = request.pooler.as_ref().map(request::Pooler::route).transpose()?;
        let mut watch = Watch {
            run: request.run,
            subject: request.subject,
            source: Endpoint::parse(&request.source)?,
            target: Endpoint::parse(&request.target)?,
            pooler,
            aimed: request.aimed,
            stopped: request.stopped,
            on_source: None,
            decided: None,
        };
        if let Some(pooler) = &watch.pooler {
            pooler.points_at(&watch.source).await.context("ask PgBouncer")?;
        }
        for aimed in &watch.aimed {
            aimed.points_at(&watch.source).await.context("ask the cluster")?;
        }
        let row = watch.look_at_row().await.context("ask the source")?.0;
        if row == Row::Superseded {
            bail!("the attempt is over");
        }
        let session = watch.on_source.as_ref().context("reach the source")?;
        let backend = session.backend().await?;
        if watch.stopped.is_some() {
            // It looks again only when the tool is dead; until then the fence need not spare it.
            watch.on_source = None;
        }
        Ok((watch, backend))
    }

    /// Looks and acts until clients are where they belong and nobody else would see to it.
    async fn run(mut self, tool: &(dyn Fn() -> Tool + Sync), story: &Story) -> Result<()> {
        let name = format!("{} {:?}", self.run, self.subject);
        if self.stopped.is_some() && !outlives(tool).await {
            return Ok(());
        }
        let mut before = None;
        let mut since = Instant::now();
        let mut alone_since = None;
        loop {
            let state = tool();
            let facts = self.look(state != Tool::AtWork).await;
            if before != Some(facts) {
                story.note(format!("{name}: {facts:?}"));
                (before, since) = (Some(facts), Instant::now());
            }
            if facts.is_alone {
                let alone = *alone_since.get_or_insert_with(Instant::now);
                if alone.elapsed() > LIFE_LIMIT {
                    bail!("clients could not be let go within {LIFE_LIMIT:?}");
                }
            }
            let deed = judge(&facts, since.elapsed());
            match self.act(deed, &facts, story).await {
                Ok(has_ended) if has_ended && facts.is_alone || deed == Deed::Leave => {
                    story.note(format!("{name}: {deed:?}, done"));
                    return match state {
                        Tool::Dead => self.await_stragglers(deed, story).await,
                        Tool::AtWork | Tool::LetGo => Ok(()),
                    };
                }
                Ok(_) => {}
                Err(error) => {
                    story.warning(format!("{deed:?}: {error:#}"));
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sees to it for a while that what was done in the cluster stays done, for as long as the row
    /// says the same. Nobody is held any more, so poolers are left alone.
    async fn await_stragglers(mut self, deed: Deed, story: &Story) -> Result<()> {
        let Deed::LetIn(side) = deed else { return Ok(()) };
        let wanted = self.decided;
        let begun = Instant::now();
        while (self.stopped.is_some() || !self.aimed.is_empty())
            && begun.elapsed() < STRAGGLER_LIMIT
        {
            tokio::time::sleep(STRAGGLER_EVERY).await;
            let facts = self.look(true).await;
            let is_same = self.decided == wanted && facts.row != Row::Superseded;
            if !is_same || judge(&facts, Duration::ZERO) != deed {
                return Ok(());
            }
            let server = if side == Side::Source { &self.source } else { &self.target };
            let again = async {
                route::aim(&self.aimed, server).await?;
                self.give_back(side, &facts, story).await
            };
            if let Err(error) = again.await {
                story.warning(format!("look for stragglers: {error:#}"));
            }
        }
        Ok(())
    }

    /// Gives back what is stopped, where it may run on that side.
    async fn give_back(&self, side: Side, facts: &Facts, story: &Story) -> Result<()> {
        let Some((stopped, entry)) = &self.stopped else { return Ok(()) };
        match side {
            Side::Source => stopped.give_back(story).await,
            Side::Target if stopped.are_led && facts.target_is_open == Some(true) => {
                stopped.give_back_behind(entry, story).await
            }
            // The next command leads clients there, and starts what waits for them.
            Side::Target => Ok(()),
        }
    }

    /// Does a deed; says whether clients are free now.
    async fn act(&mut self, deed: Deed, facts: &Facts, story: &Story) -> Result<bool> {
        match deed {
            Deed::Wait => Ok(false),
            Deed::Leave => Ok(true),
            Deed::Unwind => {
                let session = self.source.connect("guardian unwinds").await?;
                decision::unwind(&session, &self.run, DECIDED_BY).await?;
                fence::open(&self.source).await?;
                Ok(false)
            }
            Deed::LetIn(Side::Source) => {
                self.let_in(&self.source).await?;
                self.give_back(Side::Source, facts, story).await?;
                Ok(true)
            }
            Deed::LetIn(Side::Target) => {
                self.let_in(&self.target).await?;
                for aimed in &self.aimed {
                    aimed.take_effect(&self.target).await?;
                }
                self.give_back(Side::Target, facts, story).await?;
                Ok(true)
            }
            Deed::LetGo => match &self.pooler {
                Some(pooler) => pooler.release().await.map(|()| true),
                // Nobody waits at a pooler; workloads wait for the row to be known.
                None => Ok(self.stopped.is_none()),
            },
        }
    }

    async fn let_in(&self, server: &Endpoint) -> Result<()> {
        // Held clients come out where the Service leads, so it goes first.
        let aimed = route::aim(&self.aimed, server).await;
        let let_in = match &self.pooler {
            Some(pooler) => pooler.let_in(server).await,
            None => Ok(()),
        };
        aimed.and(let_in)
    }

    async fn look(&mut self, is_alone: bool) -> Facts {
        let looked = tokio::time::timeout(LOOK_LIMIT, self.look_at_row()).await;
        let (row, source_is_open) = match looked {
            Ok(Ok((row, is_open))) => (row, Some(is_open)),
            Ok(Err(_)) | Err(_) => {
                self.on_source = None;
                // What was decided once stays decided, for as long as this attempt is the last.
                (self.decided.unwrap_or(Row::Unknown), None)
            }
        };
        if [Row::Switch, Row::Unwind].contains(&row) {
            self.decided = Some(row);
        }
        let target_is_open = match row {
            Row::Switch => {
                let looked = tokio::time::timeout(LOOK_LIMIT, is_open(&self.target)).await;
                looked.ok().and_then(Result::ok)
            }
            _ => None,
        };
        Facts { is_alone, row, source_is_open, target_is_open }
    }

    /// The run's row, and whether the source is open.
    async fn look_at_row(&mut self) -> Result<(Row, bool)> {
        let session = match self.on_source.take().filter(|session| !session.is_lost()) {
            Some(session) => session,
            None => self.source.connect(&purpose(&self.run)).await?,
        };
        let seen = read_row(&session, &self.run, self.subject).await?;
        self.on_source = Some(session);
        Ok(seen)
    }
}

async fn read_row(session: &Session, run: &str, subject: Subject) -> Result<(Row, bool)> {
    let is_there: bool =
        session.query_one("SELECT to_regclass('xtask_cutover.run') IS NOT NULL", &[]).await?.get(0);
    if !is_there {
        return Ok((Row::Superseded, true));
    }
    let (attempt, epoch) = match subject {
        Subject::Attempt(attempt) => (Some(attempt), None),
        Subject::Epoch(epoch) => (None, Some(epoch)),
    };
    let row = session
        .query_opt(
            "SELECT decision, guarded, NOT (SELECT closed FROM xtask_cutover.fence)
             FROM xtask_cutover.run
             WHERE id = $1 AND attempt = coalesce($2, attempt) AND epoch = coalesce($3, epoch)",
            &[&run, &attempt, &epoch],
        )
        .await?;
    let Some(row) = row else { return Ok((Row::Superseded, true)) };
    let decision = match row.get::<_, Option<&str>>(0) {
        Some("switch") => Row::Switch,
        Some(_) => Row::Unwind,
        None => Row::Open { guarded: row.get(1) },
    };
    Ok((decision, row.get(2)))
}

/// Waits until the tool is gone; whether it has died.
async fn outlives(tool: &(dyn Fn() -> Tool + Sync)) -> bool {
    loop {
        match tool() {
            Tool::AtWork => tokio::time::sleep(LOOK_EVERY).await,
            Tool::LetGo => return false,
            Tool::Dead => return true,
        }
    }
}

async fn is_open(endpoint: &Endpoint) -> Result<bool> {
    let session = endpoint.connect("guardian looks").await?;
    Ok(!fence::is_closed(&session).await?)
}

/// The name of a guardian's session on the source, by which it is found.
pub fn session_name(run: &str) -> String {
    format!("{APPLICATION_NAME} {}", purpose(run))
}

fn purpose(run: &str) -> String {
    format!("guardian {run}")
}
