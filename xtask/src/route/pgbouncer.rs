//! The route `pgbouncer`: clients stay connected to PgBouncer, which holds them back between two
//! transactions, is pointed at the other server, and lets them go on.
//!
//! Every process has a console of its own, and each is asked on its own: PAUSE and RELOAD reach one
//! process only. What a console answers is never believed: version 1.18 says RELOAD also where it
//! could not read its file. Only what `SHOW DATABASES` tells afterwards counts.

pub mod ini;
mod probe;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio_postgres::SimpleQueryMessage;

use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session, identifier};
use crate::route::{Objection, file, objection};

/// What the tool's console sessions are called.
const SESSION_NAME: &str = "xtask console";
/// How long a console may take to answer anything but PAUSE.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a process that does not answer is asked to let its clients go.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);
/// How long to wait between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
/// The mode in which a server connection is free as soon as a transaction has ended.
const TRANSACTION_POOLING: &str = "transaction";

/// The processes that clients are connected to, and the files that they are configured by.
#[derive(Clone)]
pub struct PgBouncer {
    processes: Vec<Process>,
    inis: Vec<PathBuf>,
    clients: PathBuf,
    limit: Duration,
    probe: Option<String>,
}

/// One process, by its console.
#[derive(Clone)]
struct Process {
    console: Endpoint,
    session: Arc<Mutex<Option<Session>>>,
}

/// What a process says about the clients' database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    host: String,
    port: String,
    database: String,
    pool_mode: String,
    is_paused: bool,
    connections: u32,
}

impl State {
    fn leads_to(&self, server: &Endpoint) -> bool {
        self.host == server.host
            && self.port == server.port.to_string()
            && self.database == server.database
    }

    fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

impl PgBouncer {
    /// Where the processes are, by host name or address.
    pub fn hosts(&self) -> Vec<String> {
        self.processes.iter().map(|process| process.console.host.clone()).collect()
    }

    /// A route of these consoles and files. `clients` is the file that holds a client's connection
    /// string, whose database is the one that PgBouncer knows; it is read and never written.
    /// `limit` is how long transactions may take to end.
    pub fn new(
        consoles: Vec<Endpoint>,
        inis: Vec<PathBuf>,
        clients: PathBuf,
        limit: Duration,
    ) -> PgBouncer {
        let processes = consoles
            .into_iter()
            .map(|console| Process { console, session: Arc::default() })
            .collect();
        PgBouncer { processes, inis, clients, limit, probe: None }
    }

    /// The same where every process dials a Service, which another route leads: nothing is written.
    /// `probe` is a second database of PgBouncer's that dials the same Service and is never held:
    /// by it the tool sees where the held clients will come out.
    #[must_use]
    pub fn dialling_a_service(self, probe: &str) -> PgBouncer {
        PgBouncer { probe: Some(probe.into()), inis: Vec::new(), ..self }
    }

    /// The database that is never held, where processes dial a Service.
    pub fn probe(&self) -> Option<&str> {
        self.probe.as_deref()
    }

    /// The consoles **with their passwords**, for the guardian.
    pub fn secret_consoles(&self) -> Vec<String> {
        self.processes.iter().map(|process| process.console.secret_conninfo()).collect()
    }

    /// The files that are rewritten.
    pub fn inis(&self) -> &[PathBuf] {
        &self.inis
    }

    /// The file with a client's connection string.
    pub fn clients(&self) -> &PathBuf {
        &self.clients
    }

    /// How a client connects, with its role and password.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn client(&self) -> Result<Endpoint> {
        file::read(&self.clients)
    }

    /// The clients' database, as PgBouncer calls it.
    fn alias(&self) -> Result<String> {
        Ok(self.client()?.database)
    }

