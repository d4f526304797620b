//! `migrate repair`: builds anew what is half built.

use anyhow::Result;

use crate::cmd::migrate::PlaceArguments;
use crate::migrate::repair;
use crate::ui::{Format, Ui};

/// Arguments of `migrate repair`.
#[derive(Debug, clap::Args)]
#[command(after_help = "An index that a crash left invalid is dropped and built anew, without \
    locking out readers or writers.\n\n\
    Exit codes: 0 mended or nothing to mend, 1 refused, 2 wrong usage, 3 failed.")]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
}

/// Runs it.
///
/// # Errors
/// As [`repair::repair`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let (endpoint, choice, folder) = arguments.place.read()?;
    let mended = repair::repair(&endpoint, &choice, &folder, &ui.story()).await?;
    match ui.format() {
        Format::Json => ui.json(&serde_json::json!({ "mended": mended }))?,
        Format::Text if mended.is_empty() => ui.data("nothing is half built"),
        Format::Text => ui.data(&format!("{} mended", mended.len())),
    }
    Ok(())
}
