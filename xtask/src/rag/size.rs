//! What a store needs: disk, WAL and memory, from constants that were measured.
//!
//! A chunk has 512 tokens, which are 2,000 characters, as [`crate::rag::sample`] makes them. The
//! constants are bytes per chunk on PostgreSQL 18 with pgvector 0.8.5, from 2,000 to 20,000
//! chunks that were filled by `COPY` and indexed afterwards. What depends on the dimensions is
//! computed:
//!
//! - An embedding has 4 + 4·d bytes (halves: 4 + 2·d). Beside the table go the terms of the
//!   full-text search and whichever is longer, the embedding or the compressed text, unless both
//!   fit into the row. Beside it a value is cut into pieces of 1,996 bytes, each a row with 36
//!   bytes more; pages have 8,168 bytes and are filled in order; an index finds the pieces.
//! - HNSW with m = 16 keeps ⌊8160 / (80 + 8 + 4·d + 200)⌋ chunks on a page (halves: 2·d).
//! - Its build needs 721 + 4·d bytes a chunk (halves: 2·d). pgvector's own notice, when a graph no
//!   longer fits 40 MB: 11,057 chunks of 768 dimensions, and 18,615 of halves.

use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::rag::indexes;
use crate::rag::sample::{Sample, fill};
use crate::rag::store::Store;
use crate::render::settings::tuning;

/// Bytes of a page.
const PAGE: u64 = 8192;
/// Bytes of a page that rows and their pointers can have.
const PAGE_ROOM: u64 = 8168;
/// Bytes of a piece of a value that is kept beside its table, at most.
const PIECE: u64 = 1996;
/// Bytes of such a piece's row beyond its data.
const PIECE_HEADER: u64 = 36;
/// Bytes of a row's pointer in its page.
const POINTER: u64 = 4;
/// Bytes of an entry in the index of the pieces.
const PIECE_ENTRY: f64 = 22.6;
/// Bytes of a chunk in the table itself: compressed text, names, dates, metadata.
const ROW: f64 = 1646.6;
/// Of these, bytes of the compressed text.
const TEXT: u64 = 1126;
/// Bytes of an embedding with which a row with its text still needs nothing beside it.
const ROOM_IN_ROW: u64 = 500;
/// Bytes of a chunk's terms, which are always beside the table.
const TERMS: u64 = 2861;
/// Bytes of a chunk in the full-text index, beyond those of its words.
const TERMS_INDEX: f64 = 800.7;
/// Bytes that the words of the full-text index take once, however many chunks have them: 20,000
/// words of 64 bytes. From 5,000 and from 20,000 chunks.
const WORDS: u64 = 20_000 * 64;
/// Bytes of a chunk in the BM25 index, which has one segment. This and the next from 2,000 to
/// 100,000 chunks on pg_search 0.25.3.
const BM25: f64 = 680.0;
/// Bytes of the BM25 index however few chunks it has: its words, and room that it keeps.
const BM25_WORDS: u64 = 3_500_000;
/// Bytes of a chunk in the indexes that are no search indexes: key, document, labels, dates.
const OTHER_INDEXES: f64 = 250.0;
/// Pages that these indexes have when they are all but empty.
const OTHER_PAGES: u64 = 8;
/// WAL of filling, for each byte in table and indexes; this and the next two from 5,000 chunks.
const WAL_FILL: f64 = 1.054;
/// WAL of building the full-text index, for each byte of it; the empty part of a page is left out.
const WAL_TERMS: f64 = 0.586;
/// WAL of building the BM25 index, for each chunk; room that it keeps writes none. This and the
/// next from 2,000 to 30,000 chunks.
const WAL_BM25: f64 = 715.0;
/// WAL of building it, however few chunks there are.
const WAL_BM25_WORDS: f64 = 500_000.0;
/// WAL of building HNSW, for each byte of it.
const WAL_HNSW: f64 = 0.830;
/// Bytes of a chunk in an HNSW page beyond its embedding.
const HNSW_MORE: u64 = 80 + 8 + 200;
/// Bytes of an HNSW page that elements can have.
const HNSW_ROOM: u64 = 8160;
/// Bytes of a chunk in the graph that a build keeps in memory, beyond its embedding.
const GRAPH_MORE: u64 = 721;
/// How much slower a build goes on when its graph does not fit: 41 s for 20,000 chunks, not 12 s.
pub const SLOWER_ON_DISK: f64 = 41.0 / 12.0;
/// The share by which a prediction may be wrong.
pub const TOLERANCE: f64 = 0.15;

/// A store that is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How many chunks.
    pub chunks: u64,
    /// How many dimensions an embedding has.
    pub dimensions: u64,
    /// Whether numbers have 2 bytes in place of 4.
    pub halves: bool,
    /// Whether keywords are ranked by BM25, and not by the built-in full-text search.
    pub has_bm25: bool,
}

