//! `cutover`: the verbs of the night, one file each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::backup::BackupPolicy;
use crate::cmd::backup::{self, PolicyArguments};
use crate::cmd::environment::Chosen;
use crate::cmd::migrate::LayoutArguments;
use crate::config;
use crate::cutover::engine::{Interrupt, Options};
use crate::cutover::holder::OnDdl;
use crate::cutover::verbs::{Operation, Origin};
use crate::failure::Failure;
use crate::migrate::Engine;
use crate::pg::endpoint::Endpoint;
use crate::render::values::choice;
use crate::render::values::cutover::{Cutover, Limits};
use crate::route::command::Program;
use crate::route::pgbouncer::PgBouncer;
use crate::route::{Route, Routes};
use crate::ui::Ui;

mod adopt;
mod ddl;
mod finish;
mod follow;
mod leading;
mod metrics;
pub mod plan;
pub mod report;
mod signals;
mod start;
mod status;
mod switch;
mod unfence;
mod watch;

pub use metrics::MetricsArguments;
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
    /// Let ParadeDB answer searches while plain PostgreSQL goes on serving
    Follow(follow::Arguments),
    /// Let the target serve: a pause of well under a second
    Switch(switch::Arguments),
    /// Say who serves, whether the way back is open, and what to do next
    Status(status::Arguments),
    /// Bring a change of schema to both sides of a run, in the right order
    Ddl(ddl::Arguments),
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
        Verb::Follow(arguments) => follow::run(&arguments, ui).await,
        Verb::Switch(arguments) => switch::run(&arguments, ui).await,
        Verb::Status(arguments) => status::run(&arguments, ui).await,
        Verb::Ddl(arguments) => ddl::run(&arguments, ui).await,
        Verb::Report(arguments) => report::run(&arguments, ui),
        Verb::Finish(arguments) => finish::run(&arguments, ui).await,
        Verb::Adopt(arguments) => adopt::run(&arguments, ui).await,
        Verb::Unfence(arguments) => unfence::run(&arguments, ui).await,
    }
}

/// Arguments that every verb of a run takes.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArguments {
    /// Take everything of the run from the values of this environment, infra/values/NAME.yaml;
    /// what is given by hand beside it wins, and is told
    #[arg(long = "env", value_name = "NAME")]
    environment: Option<String>,
    /// The plain PostgreSQL server, as a libpq URL or key=value string. The password may come from
    /// PGPASSWORD or a password file
    #[arg(long, env = config::XTASK_SOURCE, hide_env_values = true, value_name = "URL")]
    source: Option<String>,
    /// The ParadeDB server
    #[arg(long, env = config::XTASK_TARGET, hide_env_values = true, value_name = "URL")]
    target: Option<String>,
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
        help_heading = "PgBouncer")]
    pgbouncer: Vec<String>,
    /// PgBouncer's configuration file with the line of the clients' database, which is rewritten;
    /// may be repeated
    #[arg(long, value_name = "PATH", help_heading = "PgBouncer")]
    pgbouncer_ini: Vec<PathBuf>,
    /// How long clients' transactions may take to end when PgBouncer holds them back, in seconds
    /// [default: 2]
    #[arg(long, value_name = "SECONDS", help_heading = "PgBouncer")]
    pause_clients_limit: Option<f64>,
    /// Where journals are kept
    #[arg(long, env = config::XTASK_JOURNAL_DIR, default_value = "journal", value_name = "DIR")]
    journal_dir: PathBuf,
    /// The run; the newest in the journal folder where it is not named
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Sessions per side that copy, build and compare at once [default: one a core, 2 to 8]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,
    /// The longest write pause before the decision, in seconds; past it the attempt unwinds
    /// [default: 5]
    #[arg(long, value_name = "SECONDS", help_heading = "Limits")]
    pause_limit: Option<f64>,
    /// How long the snapshots of the certificate may be held, in seconds [default: 21600]
    #[arg(long, value_name = "SECONDS", help_heading = "Limits")]
    pin_limit: Option<u64>,
    /// How long the snapshot of the copy may be held, in seconds [default: 172800]
    #[arg(long, value_name = "SECONDS", help_heading = "Limits")]
    snapshot_limit: Option<u64>,
    /// How long the follower may take to catch up, in seconds [default: 21600]
    #[arg(long, value_name = "SECONDS", help_heading = "Limits")]
    catch_up_limit: Option<u64>,
    /// What a change of schema meets with that waits for the copy: an error, or the way free
    /// [default: cancel]
    #[arg(long, value_enum)]
    on_ddl: Option<OnDdl>,
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

