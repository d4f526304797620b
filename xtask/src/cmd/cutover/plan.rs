//! `cutover plan`: what would happen, and every reason to say no.

use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::cmd::backup::PolicyArguments;
use crate::cmd::cutover::{RunArguments, SearchArguments};
use crate::cutover::approval::Approval;
use crate::cutover::planned::{self, Planned};
use crate::cutover::privileges::Privilege;
use crate::cutover::verbs::Operation;
use crate::ui::{self, Format, Ui};

/// How wide the table of steps is, in characters.
const WIDTH: u16 = 110;
/// How many tables the summary names.
const SHOWN_TABLES: usize = 12;

/// How wide the table of privileges is, in characters.
const TABLE_WIDTH: u16 = 100;

/// Arguments of `cutover plan`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 approved, 1 refused, 2 wrong usage, 3 a server is unreachable.\n\n\
    Example:\n  export PGSSLMODE=verify-full PGSSLROOTCERT=ca.pem\n  cargo xtask cutover \
    plan --source postgresql://postgres@old/rbsdb \\\n    \
    --target postgresql://postgres@new/rbsdb"
)]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    search: SearchArguments,
    #[command(flatten)]
    backup: PolicyArguments,
    /// Write what is to be approved here, for `cutover start --plan`
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Begin a run that cannot be turned back after its switch: the source never follows. For a
    /// role that may not subscribe there
    #[arg(long)]
    without_way_back: bool,
}

/// Prints the plan; refuses it where something stands in the way.
///
/// # Errors
/// A side cannot be reached, or the plan is refused.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let (search, backup) = (&arguments.search, &arguments.backup);
    let mut operation = arguments.run.operation_of_start(search, backup, ui).await?;
    operation.options.without_way_back = arguments.without_way_back;
    let planned = planned::plan(&operation).await?;
    match ui.format() {
        Format::Json => ui.json(&planned)?,
        Format::Text => ui.data(&text(&planned, operation.options.jobs)),
    }
    planned.approve()?;
    write(arguments, &operation, &planned, ui)
}

/// Writes what is to be approved, where that was asked for. A refused plan is never written.
fn write(arguments: &Arguments, operation: &Operation, planned: &Planned, ui: &Ui) -> Result<()> {
    let Some(path) = &arguments.out else { return Ok(()) };
    Approval::of(operation, planned).write(path)?;
    ui.line(&format!("approve it, then: cargo xtask cutover start --plan {}", path.display()));
    Ok(())
}

/// A plan, for people.
pub fn text(planned: &Planned, jobs: usize) -> String {
    let plan = &planned.plan;
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["table", "size", "rows (estimated)", "format"]);
    for one in plan.tables.iter().take(SHOWN_TABLES) {
        let format = if one.binary { "binary" } else { "text" };
        let size = ui::bytes(u64::try_from(one.bytes).unwrap_or(0));
        let rows = ui::count(u64::try_from(one.rows).unwrap_or(0));
        table.add_row([one.title(), size, rows, format.into()]);
    }
    for column in 1..=2 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let more = plan.tables.len().saturating_sub(SHOWN_TABLES);
    let more = if more > 0 { format!("… and {more} more tables\n") } else { String::new() };
    let warnings: Vec<String> = planned
        .refusals
        .iter()
        .filter(|refusal| refusal.is_warning)
        .map(|refusal| format!("note: {}; {}\n", refusal.problem, refusal.fix))
        .collect();
    format!(
        "{}PostgreSQL {} → {}: {} in {} tables, {} sequences\n{table}\n{more}{}\n{}{}{}{}",
        origin(planned),
        plan.source_version / 10_000,
        plan.target_version / 10_000,
        ui::bytes(u64::try_from(plan.bytes()).unwrap_or(0)),
        plan.tables.len(),
        plan.sequences,
        outline(planned),
        warnings.concat(),
        privileges(&planned.privileges),
        search(planned),
        effects(jobs, planned)
    )
}

/// What roles that are no superusers may do, and what is lost by what they may not.
fn privileges(all: &[Privilege]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TABLE_WIDTH);
    table.set_header(["side", "role", "privilege", "", "what it is for, or what is lost"]);
    for one in all {
        let state = match (one.held, one.is_necessary) {
            (true, _) => "held",
            (false, true) => "MISSING",
            (false, false) => "lost",
        };
        table.add_row([&one.side, &one.role, &one.name, state, &one.about]);
    }
    format!("what the roles may do that are no superusers:\n{table}\n")
}

/// What the target gets of search.
fn search(planned: &Planned) -> String {
    match &planned.plan.search {
        None => "search    none: without --engine nothing is migrated\n".into(),
        Some(choice) => {
            let (engine, schema) = (choice.engine, &choice.schema);
            format!("search    the migrations of {engine}, in schema {schema}: target only\n")
        }
    }
}

/// Where the settings come from.
fn origin(planned: &Planned) -> String {
    let Some(environment) = &planned.environment else { return String::new() };
    let by_hand = match planned.by_hand.is_empty() {
        true => "nothing".into(),
        false => planned.by_hand.join(", "),
    };
    format!("values    {environment}; by hand in their place: {by_hand}\n")
}

/// Each step, for a person to approve.
fn outline(planned: &Planned) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["verb", "step", "touches", "clients", "undone by"]);
    let mut before = "";
    for row in &planned.outline {
        let verb = if row.verb == before { "" } else { row.verb };
        before = row.verb;
        table.add_row([verb, row.step.name(), &row.touches, row.clients, row.undo]);
    }
    table
}

/// What a run does to the service beside its steps.
fn effects(jobs: usize, planned: &Planned) -> String {
    let estimate = planned.expected_pause_ms;
    let pause = match &planned.measured_pause {
        Some((run, took)) => format!(
            "{took:.0} ms, measured between these servers by run {run}; {estimate:.0} ms by the \
             round trips of now"
        ),
        None => format!(
            "about {estimate:.0} ms, by the round trips of now; rehearse between these servers \
             for a figure to rely on"
        ),
    };
    let setting = |name: &str| planned.settings.get(name).map_or("none", String::as_str);
    let pause = match setting("topology") {
        "follow" => "none: ParadeDB follows and answers searches, and is not let serve".into(),
        _ => format!(
            "one, its database part {pause}; past {} before the decision it is undone",
            setting("pause limit")
        ),
    };
    format!(
        "pause     {pause}\n\
         route     {}\n\
         locks     ACCESS SHARE on every table until the copy ends; DDL that waits for it longer \
         than 1 s: {}\n\
         xmin      held until the copy ends, so dead rows stay until then\n\
         WAL       kept on the source from the first step on; watch the disk\n\
         load      {jobs} sessions that read, {jobs} that write on the target\n\
         stays     at a rollback: whatever only the target has, such as search tables and indexes",
        setting("routes"),
        setting("on ddl"),
    )
}
