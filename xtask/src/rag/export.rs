//! The store to elsewhere: to Qdrant, to Weaviate, or to a file.
//!
//! An export makes the other side equal to the store and proves it. It keeps no file of its own
//! about how far it came: a chunk's id comes of its name, and beside each point stands a
//! fingerprint of all that it holds, so the other side itself says what it lacks. The same command
//! again, after a kill or a week, sends only that.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use uuid::Uuid;

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::rag::export::collection::{Collection, Survey};
use crate::rag::export::point::Point;
use crate::rag::export::qdrant::Qdrant;
use crate::rag::export::source::Source;
use crate::rag::export::weaviate::Weaviate;
use crate::rag::http::Address;
use crate::rag::store::Store;

mod collection;
mod lines;
mod point;
mod qdrant;
mod source;
mod weaviate;

/// How long the server may take for one page of chunks.
const STATEMENT_LIMIT: Duration = Duration::from_mins(10);
/// Bytes that are sent at once, roughly: services refuse what is larger than some 32 MiB.
const BATCH_BYTES: usize = 8 << 20;
/// Points that are removed at once.
const REMOVED_AT_ONCE: usize = 500;
/// How many points are read back whole, with their vectors, evenly spread.
const READ_BACK: u64 = 100;
/// What the progress of an export is called.
const PROGRESS: &str = "export";

/// Where to.
#[derive(Debug, Clone)]
pub enum To {
    /// A collection of Qdrant.
    Qdrant(Address, String),
    /// A class of Weaviate.
    Weaviate(Address, String),
    /// A file of JSON Lines, for `rag load`.
    Lines(PathBuf),
}

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct Request {
    /// The database with the store.
    pub target: Endpoint,
    /// Where to.
    pub to: To,
    /// Chunks that are sent at once.
    pub batch: u16,
    /// Whether chunks that were deleted are exported, marked as such.
    pub include_deleted: bool,
}

/// What an export did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Exported {
    /// Where to: an address or a file.
    pub place: String,
    /// Chunks that the store has, and now also the other side.
    pub chunks: u64,
    /// Of these, chunks with an embedding.
    pub embedded: u64,
    /// Documents that they are of; counted for a file only.
    pub documents: u64,
    /// Chunks that were written; the others were there already.
    pub written: u64,
    /// Points of earlier exports that the store does not have any more.
    pub removed: u64,
    /// Points of somebody else, which were left alone.
    pub foreign: u64,
    /// Points that were read back whole and are equal, with their vectors.
    pub read_back: u64,
    /// Time of the whole, in seconds.
    pub seconds: f64,
}

/// Exports, and proves that the other side has what the store has.
///
/// # Errors
/// There is no store; the other side is of another shape, cannot be reached, refuses, or does not
/// give back what it was given. Whatever was written stays, and the same command goes on from
/// there.
pub async fn export(request: &Request, story: &Story) -> Result<Exported> {
    let begun = Instant::now();
    let mut exported = match &request.to {
        To::Qdrant(address, name) => {
            mirror(request, &Qdrant::new(address, name, story)?, story).await
        }
        To::Weaviate(address, class) => {
            mirror(request, &Weaviate::new(address, class, story)?, story).await
        }
        To::Lines(file) => {
            let mut store = Store::open(&request.target, "export", STATEMENT_LIMIT).await?;
            let (dimensions, place) = (store.dimensions, file.display().to_string());
            let source = Source::open(&mut store, &place, false).await?;
            let written = lines::write(&source, file, dimensions, story).await;
            written.map(|exported| Exported { place, ..exported })
        }
    }?;
    exported.seconds = begun.elapsed().as_secs_f64();
    Ok(exported)
}

/// Makes a collection equal to the store.
async fn mirror(
    request: &Request,
    collection: &impl Collection,
    story: &Story,
) -> Result<Exported> {
    let mut store = Store::open(&request.target, "export", STATEMENT_LIMIT).await?;
    let dimensions = store.dimensions;
    let place = collection.place();
    let source = Source::open(&mut store, &place, request.include_deleted).await?;
    if collection.prepare(dimensions).await? {
        story.note(format!("made {place}: {dimensions} dimensions, cosine"));
    }
    let before = collection.survey().await?;
    if source.chunks == 0 && !before.ours.is_empty() {
        let message = format!(
            "the store at {} is empty, and {place} has {} points of an earlier export",
            request.target,
            before.ours.len()
        );
        let hint = "is it the right database? an empty store removes nothing; remove the \
                    collection by hand if it shall be empty too";
        return Err(Failure::refused(message).hint(hint).into());
    }
    let mut mirror = Mirror {
        collection,
        batch: request.batch,
        stale: before.ours,
        sent: HashMap::new(),
        samples: Vec::new(),
        sample_every: source.chunks.div_ceil(READ_BACK).max(1),
        exported: Exported {
            place,
            chunks: source.chunks,
            embedded: source.embedded,
            ..Exported::default()
        },
    };
    mirror.write(&source, story).await?;
    mirror.remove().await?;
    mirror.prove().await
}

