//! `cutover`: the verbs of the night, one file each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::cmd::migrate::LayoutArguments;
use crate::config;
use crate::cutover::engine::{Interrupt, Options};
use crate::cutover::holder::OnDdl;
use crate::cutover::metrics;
use crate::cutover::status::{Status, status};
use crate::cutover::verbs::Operation;
use crate::migrate::Engine;
use crate::pg::endpoint::Endpoint;
use crate::route::command::Program;
use crate::route::pgbouncer::PgBouncer;
use crate::route::{Route, Routes};
use crate::ui::Ui;

mod adopt;
mod finish;
mod plan;
pub mod report;
mod signals;
mod start;
mod status;
mod switch;
mod unfence;
mod watch;

pub use signals::listen;

/// Move a live database, verified, and keep the way back open
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Survey both sides and say what would happen; touches nothing
    Plan(plan::Arguments),
    /// Copy everything and let the target follow; goes on where it ended
    Start(start::Arguments),
    /// Watch the follower and keep the way back advanced, until Ctrl-C
    Watch(watch::Arguments),
    /// Let the target serve: a pause of well under a second
    Switch(switch::Arguments),
    /// Say who serves, whether the way back is open, and what to do next
    Status(status::Arguments),
    /// Write what a run did as Markdown, JSON and one page of HTML, from its journal
    Report(report::Arguments),
    /// Close the run for good: the way back is given up
    Finish(finish::Arguments),
    /// Rebuild the journal on this machine from the servers
    Adopt(adopt::Arguments),
    /// Open a source that a dead run left fenced, unless the target serves
    Unfence(unfence::Arguments),
}

/// Runs the verb that was asked for.
///
/// # Errors
/// The verb's own.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    match arguments.verb {
        Verb::Plan(arguments) => plan::run(&arguments, ui).await,
        Verb::Start(arguments) => start::run(&arguments, ui).await,
        Verb::Watch(arguments) => watch::run(&arguments, ui).await,
        Verb::Switch(arguments) => switch::run(&arguments, ui).await,
        Verb::Status(arguments) => status::run(&arguments, ui).await,
        Verb::Report(arguments) => report::run(&arguments, ui),
        Verb::Finish(arguments) => finish::run(&arguments, ui).await,
        Verb::Adopt(arguments) => adopt::run(&arguments, ui).await,
        Verb::Unfence(arguments) => unfence::run(&arguments, ui).await,
    }
}

/// Arguments that every verb of a run takes.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArguments {
    /// The plain PostgreSQL server, as a libpq URL or key=value string. The password may come from
    /// PGPASSWORD or a password file
    #[arg(long, env = config::XTASK_SOURCE, hide_env_values = true, value_name = "URL")]
    source: String,
    /// The ParadeDB server
    #[arg(long, env = config::XTASK_TARGET, hide_env_values = true, value_name = "URL")]
    target: String,
    /// What the target's server dials to reach the source, where that differs
    #[arg(long, value_name = "URL", help_heading = "Peers")]
    source_for_target: Option<String>,
    /// What the source's server dials to reach the target, where that differs
    #[arg(long, value_name = "URL", help_heading = "Peers")]
    target_for_source: Option<String>,
    /// Where clients go: a file with one libpq connection string, replaced as a whole; with
    /// --pgbouncer it leads there, and is only read
    #[arg(long, value_name = "PATH")]
    endpoint_file: Option<PathBuf>,
    /// A program of your own that leads clients to a server, after the target is open; its contract
    /// stands in docs/route-command.md
    #[arg(long, value_name = "PATH")]
    route_command: Option<PathBuf>,
    /// The admin console of the PgBouncer that clients connect to (database `pgbouncer`, a role of
    /// its admin_users); once for each process. Passwords may come from a password file
    #[arg(long, env = config::XTASK_PGBOUNCER, hide_env_values = true, value_name = "URL",
        requires_all = ["endpoint_file", "pgbouncer_ini"], help_heading = "PgBouncer")]
    pgbouncer: Vec<String>,
    /// PgBouncer's configuration file with the line of the clients' database, which is rewritten;
    /// may be repeated
    #[arg(long, value_name = "PATH", requires = "pgbouncer", help_heading = "PgBouncer")]
    pgbouncer_ini: Vec<PathBuf>,
    /// How long clients' transactions may take to end when PgBouncer holds them back, in seconds
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", help_heading = "PgBouncer")]
    pause_clients_limit: f64,
    /// Where journals are kept
    #[arg(long, env = config::XTASK_JOURNAL_DIR, default_value = "journal", value_name = "DIR")]
    journal_dir: PathBuf,
    /// The run; the newest in the journal folder where it is not named
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Sessions per side that copy, build and compare at once
    #[arg(long, default_value_t = default_jobs(),
        value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// The longest write pause before the decision, in seconds; past it the attempt unwinds
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", help_heading = "Limits")]
    pause_limit: f64,
    /// How long the snapshots of the certificate may be held, in seconds
    #[arg(long, default_value_t = 6 * 3600, value_name = "SECONDS", help_heading = "Limits")]
    pin_limit: u64,
    /// How long the snapshot of the copy may be held, in seconds
    #[arg(long, default_value_t = 48 * 3600, value_name = "SECONDS", help_heading = "Limits")]
    snapshot_limit: u64,
    /// How long the follower may take to catch up, in seconds
    #[arg(long, default_value_t = 6 * 3600, value_name = "SECONDS", help_heading = "Limits")]
    catch_up_limit: u64,
    /// What a change of schema meets with that waits for the copy: an error, or the way free
    #[arg(long, value_enum, default_value_t = OnDdl::Cancel)]
    on_ddl: OnDdl,
    /// Let slots keep WAL without limit, where a server sets none: the disk may fill
    #[arg(long, help_heading = "Limits")]
    accept_unlimited_wal: bool,
    /// A folder with `pg_dump` and `pg_restore`, tried before the usual places; may be repeated
    #[arg(long, value_name = "DIR")]
    bindir: Vec<PathBuf>,
    /// End another operator's command and take the run from it
    #[arg(long)]
    take_over: bool,
}

