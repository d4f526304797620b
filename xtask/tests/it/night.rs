//! A night on real servers: the sample with clients that write to it, the real program, which a
//! test may kill, freeze or interrupt, and an eye that never sees two open sides.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use xtask::cutover::event::{Event, Story};
use xtask::cutover::lineage::Lineage;
use xtask::cutover::step::Step;
use xtask::drill::sweep::eye::Eye;
use xtask::ledger;
use xtask::pg::endpoint::Endpoint;
use xtask::process::Invocation;
use xtask::route::file;
use xtask::servers::pair::Pair;
use xtask::servers::pooler::Pooler;
use xtask::workload::{self, APPLICATION, History, Load, Workload, Writes};

use crate::support::{about_backups, eventually, fresh_database, pair};
use crate::workload::PASSWORD;
pub use tail::Tail;
pub use tool::{Ended, Tool};

mod tail;
mod tool;

/// Small enough to be filled and copied in about a second.
const SCALE: f64 = 0.01;
/// Transactions per second of all writers together.
const RATE: f64 = 50.0;
/// How long writers may take where nothing is in their way.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(30);
/// How many writes each side gets between two turns.
const TRAFFIC: u64 = 20;
/// The promise: with the tool dead before the decision, the source accepts writes again.
const DEAD_TOOL_LIMIT: Duration = Duration::from_secs(5);

/// The file in a night's folder with the passwords of the consoles.
const PASSWORD_FILE: &str = "passwords";
/// How long the way back may take to be at work again after a crash.
const ARMED_LIMIT: Duration = Duration::from_secs(30);

/// The verb that copies.
pub const START: &[&str] = &["cutover", "start"];
/// The verb that lets the target serve.
pub const SWITCH: &[&str] = &["cutover", "switch"];
/// The verb that lets the source serve.
pub const ROLLBACK: &[&str] = &["rollback", "--yes"];

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Where the service comes from.
    Plain,
    /// Where it goes.
    Paradedb,
}

/// Two databases, clients, and everything that a verb needs.
pub struct Night {
    /// The plain server's database, as its superuser.
    pub source: Endpoint,
    /// The other one.
    pub target: Endpoint,
    /// The processes of PgBouncer that clients are pooled by; clients connect to the first.
    pub poolers: Vec<Pooler>,
    /// Who the tool logs in as on each side.
    operators: [Endpoint; 2],
    folder: TempDir,
    bindir: PathBuf,
    load: Workload,
    identities: [i64; 2],
    phases: Vec<i64>,
    eye: OnceLock<Eye>,
    environment: Option<Environment>,
}

/// An environment whose values say what the command line does not.
struct Environment {
    workspace: PathBuf,
    path: String,
}

/// The database in PgBouncer that is never held, where PgBouncer dials a Service.
pub const PROBE: &str = "probe";

impl Night {
    /// A night in fresh databases of this name on the shared pair.
    pub async fn begin(name: &str) -> Night {
        Night::on(pair().await, name).await
    }

    /// A night in fresh databases of this name on a pair.
    pub async fn on(pair: &Pair, name: &str) -> Night {
        Night::with(pair, name, 0, None, RATE).await
    }

    /// A night whose clients are pooled by so many processes of PgBouncer.
    pub async fn pooled(name: &str, processes: usize) -> Night {
        Night::with(pair().await, name, processes, None, RATE).await
    }

    /// A night whose clients are pooled by a PgBouncer that dials a port of this machine, where a
    /// cluster leads it on; with so many transactions per second.
    pub async fn led(name: &str, dialled: u16, rate: f64) -> Night {
        let night = Night::with(pair().await, name, 1, Some(dialled), rate).await;
        let ini = night.poolers[0].ini();
        let text = std::fs::read_to_string(&ini).expect("the configuration can be read");
        let probe = format!("[databases]\n{PROBE} = host=127.0.0.1 port={dialled} dbname={name}\n");
        let text = text.replace("[databases]\n", &probe) + "server_login_retry = 1\n";
        // Written in place: the file keeps its owner.
        std::fs::write(&ini, text).expect("the file is ours");
        let console = night.poolers[0].console().connect_as_client("test").await;
        console.expect("it answers").simple_query("RELOAD").await.expect("it reads its file");
        night
    }

    /// The file with the connection string of the writers.
    pub fn endpoint_file(&self) -> PathBuf {
        self.folder.path().join("endpoint")
    }

    /// Has every verb take from the values of environment `night` what the command line leaves
    /// out, with programs of this folder before all others.
    pub fn in_environment(&mut self, values: &str, programs: &Path) {
        let workspace = self.folder.path().join("workspace");
        std::fs::create_dir_all(workspace.join("templates")).expect("the folder is ours");
        std::fs::create_dir_all(workspace.join("infra/values")).expect("the folder is ours");
        let file = workspace.join("infra/values/night.yaml");
        std::fs::write(file, values).expect("the folder is ours");
        let path = xtask::config::text("PATH").expect("there is a PATH");
        let path = format!("{}:{path}", programs.display());
        self.environment = Some(Environment { workspace, path });
    }

