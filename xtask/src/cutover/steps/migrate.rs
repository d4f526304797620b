//! `migrate`: the target gets the tables and indexes of search, after the copy and before any
//! pause. The fence keeps clients away from it; the tool's own sessions pass.

use anyhow::{Context, Result};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Side};
use crate::cutover::search::EXTENSIONS;
use crate::cutover::steps::evidence;
use crate::migrate::history::{self, State};
use crate::migrate::place::SEARCH_EXTENSION;
use crate::migrate::{Choice, Engine as Kind, place, up};
use crate::pg::endpoint::{Session, identifier};

/// Why a step cannot go on that the course does not have.
const UNASKED: &str = "the run was begun without --engine";

/// Applies what the target lacks. The operator's lock is held already.
///
/// # Errors
/// As [`up::apply`].
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let choice = choice(engine)?;
    let session = engine.target.own_session("migrate").await?;
    place::assert_fits(&session, &choice).await?;
    let files = history::all_files(&engine.options.migrations, &choice)?;
    let present = extensions(&session).await?;
    let is_made = |name: &str| name != SEARCH_EXTENSION || choice.engine == Kind::Paradedb;
    let missing = |name: &&str| !present.iter().any(|one| one == name);
    for name in EXTENSIONS.into_iter().filter(missing).filter(|name| is_made(name)) {
        let (what, now) = (extension(name), Some("made by the migrations".into()));
        log.append(Event::Changed { side: Side::Target, what, former: None, now })?;
    }
    up::apply(session, &choice, &files, &engine.story).await?;
    Ok(())
}

fn choice(engine: &Engine) -> Result<Choice> {
    engine.plan.search.clone().context(UNASKED)
}

fn extension(name: &str) -> String {
    format!("extension {name}")
}

async fn extensions(session: &Session) -> Result<Vec<String>> {
    let rows = session.query("SELECT extname::text FROM pg_extension", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Done when every migration is applied, as its file is now, and its index valid.
///
/// # Errors
/// The target cannot be asked, or the files cannot be read.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let choice = choice(engine)?;
    let target = engine.target.session().await?;
    let files = history::all_files(&engine.options.migrations, &choice)?;
    let entries = history::read(&target, &choice, &files).await?;
    if entries.iter().any(|entry| entry.state != State::Applied) {
        return Ok(Seen::NotDone);
    }
    Ok(Seen::Done(evidence! { "engine": choice.engine.name(), "migrations": entries.len() }))
}

/// Drops the extensions that the migrations made. Tables and functions go with the schema, as
/// everything that was brought there does.
///
/// # Errors
/// The target cannot be reached.
pub async fn undo(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let target = engine.target.session().await?;
    for name in EXTENSIONS {
        let what = extension(name);
        let is_ours = log.records().iter().rev().find_map(|record| match &record.event {
            Event::Changed { side: Side::Target, what: changed, .. } if *changed == what => {
                Some(true)
            }
            Event::Restored { side: Side::Target, what: restored } if *restored == what => {
                Some(false)
            }
            _ => None,
        });
        if is_ours == Some(true) {
            let drop = format!("DROP EXTENSION IF EXISTS {} CASCADE", identifier(name));
            target.batch_execute(&drop).await.with_context(|| format!("drop {what}"))?;
            log.append(Event::Restored { side: Side::Target, what })?;
        }
    }
    Ok(())
}
