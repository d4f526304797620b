//! `drill --env`: a rehearsal on the servers of an environment that allows it.

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cmd::backup::PolicyArguments;
use crate::cmd::cutover::{RunArguments, SearchArguments, listen, plan};
use crate::cmd::environment::Chosen;
use crate::config;
use crate::cutover::planned::{self, Planned};
use crate::cutover::verbs::Operation;
use crate::drill::guest::{self, Door, Guest};
use crate::failure::Failure;
use crate::ui::{Format, Ui};

/// How often an environment goes forth and back that nobody told: the second time needs no copy.
const CYCLES: u32 = 2;
/// How wide the table of a dry run is, in characters.
const WIDTH: u16 = 110;

/// Arguments that only a rehearsal on an environment has.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "On servers of an environment")]
pub struct EnvironmentArguments {
    /// Rehearse on the servers of this environment, infra/values/NAME.yaml, with its own database,
    /// routes and workloads; its values must say `cutover.rehearse: true`
    #[arg(id = "environment", long = "env", value_name = "NAME", conflicts_with_all = ["source",
        "target", "scale", "route", "endpoint_file"])]
    environment: Option<String>,
    /// Say what would be touched, in which order, and how each is undone; touch nothing
    #[arg(long, requires = "environment")]
    dry_run: bool,
    /// At the end close the run and remove what is the drill's own. Without it plain PostgreSQL
    /// serves, and ParadeDB follows
    #[arg(long, requires = "environment")]
    finish: bool,
    #[command(flatten)]
    backup: PolicyArguments,
}

impl EnvironmentArguments {
    /// The environment.
    ///
    /// # Errors
    /// There is a word about backups and no environment: made-up data has none.
    pub fn name(&self) -> Result<Option<&str>> {
        if self.environment.is_none() && self.backup.is_given() {
            let message = "only with --env has a drill data that a backup can be made of";
            return Err(Failure::usage(message).into());
        }
        Ok(self.environment.as_deref())
    }
}

/// One thing that a rehearsal touches, in its order.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    touches: String,
    undo: String,
}

/// What a dry run found.
#[derive(Serialize)]
struct Dry<'a> {
    rehearsal: &'a [Row],
    planned: &'a Planned,
}

/// Rehearses, or says what a rehearsal would touch.
///
/// # Errors
/// The values do not allow it, the plan is refused, a verb fails, or the oracle found a fault.
pub async fn run(arguments: &super::Arguments, name: &str, ui: &Ui) -> Result<()> {
    let chosen = Chosen::read(Some(name))?;
    chosen.assert_rehearsable()?;
    let operation = operation(arguments, name, ui).await?;
    let servers = [&operation.source, &operation.target];
    chosen.assert_nobody_elses(servers, &operation.story).await?;
    if operation.options.follows {
        let message = format!("there is no switch to rehearse: in {name} ParadeDB is to follow");
        return Err(Failure::refused(message)
            .hint("`cutover.topology: switch` in its values")
            .into());
    }
    if guest::is_open(&operation)? {
        let folder = operation.options.folder.display();
        return Err(Failure::refused(format!("the newest run in {folder} is not closed"))
            .hint(format!("cargo xtask cutover status --env {name}; or name another --journal-dir"))
            .into());
    }
    let how = Guest {
        seed: arguments.seed,
        rate: arguments.rate,
        writers: arguments.writers,
        cycles: arguments.cycles.unwrap_or(CYCLES).max(1),
        finishes: arguments.environment.finish,
    };
    let door = Door::of(&operation.options)?;
    door.assert_is_free(&operation).await?;
    let planned = planned::plan(&operation).await?;
    if arguments.environment.dry_run {
        tell_dry(&rows(&operation, &how, &door, name), &planned, &operation, ui)?;
    }
    planned.approve()?;
    if arguments.environment.dry_run {
        ui.line("nothing was touched");
        return Ok(());
    }
    listen(&operation.interrupt, ui)?;
    let folder = tempfile::tempdir().context("make a folder for the drill")?;
    let report = guest::rehearse(&operation, &how, &door, folder.path()).await;
    let written = super::write_report(arguments, &operation, &operation.options.folder);
    let told = super::tell(report, written, ui);
    if guest::is_open(&operation)? {
        for line in still_open(&operation, &door, name) {
            ui.line(&line);
        }
    }
    told
}

