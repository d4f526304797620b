//! `migrate up`: applies what is pending.

use anyhow::Result;

use crate::cmd::migrate::PlaceArguments;
use crate::migrate::up;
use crate::ui::{Format, Ui};

/// Arguments of `migrate up`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each file is applied whole or not at all; run it again and it goes on.\n\n\
    Exit codes: 0 done or nothing to do, 1 refused, 2 wrong usage, 3 stopped after whole \
    migrations."
)]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
}

/// Runs it.
///
/// # Errors
/// As [`up::up`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let (endpoint, choice, folder) = arguments.place.read()?;
    let done = up::up(&endpoint, &choice, &folder, &ui.story()).await?;
    match ui.format() {
        Format::Json => ui.json(&serde_json::json!({ "applied": done }))?,
        Format::Text if done.is_empty() => ui.data("nothing to do: every migration is applied"),
        Format::Text => ui.data(&format!("{} applied", done.len())),
    }
    Ok(())
}
