//! `backup create`: a dump under one snapshot, proved.

use std::path::PathBuf;

use anyhow::Result;

use crate::backup::create::Request;
use crate::backup::facts::Facts;
use crate::backup::prove::{self, Means};
use crate::backup::scratch::Scratch;
use crate::backup::{Backup, create};
use crate::cmd::backup::{MeansArguments, ScratchArguments};
use crate::cmd::cutover::listen;
use crate::config;
use crate::cutover::engine::Interrupt;
use crate::pg::endpoint::Endpoint;
use crate::ui::{self, Format, Ui};

/// Arguments of `backup create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Clients go on writing. A statement that waits for the dump's locks for over a second is \
    cancelled. A backup is a folder: the dump, the roles without passwords, and a manifest that \
    is written last.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask backup create --source postgresql://postgres@old/rbsdb --folder /backups\n\
    \x20 cargo xtask backup create --folder /backups --scratch postgresql://me@spare/postgres\n\
    \n\
    Exit codes: 0 made and proved, 1 refused or not equal, 2 wrong usage, 3 failed, nothing is \
    left.")]
pub struct Arguments {
    /// The database, as a libpq URL or key=value string
    #[arg(long, env = config::XTASK_SOURCE, hide_env_values = true, value_name = "URL")]
    source: String,
    /// The folder in which backups have their folders
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Leave the proof for later: `backup verify`
    #[arg(long, conflicts_with = "scratch")]
    unproved: bool,
    #[command(flatten)]
    scratch: ScratchArguments,
    #[command(flatten)]
    means: MeansArguments,
}

/// Makes and proves a backup, and prints where it is.
///
/// # Errors
/// It cannot be made, or what was restored is not what was dumped.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let source = Endpoint::parse(&arguments.source)?;
    let (story, interrupt) = (ui.story(), Interrupt::default());
    listen(&interrupt, ui)?;
    let is_stopped = || interrupt.is_requested();
    let (jobs, bindirs) = (arguments.means.jobs.into(), arguments.means.bindirs());
    let scratch = match arguments.unproved {
        true => None,
        false => {
            // Whether it can be proved shows before hours of dumping.
            let session = source.connect("backup").await?;
            let facts = Facts::read(&source, &session).await?;
            let named = arguments.scratch.endpoint()?;
            let scratch = Scratch::open(named.as_ref(), facts.major(), &story).await?;
            scratch.assert_fits(&facts).await?;
            Some(scratch)
        }
    };
    let request = Request {
        source: &source,
        folder: &arguments.folder,
        jobs,
        bindirs: &bindirs,
        run: None,
        is_stopped: &is_stopped,
    };
    let backup = create(&request, &story).await?;
    tell(&backup, ui)?;
    let Some(scratch) = scratch else { return Ok(()) };
    let means = Means { jobs, bindirs: &bindirs, story: &story, is_stopped: &is_stopped };
    let proof = prove::prove(&backup.folder, &scratch, &means).await?;
    scratch.close().await?;
    super::verify::tell(&proof, ui)?;
    prove::assert_good(&backup.folder, &proof)
}

fn tell(backup: &Backup, ui: &Ui) -> Result<()> {
    let manifest = &backup.manifest;
    if ui.format() == Format::Json {
        return ui.json(&serde_json::json!({
            "folder": backup.folder,
            "name": manifest.name,
            "tables": manifest.tables.len(),
            "rows": manifest.rows(),
            "bytes": manifest.bytes(),
        }));
    }
    ui.data(&format!(
        "{}: {} rows in {} tables, {}",
        backup.folder.display(),
        ui::count(manifest.rows()),
        manifest.tables.len(),
        ui::bytes(manifest.bytes())
    ));
    Ok(())
}