async fn operation(arguments: &super::Arguments, name: &str, ui: &Ui) -> Result<Operation> {
    let folder = arguments.journal_dir.clone().or_else(|| config::path(config::XTASK_JOURNAL_DIR));
    let folder = folder.unwrap_or_else(|| super::REPORT_FOLDER.into());
    let bindir = arguments.target_bindir.iter().cloned().collect();
    let run = RunArguments::of_environment(name, folder, arguments.jobs, bindir);
    let backup = &arguments.environment.backup;
    run.operation_of_start(&SearchArguments::default(), backup, ui).await
}

/// How a person goes on, or removes what is left.
fn still_open(operation: &Operation, door: &Door, name: &str) -> [String; 3] {
    let folder = operation.options.folder.display();
    let with = format!("--env {name} --journal-dir {folder}");
    [
        format!("the run is open: cargo xtask cutover status {with}"),
        format!("plain PostgreSQL serves again after: cargo xtask rollback {with}"),
        format!(
            "to close it: cargo xtask cutover finish {with}; then on both sides: {}",
            door.removal()
        ),
    ]
}

/// What a rehearsal touches, in order.
fn rows(operation: &Operation, how: &Guest, door: &Door, name: &str) -> Vec<Row> {
    let role = door.role();
    let ledger = match door {
        Door::Clients(..) => format!(
            "source: schema xtask_drill with 1 table, which {role} may write; start brings it over"
        ),
        Door::Own => format!(
            "both: role {role}; source: schema xtask_drill with 1 table, which it may write; start \
             brings it over"
        ),
    };
    let by = match door {
        Door::Clients(file, _) => format!("file {}", file.display()),
        Door::Own => "a file of the drill's own".into(),
    };
    let pace = match how.rate > 0.0 {
        true => format!("at {} rows/s", how.rate),
        false => "as fast as it goes".into(),
    };
    let row =
        |what, touches: &str, undo: &str| Row { what, touches: touches.into(), undo: undo.into() };
    let routes = match operation.options.routes.is_empty() {
        true => "nobody but the writers: no route is named".to_string(),
        false => format!("clients go to ParadeDB, by: {}", operation.options.routes),
    };
    let mut all = vec![
        row("the drill", &ledger, "removed with --finish, or where start fails"),
        row("writers", &format!("{} sessions fill it {pace}, by {by}", how.writers), "end with it"),
        row("cutover start", "as below", "rollback removes it; so does its own failure"),
    ];
    for _ in 0..how.cycles {
        all.push(row("cutover switch", &routes, "itself, if it fails; then the rollback"));
        all.push(row(
            "rollback",
            "clients go to plain PostgreSQL, with every write",
            "cutover switch",
        ));
    }
    all.push(match how.finishes {
        true => row(
            "cutover finish",
            "the run is closed, ledger and role go; the target keeps its copy, and its fence",
            "never; before another start the target's database is dropped and made anew, by hand",
        ),
        false => row(
            "nothing more",
            "plain PostgreSQL serves, ParadeDB follows, until somebody ends it",
            &format!("cutover finish --env {name}, or cutover switch"),
        ),
    });
    all
}

fn tell_dry(rows: &[Row], planned: &Planned, operation: &Operation, ui: &Ui) -> Result<()> {
    if ui.format() == Format::Json {
        return ui.json(&Dry { rehearsal: rows, planned });
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["in this order", "touches", "undone by"]);
    for row in rows {
        table.add_row([row.what, &row.touches, &row.undo]);
    }
    ui.data(&format!("{table}\n{}", plan::text(planned, &operation.options)));
    Ok(())
}
