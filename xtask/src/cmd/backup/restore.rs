//! `backup restore`: a backup comes back, into an empty database only.

use std::path::PathBuf;

use anyhow::Result;

use crate::backup::manifest::Manifest;
use crate::backup::prove::Means;
use crate::backup::restore;
use crate::cmd::backup::MeansArguments;
use crate::cmd::cutover::listen;
use crate::cmd::rollback::ask;
use crate::cutover::engine::Interrupt;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::ui::{self, Format, Ui};

/// Arguments of `backup restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Every file is held against its check sum first. With --jobs 1 all of it is one transaction: a \
    restore that fails leaves nothing. Afterwards every row is compared with the manifest.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask backup restore FOLDER --target postgresql://postgres@new/empty --dry-run\n\
    \x20 cargo xtask backup restore FOLDER --target postgresql://me@new/empty --yes --jobs 1\n\
    \n\
    Exit codes: 0 restored and equal, 1 refused or not equal, 2 wrong usage, 3 failed.")]
pub struct Arguments {
    /// The folder of the backup
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The empty database, as a libpq URL or key=value string; never taken from the environment
    #[arg(long, value_name = "URL")]
    target: String,
    /// Check everything, print what would happen, touch nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    means: MeansArguments,
}

/// Checks, asks, restores, compares.
///
/// # Errors
/// The target is not fit, the restore fails, or a row differs.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let target = Endpoint::parse(&arguments.target)?;
    let manifest = restore::check(&arguments.folder, &target).await?;
    tell(&manifest, &target, ui)?;
    if arguments.dry_run {
        ui.line("a dry run: nothing was touched");
        return Ok(());
    }
    if !arguments.yes {
        ask(ui)?;
    }
    let interrupt = Interrupt::default();
    listen(&interrupt, ui)?;
    let means = Means {
        jobs: arguments.means.jobs.into(),
        bindirs: &arguments.means.bindirs(),
        story: &ui.story(),
        is_stopped: &|| interrupt.is_requested(),
    };
    let compared = restore::restore(&arguments.folder, &manifest, &target, &means).await?;
    if compared.problems.is_empty() {
        ui.line(&format!("restored: {} rows, all equal", ui::count(compared.rows)));
        return Ok(());
    }
    let problems: Vec<String> =
        compared.problems.iter().map(|one| format!("\n  - {one}")).collect();
    Err(Failure::refused(format!("{target} is not what was dumped:{}", problems.concat()))
        .hint("if nobody else writes there, take another backup: cargo xtask backup list")
        .into())
}

fn tell(manifest: &Manifest, target: &Endpoint, ui: &Ui) -> Result<()> {
    if ui.format() == Format::Json {
        return ui.json(&serde_json::json!({
            "backup": manifest.name,
            "snapshot_at": manifest.snapshot_at,
            "from": manifest.source.endpoint,
            "target": target.to_string(),
            "tables": manifest.tables.len(),
            "rows": manifest.rows(),
        }));
    }
    ui.data(&format!(
        "{} of {}, as it was at {}\n{} rows in {} tables go into {target}",
        manifest.name,
        manifest.source.endpoint,
        manifest.snapshot_at,
        ui::count(manifest.rows()),
        manifest.tables.len(),
    ));
    Ok(())
}