    /// Everything that would stop a switch away from the server of `serving`; changes nothing.
    pub async fn objections(&self, serving: &Endpoint) -> Vec<Objection> {
        let alias = match self.alias() {
            Ok(alias) => alias,
            Err(error) => {
                let fix = "write the connection string into it that clients use";
                return vec![objection("pgbouncer-clients", format!("{error:#}"), fix)];
            }
        };
        let mut all = Vec::new();
        for path in &self.inis {
            let read = std::fs::read_to_string(path).map_err(anyhow::Error::from);
            if let Err(error) = read.and_then(|text| ini::rewrite(&text, &alias, serving)) {
                let problem = format!("{}: {error:#}", path.display());
                let fix = "name the file with the line of the clients' database: --pgbouncer-ini";
                all.push(objection("pgbouncer-ini", problem, fix));
            }
        }
        for process in &self.processes {
            all.extend(process.objections(&alias, serving, self.probe.is_some()).await);
        }
        // Where a console is not as it should be, a probe says nothing more.
        if all.is_empty() && self.probe.is_some() {
            all.extend(self.probe_objections(serving).await);
        }
        all
    }

    /// Holds every client back, on all processes at once. A client is held as soon as its
    /// transaction has ended; nobody is held where that takes too long.
    ///
    /// # Errors
    /// A transaction does not end within the limit, or a process does not answer.
    pub async fn hold(&self) -> Result<()> {
        let alias = self.alias()?;
        let pauses = self.processes.iter().map(|process| process.pause(&alias, self.limit));
        let Some(error) = join_all(pauses).await.into_iter().find_map(Result::err) else {
            return Ok(());
        };
        // Before anything else: they wait for nothing.
        let reason = "what stopped the pause is the error to tell; the undo lets go as well";
        crate::failure::tolerate(self.release().await, reason);
        Err(error)
    }

    /// Whether every process holds its clients back and has left the server.
    ///
    /// # Errors
    /// A process does not answer.
    pub async fn is_held(&self) -> Result<bool> {
        let states = self.states().await?;
        let is_held = |state: &Option<State>| {
            state.as_ref().is_some_and(|state| state.is_paused && state.connections == 0)
        };
        Ok(states.iter().all(is_held))
    }

    /// Writes the server of `server` into every file and has every process read it. A process that
    /// is gone will read it when it starts.
    ///
    /// # Errors
    /// A file cannot be written, or a process still leads to another server.
    pub async fn point(&self, server: &Endpoint) -> Result<()> {
        if self.probe.is_some() {
            return self.await_probes(server).await;
        }
        let alias = self.alias()?;
        let written = self.write(&alias, server);
        let points = self.processes.iter().map(|process| process.point(&alias, server));
        let pointed = join_all(points).await.into_iter().collect();
        written.and(pointed)
    }

    /// Rewrites every file that can be: one that cannot must not hold up the clients of the others.
    fn write(&self, alias: &str, server: &Endpoint) -> Result<()> {
        let rewrite = |path: &PathBuf| {
            let former = std::fs::read_to_string(path)?;
            let text = ini::rewrite(&former, alias, server)?;
            if text != former {
                file::replace(path, &text)?;
            }
            anyhow::Ok(())
        };
        let describe = |path: &PathBuf| format!("rewrite {}", path.display());
        let written: Vec<Result<()>> =
            self.inis.iter().map(|path| rewrite(path).with_context(|| describe(path))).collect();
        written.into_iter().collect()
    }

    /// Whether every process leads to the server of `server`.
    ///
    /// # Errors
    /// A process does not answer.
    pub async fn points_at(&self, server: &Endpoint) -> Result<bool> {
        if self.probe.is_some() {
            return self.probes_reach(server).await;
        }
        let states = self.states().await?;
        Ok(states.iter().flatten().all(|state| state.leads_to(server)))
    }

    /// Lets every client go on, whatever the others do. Safe where nobody is held. A process that
    /// is gone holds nobody.
    ///
    /// # Errors
    /// A process still holds its clients, or does not answer for [`RELEASE_LIMIT`].
    pub async fn release(&self) -> Result<()> {
        let alias = self.alias()?;
        let releases = self.processes.iter().map(|process| process.release(&alias));
        join_all(releases).await.into_iter().collect()
    }

