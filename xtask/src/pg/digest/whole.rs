//! The digest of whole tables, by several sessions at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;

use crate::cutover::event::Story;
use crate::pg::digest::{Digest, Range, TableReader};
use crate::pg::endpoint::Endpoint;
use crate::pg::snapshot::{self, READING};
use crate::pg::survey::Relation;

/// What is read, and how.
pub struct Reading<'a> {
    /// The database.
    pub endpoint: &'a Endpoint,
    /// What the sessions are called on the server.
    pub purpose: &'a str,
    /// A snapshot that is held open elsewhere; none for what nobody writes to.
    pub snapshot: Option<&'a str>,
    /// The seeds of the hashes.
    pub seeds: [i64; 2],
    /// How many sessions read at once.
    pub jobs: usize,
}

/// Where the workers are.
struct Work<'a> {
    /// The places of the relations in the caller's list, largest first.
    order: Vec<usize>,
    next: AtomicUsize,
    done: AtomicU64,
    total: u64,
    story: &'a Story,
}

/// The digest of each relation, in their order.
///
/// # Errors
/// A table cannot be read, or the snapshot is gone.
pub async fn digests(
    reading: &Reading<'_>,
    relations: &[Relation],
    story: &Story,
) -> Result<Vec<Digest>> {
    let mut order: Vec<usize> = (0..relations.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(relations[*at].bytes));
    let total = relations.iter().map(bytes).sum();
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = Work { order, next, done, total, story };
    let workers = (0..reading.jobs.max(1)).map(|_| worker(reading, relations, &work));
    let mut all = vec![Digest::default(); relations.len()];
    for (at, digest) in try_join_all(workers).await?.into_iter().flatten() {
        all[at] = digest;
    }
    Ok(all)
}

async fn worker(
    reading: &Reading<'_>,
    relations: &[Relation],
    work: &Work<'_>,
) -> Result<Vec<(usize, Digest)>> {
    let mut found = Vec::new();
    let mut session = None;
    while let Some(at) = work.order.get(work.next.fetch_add(1, Ordering::SeqCst)).copied() {
        if session.is_none() {
            let opened = reading.endpoint.connect(reading.purpose).await?;
            opened.batch_execute(READING).await.context("prepare a session to read")?;
            if let Some(held) = reading.snapshot {
                snapshot::enter(&opened, held).await?;
            }
            session = Some(opened);
        }
        let Some(session) = &session else { break };
        let reader = TableReader::new(&relations[at], reading.seeds, false);
        found.push((at, reader.digest(session, &Range::whole()).await?));
        let size = bytes(&relations[at]);
        let done = work.done.fetch_add(size, Ordering::SeqCst) + size;
        work.story.progress("digest", done, work.total, "bytes");
    }
    Ok(found)
}

fn bytes(relation: &Relation) -> u64 {
    u64::try_from(relation.bytes).unwrap_or(0)
}