    async fn with(
        pair: &Pair,
        name: &str,
        processes: usize,
        dialled: Option<u16>,
        rate: f64,
    ) -> Night {
        let source = fresh_database(&pair.source.endpoint("postgres"), name).await;
        let target = fresh_database(&pair.target.endpoint("postgres"), name).await;
        let ours = source.connect("test").await.expect("the source answers");
        workload::install(&ours, PASSWORD).await.expect("the schema loads");
        workload::fill(&source, SCALE, 1, &Story::silent()).await.expect("the sample fills");
        let theirs = target.connect("test").await.expect("the target answers");
        workload::create_roles(&theirs, PASSWORD).await.expect("the roles are made");
        let mut identities = [0; 2];
        for (identity, session) in identities.iter_mut().zip([&ours, &theirs]) {
            *identity = workload::server_identity(session).await.expect("a server has one");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint_file = folder.path().join("endpoint");
        let client = source.with_user(APPLICATION, PASSWORD);
        let behind = dialled.map(|port| Endpoint::new("127.0.0.1", port, name, "", ""));
        let pooled = behind.map_or_else(|| client.clone(), |behind| client.at_server_of(&behind));
        let poolers = start_poolers(pair, name, processes, &pooled).await;
        let route = poolers.first().map_or_else(|| client.clone(), |first| first.through(&client));
        file::write(&endpoint_file, &route).expect("a route");
        password_file(folder.path(), &poolers);
        let load = Load {
            writes: Writes::Sample,
            rate: Some(rate),
            writers: 4,
            seed: 7,
            endpoint_file,
            application_name: "trading".into(),
        };
        let night = Night {
            eye: OnceLock::new(),
            bindir: pair.target.bindir().to_path_buf(),
            load: Workload::start(load).expect("the load is sound"),
            phases: vec![identities[0]],
            poolers,
            operators: [source.clone(), target.clone()],
            source,
            target,
            folder,
            identities,
            environment: None,
        };
        night.traffic(Server::Plain).await;
        night
    }

    /// From now on the tool logs in as this role on the source, and as that on the target.
    pub fn operated_by(&mut self, source: Endpoint, target: Endpoint) {
        self.operators = [source, target];
    }

    /// Starts a verb as a process of its own.
    pub fn spawn(&self, arguments: &[&str]) -> Tool {
        Tool::spawn(self.invocation(arguments), self.folder.path())
    }

    fn invocation(&self, arguments: &[&str]) -> Invocation {
        let mut pooled = Vec::new();
        for pooler in self.poolers.iter().filter(|_| self.environment.is_none()) {
            let (console, ini) = (pooler.console().to_string(), pooler.ini());
            let ini = ini.to_str().expect("a plain path").to_string();
            pooled.extend(["--pgbouncer".into(), console, "--pgbouncer-ini".into(), ini]);
        }
        let invocation = Invocation::new(env!("CARGO_BIN_EXE_xtask"))
            .arguments(arguments)
            .arguments(about_backups(arguments))
            .arguments(pooled)
            .variable("PGPASSFILE", self.folder.path().join(PASSWORD_FILE))
            .arguments(["--jobs", "2", "--journal-dir"])
            .argument(self.folder.path())
            .argument(if arguments[0] == "drill" { "--target-bindir" } else { "--bindir" })
            .argument(&self.bindir)
            .variable("XTASK_SOURCE", self.operators[0].secret_conninfo())
            .variable("XTASK_TARGET", self.operators[1].secret_conninfo());
        match &self.environment {
            None => invocation.argument("--endpoint-file").argument(self.endpoint_file()),
            Some(environment) => invocation
                .arguments(["--env", "night"])
                .folder(&environment.workspace)
                .variable("PATH", &environment.path),
        }
    }

    /// Runs a verb to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.spawn(arguments).ended().await
    }

