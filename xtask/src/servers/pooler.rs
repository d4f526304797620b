//! PgBouncer for rehearsals: the package's program, with a configuration of the run's own.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Failure, tolerate};
use crate::pg::endpoint::Endpoint;
use crate::pg::password;
use crate::process::{self, Invocation};
use crate::servers::account;
use crate::servers::cluster::free_port;
use crate::servers::folder::give_to_servers;

/// Where the package puts the program, which is not on every user's `PATH`.
const PACKAGED: &str = "/usr/sbin/pgbouncer";
/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often it is tried meanwhile.
const START_EVERY: Duration = Duration::from_millis(20);
/// The role that may give commands in the console.
const ADMINISTRATOR: &str = "rehearsal";

/// A PgBouncer that was started by the tool. It ends with the folder that it works in.
pub struct Pooler {
    folder: PathBuf,
    port: u16,
    password: String,
    process: std::process::Child,
}

/// The program.
///
/// # Errors
/// This machine does not have it; the hint names the package.
pub fn program() -> Result<PathBuf> {
    let packaged = Some(PathBuf::from(PACKAGED)).filter(|path| path.is_file());
    process::find_program("pgbouncer").or(packaged).ok_or_else(|| {
        Failure::usage("there is no PgBouncer on this machine")
            .hint("apt-get install pgbouncer")
            .into()
    })
}

impl Pooler {
    /// Starts a process in a new folder below `parent`, which a keeper watches over. It leads
    /// clients of `client`'s role and password to `client`'s database, under the same name.
    ///
    /// # Errors
    /// The program is missing, or it does not listen in time.
    pub async fn start(parent: &Path, name: &str, client: &Endpoint) -> Result<Pooler> {
        let program = program()?;
        let folder = parent.join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("make {}", folder.display()))?;
        give_to_servers(&folder)?;
        let (port, password) = (free_port()?, password::random());
        let database = format!(
            "{} = host={} port={} dbname={}",
            client.database, client.host, client.port, client.database
        );
        write(&folder.join("pgbouncer.ini"), &configuration(&folder, port, &database))?;
        write(&folder.join("users"), &users(client, &password))?;
        let process = Invocation::new(program)
            .argument(folder.join("pgbouncer.ini"))
            .user(account::server_account()?)
            .folder(&folder)
            .clear_environment()
            .spawn_apart()?;
        let mut pooler = Pooler { folder, port, password, process };
        pooler.listens().await?;
        Ok(pooler)
    }

    /// The admin console.
    pub fn console(&self) -> Endpoint {
        let host = Ipv4Addr::LOCALHOST.to_string();
        Endpoint::new(&host, self.port, "pgbouncer", ADMINISTRATOR, &self.password)
    }

    /// A client's endpoint, led through this process.
    pub fn through(&self, client: &Endpoint) -> Endpoint {
        client.at_server_of(&self.console()).with_database(&client.database)
    }

    /// The configuration file, which names the database.
    pub fn ini(&self) -> PathBuf {
        self.folder.join("pgbouncer.ini")
    }

    /// The log file.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Kills the process as a crash would, and buries it.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let process = i32::try_from(self.process.id()).context("read the process id")?;
        let process = Pid::from_raw(process).context("read the process id")?;
        kill_process(process, Signal::KILL).context("kill PgBouncer")?;
        self.process.wait().context("wait for PgBouncer")?;
        Ok(())
    }

    async fn listens(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let error = match self.console().connect_as_client("rehearsal").await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let has_ended = self.process.try_wait().context("look at PgBouncer")?.is_some();
            if has_ended || begun.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                bail!("PgBouncer did not start: {error:#}\n{log}");
            }
            tokio::time::sleep(START_EVERY).await;
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        tolerate(self.process.kill(), "it may have ended; else the keeper ends it");
        tolerate(self.process.wait(), "it may have been buried before");
    }
}

fn configuration(folder: &Path, port: u16, database: &str) -> String {
    let (users, log) = (folder.join("users"), folder.join("log"));
    format!(
        "[databases]\n{database}\n\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
         admin_users = {ADMINISTRATOR}\npool_mode = transaction\nlogfile = {}\n\
         max_client_conn = 500\ndefault_pool_size = 50\n",
        Ipv4Addr::LOCALHOST,
        users.display(),
        log.display()
    )
}

fn users(client: &Endpoint, administrator: &str) -> String {
    let quoted = crate::pg::endpoint::identifier;
    let mut text = format!("{} {}\n", quoted(ADMINISTRATOR), quoted(administrator));
    let environment = client.libpq_environment();
    let password = environment.iter().find(|(name, _)| name == "PGPASSWORD");
    if let Some((_, password)) = password {
        text.push_str(&format!("{} {}\n", quoted(&client.user), quoted(password)));
    }
    text
}

/// A file that only the servers' user may read: it may hold a password.
fn write(path: &Path, text: &str) -> Result<()> {
    let describe = || format!("write {}", path.display());
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(path).with_context(describe)?;
    file.write_all(text.as_bytes()).with_context(describe)?;
    give_to_servers(path)
}
