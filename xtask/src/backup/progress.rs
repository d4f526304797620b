//! How far a backup is, for people who wait: what was dumped and what was digested, as one figure.
//!
//! `pg_dump` says nothing of it, so the server is asked what its sessions copy. Sizes are those of
//! the tables on the server's disk; what a session has copied of one is counted up to that size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cutover::event::{Event, Story};
use crate::pg::endpoint::{APPLICATION_NAME, Endpoint, Session};
use crate::pg::survey::Relation;

/// How often the server is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// What the copies of a backup's sessions have sent: table, bytes.
const COPYING: &str = "SELECT c.relid, c.bytes_processed
    FROM pg_stat_progress_copy AS c JOIN pg_stat_activity AS a USING (pid)
    WHERE a.application_name = $1 AND c.relid <> 0";

/// Both halves of the work.
pub struct Progress {
    dumped: AtomicU64,
    digested: AtomicU64,
    total: u64,
    story: Story,
}

impl Progress {
    /// Nothing is done yet of these tables.
    pub fn new(relations: &[Relation], story: &Story) -> Arc<Progress> {
        let bytes: u64 = relations.iter().map(size).sum();
        Arc::new(Progress {
            dumped: AtomicU64::new(0),
            digested: AtomicU64::new(0),
            total: bytes.saturating_mul(2),
            story: story.clone(),
        })
    }

    /// A story in which the progress of the digest is a part of this one.
    pub fn of_digest(self: &Arc<Progress>) -> Story {
        let whole = Arc::clone(self);
        Story::new(move |record| match &record.event {
            Event::Progress { done, .. } => whole.tell(&whole.digested, *done),
            _ => whole.story.tell(record),
        })
    }

    fn tell(&self, part: &AtomicU64, done: u64) {
        part.store(done, Ordering::Relaxed);
        let both = self.dumped.load(Ordering::Relaxed) + self.digested.load(Ordering::Relaxed);
        self.story.progress("backup", both, self.total, "bytes");
    }

    /// Watches the sessions of a dump while it works. That they cannot be watched is no reason to
    /// fail.
    ///
    /// # Errors
    /// The work's own.
    pub async fn during<T>(
        &self,
        source: &Endpoint,
        purpose: &str,
        relations: &[Relation],
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let watching = async {
            if let Err(error) = self.watch(source, purpose, relations).await {
                self.story.warning(format!("how far the dump is, is not known: {error:#}"));
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = work => ended?,
            () = watching => unreachable!("it never ends"),
        };
        self.tell(&self.dumped, self.total / 2);
        Ok(ended)
    }

    async fn watch(&self, source: &Endpoint, purpose: &str, relations: &[Relation]) -> Result<()> {
        let session = source.connect(purpose).await?;
        let sizes = relations.iter().map(|relation| (relation.oid, size(relation)));
        let mut copies = Copies { sizes: sizes.collect(), ..Copies::default() };
        loop {
            copies.see(&copying(&session, purpose).await?);
            self.tell(&self.dumped, copies.done());
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

fn size(relation: &Relation) -> u64 {
    u64::try_from(relation.bytes).unwrap_or(0)
}

async fn copying(session: &Session, purpose: &str) -> Result<BTreeMap<u32, u64>> {
    let name = format!("{APPLICATION_NAME} {purpose}");
    let rows = session.query(COPYING, &[&name]).await.context("ask how far the dump is")?;
    let bytes = |sent: i64| u64::try_from(sent).unwrap_or(0);
    Ok(rows.iter().map(|row| (row.get(0), bytes(row.get(1)))).collect())
}

/// What was seen of the copies of a dump.
#[derive(Default)]
struct Copies {
    /// Each table with its size.
    sizes: BTreeMap<u32, u64>,
    running: BTreeMap<u32, u64>,
    /// Bytes of the tables that were seen and are no longer copied.
    ended: u64,
}

impl Copies {
    /// Takes note of what is copied now. A table that is copied no longer is done, as a whole.
    fn see(&mut self, now: &BTreeMap<u32, u64>) {
        let gone = self.running.keys().filter(|table| !now.contains_key(table));
        self.ended += gone.filter_map(|table| self.sizes.get(table)).sum::<u64>();
        self.running.clone_from(now);
    }

    fn done(&self) -> u64 {
        let part = |(table, sent): (&u32, &u64)| Some(*self.sizes.get(table)?.min(sent));
        self.ended + self.running.iter().filter_map(part).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_counts_as_far_as_it_was_copied_and_never_twice() {
        let sizes = BTreeMap::from([(1, 100), (2, 50)]);
        let mut copies = Copies { sizes, ..Copies::default() };
        copies.see(&BTreeMap::from([(1, 40), (9, 7)]));
        assert_eq!(copies.done(), 40, "what is no table of the snapshot does not count");
        copies.see(&BTreeMap::from([(1, 130), (2, 10)]));
        assert_eq!(copies.done(), 110, "text may be longer than the table");
        copies.see(&BTreeMap::from([(2, 20)]));
        assert_eq!(copies.done(), 120);
        copies.see(&BTreeMap::new());
        copies.see(&BTreeMap::new());
        assert_eq!(copies.done(), 150);
    }
}
