//! What the cycles of a sweep happen to: one pair of servers with its network for all of them, and
//! on it one world after another: two databases, a route, and a folder of journals.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::SweepOptions;
use super::links::{Links, Way};
use super::tool::{Ended, Tool};
use crate::cutover::engine::Interrupt;
use crate::cutover::event::Story;
use crate::cutover::status::{Status, status};
use crate::cutover::verbs::Operation;
use crate::drill::faults::Fault;
use crate::drill::{self, DATABASE, RouteKind};
use crate::pg::endpoint::{Endpoint, Session, identifier};
use crate::pg::password;
use crate::process::Invocation;
use crate::route::{Route, file};
use crate::servers::cluster::Cluster;
use crate::servers::folder::give_to_servers;
use crate::servers::pair::{self, Pair, PairOptions};
use crate::servers::pooler::Pooler;
use crate::workload::{self, Load, Workload, Writes};

/// How often the one writer of an idle database writes in a second: a witness of who serves.
const WITNESS_RATE: f64 = 2.0;
/// Sessions per side that copy and compare at once.
const JOBS: &str = "2";
/// How much WAL a server keeps between checkpoints whose disk can be full.
const WAL_ON_DISK: [(&str, &str); 1] = [("max_wal_size", "512MB")];
/// The file with the passwords of servers and consoles, which no command line may hold.
const PASSWORD_FILE: &str = "passwords";

/// One of the two servers, whoever serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// Where the service came from.
    Plain,
    /// Where it goes.
    Paradedb,
}

impl Server {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Server {
        match self {
            Server::Plain => Server::Paradedb,
            Server::Paradedb => Server::Plain,
        }
    }

    /// What it is called in a line.
    pub fn name(self) -> &'static str {
        match self {
            Server::Plain => "plain",
            Server::Paradedb => "ParadeDB",
        }
    }
}

/// The servers and the network of all worlds.
pub struct Stage {
    /// The servers. They end with this.
    pub pair: Pair,
    /// Everything between them, the tool and the clients.
    pub links: Links,
    /// How to sweep.
    pub options: SweepOptions,
    /// Where progress is told.
    pub story: Story,
    scratch: PathBuf,
    /// Of the clients' role, which belongs to a whole server.
    password: String,
    /// This very program.
    program: PathBuf,
}

impl Stage {
    /// Starts servers and network.
    ///
    /// # Errors
    /// A server does not start.
    pub async fn set_up(options: SweepOptions, story: &Story) -> Result<Stage> {
        let has_a_disk = options.faults.contains(&Fault::Disk);
        let of_disk = WAL_ON_DISK.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let servers = PairOptions {
            source_bindir: options.source_bindir.clone(),
            target_bindir: options.target_bindir.clone(),
            target_has_a_disk: has_a_disk,
            // Such a disk is memory, which nobody should need gigabytes of.
            target_settings: of_disk.filter(|_| has_a_disk).collect(),
            ..PairOptions::default()
        };
        let pair = pair::up(&servers, story).await?;
        Ok(Stage {
            links: Links::open(pair.source.port(), pair.target.port()).await?,
            scratch: pair.scratch()?,
            pair,
            options,
            story: story.clone(),
            password: password::random(),
            program: std::env::current_exe().context("find this program")?,
        })
    }

    /// One of the servers.
    pub fn cluster(&self, server: Server) -> &Cluster {
        match server {
            Server::Plain => &self.pair.source,
            Server::Paradedb => &self.pair.target,
        }
    }
}

/// Two databases and a run between them.
pub struct World {
    /// The plain server's database, not through the network.
    pub source: Endpoint,
    /// The other one.
    pub target: Endpoint,
    /// Journals, logs, and what the tool told.
    pub folder: PathBuf,
    /// Who serves, as far as the last verb came.
    pub serves: Server,
    pooler: Option<Pooler>,
    identities: [i64; 2],
    told: u32,
}

