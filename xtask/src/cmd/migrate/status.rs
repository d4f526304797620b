//! `migrate status`: what a database has of the migrations.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::cmd::migrate::PlaceArguments;
use crate::migrate::history::{self, Entry};
use crate::migrate::place;
use crate::ui::{Format, Ui};

/// Arguments of `migrate status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "States: applied, pending, half-built (run `migrate repair`), and what is \
    refused: drifted (the file was changed), missing (the file is gone), late (a later one is \
    applied).\n\n\
    Exit codes: 0 files and database agree, 1 they do not or the engine is wrong, 2 wrong usage.")]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
}

/// Prints it.
///
/// # Errors
/// The server is not what the person says, or files and history disagree.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let (endpoint, choice, folder) = arguments.place.read()?;
    let files = history::all_files(&folder, &choice)?;
    let session = endpoint.connect("migrate status").await?;
    place::assert_engine(&session, choice.engine).await?;
    let entries = history::read(&session, &choice, &files).await?;
    match ui.format() {
        Format::Json => ui.json(&serde_json::json!({
            "engine": choice.engine, "schema": choice.schema, "migrations": entries,
        }))?,
        Format::Text => ui.data(&text(&entries)),
    }
    history::assert_agreement(&entries)
}

fn text(entries: &[Entry]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["set", "version", "name", "state", "applied", "file"]);
    for entry in entries {
        table.add_row([
            entry.set,
            &entry.version.to_string(),
            &entry.name,
            entry.state.name(),
            entry.applied.as_deref().unwrap_or_default(),
            entry.file.as_deref().unwrap_or_default(),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
