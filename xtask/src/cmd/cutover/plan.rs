//! `cutover plan`: what would happen, and every reason to say no.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::cmd::cutover::{RunArguments, SearchArguments};
use crate::cutover::verbs::{self, Planned};
use crate::ui::{self, Format, Ui};

/// How many tables the summary names.
const SHOWN_TABLES: usize = 12;

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
}

/// Prints the plan; refuses it where something stands in the way.
///
/// # Errors
/// A side cannot be reached, or the plan is refused.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation_with_search(&arguments.search, ui).await?;
    let planned = verbs::plan(&operation).await?;
    match ui.format() {
        Format::Json => ui.json(&planned)?,
        Format::Text => ui.data(&text(&planned, operation.options.jobs)),
    }
    planned.approve()
}

fn text(planned: &Planned, jobs: usize) -> String {
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
        "PostgreSQL {} → {}: {} in {} tables, {} sequences\n{table}\n{more}{}{}{}",
        plan.source_version / 10_000,
        plan.target_version / 10_000,
        ui::bytes(u64::try_from(plan.bytes()).unwrap_or(0)),
        plan.tables.len(),
        plan.sequences,
        warnings.concat(),
        search(planned),
        effects(jobs, planned.expected_pause_ms)
    )
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

/// What a run does to the service, and how each part is undone.
fn effects(jobs: usize, expected_pause_ms: f64) -> String {
    format!(
        "start     publish, schema, copy, index, follow, migrate, arm, prove: undone by \
         `rollback`, which removes all of it\n\
         switch    gate, fence, drain, sequences, detach, pin, decide: undone by itself when \
         anything fails\n\
         \x20         open, flip, release, reverse, certify: turned back by `rollback`, with every \
         write since\n\
         finish    retire: final\n\
         what `start` does while clients write:\n\
         - locks: ACCESS SHARE on every table until the copy ends; DDL that waits for it longer \
         than 1 s is cancelled\n\
         - xmin horizon: held until the copy ends, so dead rows stay until then\n\
         - WAL: kept on the source from the first step on; watch the disk\n\
         - load: {jobs} sessions that read, {jobs} that write on the target\n\
         what `switch` does: one write pause, its database part about {expected_pause_ms:.0} ms; \
         sessions on the source are ended and connect anew\n\
         what stays behind at a rollback: whatever only the target has, such as search \
        tables and indexes"
    )
}
