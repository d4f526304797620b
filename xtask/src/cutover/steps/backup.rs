//! `backup`: before anything else, a backup by the policy that was given. It belongs to nobody's
//! removal: a run that is undone leaves it where it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::backup::create::Request;
use crate::backup::manifest::{Manifest, Proof};
use crate::backup::prove::{self, Means};
use crate::backup::scratch::Scratch;
use crate::backup::{Kind, create, external};
use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Evidence};
use crate::cutover::fence;
use crate::cutover::step::Step;
use crate::cutover::steps::evidence;
use crate::failure::Failure;

/// What a journal keeps of a backup.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What is shown.
    evidence: Evidence,
    /// Where the dump is, on the machine that made it.
    folder: Option<PathBuf>,
}

/// Makes the backup, and proves it where the tool made it.
///
/// # Errors
/// Nobody said what to do, it cannot be made, or what was restored is not what was dumped.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let policy = engine.options.backup.clone();
    if let Some(objection) = policy.objection() {
        return Err(Failure::refused(objection.problem).hint(objection.fix).into());
    }
    let kept = match policy.how().context("no policy")? {
        Kind::Dump => dump(engine, &policy.folder.context("no folder of backups")?).await?,
        Kind::External => run_command(engine, &policy.command.context("no command")?).await?,
        Kind::None => Kept { evidence: evidence! { "policy": "none" }, folder: None },
    };
    log.append(Event::Backup { backup: serde_json::to_value(&kept)? })
}

async fn dump(engine: &Engine, folder: &Path) -> Result<Kept> {
    let source = &engine.source.endpoint;
    let named = engine.options.backup.scratch.as_ref();
    let interrupt = engine.interrupt.clone();
    let is_stopped = move || interrupt.is_requested();
    // Whether it can be proved shows before hours of dumping.
    let scratch = Scratch::open(named, engine.plan.source_version / 10_000, &engine.story).await?;
    let session = engine.source.own_session("backup").await?;
    scratch.assert_fits(&crate::backup::facts::Facts::read(source, &session).await?).await?;
    let request = Request {
        source,
        folder,
        jobs: engine.options.jobs,
        bindirs: &engine.bindirs,
        run: Some(engine.header.run.clone()),
        is_stopped: &is_stopped,
    };
    let backup = create(&request, &engine.story).await?;
    engine.story.note(format!("dumped to {}; now it is proved", backup.folder.display()));
    let means = Means {
        jobs: engine.options.jobs,
        bindirs: &engine.bindirs,
        story: &engine.story,
        is_stopped: &is_stopped,
    };
    let proof = prove::prove(&backup.folder, &scratch, &means).await?;
    scratch.close().await?;
    prove::assert_good(&backup.folder, &proof)?;
    let manifest = &backup.manifest;
    let evidence = evidence! {
        "policy": "dump",
        "backup": manifest.name,
        "tables": proof.tables,
        "rows": proof.rows,
        "bytes": manifest.bytes(),
        "position": manifest.position,
        "proved_on": proof.scratch,
    };
    Ok(Kept { evidence, folder: Some(std::path::absolute(&backup.folder)?) })
}

async fn run_command(engine: &Engine, command: &str) -> Result<Kept> {
    let interrupt = engine.interrupt.clone();
    let is_stopped = move || interrupt.is_requested();
    let (source, run) = (&engine.source.endpoint, &engine.header.run);
    let said = external::run(command, source, run, &is_stopped, &engine.story).await?;
    Ok(Kept { evidence: evidence! { "policy": "external", "said": said }, folder: None })
}

/// What the journal says since the step was last undone.
fn kept(log: &dyn Log) -> Option<Kept> {
    let is_undone = |event: &Event| matches!(event, Event::UndoDone { step: Step::Backup, .. });
    let present = log.records().iter().rev().take_while(|record| !is_undone(&record.event));
    present.into_iter().find_map(|record| match &record.event {
        Event::Backup { backup } => serde_json::from_value(backup.clone()).ok(),
        _ => None,
    })
}

/// Done when the journal has it and, where the tool made it, it is where it was and proved.
///
/// # Errors
/// None.
pub fn look(log: &dyn Log) -> Result<Seen> {
    let Some(kept) = kept(log) else { return Ok(Seen::NotDone) };
    if let Some(folder) = &kept.folder {
        let is_whole = Manifest::read(folder).is_ok();
        let is_proved = matches!(Proof::read(folder), Ok(Some(proof)) if proof.is_good());
        if !is_whole || !is_proved {
            return Ok(Seen::NotDone);
        }
    }
    Ok(Seen::Done(kept.evidence))
}

/// Leaves the backup, and removes the tool's schema on both sides: this is the last step that a
/// removal undoes.
///
/// # Errors
/// A server cannot be reached.
pub async fn undo(engine: &mut Engine, log: &dyn Log) -> Result<()> {
    if let Some(folder) = kept(log).and_then(|kept| kept.folder) {
        engine.story.note(format!("the backup stays: {}", folder.display()));
    }
    let (source, target) = engine.sessions().await?;
    for session in [&source, &target] {
        fence::drop_state(session).await?;
    }
    Ok(())
}