    /// Runs a verb that must succeed.
    pub async fn succeeds(&self, arguments: &[&str]) {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?} failed:\n{}", ended.told);
    }

    /// Runs a verb and kills it at a step. Where the step is over by then, it dies a step later.
    pub async fn kill_at(&self, arguments: &[&str], step: Step) {
        let mut tool = self.spawn(arguments);
        if tool.reaches(step).await {
            tool.kill().await;
            log(&format!("killed at {step}: {}", self.last_event()));
        } else {
            let ended = tool.ended().await;
            assert_eq!(ended.code, Some(0), "{arguments:?} before {step}:\n{}", ended.told);
            log(&format!("{step} was behind it"));
        }
    }

    /// What clients see of a dead tool: before the decision `old` accepts writes within the
    /// promised time, after it both wait for the same verb to be run again.
    pub async fn serves_unless_decided(&self, old: Server) {
        if self.is_decided(old).await {
            log("decided: clients wait for the next command");
            return;
        }
        let served = self.load.wait_for(Some(self.identity(old)), 1, DEAD_TOOL_LIMIT).await;
        served.expect("the side that served accepts writes again");
    }

    /// Whether the newest run, which goes away from `old`, is decided by the row there.
    pub async fn is_decided(&self, old: Server) -> bool {
        self.decision(old).await.as_deref() == Some("switch")
    }

    /// Whether nothing is decided about the newest run, which goes away from the plain server.
    pub async fn is_open(&self) -> bool {
        self.decision(Server::Plain).await.is_none()
    }

    async fn decision(&self, old: Server) -> Option<String> {
        let session = self.endpoint(old).connect("test").await.expect("the server answers");
        let sql = "SELECT to_regclass('xtask_cutover.run') IS NOT NULL";
        let is_there: bool = session.query_one(sql, &[]).await.expect("the catalog").get(0);
        if !is_there {
            return None;
        }
        let run = self.lineage().latest().header.run.clone();
        let sql = "SELECT decision FROM xtask_cutover.run WHERE id = $1";
        let row = session.query_opt(sql, &[&run]).await.expect("the row can be read");
        row.and_then(|row| row.get(0))
    }

    /// The run and its children.
    pub fn lineage(&self) -> Lineage {
        let lineage = Lineage::read(self.folder.path(), None).expect("the journals can be read");
        lineage.expect("there is a run")
    }

    /// Every event of the newest run.
    pub fn events(&self) -> Vec<Event> {
        self.lineage().latest().records.iter().map(|record| record.event.clone()).collect()
    }

    fn last_event(&self) -> String {
        self.events().last().map_or("nothing".into(), |event| {
            let text = serde_json::to_string(event).expect("an event is text");
            text.chars().take(120).collect()
        })
    }

    /// The other side serves from now on; the run's certificate says that both are equal.
    pub async fn turned_to(&mut self, server: Server) {
        self.is_certified_equal();
        self.phases.push(self.identity(server));
        self.traffic(server).await;
    }

    /// The other side served, and then this one again, without a look at either.
    pub fn went_and_came_back(&mut self) {
        self.phases.extend([self.identity(Server::Paradedb), self.identity(Server::Plain)]);
    }

    fn is_certified_equal(&self) {
        let verdict = self.events().into_iter().rev().find_map(|event| match event {
            Event::StepDone { step: Step::Certify, evidence, .. } => Some(evidence),
            _ => None,
        });
        let verdict = verdict.expect("the run is certified");
        let differences: Vec<Event> = (self.events().into_iter())
            .filter(|event| matches!(event, Event::Difference { .. }))
            .collect();
        assert_eq!(verdict["verdict"], "equal", "{verdict:?} {differences:#?}");
    }

    /// Waits for writes on one side.
    pub async fn traffic(&self, server: Server) {
        let seen = self.load.wait_for(Some(self.identity(server)), TRAFFIC, TRAFFIC_LIMIT).await;
        seen.expect("clients are served");
    }

    /// The eye looks from now on: before `schema` both sides are open, and nobody writes to the
    /// target.
    pub fn watch(&self) {
        self.eye.get_or_init(|| Eye::open(&self.source, &self.target));
    }

    /// Waits until `cutover status` says that the way back is armed: after a crash it takes a
    /// moment until the followers are at work again.
    pub async fn is_armed(&self) {
        let began = Instant::now();
        loop {
            let invocation = self.invocation(&["cutover", "status", "--format", "json"]);
            let said = invocation.output().await.expect("status runs").stdout;
            let first = said.lines().next().unwrap_or_default();
            let status: serde_json::Value = serde_json::from_str(first).expect("it is JSON");
            if status["way_back"]["state"] == "armed" {
                return;
            }
            let what = format!("the way back is armed, not {}", status["way_back"]);
            a_moment(began, ARMED_LIMIT, &what).await;
        }
    }

    /// What `cutover status` says to a person.
    pub async fn status(&self) -> String {
        self.invocation(&["cutover", "status"]).output().await.expect("status runs").stdout
    }

    /// Waits for a write on one side by a client that nobody helps but what a dead tool left.
    pub async fn is_let_in(&self, server: Server) {
        let served = self.load.wait_for(Some(self.identity(server)), 1, DEAD_TOOL_LIMIT).await;
        let Err(error) = served else { return };
        let log = self.folder.path().join("guardian.log");
        let told = std::fs::read_to_string(log).unwrap_or_default();
        panic!("the guardian lets nobody in: {error:#}\nit told:\n{told}");
    }

    /// The processes that hold snapshots for this night.
    pub fn holders(&self) -> Vec<i32> {
        self.that_tell_into("holder.log")
    }

    /// The processes that watch over held clients of this night.
    pub fn guardians(&self) -> Vec<i32> {
        self.that_tell_into("guardian.log")
    }

    fn that_tell_into(&self, log: &str) -> Vec<i32> {
        let log = self.folder.path().join(log);
        let processes = std::fs::read_dir("/proc").expect("the processes can be listed");
        let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let holds = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/fd/2")).is_ok_and(|target| target == log)
        };
        numbers.filter(holds).collect()
    }

    /// Kills whatever holds snapshots for this night.
    pub async fn kill_holders(&self) {
        for holder in self.holders() {
            let pid = Pid::from_raw(holder).expect("a process id");
            kill_process(pid, Signal::KILL).expect("the holder is ours");
        }
        eventually("the holders are gone", || self.holders().is_empty()).await;
    }

    /// Nothing of a removed run is left, on either side.
    pub async fn nothing_is_left(&self) {
        eventually("no holder is left", || self.holders().is_empty()).await;
        let root = self.lineage().latest().header.root.clone();
        let role = format!("xtask_{}_%", root.rsplit('-').next().unwrap_or_default());
        for endpoint in [&self.source, &self.target] {
            let session = endpoint.connect("test").await.expect("the server answers");
            let rows = session.query(include_str!("night/leftovers.sql"), &[&role]).await;
            let left: Vec<String> = rows.expect("SQL").iter().map(|row| row.get(0)).collect();
            assert!(left.is_empty(), "{endpoint} has {left:?}");
        }
        let target = self.target.connect("test").await.expect("the target answers");
        let sql = "SELECT oid::regclass::text FROM pg_class
                   WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'";
        let rows = target.query(sql, &[]).await.expect("SQL");
        let left: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert!(left.is_empty(), "{left:?} are left on the target");
    }

    /// Ends the night: nothing acknowledged is lost, nobody ever saw two open sides, and no process
    /// is left behind.
    pub async fn ends(self, server: Server) {
        self.ends_with(server).await;
    }

    /// The same; says what clients saw.
    pub async fn ends_with(mut self, server: Server) -> History {
        let serving = self.endpoint(server).clone();
        let saw_two = self.eye.take().is_some_and(Eye::close);
        assert!(!saw_two, "both sides were open at the same time");
        let holders = self.holders();
        let history = self.load.stop().await.expect("the writers end");
        let verdict = ledger::check(&history, &serving, &self.phases).await.expect("it is read");
        assert!(verdict.is_clean(), "{:#?}", verdict.lines());
        assert!(holders.is_empty(), "holders are left: {holders:?}");
        history
    }

    fn endpoint(&self, server: Server) -> &Endpoint {
        match server {
            Server::Plain => &self.source,
            Server::Paradedb => &self.target,
        }
    }

    fn identity(&self, server: Server) -> i64 {
        self.identities[usize::from(server == Server::Paradedb)]
    }
}

