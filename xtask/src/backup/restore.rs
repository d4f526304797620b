//! Bringing a backup back: into an empty database only, and compared afterwards.

use std::path::Path;

use anyhow::{Context, Result};

use crate::backup::create::ROLES;
use crate::backup::facts;
use crate::backup::manifest::Manifest;
use crate::backup::prove::{self, Compared, Means};
use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session, identifier};
use crate::pg::state;

/// How many objects or roles a refusal names.
const SHOWN: usize = 5;

/// Everything that stands in the way of a restore, before anything is touched.
///
/// # Errors
/// The folder is no backup, it was damaged, or the target is not fit for it.
pub async fn check(folder: &Path, target: &Endpoint) -> Result<Manifest> {
    let manifest = Manifest::read(folder)?;
    let damages = prove::damages(folder, &manifest).await?;
    if !damages.is_empty() {
        let message = format!("{} is damaged: {}", folder.display(), damages.join("; "));
        return Err(Failure::refused(message)
            .hint("take another: cargo xtask backup list --folder DIR")
            .into());
    }
    let session = target.connect("restore").await?;
    if session.major() < manifest.source.major() {
        let (here, dumped) = (session.major(), manifest.source.major());
        let message = format!("the target runs PostgreSQL {here}, older than the {dumped} dumped");
        return Err(Failure::refused(message).hint("name a newer server").into());
    }
    assert_empty(&session, target).await?;
    let missing = facts::missing_extensions(&session, &manifest.source.extensions).await?;
    if !missing.is_empty() {
        let message = format!("the target's server lacks the extensions {}", missing.join(", "));
        return Err(Failure::refused(message).hint("install them on its machine").into());
    }
    assert_roles(&session, folder, &manifest).await?;
    Ok(manifest)
}

async fn assert_empty(session: &Session, target: &Endpoint) -> Result<()> {
    let sql = include_str!("../pg/sql/foreign_objects.sql");
    let rows = session.query(sql, &[&true]).await.context("look whether the target is empty")?;
    let mut names: Vec<String> = rows.iter().take(SHOWN).map(|row| row.get(0)).collect();
    if state::is_installed(session).await? {
        names.push("a run of this tool".into());
    }
    if names.is_empty() {
        return Ok(());
    }
    let message = format!("{target} is not empty: it has {}", names.join(", "));
    let hint = "a backup is restored into an empty database only: CREATE DATABASE …, and name that";
    Err(Failure::refused(message).hint(hint).into())
}

async fn assert_roles(session: &Session, folder: &Path, manifest: &Manifest) -> Result<()> {
    let missing = facts::missing_roles(session, &manifest.source.roles).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let create = |role: &String| format!("CREATE ROLE {} LOGIN;", identifier(role));
    let shown: Vec<String> = missing.iter().take(SHOWN).map(create).collect();
    let message = format!("the target's server lacks the roles {}", missing.join(", "));
    let list = folder.join(ROLES);
    let hint = format!("{} or see {}", shown.join(" "), list.display());
    Err(Failure::refused(message).hint(hint).into())
}

/// Restores into a database that [`check`] has found fit, and compares every row. By one session
/// all of it is one transaction: a restore that fails leaves nothing.
///
/// # Errors
/// The restore fails. Differences are no error; they stand in what is returned.
pub async fn restore(
    folder: &Path,
    manifest: &Manifest,
    target: &Endpoint,
    means: &Means<'_>,
) -> Result<Compared> {
    let jobs = format!("--jobs={}", means.jobs);
    let how = if means.jobs > 1 { jobs.as_str() } else { "--single-transaction" };
    let restored = prove::restore(folder, manifest, target, &[how], means).await;
    if let Err(error) = restored {
        let left = match means.jobs > 1 {
            true => "what was restored until then is still there: DROP DATABASE, make it anew",
            false => "nothing of it is there; mend what is named, and run it again",
        };
        let message = format!("{error:#}");
        let kind = crate::failure::kind(&error);
        return Err(Failure { kind, message, hint: Some(left.into()) }.into());
    }
    let session = target.connect("restore").await?;
    session.batch_execute("ANALYZE").await.context("gather statistics")?;
    prove::compare(manifest, target, means).await
}
