//! The holder: a detached process that keeps snapshots alive after the tool has died.
//!
//! It reads its request, passwords included, from standard input, so that nothing secret stands in
//! its arguments. It ends by itself: at its time limit, when its sessions are ended, or when what
//! it holds for was never asked of it. While it keeps tables from being rewritten it never becomes
//! an outage: a statement that waits for it makes every reader behind it wait, so either that one
//! is cancelled or the holder gives way.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio_postgres::types::Type;

use crate::failure::tolerate;
use crate::pg::endpoint::{APPLICATION_NAME, Endpoint, Session, qualified};
use crate::process::Invocation;

/// How long a statement may wait behind the holder's locks before it is cancelled.
const PATIENCE_WITH_WAITERS: Duration = Duration::from_secs(1);
/// How often the holder looks for such statements.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the holder may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long it waits for a lock on all tables; DDL that runs now comes first.
const LOCK_MILLISECONDS: u32 = 10_000;

/// What happens to a statement that has waited too long behind the holder of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnDdl {
    /// It is cancelled, and whoever sent it gets an error.
    Cancel,
    /// It goes first: the copy lets its snapshot go, and what is unfinished joins a new batch.
    Yield,
}

/// What a holder is asked to hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// A snapshot of the source for the copy, with the tables kept from being rewritten.
    Snapshot {
        /// The run, for the sessions' names.
        run: String,
        /// The source, with its password.
        source: String,
        /// The snapshot that a slot exported.
        snapshot: String,
        /// The tables, as schema and name.
        tables: Vec<(String, String)>,
        /// What a statement that waits meets with.
        on_ddl: OnDdl,
        /// When to give up, in seconds.
        limit_seconds: u64,
    },
    /// A snapshot on each side, taken when a second line says so.
    Pins {
        /// The run, for the sessions' names.
        run: String,
        /// The source, with its password.
        source: String,
        /// The target, with its password.
        target: String,
        /// When to give up, in seconds.
        limit_seconds: u64,
    },
}

/// What a holder answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its backends, so that our own fence spares them.
    #[serde(default)]
    pub backends: Vec<i32>,
    /// The source's snapshot.
    #[serde(default)]
    pub source: Option<String>,
    /// The target's snapshot.
    #[serde(default)]
    pub target: Option<String>,
    /// Why it cannot.
    #[serde(default)]
    pub error: Option<String>,
}

/// The name of a holder's sessions, by which they are found and ended.
pub fn session_name(run: &str) -> String {
    format!("{APPLICATION_NAME} {}", purpose(run))
}

/// What the workers of a copy call their sessions, after the tool's own name.
pub fn worker_purpose(run: &str) -> String {
    format!("copy {run}")
}

fn worker_name(run: &str) -> String {
    format!("{APPLICATION_NAME} {}", worker_purpose(run))
}

fn purpose(run: &str) -> String {
    format!("holder {run}")
}

/// The tool's end of a holder.
pub struct Holder {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Its backends on either side.
    pub backends: Vec<i32>,
}

impl Holder {
    /// Starts a holder and waits for its first answer.
    ///
    /// # Errors
    /// It cannot be started, or it says why it cannot hold.
    pub async fn start(request: &Request, folder: &Path) -> Result<(Holder, Answer)> {
        let tool = std::env::current_exe().context("find this program")?;
        let log = folder.join("holder.log");
        let mut child = Invocation::new(tool).argument("holder").spawn(&log, true)?;
        let input = child.stdin.take().context("open the holder's input")?;
        let output = child.stdout.take().context("open the holder's output")?;
        let output = BufReader::new(output).lines();
        let mut holder = Holder { input, output, backends: Vec::new() };
        let answer = holder.ask(&serde_json::to_string(request)?).await?;
        holder.backends.clone_from(&answer.backends);
        Ok((holder, answer))
    }

    /// Tells a holder of pins to take them now.
    ///
    /// # Errors
    /// It is gone, or says why it cannot.
    pub async fn pin(&mut self) -> Result<Answer> {
        self.ask("pin").await
    }