/// Processes of PgBouncer that lead to one database, in the folder of the pair, so that they end
/// with it.
pub async fn start_poolers(
    pair: &Pair,
    name: &str,
    count: usize,
    client: &Endpoint,
) -> Vec<Pooler> {
    let data = pair.source.data();
    let parent = data.parent().and_then(Path::parent).expect("a pair has a folder");
    let mut all = Vec::new();
    for number in 1..=count {
        let name = format!("{name}-pgbouncer-{number}");
        all.push(Pooler::start(parent, &name, client).await.expect("PgBouncer starts"));
    }
    all
}

/// A file with the passwords of the consoles, which no command line may hold.
pub fn password_file(folder: &Path, poolers: &[Pooler]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join(PASSWORD_FILE);
    let lines: Vec<String> = poolers
        .iter()
        .map(|pooler| {
            let environment = pooler.console().libpq_environment();
            let of = |wanted: &str| {
                let found = environment.iter().find(|(name, _)| name == wanted);
                found.map(|(_, value)| value.clone()).expect("a console has one")
            };
            format!("*:{}:pgbouncer:*:{}\n", of("PGPORT"), of("PGPASSWORD"))
        })
        .collect();
    std::fs::write(&file, lines.concat()).expect("the folder is ours");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&file, private).expect("the file is ours");
    file
}

/// Says where a signal landed; the harness shows it where a test fails.
#[expect(clippy::print_stdout, reason = "captured, and shown with a failure")]
pub fn log(text: &str) {
    println!("{text}");
}

/// Waits a moment between two looks at something that changes fast.
pub async fn a_moment(began: Instant, limit: Duration, what: &str) {
    assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
}