    /// Points every process at the server of `server`, and lets the clients of those go on that
    /// lead there.
    ///
    /// # Errors
    /// A process leads elsewhere, and its clients go on waiting; or it does not answer.
    pub async fn let_in(&self, server: &Endpoint) -> Result<()> {
        let alias = self.alias()?;
        if self.probe.is_some() {
            // Who waits any longer is better told by an error.
            let seen = self.await_probes(server).await;
            return self.release().await.and(seen);
        }
        let written = self.write(&alias, server);
        let all = self.processes.iter().map(|process| async {
            process.point(&alias, server).await?;
            process.release(&alias).await
        });
        let let_in = join_all(all).await.into_iter().collect();
        written.and(let_in)
    }

    async fn states(&self) -> Result<Vec<Option<State>>> {
        let alias = self.alias()?;
        let states = self.processes.iter().map(|process| process.state(&alias));
        join_all(states).await.into_iter().collect()
    }
}

impl Process {
    async fn objections(
        &self,
        alias: &str,
        serving: &Endpoint,
        dials_a_service: bool,
    ) -> Vec<Objection> {
        let console = &self.console;
        let mut state = match self.state(alias).await {
            Ok(Some(state)) => state,
            Ok(None) => {
                let problem = format!("nobody listens at PgBouncer's console {console}");
                let fix = "start it, or leave it out: --pgbouncer";
                return vec![objection("pgbouncer-console", problem, fix)];
            }
            Err(error) => {
                let fix = "name a role of admin_users, and the database pgbouncer: --pgbouncer";
                return vec![objection("pgbouncer-console", format!("{error:#}"), fix)];
            }
        };
        let mut all = Vec::new();
        if !dials_a_service && !state.leads_to(serving) {
            let problem = format!(
                "PgBouncer at {console} leads database {alias} to {}, and the server that serves \
                 is {}:{}/{}",
                state.place(),
                serving.host,
                serving.port,
                serving.database
            );
            let fix = "write the same address into its file as into --source and --target, RELOAD";
            all.push(objection("pgbouncer-elsewhere", problem, fix));
        }
        if state.pool_mode.is_empty() {
            state.pool_mode = self.usual_pool_mode().await.unwrap_or_else(|_| "unknown".into());
        }
        if state.pool_mode != TRANSACTION_POOLING {
            let problem = format!(
                "PgBouncer at {console} pools database {alias} by {}: a client would not be held \
                 before it disconnects",
                state.pool_mode
            );
            all.push(objection("pgbouncer-pooling", problem, "pool_mode = transaction, RELOAD"));
        }
        if state.is_paused {
            let problem = format!("PgBouncer at {console} holds database {alias} already");
            let fix = format!("in its console: RESUME {}", identifier(alias));
            all.push(objection("pgbouncer-paused", problem, &fix));
        }
        all
    }

    async fn pause(&self, alias: &str, limit: Duration) -> Result<()> {
        let statement = format!("PAUSE {}", identifier(alias));
        let paused = self.ask(&statement, limit).await;
        let describe = || format!("hold the clients of PgBouncer at {}", self.console);
        if !paused.with_context(describe)? {
            bail!("nobody listens at PgBouncer's console {}", self.console);
        }
        Ok(())
    }

    async fn point(&self, alias: &str, server: &Endpoint) -> Result<()> {
        let describe = || format!("point PgBouncer at {} at {server}", self.console);
        if self.ask("RELOAD", ANSWER_LIMIT).await.with_context(describe)? {
            let Some(state) = self.state(alias).await.with_context(describe)? else {
                return Ok(());
            };
            if !state.leads_to(server) {
                return Err(Failure::failed(format!(
                    "PgBouncer at {} still leads to {} after RELOAD",
                    self.console,
                    state.place()
                ))
                .hint("its log says why it could not read its configuration")
                .into());
            }
        }
        Ok(())
    }