/// What the target shall have of search.
#[derive(Debug, Clone, Default, clap::Args)]
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
    /// Those of an environment and of nobody else: no variable of this process counts beside it.
    pub fn of_environment(
        name: &str,
        journal_dir: PathBuf,
        jobs: Option<u8>,
        bindir: Vec<PathBuf>,
    ) -> RunArguments {
        RunArguments {
            environment: Some(name.into()),
            source: None,
            target: None,
            source_for_target: None,
            target_for_source: None,
            endpoint_file: None,
            route_command: None,
            pgbouncer: Vec::new(),
            pgbouncer_ini: Vec::new(),
            pause_clients_limit: None,
            journal_dir,
            run: None,
            jobs,
            pause_limit: None,
            pin_limit: None,
            snapshot_limit: None,
            catch_up_limit: None,
            on_ddl: None,
            accept_unlimited_wal: false,
            bindir,
            take_over: false,
        }
    }

    /// The environment that was named.
    pub fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }

    /// What the arguments and the values of their environment mean.
    ///
    /// # Errors
    /// A side is not named, a connection string is none, a password is not where the values say,
    /// or there is no such environment.
    pub async fn operation(&self, ui: &Ui) -> Result<Operation> {
        let mut chosen = Chosen::read(self.environment.as_deref())?;
        let mut operation = self.choose(&mut chosen, ui).await?;
        operation.origin = origin(&chosen, ui);
        Ok(operation)
    }

    /// The same, and what the target shall have of search, and what is done about a backup.
    ///
    /// # Errors
    /// As [`RunArguments::operation`]; or there is no workspace.
    pub async fn operation_of_start(
        &self,
        search: &SearchArguments,
        backup: &PolicyArguments,
        ui: &Ui,
    ) -> Result<Operation> {
        let mut chosen = Chosen::read(self.environment.as_deref())?;
        let mut operation = self.choose(&mut chosen, ui).await?;
        let engine_there = chosen.environment().map(|environment| environment.values.engine);
        let written = |cutover: &Cutover| {
            cutover.search.as_ref().and(engine_there).map(|engine| match engine {
                choice::Engine::Paradedb => Engine::Paradedb,
                choice::Engine::Postgres => Engine::Postgres,
            })
        };
        if let Some(engine) = chosen.pick("--engine", search.engine, written) {
            operation.options.search = Some(search.layout.choice(engine, &mut chosen));
        }
        operation.options.migrations = search.layout.folder_or_none();
        operation.options.backup = backup.policy_or_written(&mut chosen).await?;
        operation.origin = origin(&chosen, ui);
        Ok(operation)
    }

    async fn choose(&self, chosen: &mut Chosen, ui: &Ui) -> Result<Operation> {
        let source = chosen.side("source", self.source.as_deref(), |it| it.source.as_ref());
        let source = source.await?;
        let target = chosen.side("target", self.target.as_deref(), |it| it.target.as_ref());
        let target = target.await?;
        let peers = self.peers(chosen, &source, &target).await?;
        let options = self.options(chosen, [&source, &target]).await?;
        Ok(Operation {
            source_for_target: peers.0,
            target_for_source: peers.1,
            source,
            target,
            options,
            bindirs: self.bindirs(),
            run: self.run.clone(),
            take_over: self.take_over,
            argv: public_argv(),
            story: ui.story(),
            interrupt: Interrupt::default(),
            origin: Origin::default(),
        })
    }

    /// What each server dials to reach the other: source for target, target for source. A password
    /// that is not given beside them is that of the side.
    async fn peers(
        &self,
        chosen: &mut Chosen,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<(Endpoint, Endpoint)> {
        let given = self.source_for_target.as_deref();
        let there = chosen.server("--source-for-target", given, |it| it.source_for_target.as_ref());
        let there = there.await?;
        let given = self.target_for_source.as_deref();
        let back = chosen.server("--target-for-source", given, |it| it.target_for_source.as_ref());
        let back = back.await?;
        let own = |peer: Option<Endpoint>, side: &Endpoint| {
            peer.map_or_else(|| side.clone(), |peer| peer.or_password_of(side))
        };
        Ok((own(there, source), own(back, target)))
    }

    async fn options(&self, chosen: &mut Chosen, sides: [&Endpoint; 2]) -> Result<Options> {
        let defaults = Limits::default();
        let limits = chosen.cutover().map_or(&defaults, |cutover| &cutover.limits).clone();
        let span = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.1, 3600.0));
        let routes = self.routes(chosen, &limits, sides).await?;
        let accepts = self.accept_unlimited_wal.then_some(true);
        let on_ddl = |cutover: &Cutover| match cutover.on_ddl {
            choice::OnDdl::Cancel => Some(OnDdl::Cancel),
            choice::OnDdl::Yield => Some(OnDdl::Yield),
        };
        let jobs = |cutover: &Cutover| cutover.jobs.map(|jobs| jobs.0);
        let pause = chosen.pick("--pause-limit", self.pause_limit, |_| None);
        let mut whole = |flag: &str, given: Option<u64>, written: u32| {
            let seconds = chosen.pick(flag, given, |_| None).unwrap_or(written.into());
            Duration::from_secs(seconds)
        };
        let pin_limit = whole("--pin-limit", self.pin_limit, limits.pin.0);
        let snapshot_limit = whole("--snapshot-limit", self.snapshot_limit, limits.snapshot.0);
        let catch_up_limit = whole("--catch-up-limit", self.catch_up_limit, limits.catch_up.0);
        let accepts_unlimited_wal = chosen
            .pick("--accept-unlimited-wal", accepts, |cutover| Some(cutover.accept_unlimited_wal));
        Ok(Options {
            jobs: chosen.pick("--jobs", self.jobs, jobs).unwrap_or_else(default_jobs).into(),
            pause_limit: span(pause.unwrap_or(limits.pause.as_seconds())),
            pin_limit,
            snapshot_limit,
            on_ddl: chosen.pick("--on-ddl", self.on_ddl, on_ddl).unwrap_or(OnDdl::Cancel),
            catch_up_limit,
            routes,
            workloads: leading::workloads(chosen)?,
            accepts_unlimited_wal: accepts_unlimited_wal.unwrap_or(false),
            without_way_back: false,
            follows: chosen.cutover().is_some_and(|it| it.topology == choice::Topology::Follow),
            keep_copy: false,
            folder: self.journal_dir.clone(),
            search: None,
            migrations: PathBuf::new(),
            backup: BackupPolicy::default(),
        })
    }

    /// The routes of clients in order: what the cluster leads, who is led by it, and programs.
    async fn routes(
        &self,
        chosen: &mut Chosen,
        limits: &Limits,
        sides: [&Endpoint; 2],
    ) -> Result<Routes> {
        let route = self.route(chosen, limits).await?;
        let given = self.route_command.clone().map(|path| vec![path]);
        let commands = chosen.pick("--route-command", given, |cutover| {
            let all = cutover.routes.iter().filter_map(|route| route.command.as_ref());
            Some(all.map(PathBuf::from).collect())
        });
        let commands = commands.into_iter().flatten().map(Program::new).map(Route::Command);
        let aimed = leading::aimed(chosen, sides)?.into_iter().map(Route::Aimed);
        Ok(aimed.chain(route).chain(commands).collect())
    }

    async fn route(&self, chosen: &mut Chosen, limits: &Limits) -> Result<Option<Route>> {
        let written = |cutover: &Cutover| cutover.endpoint_file.as_ref().map(|it| it.into());
        let endpoint_file = chosen.pick("--endpoint-file", self.endpoint_file.clone(), written);
        let consoles = self.consoles(chosen).await?;
        let given = (!self.pgbouncer_ini.is_empty()).then(|| self.pgbouncer_ini.clone());
        let inis = chosen.pick("--pgbouncer-ini", given, |cutover| {
            cutover.pgbouncer.as_ref().map(|it| it.ini.iter().map(PathBuf::from).collect())
        });
        let probe = chosen.cutover().and_then(|cutover| cutover.pgbouncer.as_ref()?.probe.clone());
        // A file that is given by hand is to be written, whatever the values dial.
        let probe = probe.filter(|_| self.pgbouncer_ini.is_empty());
        let limit = chosen.pick("--pause-clients-limit", self.pause_clients_limit, |_| None);
        match (endpoint_file, consoles.is_empty(), inis) {
            (Some(clients), false, Some(inis)) => {
                let limit = limit.unwrap_or(limits.pause_clients.as_seconds());
                let limit = Duration::from_secs_f64(limit.clamp(0.1, 3600.0));
                let pooler = PgBouncer::new(consoles, inis, clients, limit);
                Ok(Some(Route::PgBouncer(match probe {
                    Some(probe) => pooler.dialling_a_service(&probe.to_string()),
                    None => pooler,
                })))
            }
            (file, true, None) => Ok(file.map(Route::File)),
            _ => Err(Failure::usage("a route by PgBouncer is named in part")
                .hint("name all three: --pgbouncer, --pgbouncer-ini, --endpoint-file")
                .into()),
        }
    }

    /// The admin consoles of PgBouncer, those of the command line in the place of all others.
    async fn consoles(&self, chosen: &mut Chosen) -> Result<Vec<Endpoint>> {
        let parsed = self.pgbouncer.iter().map(|console| Endpoint::parse(console));
        let given = parsed.collect::<Result<Vec<_>>>()?;
        let given = (!given.is_empty()).then_some(given);
        if let Some(consoles) = chosen.pick("--pgbouncer", given, |_| None) {
            return Ok(consoles);
        }
        let mut all = Vec::new();
        let pgbouncer = chosen.cutover().and_then(|cutover| cutover.pgbouncer.as_ref());
        for login in pgbouncer.iter().flat_map(|pgbouncer| &pgbouncer.consoles) {
            all.push(chosen.login(login).await?);
        }
        Ok(all)
    }

    fn bindirs(&self) -> Vec<PathBuf> {
        let mut all = self.bindir.clone();
        all.extend(config::path(config::XTASK_TARGET_BINDIR));
        all
    }
}

/// Where the operation comes from. What was given by hand in the place of values is told: it may
/// be a slip.
fn origin(chosen: &Chosen, ui: &Ui) -> Origin {
    let environment = chosen.environment().map(|environment| environment.name.clone());
    let by_hand = chosen.by_hand().to_vec();
    if let (Some(name), false) = (&environment, by_hand.is_empty()) {
        ui.line(&format!("by hand, in the place of values of {name}: {}", by_hand.join(", ")));
    }
    Origin { environment, by_hand, approved: None }
}

/// The command line without anything that may hold a password.
fn public_argv() -> Vec<String> {
    let mut is_command = false;
    let hide = |argument: String| {
        // The command of a backup may name a key; what it said is kept, cleared of those.
        let follows = std::mem::replace(&mut is_command, argument == backup::COMMAND);
        let is_secret = argument.contains("://") || argument.contains("password");
        if follows || argument.starts_with(&format!("{}=", backup::COMMAND)) {
            "<command>".to_string()
        } else if is_secret {
            "<connection string>".to_string()
        } else {
            argument
        }
    };
    std::env::args().map(hide).collect()
}