/// An export at work.
struct Mirror<'collection, C> {
    collection: &'collection C,
    batch: u16,
    /// What is there and was not met in the store yet.
    stale: HashMap<Uuid, u128>,
    /// What the store has.
    sent: HashMap<Uuid, u128>,
    /// Points to be read back.
    samples: Vec<Point>,
    sample_every: u64,
    exported: Exported,
}

impl<C: Collection> Mirror<'_, C> {
    /// Writes what is missing there or differs.
    async fn write(&mut self, source: &Source<'_>, story: &Story) -> Result<()> {
        let mut waiting: Vec<Point> = Vec::new();
        let mut bytes = 0;
        let mut seen = 0_u64;
        loop {
            let page = source.next(self.batch.into()).await?;
            if page.is_empty() {
                break;
            }
            for point in page {
                if seen.is_multiple_of(self.sample_every) {
                    self.samples.push(point.clone());
                }
                seen += 1;
                let (id, fingerprint) = (point.payload.name.id(), point.fingerprint());
                if self.sent.insert(id, fingerprint).is_some() {
                    let message = format!("two chunks have the id {id}: {:?}", point.payload.name);
                    return Err(Failure::failed(message).into());
                }
                if self.stale.remove(&id) == Some(fingerprint) {
                    continue;
                }
                let size = point.size();
                let is_full = waiting.len() >= self.batch.into() || bytes + size > BATCH_BYTES;
                if is_full && !waiting.is_empty() {
                    self.put(&mut waiting).await?;
                    bytes = 0;
                }
                bytes += size;
                waiting.push(point);
            }
            story.progress(PROGRESS, seen, source.chunks, "chunks");
        }
        self.put(&mut waiting).await
    }

    async fn put(&mut self, waiting: &mut Vec<Point>) -> Result<()> {
        if waiting.is_empty() {
            return Ok(());
        }
        self.collection.put(waiting).await?;
        self.exported.written += waiting.len() as u64;
        waiting.clear();
        Ok(())
    }

    /// Removes what earlier exports brought and the store does not have any more.
    async fn remove(&mut self) -> Result<()> {
        let ids: Vec<Uuid> = std::mem::take(&mut self.stale).into_keys().collect();
        for some in ids.chunks(REMOVED_AT_ONCE) {
            self.collection.remove(some).await?;
            self.exported.removed += some.len() as u64;
        }
        Ok(())
    }

    /// Asks the other side for everything by id, and for some of it whole.
    async fn prove(mut self) -> Result<Exported> {
        let Survey { ours, foreign } = self.collection.survey().await?;
        self.exported.foreign = foreign;
        if ours != self.sent {
            let missing = self.sent.iter().filter(|(id, print)| ours.get(*id) != Some(print));
            let extra = ours.keys().filter(|id| !self.sent.contains_key(*id));
            let (missing, extra) = (missing.count(), extra.count());
            return Err(self.unequal(format!("{missing} points lack or differ, {extra} are extra")));
        }
        let (counted, wanted) = (self.collection.count().await?, self.exported.chunks + foreign);
        if counted != wanted {
            return Err(self.unequal(format!("it counts {counted} points, and lists {wanted}")));
        }
        for sample in &self.samples {
            let id = sample.payload.name.id();
            let read = self.collection.read(id).await.with_context(|| format!("point {id}"))?;
            let difference = match &read {
                None => Some("point"),
                Some(read) => sample.difference(read),
            };
            if let Some(what) = difference {
                let name = &sample.payload.name;
                let what = format!("the {what} of {id} came back otherwise: {name:?}");
                return Err(self.unequal(what));
            }
            self.exported.read_back += 1;
        }
        Ok(self.exported)
    }

    fn unequal(&self, what: String) -> anyhow::Error {
        let place = &self.exported.place;
        Failure::failed(format!("{place} is not equal to the store: {what}"))
            .hint("does somebody else write there? run the same command again")
            .into()
    }
}
