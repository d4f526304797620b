//! `backup list`: which backups there are, and what is known of them.

use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::backup::listing::{self, Entry, Listed};
use crate::ui::{self, Format, Ui};

/// Arguments of `backup list`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder in which backups have their folders
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
}

/// Prints the list, newest first.
///
/// # Errors
/// The folder cannot be read.
pub fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let entries = listing::list(&arguments.folder)?;
    if ui.format() == Format::Json {
        return ui.json(&entries);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["backup", "database", "PostgreSQL", "rows", "size", "proved"]);
    for entry in &entries {
        table.add_row(row(entry));
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    ui.data(&table.trim_fmt());
    if entries.is_empty() {
        ui.line("no backup is there");
    }
    Ok(())
}

fn row(entry: &Entry) -> [String; 6] {
    let name = entry.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let nothing = String::new;
    match &entry.backup {
        Some(backup) => [
            name,
            backup.database.clone(),
            (backup.server_version / 10_000).to_string(),
            ui::count(backup.rows),
            ui::bytes(backup.bytes),
            proved(backup),
        ],
        None => {
            let problem = entry.problem.clone().unwrap_or_default();
            [name, nothing(), nothing(), nothing(), nothing(), problem]
        }
    }
}

fn proved(backup: &Listed) -> String {
    match &backup.proof {
        None => "never".into(),
        Some(proof) if proof.is_good() => format!("{:.0}", proof.at),
        Some(proof) => format!("FAILED at {:.0}: {}", proof.at, proof.problems.join("; ")),
    }
}
