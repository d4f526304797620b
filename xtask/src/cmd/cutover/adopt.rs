//! `cutover adopt`: the journal is rebuilt on this machine from what the servers keep.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::cmd::cutover::RunArguments;
use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, private_folder};
use crate::pg::state;
use crate::ui::Ui;

/// Arguments of `cutover adopt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "For the night on which the machine that ran the tool is gone.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
}

/// Writes the journals that this folder lacks.
///
/// # Errors
/// Neither server knows a run, or a mirror has gaps on both.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui)?;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut errors = Vec::new();
    for endpoint in [&operation.source, &operation.target] {
        match mirrored(endpoint, operation.run.as_deref()).await {
            Ok(runs) => {
                for (run, lines) in runs {
                    let kept = found.entry(run).or_default();
                    if lines.len() > kept.len() {
                        *kept = lines;
                    }
                }
            }
            Err(error) => errors.push(format!("{endpoint}: {error:#}")),
        }
    }
    if found.is_empty() {
        let message = format!("no server knows a run {}", errors.join("; "));
        return Err(Failure::refused(message.trim_end()).into());
    }
    private_folder(&operation.options.folder)?;
    for (run, lines) in found {
        write(&operation.options.folder.join(format!("{run}.jsonl")), &run, &lines, ui)?;
    }
    ui.line("next: cargo xtask cutover status");
    Ok(())
}

async fn mirrored(endpoint: &Endpoint, run: Option<&str>) -> Result<Vec<(String, Vec<String>)>> {
    let session = endpoint.connect("adopt").await?;
    if !state::is_installed(&session).await? {
        return Ok(Vec::new());
    }
    state::mirrored(&session, run).await
}

fn write(path: &std::path::Path, run: &str, lines: &[String], ui: &Ui) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if path.exists() {
        ui.line(&format!("{run}: its journal is here already; left as it is"));
        return Ok(());
    }
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    file.write_all((lines.join("\n") + "\n").as_bytes())?;
    file.sync_all()?;
    ui.line(&format!("{run}: {} lines written to {}", lines.len(), path.display()));
    Ok(())
}