/// What it needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The table itself.
    pub table: u64,
    /// What is kept beside it: embeddings, long texts, with the index that finds them.
    pub toast: u64,
    /// The keyword index.
    pub keyword: u64,
    /// The HNSW index.
    pub hnsw: u64,
    /// All other indexes.
    pub others: u64,
    /// WAL of filling and building.
    pub wal: u64,
}

impl Need {
    /// Disk that the store takes.
    pub fn disk(&self) -> u64 {
        self.table + self.toast + self.keyword + self.hnsw + self.others
    }

    /// What searches read again and again.
    pub fn searched(&self) -> u64 {
        self.keyword + self.hnsw
    }

    /// Its parts, by name.
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("table", self.table),
            ("TOAST", self.toast),
            ("keyword index", self.keyword),
            ("HNSW index", self.hnsw),
            ("other indexes", self.others),
            ("WAL to fill and build", self.wal),
        ]
    }
}

impl Plan {
    fn number(&self) -> u64 {
        if self.halves { 2 } else { 4 }
    }

    /// What it needs on disk.
    pub fn need(&self) -> Need {
        let chunks = self.chunks as f64;
        let bytes = |each: f64| (each * chunks) as u64;
        let (pages, pieces) = pages(&self.beside());
        let embedding_in_row =
            if self.embedding() <= ROOM_IN_ROW.max(TEXT) { self.embedding() as f64 } else { 0.0 };
        let text_in_row = if self.beside().contains(&TEXT) { 0.0 } else { TEXT as f64 };
        let table = bytes(ROW - TEXT as f64 + text_in_row + embedding_in_row);
        // Where nothing is kept there, its index has a page all the same.
        let toast = bytes(pages * PAGE as f64 + pieces * PIECE_ENTRY).max(PAGE);
        let keyword = match self.has_bm25 {
            true => bytes(BM25) + BM25_WORDS,
            false => bytes(TERMS_INDEX) + WORDS,
        };
        let hnsw = self.chunks.div_ceil(self.hnsw_in_page()) * PAGE;
        let others = bytes(OTHER_INDEXES) + OTHER_PAGES * PAGE;
        let filled = (table + toast + others) as f64 * WAL_FILL;
        let built_keyword = match self.has_bm25 {
            true => WAL_BM25 * chunks + WAL_BM25_WORDS,
            false => keyword as f64 * WAL_TERMS,
        };
        let built = built_keyword + hnsw as f64 * WAL_HNSW;
        Need { table, toast, keyword, hnsw, others, wal: (filled + built) as u64 }
    }

    /// Memory that the build of HNSW needs, so that it stays in memory, in bytes.
    pub fn graph(&self) -> u64 {
        self.chunks * (GRAPH_MORE + self.number() * self.dimensions)
    }

    /// Bytes of an embedding as a value.
    fn embedding(&self) -> u64 {
        4 + self.number() * self.dimensions
    }

    /// The values of a chunk that are kept beside the table, by their bytes.
    fn beside(&self) -> Vec<u64> {
        let terms = (!self.has_bm25).then_some(TERMS);
        let all = match self.embedding() {
            short if short <= ROOM_IN_ROW => [None, terms],
            middling if middling <= TEXT => [Some(TEXT), terms],
            long => [terms, Some(long)],
        };
        all.into_iter().flatten().collect()
    }

    fn hnsw_in_page(&self) -> u64 {
        let data = (8 + self.number() * self.dimensions).next_multiple_of(8);
        (HNSW_ROOM / (HNSW_MORE - 8 + data)).max(1)
    }
}

/// Pages and pieces of a chunk's values beside the table, on average.
fn pages(values: &[u64]) -> (f64, f64) {
    /// Enough that the last page does not count.
    const ROUNDS: u64 = 1000;
    let (mut pages, mut room, mut pieces) = (0_u64, 0_u64, 0_u64);
    for value in values.iter().cycle().take(values.len() * ROUNDS as usize) {
        let mut rest = *value;
        while rest > 0 {
            let data = rest.min(PIECE);
            let row = (data + PIECE_HEADER).next_multiple_of(8) + POINTER;
            if row > room {
                pages += 1;
                room = PAGE_ROOM;
            }
            room -= row;
            rest -= data;
            pieces += 1;
        }
    }
    (pages as f64 / ROUNDS as f64, pieces as f64 / ROUNDS as f64)
}

/// Whether a machine can build a store and hold what searches read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its memory, in bytes.
    pub memory: u64,
    /// What one build may take by the settings that are rendered for it, in bytes.
    pub maintenance: u64,
    /// Whether the graph fits into that.
    pub builds: bool,
    /// Whether it fits into half of the memory, when a build is given as much.
    pub builds_if_given: bool,
    /// Whether the search indexes fit into what the server and the kernel can cache.
    pub holds: bool,
}