impl World {
    /// Makes databases and sample, and lets ParadeDB follow.
    ///
    /// # Errors
    /// A server refuses, or the copy does not come to its end; no fault is at work yet.
    pub async fn make(stage: &Stage, number: u32) -> Result<World> {
        let name = format!("{DATABASE}_{number}");
        let folder = stage.scratch.join(&name);
        std::fs::DirBuilder::new().mode(0o700).create(&folder).context("make a world's folder")?;
        // The keeper, which removes it, is not root; nor is PgBouncer, which works in there.
        give_to_servers(&folder)?;
        let (source, target) =
            (stage.pair.source.endpoint(&name), stage.pair.target.endpoint(&name));
        let mut identities = [0; 2];
        for (endpoint, identity) in [&source, &target].into_iter().zip(&mut identities) {
            drill::create_database(endpoint).await?;
            let session = endpoint.connect("drill").await?;
            workload::create_roles(&session, &stage.password).await?;
            *identity = workload::server_identity(&session).await?;
        }
        workload::install(&source.connect("drill").await?, &stage.password).await?;
        workload::fill(&source, stage.options.scale, stage.options.seed, &Story::silent()).await?;
        let mut world = World {
            source,
            target,
            folder,
            serves: Server::Plain,
            pooler: None,
            identities,
            told: 0,
        };
        world.lead_clients(stage).await?;
        let start = world.run(stage, &["cutover", "start", "--i-have-no-backup"]).await?;
        match start.code {
            Some(0) => Ok(world),
            code => bail!("the copy ended with {code:?}: {}", start.told),
        }
    }

    /// Writes the route, and the passwords that the tool needs.
    async fn lead_clients(&mut self, stage: &Stage) -> Result<()> {
        let plain = stage.links.on(Way::Plain).through(&self.source);
        let client = plain.with_user(workload::APPLICATION, &stage.password);
        let mut logins: Vec<Endpoint> = Way::ALL.map(|way| self.peer(stage, way)).into();
        let route = match stage.options.route {
            RouteKind::File => client,
            RouteKind::PgBouncer => {
                let pooler = Pooler::start(&self.folder, "pgbouncer", &client).await?;
                logins.push(pooler.console());
                let through = pooler.through(&client);
                self.pooler = Some(pooler);
                through
            }
        };
        file::write(&self.route_file(), &route)?;
        write_passwords(&self.folder.join(PASSWORD_FILE), &logins)
    }

    /// The file that clients read.
    pub fn route_file(&self) -> PathBuf {
        self.folder.join("endpoint")
    }

    /// What is dialled on a way.
    fn peer(&self, stage: &Stage, way: Way) -> Endpoint {
        let server = match way {
            Way::Plain | Way::Forward => &self.source,
            Way::Paradedb | Way::Backward => &self.target,
        };
        stage.links.on(way).through(server)
    }

    /// A server's database, not through the network.
    pub fn endpoint(&self, server: Server) -> &Endpoint {
        match server {
            Server::Plain => &self.source,
            Server::Paradedb => &self.target,
        }
    }

    /// The system identifier of a server.
    pub fn identity(&self, server: Server) -> i64 {
        self.identities[usize::from(server == Server::Paradedb)]
    }

    /// Lets clients write.
    ///
    /// # Errors
    /// The rate is none.
    pub fn load(&self, stage: &Stage, seed: u64) -> Result<Workload> {
        let is_idle = stage.options.rate <= 0.0;
        Workload::start(Load {
            writes: Writes::Sample,
            rate: Some(if is_idle { WITNESS_RATE } else { stage.options.rate }),
            writers: if is_idle { 1 } else { stage.options.writers },
            seed,
            endpoint_file: self.route_file(),
            application_name: "trading".into(),
        })
    }

