//! `backup verify`: a backup is restored elsewhere, and every row compared with its manifest.

use std::path::PathBuf;

use anyhow::Result;

use crate::backup::manifest::{Manifest, Proof};
use crate::backup::prove::{self, Means};
use crate::backup::scratch::Scratch;
use crate::cmd::backup::{MeansArguments, ScratchArguments};
use crate::cmd::cutover::listen;
use crate::cutover::engine::Interrupt;
use crate::ui::{self, Format, Ui};

/// Arguments of `backup verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Every file is held against its check sum, then all of it is restored and compared. What came \
    out is kept beside the manifest, for `backup list`.\n\
    \n\
    Example:\n\
    \x20 cargo xtask backup verify /backups/rbsdb-20260101T000000000Z\n\
    \n\
    Exit codes: 0 equal, 1 not equal or refused, 2 no backup, 3 we could not look.")]
pub struct Arguments {
    /// The folder of the backup
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    scratch: ScratchArguments,
    #[command(flatten)]
    means: MeansArguments,
}

/// Restores, compares, and prints what came out.
///
/// # Errors
/// We could not look, or the backup is not good.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let manifest = Manifest::read(&arguments.folder)?;
    let (story, interrupt) = (ui.story(), Interrupt::default());
    listen(&interrupt, ui)?;
    let named = arguments.scratch.endpoint()?;
    let scratch = Scratch::open(named.as_ref(), manifest.source.major(), &story).await?;
    let means = Means {
        jobs: arguments.means.jobs.into(),
        bindirs: &arguments.means.bindirs(),
        story: &story,
        is_stopped: &|| interrupt.is_requested(),
    };
    let proof = prove::prove(&arguments.folder, &scratch, &means).await?;
    scratch.close().await?;
    tell(&proof, ui)?;
    prove::assert_good(&arguments.folder, &proof)
}

/// Prints a proof.
///
/// # Errors
/// It cannot be written as JSON.
pub fn tell(proof: &Proof, ui: &Ui) -> Result<()> {
    if ui.format() == Format::Json {
        return ui.json(proof);
    }
    let verdict = if proof.is_good() { "EQUAL" } else { "NOT EQUAL" };
    ui.data(&format!(
        "{verdict}: {} rows in {} tables, restored on {}",
        ui::count(proof.rows),
        proof.tables,
        proof.scratch
    ));
    Ok(())
}
