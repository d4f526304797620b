//! `cutover ddl`: a change of schema goes to both sides.

use std::path::PathBuf;

use anyhow::Result;

use crate::cmd::cutover::{RunArguments, listen};
use crate::cutover::ddl::{self, Maker, Preview, Request};
use crate::ui::{Format, Ui};

/// Arguments of `cutover ddl`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    What only adds goes to the side that follows first, everything else to the side that serves. \
    Each side takes the file whole or not at all, and waits two tenths of a second for a lock at \
    a time. New tables are followed from their first row on. Long locks and rewrites are refused \
    by the rules of `migrate lint`. Killed between the two sides: the same command goes on.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask cutover ddl add_column.sql --dry-run\n\
    \x20 cargo xtask cutover ddl add_column.sql --as trading_app\n\
    \x20 cargo xtask cutover ddl widen.sql --accept changing-column-type\n\
    \n\
    Exit codes: 0 both sides have it, 1 refused, nothing was changed, 2 wrong usage, 3 failed, \
    nothing was changed, 4 one side has it: run it again.")]
pub struct Arguments {
    /// The file with the change, as SQL
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Try it on the side that follows, take it back, and say what would run where
    #[arg(long)]
    dry_run: bool,
    /// A rule that the file may break; may be repeated
    #[arg(long, value_name = "RULE")]
    accept: Vec<String>,
    /// The role that it is applied as, and that owns what is new [default: the login]
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
    /// The schema of names that have none
    #[arg(long, default_value = "public", value_name = "NAME")]
    schema: String,
    #[command(flatten)]
    run: RunArguments,
}

/// Runs it.
///
/// # Errors
/// As [`ddl::apply`] and [`ddl::preview`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui).await?;
    let request = Request {
        file: arguments.file.clone(),
        accepted: arguments.accept.clone(),
        maker: Maker { role: arguments.role.clone(), schema: arguments.schema.clone() },
    };
    if !arguments.dry_run {
        listen(&operation.interrupt, ui)?;
        return ddl::apply(&operation, &request).await;
    }
    let preview = ddl::preview(&operation, &request).await?;
    match ui.format() {
        Format::Json => ui.json(&preview)?,
        Format::Text => ui.data(&text(&preview)),
    }
    Ok(())
}

fn text(preview: &Preview) -> String {
    let mut lines =
        vec![format!("{} would run whole, on each side in one transaction:", preview.file)];
    for (number, side) in preview.sides.iter().enumerate() {
        lines.push(format!("{}. on the {side}", number + 1));
        let statements = preview.statements.iter().flat_map(|statement| statement.lines());
        lines.extend(statements.map(|line| format!("     {line}")));
    }
    match preview.tables.is_empty() {
        true => lines.push("no new table".into()),
        false => lines.push(format!("followed from then on: {}", preview.tables.join(", "))),
    }
    lines.push("tried on the side that follows and taken back; nothing was changed".into());
    lines.join("\n")
}