    /// Starts a verb.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&mut self, stage: &Stage, arguments: &[&str]) -> Result<Tool> {
        self.told += 1;
        let name = format!("tool-{:03}", self.told);
        let mut pooled = Vec::new();
        if let Some(pooler) = &self.pooler {
            pooled = vec!["--pgbouncer".into(), pooler.console().to_string()];
            pooled.extend(["--pgbouncer-ini".into(), pooler.ini().display().to_string()]);
        }
        let forward = self.peer(stage, Way::Forward).to_string();
        let backward = self.peer(stage, Way::Backward).to_string();
        let invocation = Invocation::new(&stage.program)
            .clear_environment()
            .variable("PGPASSFILE", self.folder.join(PASSWORD_FILE))
            .variable("XTASK_SOURCE", self.peer(stage, Way::Plain).to_string())
            .variable("XTASK_TARGET", self.peer(stage, Way::Paradedb).to_string())
            .arguments(arguments)
            .arguments(pooled)
            .arguments(["--source-for-target", &forward, "--target-for-source", &backward])
            .arguments(["--jobs", JOBS, "--endpoint-file"])
            .argument(self.route_file())
            .argument("--journal-dir")
            .argument(&self.folder)
            .argument("--bindir")
            .argument(stage.pair.target.bindir());
        Tool::spawn(invocation, &self.folder, &name)
    }

    /// Runs a verb to its end.
    ///
    /// # Errors
    /// It does not start, or does not end.
    pub async fn run(&mut self, stage: &Stage, arguments: &[&str]) -> Result<Ended> {
        self.spawn(stage, arguments)?.ended().await
    }

    /// What `cutover status` would say, without the network between.
    ///
    /// # Errors
    /// A journal is damaged.
    pub async fn status(&self) -> Result<Status> {
        let route = Route::File(self.route_file());
        let operation = Operation {
            source: self.source.clone(),
            target: self.target.clone(),
            source_for_target: self.source.clone(),
            target_for_source: self.target.clone(),
            options: drill::options(1, route, self.folder.clone()),
            bindirs: Vec::new(),
            run: None,
            take_over: false,
            argv: Vec::new(),
            story: Story::silent(),
            origin: Default::default(),
            interrupt: Interrupt::default(),
        };
        status(&operation).await
    }

    /// Removes the databases with everything that replicates from and to them: what is left of
    /// slots would keep WAL for ever.
    ///
    /// # Errors
    /// A server refuses.
    pub async fn remove(self) -> Result<()> {
        for endpoint in [&self.source, &self.target] {
            let session = endpoint.connect("drill").await?;
            let script = include_str!("../../pg/sql/drop_replication.sql");
            session.batch_execute(script).await.context("drop what replicates")?;
        }
        for endpoint in [&self.source, &self.target] {
            let maintenance = endpoint.with_database("postgres").connect("drill").await?;
            drop_slots(&maintenance, &endpoint.database, "").await?;
            let name = identifier(&endpoint.database);
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            maintenance.batch_execute(&drop).await.with_context(|| format!("drop {endpoint}"))?;
        }
        Ok(())
    }
}

/// How long a slot may stay in use after its subscription is gone.
const SLOT_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked at.
const SLOT_EVERY: Duration = Duration::from_millis(100);

/// Drops the slots of a database that are not of a run.
///
/// # Errors
/// One stays in use.
pub async fn drop_foreign_slots(session: &Session, database: &str) -> Result<()> {
    drop_slots(session, database, "xtask_").await
}

/// Drops the slots of a database but for those whose names begin like this.
async fn drop_slots(session: &Session, database: &str, spared: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                    WHERE database = $1 AND NOT active
                      AND ($2 = '' OR NOT starts_with(slot_name::text, $2))";
        session.execute(drop, &[&database, &spared]).await.context("drop the slots")?;
        let left = "SELECT FROM pg_replication_slots WHERE database = $1
                      AND ($2 = '' OR NOT starts_with(slot_name::text, $2))";
        if session.query(left, &[&database, &spared]).await?.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > SLOT_LIMIT {
            bail!("a slot of {database} is still in use after {SLOT_LIMIT:?}");
        }
        tokio::time::sleep(SLOT_EVERY).await;
    }
}

/// A libpq password file.
fn write_passwords(path: &Path, logins: &[Endpoint]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context("write the passwords")?;
    for login in logins {
        let environment = login.libpq_environment();
        let password = environment.iter().find(|(name, _)| name == "PGPASSWORD");
        let password = password.map_or("", |(_, password)| password);
        let (host, port, user) = (&login.host, login.port, &login.user);
        writeln!(file, "{host}:{port}:*:{user}:{password}").context("write the passwords")?;
    }
    Ok(())
}