    async fn ask(&mut self, line: &str) -> Result<Answer> {
        self.input.write_all(format!("{line}\n").as_bytes()).await.context("ask the holder")?;
        self.input.flush().await.context("ask the holder")?;
        let line = tokio::time::timeout(ANSWER_LIMIT, self.output.next_line())
            .await
            .with_context(|| format!("the holder did not answer within {ANSWER_LIMIT:?}"))?
            .context("read from the holder")?
            .context("the holder is gone; see holder.log beside the journal")?;
        let answer: Answer = serde_json::from_str(&line).context("understand the holder")?;
        match answer.error {
            Some(error) => bail!("the holder cannot hold: {error}"),
            None => Ok(answer),
        }
    }
}

/// Ends the holders of a run on one side.
///
/// # Errors
/// The connection is lost.
pub async fn end(session: &Session, run: &str) -> Result<()> {
    end_sessions(session, &session_name(run)).await
}

/// Ends the sessions of this name in the database.
async fn end_sessions(session: &Session, name: &str) -> Result<()> {
    session
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = $1 AND datname = current_database()",
            &[&name],
        )
        .await?;
    Ok(())
}

/// Whether a holder of a run is at work on one side.
///
/// # Errors
/// The connection is lost.
pub async fn is_alive(session: &Session, run: &str) -> Result<bool> {
    let row = session
        .query_typed_one(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1
                            AND datname = current_database() AND state = 'idle in transaction')",
            &[(&session_name(run), Type::TEXT)],
        )
        .await?;
    Ok(row.get(0))
}

/// Whether a snapshot is still held: asked by trying to see what it sees. A holder may be alive and
/// hold another one.
///
/// # Errors
/// The server cannot be reached.
pub async fn is_held(endpoint: &Endpoint, snapshot: &str) -> Result<bool> {
    let session = endpoint.connect("look").await?;
    begin(&session).await?;
    let imported = import(&session, snapshot).await;
    if imported.is_err() && session.is_lost() {
        bail!("the connection was lost while a snapshot was tried");
    }
    Ok(imported.is_ok())
}

/// The holder's own process: answers on `say`, then holds.
///
/// # Errors
/// Its request cannot be read. What it cannot hold it answers.
pub async fn serve(
    mut lines: impl AsyncBufReadExt + Unpin,
    mut say: impl FnMut(&Answer),
) -> Result<()> {
    let mut line = String::new();
    lines.read_line(&mut line).await.context("read the request")?;
    let request: Request = serde_json::from_str(&line).context("understand the request")?;
    let held = match request {
        Request::Snapshot { run, source, snapshot, tables, on_ddl, limit_seconds } => {
            let tables = (tables.as_slice(), on_ddl);
            hold_snapshot(&run, &source, &snapshot, tables, limit_seconds, &mut say).await
        }
        Request::Pins { run, source, target, limit_seconds } => {
            hold_pins(&run, &source, &target, limit_seconds, &mut lines, &mut say).await
        }
    };
    if let Err(error) = held {
        say(&Answer { error: Some(format!("{error:#}")), ..Answer::default() });
    }
    Ok(())
}