impl Node {
    /// Judges a machine with so many bytes of memory.
    pub fn judge(plan: &Plan, memory: u64) -> Node {
        let tuned = tuning(memory >> 20, 1.0, 100);
        let maintenance = tuned.maintenance_work_mem << 20;
        Node {
            memory,
            maintenance,
            builds: plan.graph() <= maintenance,
            builds_if_given: plan.graph() <= memory / 2,
            holds: plan.need().searched() <= tuned.effective_cache_size << 20,
        }
    }
}

/// One part as predicted and as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Which part.
    pub part: &'static str,
    /// Bytes that were predicted.
    pub predicted: u64,
    /// Bytes that were found.
    pub found: u64,
}

impl Compared {
    /// By which share the prediction is wrong; below 0 where it is too low.
    pub fn error(&self) -> f64 {
        self.predicted as f64 / self.found.max(1) as f64 - 1.0
    }
}

/// Fills an empty store, which nobody else uses, and holds what it takes against the prediction.
///
/// # Errors
/// The store is not empty, or the server refuses.
pub async fn measure(store: &Store, plan: &Plan, story: &Story) -> Result<Vec<Compared>> {
    let empty = "SELECT NOT EXISTS (SELECT FROM rag_knowledge_entries)";
    if !store.session.query_one(empty, &[]).await?.get::<_, bool>(0) {
        return Err(Failure::usage("only an empty store is filled to measure").into());
    }
    let kind = if plan.halves { "halfvec" } else { "vector" };
    let taken = indexes::take_down(store).await?;
    let typed = format!(
        "ALTER TABLE rag_knowledge_entries ALTER COLUMN chunk_embedding TYPE {kind}({})",
        plan.dimensions
    );
    store.session.batch_execute(&typed).await.context("set the type of the embeddings")?;
    let begun = Instant::now();
    let before = indexes::wal_position(store).await?;
    let sample = Sample::new(usize::try_from(plan.dimensions)?, 1);
    fill(store, &sample, plan.chunks, story).await?;
    let filled = indexes::wal_position(store).await? - before;
    let of_kind =
        |definition: &String| definition.replace("vector_cosine", &format!("{kind}_cosine"));
    let taken: Vec<_> = taken.iter().map(|(name, made)| (name.clone(), of_kind(made))).collect();
    let memory = (plan.graph() >> 20).max(64) + 16;
    let built = indexes::build(store, &taken, memory, story).await?;
    story.note(format!("{} chunks in {:.1} s", plan.chunks, begun.elapsed().as_secs_f64()));
    let hnsw = built.iter().filter(|index| index.name.contains("embedding"));
    let hnsw: u64 = hnsw.map(|index| index.bytes).sum();
    let keyword = built.iter().map(|index| index.bytes).sum::<u64>() - hnsw;
    let sql = "SELECT pg_relation_size(oid), pg_total_relation_size(reltoastrelid),
            pg_indexes_size(oid)
        FROM pg_class WHERE oid = 'rag_knowledge_entries'::regclass";
    let row = store.session.query_one(sql, &[]).await.context("read the sizes")?;
    let size = |column: usize| row.get::<_, i64>(column).unsigned_abs();
    let found = Need {
        table: size(0),
        toast: size(1),
        keyword,
        hnsw,
        others: size(2) - keyword - hnsw,
        wal: filled + built.iter().map(|index| index.wal).sum::<u64>(),
    };
    let pairs = plan.need().parts().into_iter().zip(found.parts());
    Ok(pairs.map(|((part, predicted), (_, found))| Compared { part, predicted, found }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(chunks: u64, halves: bool) -> Plan {
        Plan { chunks, dimensions: 768, halves, has_bm25: false }
    }

    #[test]
    fn pages_are_filled_as_they_were_seen_to_be() {
        // Seen with 20,000 chunks of 768 dimensions: two on a page of HNSW, four where halved.
        assert_eq!(plan(20_000, false).need().hnsw, 20_000 * 4096);
        assert_eq!(plan(20_000, true).need().hnsw, 20_000 * 2048);
        // Two pieces each, and two embeddings on a page.
        assert_eq!(pages(&[3076]), (0.5, 2.0));
    }

    #[test]
    fn a_build_needs_what_the_extension_said() {
        for (halves, fitted) in [(false, 11_057), (true, 18_615)] {
            let each = (40 << 20) as f64 / f64::from(fitted);
            let error = plan(1, halves).graph() as f64 / each - 1.0;
            assert!(error.abs() < 0.02, "{error}");
        }
    }

    #[test]
    fn a_small_node_is_told_what_it_cannot() {
        let gibibyte = 1 << 30;
        let small = Node::judge(&plan(100_000, false), gibibyte);
        assert_eq!((small.builds, small.builds_if_given, small.holds), (false, true, true));
        let large = Node::judge(&plan(100_000, false), 8 * gibibyte);
        assert!(large.builds && large.holds);
        let too_many = Node::judge(&plan(1_000_000, false), gibibyte);
        assert!(!too_many.builds_if_given && !too_many.holds);
    }
}
