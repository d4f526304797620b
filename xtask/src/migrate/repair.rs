//! `repair`: finds what a build outside a transaction has left half done, and makes it whole.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cutover::event::Story;
use crate::migrate::files::File;
use crate::migrate::history::{self, State};
use crate::migrate::index::{self, Standing};
use crate::migrate::{Choice, place, up};
use crate::pg::endpoint::{Endpoint, Session, qualified};

/// How long the build of a tool that is gone may go on in its server before it is an error. The
/// server notices within a second that nobody waits for it.
const ORPHAN_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at.
const ORPHAN_EVERY: Duration = Duration::from_millis(100);

/// What was mended.
#[derive(Debug, Clone, Serialize)]
pub struct Mended {
    /// Folder and file name.
    pub file: String,
    /// The index.
    pub index: String,
    /// Whether an invalid index was dropped before it was built anew.
    pub dropped: bool,
}

/// Builds anew what is half built, also where the history says that it is applied.
///
/// # Errors
/// The server is not what the person says, or a build fails again.
pub async fn repair(
    endpoint: &Endpoint,
    choice: &Choice,
    folder: &Path,
    story: &Story,
) -> Result<Vec<Mended>> {
    let files = history::all_files(folder, choice)?;
    let session = place::open(endpoint, choice).await?;
    let _lock = up::lock(endpoint).await?;
    place::assert_no_run(&session, choice.engine).await?;
    let entries = history::read(&session, choice, &files).await?;
    history::assert_agreement(&entries)?;
    let mut mended = Vec::new();
    for entry in entries.iter().filter(|entry| entry.state == State::HalfBuilt) {
        let file = files.iter().find(|one| one.set == entry.set && one.version() == entry.version);
        let Some(file) = file else { continue };
        let Some(index) = index::built_by(file) else { continue };
        let entering = place::entering(&session, choice).await?;
        session.batch_execute(&entering).await?;
        session.batch_execute(&place::becoming(choice, file.is_of_login())).await?;
        let dropped = clear(&session, choice, file).await?;
        if entry.applied.is_some() {
            session.batch_execute(&up::outside_limits()).await?;
            session.batch_execute(&file.text).await.with_context(|| format!("build {index}"))?;
            session.batch_execute(&index::proof(&choice.schema, &index)).await?;
        }
        story.note(format!("{}: {index} was half built", file.title()));
        mended.push(Mended { file: file.title(), index, dropped });
    }
    if entries.iter().any(|entry| entry.state == State::HalfBuilt && entry.applied.is_none()) {
        up::apply(session, choice, &files, story).await?;
    }
    Ok(mended)
}

/// Drops the invalid index that an earlier try of a file has left behind, once its build has ended.
/// Tells whether there was one.
///
/// # Errors
/// The build goes on, or the index cannot be dropped.
pub async fn clear(session: &Session, choice: &Choice, file: &File) -> Result<bool> {
    let Some(name) = index::built_by(file) else { return Ok(false) };
    let begun = Instant::now();
    loop {
        // First who builds, then what stands: a build that ends in between is seen as valid.
        let is_built = is_being_built(session, &choice.schema, &name).await?;
        let standing = index::standing(session, &choice.schema, &name).await?;
        if standing != Standing::Invalid {
            return Ok(false);
        }
        if !is_built {
            break;
        }
        if begun.elapsed() > ORPHAN_LIMIT {
            bail!("another session is still building index {name}");
        }
        tokio::time::sleep(ORPHAN_EVERY).await;
    }
    session.batch_execute(&up::outside_limits()).await?;
    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", qualified(&choice.schema, &name));
    session.batch_execute(&drop).await.with_context(|| format!("drop the invalid index {name}"))?;
    Ok(true)
}

async fn is_being_built(session: &Session, schema: &str, name: &str) -> Result<bool> {
    let row = session
        .query_one(
            "SELECT EXISTS (
                 SELECT FROM pg_stat_progress_create_index
                 JOIN pg_class ON pg_class.oid = index_relid
                 JOIN pg_namespace ON pg_namespace.oid = relnamespace
                 WHERE datname = current_database() AND nspname = $1 AND relname = $2
                   AND pid <> pg_backend_pid())",
            &[&schema, &name],
        )
        .await?;
    Ok(row.get(0))
}