    async fn release(&self, alias: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let error = match self.try_to_release(alias).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if begun.elapsed() > RELEASE_LIMIT {
                return Err(error.context(format!("let go at PgBouncer {}", self.console)));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    async fn try_to_release(&self, alias: &str) -> Result<()> {
        if self.state(alias).await?.is_none_or(|state| !state.is_paused) {
            return Ok(());
        }
        self.ask(&format!("RESUME {}", identifier(alias)), ANSWER_LIMIT).await?;
        match self.state(alias).await? {
            Some(state) if state.is_paused => bail!("database {alias} is still held"),
            _ => Ok(()),
        }
    }

    /// What the process says about a database; nothing where nobody listens.
    async fn state(&self, alias: &str) -> Result<Option<State>> {
        let Some(databases) = self.rows("SHOW DATABASES").await? else { return Ok(None) };
        let found = databases.iter().find(|row| field(row, "name").as_deref() == Some(alias));
        let Some(row) = found else {
            let console = &self.console;
            return Err(Failure::refused(format!(
                "PgBouncer at {console} has no database {alias}"
            ))
            .hint("the endpoint file names the database as PgBouncer calls it")
            .into());
        };
        let text = |name: &str| field(row, name).unwrap_or_default();
        let state = State {
            host: text("host"),
            port: text("port"),
            database: text("database"),
            pool_mode: text("pool_mode"),
            is_paused: text("paused") == "1",
            connections: text("current_connections").parse().unwrap_or(0),
        };
        Ok(Some(state))
    }

    /// The pooling of a database that sets none of its own.
    async fn usual_pool_mode(&self) -> Result<String> {
        self.setting("pool_mode").await
    }

    /// A setting of the process.
    async fn setting(&self, name: &str) -> Result<String> {
        let settings = self.rows("SHOW CONFIG").await?.unwrap_or_default();
        let found = settings.iter().find(|row| field(row, "key").as_deref() == Some(name));
        Ok(found.and_then(|row| field(row, "value")).unwrap_or_default())
    }

    /// Gives a command; no where nobody listens.
    async fn ask(&self, statement: &str, limit: Duration) -> Result<bool> {
        Ok(self.messages(statement, limit).await?.is_some())
    }

    async fn rows(&self, statement: &str) -> Result<Option<Vec<Row>>> {
        let Some(messages) = self.messages(statement, ANSWER_LIMIT).await? else { return Ok(None) };
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let names = row.columns().iter().map(|column| column.name().to_string());
                let values = (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_string());
                Some(names.zip(values).collect())
            }
            _ => None,
        });
        Ok(Some(rows.collect()))
    }

    /// Asks over the session that is open, or a new one. The console knows the simple protocol
    /// only. A session without an answer is given up: on a new one the next command is heard.
    async fn messages(
        &self,
        statement: &str,
        limit: Duration,
    ) -> Result<Option<Vec<SimpleQueryMessage>>> {
        let mut kept = self.session.lock().await;
        let open = kept.take().filter(|session| !session.is_lost());
        let session = match open {
            Some(session) => session,
            None => match self.console.connect_as_client(SESSION_NAME).await {
                Ok(session) => session,
                Err(error) if is_nobody_there(&error) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let answer = tokio::time::timeout(limit, session.simple_query(statement)).await;
        let messages = answer
            .with_context(|| format!("no answer to {statement} within {limit:?}"))?
            .with_context(|| statement.to_string())?;
        *kept = Some(session);
        Ok(Some(messages))
    }
}

/// One row of a console: columns and values.
type Row = Vec<(String, String)>;

fn field(row: &Row, name: &str) -> Option<String> {
    row.iter().find(|(column, _)| column == name).map(|(_, value)| value.clone())
}

/// Whether nobody listens at an address: a process that is gone holds no clients.
fn is_nobody_there(error: &anyhow::Error) -> bool {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
}

impl fmt::Display for PgBouncer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consoles: Vec<String> =
            self.processes.iter().map(|process| process.console.to_string()).collect();
        write!(formatter, "PgBouncer at {}", consoles.join(", "))
    }
}

impl fmt::Debug for PgBouncer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consoles: Vec<&Endpoint> =
            self.processes.iter().map(|process| &process.console).collect();
        formatter
            .debug_struct("PgBouncer")
            .field("consoles", &consoles)
            .field("inis", &self.inis)
            .field("clients", &self.clients)
            .field("limit", &self.limit)
            .field("probe", &self.probe)
            .finish()
    }
}
