//! `cutover report`: what a run did, as Markdown, JSON and one page of HTML.

use std::path::PathBuf;

use anyhow::Result;

use crate::config;
use crate::report::{self, Written};
use crate::ui::{Format, Ui};

/// Arguments of `cutover report`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads journals and asks no server. The page is one file, which loads nothing: \
    send it, print it, open it on a phone.\n\n\
    Examples:\n  cargo xtask cutover report\n  \
    cargo xtask cutover report 20261122T201500123-ab12cd --out report\n\n\
    Exit codes: 0 written, 2 there is no such journal or it is damaged, 3 it cannot be written."
)]
pub struct Arguments {
    /// The run; the newest in the journal folder where it is not named
    run: Option<String>,
    /// Where journals are kept
    #[arg(long, env = config::XTASK_JOURNAL_DIR, default_value = "journal", value_name = "DIR")]
    journal_dir: PathBuf,
    /// Where to write; without it beside the journals
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the three files and says where they are.
///
/// # Errors
/// As [`report::write`].
pub fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let out = arguments.out.as_ref().unwrap_or(&arguments.journal_dir);
    let written = report::write(&arguments.journal_dir, arguments.run.as_deref(), out)?;
    tell(&written, ui)
}

/// Says where a report was written.
///
/// # Errors
/// It cannot be written as JSON.
pub fn tell(written: &Written, ui: &Ui) -> Result<()> {
    if ui.format() == Format::Json {
        return ui.json(written);
    }
    ui.data(&format!("verdict   {}", written.verdict));
    for path in [&written.html, &written.markdown, &written.json] {
        ui.data(&format!("report    {}", path.display()));
    }
    Ok(())
}
