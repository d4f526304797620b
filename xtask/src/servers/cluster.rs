//! One server: initialised, started, stopped as a crash would, started again.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::pg::password;
use crate::process::Invocation;
use crate::servers::account;
use crate::servers::binaries::Binaries;
use crate::servers::folder::give_to_servers;
use crate::servers::settings::{self, Setting};

/// How long `initdb` may take on a busy machine.
const INITIALISE_LIMIT: Duration = Duration::from_mins(3);
/// How long a server may take to start, crash recovery included, or to stop.
const START_STOP_LIMIT: Duration = Duration::from_mins(3);
/// How long a program that waits for a server may outlast its own limit.
const GRACE: Duration = Duration::from_secs(10);
/// How often another port is tried when somebody else took the one we chose.
const PORT_ATTEMPTS: usize = 10;
/// How many ports are tried until one is free.
const FREE_PORT_ATTEMPTS: usize = 200;
/// The lowest port that a server gets.
const LOWEST_PORT: u16 = 15_000;
/// Linux's first port for outgoing connections, where it cannot be read.
const USUAL_EPHEMERAL_PORT: u16 = 32_768;
/// The superuser of every rehearsal server.
const SUPERUSER: &str = "postgres";
/// How many of the log's last lines a failed start shows.
const SHOWN_LOG_LINES: usize = 12;
/// The configuration file with our settings, beside the server's own.
const SETTINGS_FILE: &str = "rehearsal.conf";

/// A server that was started by the tool. Dropping it does nothing: the keeper of its folder ends
/// it with the run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Cluster {
    folder: PathBuf,
    bindir: PathBuf,
    major: i32,
    port: u16,
    password: String,
    settings: Vec<Setting>,
}

impl Cluster {
    /// Initialises a server in a new folder and starts it. Its settings are the defaults of a
    /// rehearsal, then `extra`.
    ///
    /// # Errors
    /// `initdb` fails, or the server does not start; the message ends with its log.
    pub async fn create(folder: &Path, binaries: &Binaries, extra: &[Setting]) -> Result<Cluster> {
        make_folder(folder)?;
        Cluster::create_in(folder, binaries, extra).await
    }

    /// The same in a folder that [`make_folder`] has made, where the data's may be there by now.
    ///
    /// # Errors
    /// As [`Cluster::create`].
    pub async fn create_in(
        folder: &Path,
        binaries: &Binaries,
        extra: &[Setting],
    ) -> Result<Cluster> {
        // A library that must be loaded at the start is of no use otherwise.
        let preloaded = Some("pg_search").filter(|name| binaries.has_library(name));
        let mut settings = settings::defaults(binaries.major, preloaded);
        settings.extend_from_slice(extra);
        let mut cluster = Cluster {
            folder: folder.to_path_buf(),
            bindir: binaries.bindir.clone(),
            major: binaries.major,
            port: 0,
            password: password::random(),
            settings,
        };
        cluster.initialise().await?;
        cluster.start_on_a_free_port().await?;
        Ok(cluster)
    }

    /// A database of the server, as its superuser.
    pub fn endpoint(&self, database: &str) -> Endpoint {
        let host = Ipv4Addr::LOCALHOST.to_string();
        Endpoint::new(&host, self.port, database, SUPERUSER, &self.password)
    }

    /// The connection string **with the password**, for who asked for it.
    pub fn secret_url(&self, database: &str) -> String {
        let (port, password) = (self.port, &self.password);
        format!("postgresql://{SUPERUSER}:{password}@{}:{port}/{database}", Ipv4Addr::LOCALHOST)
    }

    /// The folder of the server's programs.
    pub fn bindir(&self) -> &Path {
        &self.bindir
    }

    /// The server's major version.
    pub fn major(&self) -> i32 {
        self.major
    }