/// Where verbs leave the state of the run for Prometheus.
#[derive(Debug, Clone, clap::Args)]
pub struct MetricsArguments {
    /// Write lag, WAL kept, way back and certificate here, as a text file for Prometheus; replaced
    /// as a whole
    #[arg(long, value_name = "PATH")]
    metrics_file: Option<PathBuf>,
}

/// How often a verb that works for hours writes its metrics.
const METRICS_EVERY: Duration = Duration::from_secs(15);

impl MetricsArguments {
    /// Writes what was seen, where a person asked for it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, status: &Status) -> Result<()> {
        self.metrics_file.as_deref().map_or(Ok(()), |path| metrics::write(path, status))
    }

    /// Looks at the servers and writes. That it cannot is a warning: no run depends on it.
    pub async fn observe(&self, operation: &Operation) {
        if self.metrics_file.is_none() {
            return;
        }
        let written = status(operation).await.and_then(|status| self.write(&status));
        if let Err(error) = written {
            operation.story.warning(format!("{error:#}"));
        }
    }

    /// Does long work, and writes over and over meanwhile.
    pub async fn observe_during<T>(
        &self,
        operation: &Operation,
        work: impl Future<Output = T>,
    ) -> T {
        let observing = async {
            loop {
                tokio::time::sleep(METRICS_EVERY).await;
                self.observe(operation).await;
            }
        };
        tokio::select! {
            ended = work => ended,
            () = observing => unreachable!("it never ends"),
        }
    }
}

/// What the target shall have of search.
#[derive(Debug, Clone, clap::Args)]
pub struct SearchArguments {
    /// Bring search to the target: what the target is; it is checked, never guessed
    #[arg(long, value_enum, help_heading = "Search")]
    engine: Option<Engine>,
    #[command(flatten, next_help_heading = "Search")]
    layout: LayoutArguments,
}

/// As many workers as there are cores, within reason.
fn default_jobs() -> u8 {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    u8::try_from(cores.clamp(2, 8)).unwrap_or(2)
}

impl RunArguments {
    /// What the arguments mean.
    ///
    /// # Errors
    /// A connection string is none.
    pub fn operation(&self, ui: &Ui) -> Result<Operation> {
        let source = Endpoint::parse(&self.source)?;
        let target = Endpoint::parse(&self.target)?;
        let peer = |given: &Option<String>, own: &Endpoint| match given {
            Some(text) => Endpoint::parse(text),
            None => Ok(own.clone()),
        };
        Ok(Operation {
            source_for_target: peer(&self.source_for_target, &source)?,
            target_for_source: peer(&self.target_for_source, &target)?,
            source,
            target,
            options: Options {
                jobs: self.jobs.into(),
                pause_limit: Duration::from_secs_f64(self.pause_limit.clamp(0.1, 3600.0)),
                pin_limit: Duration::from_secs(self.pin_limit),
                snapshot_limit: Duration::from_secs(self.snapshot_limit),
                on_ddl: self.on_ddl,
                catch_up_limit: Duration::from_secs(self.catch_up_limit),
                routes: self.routes()?,
                workloads: None,
                accepts_unlimited_wal: self.accept_unlimited_wal,
                keep_copy: false,
                folder: self.journal_dir.clone(),
                search: None,
                migrations: PathBuf::new(),
            },
            bindirs: self.bindirs(),
            run: self.run.clone(),
            take_over: self.take_over,
            argv: public_argv(),
            story: ui.story(),
            interrupt: Interrupt::default(),
        })
    }

    fn routes(&self) -> Result<Routes> {
        let route = self.endpoint_file.clone().map(|file| self.route(file)).transpose()?;
        let command = self.route_command.clone().map(Program::new).map(Route::Command);
        Ok(route.into_iter().chain(command).collect())
    }

    fn route(&self, endpoint_file: PathBuf) -> Result<Route> {
        if self.pgbouncer.is_empty() {
            return Ok(Route::File(endpoint_file));
        }
        let parsed = self.pgbouncer.iter().map(|console| Endpoint::parse(console));
        let consoles = parsed.collect::<Result<Vec<_>>>()?;
        let limit = Duration::from_secs_f64(self.pause_clients_limit.clamp(0.1, 3600.0));
        let inis = self.pgbouncer_ini.clone();
        Ok(Route::PgBouncer(PgBouncer::new(consoles, inis, endpoint_file, limit)))
    }

    /// The same, and what the target shall have of search.
    ///
    /// # Errors
    /// As [`RunArguments::operation`]; or there is no workspace, or no such environment.
    pub fn operation_with_search(&self, search: &SearchArguments, ui: &Ui) -> Result<Operation> {
        let mut operation = self.operation(ui)?;
        operation.options.search = match search.engine {
            Some(engine) => Some(search.layout.choice(engine)?),
            None => None,
        };
        operation.options.migrations = search.layout.folder_or_none();
        Ok(operation)
    }

    fn bindirs(&self) -> Vec<PathBuf> {
        let mut all = self.bindir.clone();
        all.extend(config::path(config::XTASK_TARGET_BINDIR));
        all
    }
}

/// The command line without anything that may hold a password.
fn public_argv() -> Vec<String> {
    let hide = |argument: String| {
        let is_secret = argument.contains("://") || argument.contains("password");
        if is_secret { "<connection string>".to_string() } else { argument }
    };
    std::env::args().map(hide).collect()
}