async fn hold_snapshot(
    run: &str,
    source: &str,
    snapshot: &str,
    (tables, on_ddl): (&[(String, String)], OnDdl),
    limit_seconds: u64,
    say: &mut impl FnMut(&Answer),
) -> Result<()> {
    let endpoint = Endpoint::parse(source)?;
    let session = endpoint.connect(&purpose(run)).await?;
    let watcher = endpoint.connect(&format!("watcher {run}")).await?;
    begin(&session).await?;
    import(&session, snapshot).await?;
    session.batch_execute(&format!("SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")).await?;
    for (schema, table) in tables {
        let table = qualified(schema, table);
        session
            .batch_execute(&format!("LOCK TABLE {table} IN ACCESS SHARE MODE"))
            .await
            .with_context(|| format!("keep {table} from being rewritten"))?;
    }
    let held = export(&session).await?;
    let backend = session.backend().await?;
    let backends = vec![backend, watcher.backend().await?];
    say(&Answer { backends, source: Some(held), ..Answer::default() });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(limit_seconds) && !session.is_lost() {
        let waiters = waiters(&watcher, backend).await?;
        match on_ddl {
            OnDdl::Cancel => {
                for waiter in waiters {
                    // A superuser's statement is not ours to cancel where we are none. Rather than
                    // keep readers behind it, the error lets the snapshot go.
                    let sql = "SELECT pg_cancel_backend($1)";
                    watcher
                        .query(sql, &[&waiter])
                        .await
                        .context("cancel who waits for the copy")?;
                }
            }
            OnDdl::Yield if waiters.is_empty() => {}
            OnDdl::Yield => {
                // The workers hold locks as well, under the same snapshot.
                end_sessions(&watcher, &worker_name(run)).await?;
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The backends that have waited too long behind the holder: the readers behind them feel it.
async fn waiters(watcher: &Session, holder: i32) -> Result<Vec<i32>> {
    let patience = PATIENCE_WITH_WAITERS.as_secs_f64();
    let rows = watcher
        .query(
            "SELECT activity.pid FROM pg_stat_activity AS activity
             WHERE activity.wait_event_type = 'Lock'
               AND $1::int = ANY (pg_blocking_pids(activity.pid))
               AND clock_timestamp() - activity.query_start > make_interval(secs => $2)",
            &[&holder, &patience],
        )
        .await
        .context("look for statements that wait for the holder")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn hold_pins(
    run: &str,
    source: &str,
    target: &str,
    limit_seconds: u64,
    lines: &mut (impl AsyncBufReadExt + Unpin),
    say: &mut impl FnMut(&Answer),
) -> Result<()> {
    let source = Endpoint::parse(source)?.connect(&purpose(run)).await?;
    let target = Endpoint::parse(target)?.connect(&purpose(run)).await?;
    let backends = vec![source.backend().await?, target.backend().await?];
    say(&Answer { backends, ..Answer::default() });
    let mut line = String::new();
    if lines.read_line(&mut line).await.context("read the second line")? == 0 {
        return Ok(());
    }
    let (ours, theirs) = tokio::try_join!(pin(&source), pin(&target))?;
    say(&Answer { source: Some(ours), target: Some(theirs), ..Answer::default() });
    let begun = Instant::now();
    let limit = Duration::from_secs(limit_seconds);
    while begun.elapsed() < limit && !source.is_lost() && !target.is_lost() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn pin(session: &Session) -> Result<String> {
    begin(session).await?;
    export(session).await
}

async fn begin(session: &Session) -> Result<()> {
    session
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .context("begin to hold")
}

async fn export(session: &Session) -> Result<String> {
    let row = session.query_one("SELECT pg_export_snapshot()", &[]).await;
    Ok(row.context("export a snapshot")?.get(0))
}

/// Makes a transaction that has read nothing yet see what a snapshot sees.
///
/// # Errors
/// The snapshot is not held any more.
pub async fn import(session: &Session, snapshot: &str) -> Result<()> {
    let literal = crate::pg::endpoint::literal(snapshot);
    session
        .batch_execute(&format!("SET TRANSACTION SNAPSHOT {literal}"))
        .await
        .with_context(|| format!("see snapshot {snapshot}"))
}

/// Writes answers to standard output as lines; a reader that has died is no reason to stop.
///
/// # Errors
/// The request cannot be read.
pub async fn serve_on_standard_streams() -> Result<()> {
    let input = BufReader::new(tokio::io::stdin());
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel::<String>();
    let writer = tokio::spawn(async move {
        let mut output = tokio::io::stdout();
        while let Some(line) = answers.recv().await {
            let written = output.write_all(format!("{line}\n").as_bytes()).await;
            tolerate(written, "the tool may have died; holding goes on");
            tolerate(output.flush().await, "the tool may have died; holding goes on");
        }
    });
    let served = serve(input, move |answer| {
        if let Ok(line) = serde_json::to_string(answer) {
            tolerate(sender.send(line), "the writer ends only with this process");
        }
    })
    .await;
    tolerate(writer.await, "the writer ends when the sender is dropped");
    served
}