    /// The TCP port on 127.0.0.1; it stays the same for the server's life.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        data_folder(&self.folder)
    }

    /// The log file.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The settings that differ from the server's own defaults; the last of a name counts.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The process id of the running server; the last one where it was killed.
    ///
    /// # Errors
    /// It was stopped.
    pub fn process(&self) -> Result<u32> {
        let file = self.data().join("postmaster.pid");
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let first = text.lines().next().unwrap_or_default();
        first.trim().parse().with_context(|| format!("{} holds no process id", file.display()))
    }

    /// Whether the server runs.
    ///
    /// # Errors
    /// That cannot be found out.
    pub async fn is_running(&self) -> Result<bool> {
        let said = self.control("status")?.output().await.context("ask for the server's state")?;
        match said.code {
            Some(0) => Ok(!self.is_unburied()),
            Some(3) => Ok(false),
            _ => bail!("`pg_ctl status` cannot tell: {}", said.stderr.trim()),
        }
    }

    /// Starts the server again, on its port, and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not start; the message ends with its log.
    pub async fn start(&self) -> Result<()> {
        if self.is_unburied() {
            let stale = self.data().join("postmaster.pid");
            std::fs::remove_file(&stale).context("remove a dead server's process id")?;
        }
        let log_before = std::fs::metadata(self.log()).map_or(0, |metadata| metadata.len());
        let limit = START_STOP_LIMIT.as_secs().to_string();
        let said = self
            .control("start")?
            .arguments(["--wait", "--timeout", &limit, "--log"])
            .argument(self.log())
            .output()
            .await?;
        if said.code == Some(0) {
            return Ok(());
        }
        let log = std::fs::read(self.log()).unwrap_or_default();
        let new = log.get(usize::try_from(log_before)?..).unwrap_or_default();
        let new = String::from_utf8_lossy(new);
        let lines: Vec<&str> = new.lines().chain(said.stderr.lines()).collect();
        let shown = lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..].join("\n");
        let message = format!("PostgreSQL {} did not start:\n{shown}", self.major);
        Err(Failure::failed(message).into())
    }

    /// Stops the server as a crash would: no checkpoint, recovery at the next start.
    ///
    /// # Errors
    /// It still runs after a time limit.
    pub async fn stop_immediate(&self) -> Result<()> {
        self.stop("immediate").await
    }

    /// Stops the server in order: sessions end, everything is on disk.
    ///
    /// # Errors
    /// It still runs after a time limit.
    pub async fn stop_fast(&self) -> Result<()> {
        self.stop("fast").await
    }

    /// Whether the server was killed and nobody has asked for its exit code since, as in a
    /// container without an init process. PostgreSQL takes such a process for a living one.
    fn is_unburied(&self) -> bool {
        let Ok(process) = self.process() else { return false };
        let status = std::fs::read_to_string(format!("/proc/{process}/status"));
        let state = status.unwrap_or_default();
        state.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
    }

    async fn stop(&self, mode: &str) -> Result<()> {
        let limit = START_STOP_LIMIT.as_secs().to_string();
        let stop = self.control("stop")?.arguments(["--wait", "--timeout", &limit, "--mode", mode]);
        stop.run().await.with_context(|| format!("stop PostgreSQL {}", self.major))?;
        Ok(())
    }

    async fn initialise(&self) -> Result<()> {
        let secret = self.folder.join("password");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&secret)
            .context("make a password file")?;
        file.write_all(self.password.as_bytes()).context("write the password file")?;
        give_to_servers(&secret)?;
        // Without a sync a power cut could ruin the new server, and nobody would miss it.
        self.program("initdb", INITIALISE_LIMIT)?
            .arguments(["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"])
            .arguments(["--auth=scram-sha-256", "--no-instructions", "--username", SUPERUSER])
            .argument("--pwfile")
            .argument(&secret)
            .argument("--pgdata")
            .argument(self.data())
            .run()
            .await
            .with_context(|| format!("initialise PostgreSQL {}", self.major))?;
        std::fs::remove_file(&secret).context("remove the password file")?;
        let main = self.data().join("postgresql.conf");
        let mut main = std::fs::OpenOptions::new().append(true).open(&main).context("configure")?;
        writeln!(main, "include '{SETTINGS_FILE}'").context("configure")
    }

    /// Chooses a port and starts, until no other process took the port in between.
    async fn start_on_a_free_port(&mut self) -> Result<()> {
        let mut result = Ok(());
        for _ in 0..PORT_ATTEMPTS {
            self.port = free_port()?;
            let port = ("port".to_string(), self.port.to_string());
            let text = settings::file(self.settings.iter().chain([&port]));
            let file = self.data().join(SETTINGS_FILE);
            std::fs::write(&file, text).context("write the settings")?;
            give_to_servers(&file)?;
            result = self.start().await;
            let taken = |error: &anyhow::Error| error.to_string().contains("already in use");
            if !result.as_ref().is_err_and(taken) {
                break;
            }
        }
        result
    }

    fn control(&self, action: &str) -> Result<Invocation> {
        let program = self.program("pg_ctl", START_STOP_LIMIT + GRACE)?;
        Ok(program.argument(action).argument("--pgdata").argument(self.data()))
    }

    /// One of the server's programs, as the user that may run it, in the folder by which the
    /// keeper recognises it, without settings from the tool's environment.
    fn program(&self, name: &str, limit: Duration) -> Result<Invocation> {
        Ok(Invocation::new(self.bindir.join(name))
            .user(account::server_account()?)
            .folder(&self.folder)
            .clear_environment()
            .deadline(limit))
    }
}

/// Makes a server's folder, for the user that servers run as.
///
/// # Errors
/// It exists, or its place cannot be written.
pub fn make_folder(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
    made.with_context(|| format!("make {}", folder.display()))?;
    give_to_servers(folder)
}

/// Where the data of a server is whose folder this is.
pub fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// A port on which nobody listens, below those of outgoing connections: there, a client that keeps
/// knocking at a stopped server could be given the server's own port.
pub(super) fn free_port() -> Result<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let highest = highest_port(&range.unwrap_or_default());
    for _ in 0..FREE_PORT_ATTEMPTS {
        let port = rand::rng().random_range(LOWEST_PORT..highest);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between {LOWEST_PORT} and {highest} is free")
}

/// The end of the range to choose from, given the kernel's range for outgoing connections.
fn highest_port(range: &str) -> u16 {
    let first = range.split_whitespace().next().and_then(|word| word.parse().ok());
    first.filter(|port| *port > LOWEST_PORT + 1000).unwrap_or(USUAL_EPHEMERAL_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_below_those_of_outgoing_connections() {
        assert_eq!(highest_port("32768\t60999\n"), 32_768);
        assert_eq!(highest_port("20000 60999"), 20_000);
        assert_eq!(highest_port("1024 65535"), USUAL_EPHEMERAL_PORT);
        assert_eq!(highest_port(""), USUAL_EPHEMERAL_PORT);
    }
}
