//! OLTP here, search there: plain PostgreSQL serves, and ParadeDB follows it and answers searches.
//! The follower's fence is then one of tables: its settings are open, so that search and its
//! loading work as ever, and triggers keep every copied table from being written. Rows that the
//! subscription applies pass, because such triggers do not fire for them.
//!
//! That it is so stands on the follower itself. An attempt to switch closes the whole fence first,
//! and where it is unwound, opens the follower for search again.

use anyhow::Result;

use crate::config;
use crate::cutover::beginning::prepare;
use crate::cutover::event::Side;
use crate::cutover::fence;
use crate::cutover::header::Direction;
use crate::cutover::lineage::{Lineage, Phase};
use crate::cutover::search;
use crate::cutover::server::Server;
use crate::cutover::verbs::Operation;
use crate::failure::{Failure, tolerate};
use crate::pg::endpoint::Session;
use crate::pg::state::{self, Lock};

/// A follower, with its lock held.
struct Follower {
    session: Session,
    lock: Lock,
}

/// Lets ParadeDB answer searches while plain PostgreSQL serves. Safe to run twice.
///
/// # Errors
/// ParadeDB does not follow, another command is at work on it, or it cannot be reached. A table
/// that others keep locked leaves it as it was.
pub async fn enter(operation: &Operation) -> Result<()> {
    let follower = follower(operation).await?;
    guard_copies(&follower.session).await?;
    fence::open_for_search(&follower.session).await?;
    drop(follower.lock);
    operation.story.note("ParadeDB answers searches; its copied tables take no writes");
    Ok(())
}

/// As [`enter`], where the values say that ParadeDB is there for that; nothing elsewhere.
///
/// # Errors
/// As [`enter`].
pub async fn enter_where_it_follows(operation: &Operation) -> Result<()> {
    match operation.options.follows {
        true => enter(operation).await,
        false => Ok(()),
    }
}

/// Puts the fence's trigger on every table but those of search. Partitions as well: a statement
/// that names one fires nothing of its root.
///
/// # Errors
/// A table stays locked by others for too long.
pub async fn guard_copies(follower: &Session) -> Result<()> {
    let mut tables = fence::unguarded_tables(follower).await?;
    tables.retain(|(_, table)| !search::is_named(table));
    fence::guard_tables(follower, &tables).await
}

/// Closes the whole fence of the follower again; those who search there are cut off. Does nothing
/// where it does not answer searches.
///
/// # Errors
/// As [`enter`].
pub async fn leave(operation: &Operation) -> Result<()> {
    let follower = follower(operation).await?;
    if !fence::is_searchable(&follower.session).await? {
        operation.story.note("ParadeDB answers no searches of a follower: nothing to do");
        return Ok(());
    }
    fence::close(&follower.session, &[follower.lock.backend]).await?;
    fence::forget_search(&follower.session).await?;
    let unguarded = fence::unguard_tables(&follower.session).await;
    tolerate(unguarded, "triggers of an open fence do nothing, and go with the run");
    operation.story.note("ParadeDB follows, and is fenced as a whole");
    Ok(())
}

/// As [`leave`], where ParadeDB answers searches; nothing elsewhere.
///
/// # Errors
/// As [`leave`].
pub async fn leave_if_entered(operation: &Operation) -> Result<()> {
    match is_entered(operation).await? {
        true => leave(operation).await,
        false => Ok(()),
    }
}

async fn is_entered(operation: &Operation) -> Result<bool> {
    let session = operation.target.connect("search").await?;
    Ok(state::is_installed(&session).await? && fence::is_searchable(&session).await?)
}

/// Refuses where the follower still answers searches, which the end of the following would leave
/// with rows of yesterday.
///
/// # Errors
/// It does, or it cannot be asked.
pub async fn refuse_while_entered(operation: &Operation) -> Result<()> {
    if is_entered(operation).await? {
        return Err(Failure::refused("ParadeDB answers searches, and would follow no more")
            .hint("cargo xtask cutover follow --leave")
            .into());
    }
    Ok(())
}

async fn follower(operation: &Operation) -> Result<Follower> {
    prepare(operation).await?;
    let lineage = Lineage::read(&operation.options.folder, operation.run.as_deref())?;
    let follows = |lineage: &Lineage| {
        let is_quiet = matches!(lineage.phase(), Phase::Following | Phase::Switched);
        is_quiet && lineage.served_by() == Direction::Backward
    };
    let Some(lineage) = lineage.filter(follows) else {
        return Err(Failure::refused("ParadeDB does not follow plain PostgreSQL now")
            .hint(
                "cargo xtask cutover status tells what is the case; `cutover start` lets it follow",
            )
            .into());
    };
    let latest = lineage.latest();
    let identity = match latest.header.direction {
        Direction::Forward => latest.header.target.clone(),
        Direction::Backward => latest.header.source.clone(),
    };
    let peer = operation.target_for_source.clone();
    let server = Server::new(Side::Target, operation.target.clone(), peer, identity);
    let session = server.own_session("search").await?;
    let operator = format!("{}:{}", config::host(), std::process::id());
    let lock = Lock::take(&operation.target, &operator).await?;
    Ok(Follower { session, lock })
}
