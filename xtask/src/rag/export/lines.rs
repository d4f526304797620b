//! The store as a file of JSON Lines that `rag load` reads: one document a line, with its chunks.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::rag::chunk::Chunker;
use crate::rag::document::Reader;
use crate::rag::export::point::{Name, Point};
use crate::rag::export::source::Source;
use crate::rag::export::{Exported, PROGRESS};

/// Chunks that are read at once.
const PAGE: i32 = 256;
/// How many documents that cannot be written are told.
const REFUSED_TOLD: usize = 20;

/// A document as `rag load` reads it.
#[derive(Serialize)]
struct Line<'point> {
    repo: &'point str,
    source_type: &'point str,
    source_id: &'point str,
    chunks: Vec<ReadyChunk<'point>>,
    metadata: &'point Value,
    source_updated_at: Timestamp,
}

#[derive(Serialize)]
struct ReadyChunk<'point> {
    text: &'point str,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<&'point [f32]>,
}

/// Writes everything to a file that appears as a whole or not at all, for its owner only. An empty
/// store is not written over an earlier export.
pub(super) async fn write(
    source: &Source<'_>,
    file: &Path,
    dimensions: usize,
    story: &Story,
) -> Result<Exported> {
    if source.chunks == 0 && std::fs::metadata(file).is_ok_and(|there| there.len() > 0) {
        let message = format!("the store is empty, and {} is not", file.display());
        return Err(Failure::refused(message)
            .hint("is it the right database? remove the file by hand if it shall be empty")
            .into());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let temporary = NamedTempFile::new_in(folder).map_err(|error| {
        Failure::usage(format!("{} cannot be written: {error}", folder.display()))
    })?;
    let reader = Reader { repo: None, source_type: None, dimensions, chunker: Chunker::new()? };
    let mut writer = Writer {
        file: BufWriter::new(temporary),
        reader,
        exported: Exported { embedded: source.embedded, ..Exported::default() },
        refused: Vec::new(),
    };
    let mut waiting: Vec<Point> = Vec::new();
    loop {
        let page = source.next(PAGE).await?;
        let is_end = page.is_empty();
        for point in page {
            if waiting.first().is_some_and(|first| !is_one_document(first, &point)) {
                writer.document(&waiting)?;
                waiting.clear();
            }
            waiting.push(point);
        }
        story.progress(PROGRESS, writer.exported.chunks, source.chunks, "chunks");
        if is_end {
            break;
        }
    }
    if !waiting.is_empty() {
        writer.document(&waiting)?;
    }
    writer.end(file)
}

struct Writer {
    file: BufWriter<NamedTempFile>,
    reader: Reader,
    exported: Exported,
    refused: Vec<String>,
}

impl Writer {
    /// Writes one document, or notes why it cannot be one.
    fn document(&mut self, chunks: &[Point]) -> Result<()> {
        self.exported.chunks += chunks.len() as u64;
        self.exported.documents += 1;
        match line(chunks, &self.reader)? {
            Ok(line) => {
                self.exported.written += chunks.len() as u64;
                self.file.write_all(&line).context("write the file")
            }
            Err(why) => {
                let Some(Point { payload, .. }) = chunks.first() else { return Ok(()) };
                let Name { repo, source_type, source_id, .. } = &payload.name;
                self.refused.push(format!("{repo} {source_type} {source_id}: {why}"));
                Ok(())
            }
        }
    }

    /// Puts the file into its place.
    fn end(self, file: &Path) -> Result<Exported> {
        if !self.refused.is_empty() {
            let count = self.refused.len();
            let mut told = self.refused;
            told.truncate(REFUSED_TOLD);
            return Err(Failure::refused(format!(
                "{count} documents cannot be written so that rag load reads them back; nothing was \
                 written: {}",
                told.join("; ")
            ))
            .hint("load them again from their source, or take them away: rag_delete_document")
            .into());
        }
        let temporary = self.file.into_inner().context("write the file")?;
        temporary.as_file().sync_all().context("write the file")?;
        temporary
            .persist(file)
            .map_err(|error| error.error)
            .with_context(|| format!("put {} into its place", file.display()))?;
        Ok(self.exported)
    }
}

fn is_one_document(one: &Point, other: &Point) -> bool {
    let document = |point: &Point| {
        let Name { repo, source_type, source_id, .. } = point.payload.name.clone();
        (repo, source_type, source_id)
    };
    document(one) == document(other)
}

/// A document's line, which was read back as `rag load` will do; or why there is none.
fn line(chunks: &[Point], reader: &Reader) -> Result<Result<Vec<u8>, String>> {
    let [first, ..] = chunks else { return Ok(Err("it has no chunks".into())) };
    let (name, payload) = (&first.payload.name, &first.payload);
    for (index, chunk) in (0..).zip(chunks) {
        if chunk.payload.name.chunk_index != index {
            return Ok(Err(format!("its chunk {index} is missing or deleted")));
        }
        if chunk.payload.metadata != payload.metadata {
            return Ok(Err(format!("the metadata of its chunks 0 and {index} differ")));
        }
        if chunk.payload.source_updated_at != payload.source_updated_at {
            return Ok(Err(format!("the times of its chunks 0 and {index} differ")));
        }
    }
    let line = Line {
        repo: &name.repo,
        source_type: &name.source_type,
        source_id: &name.source_id,
        chunks: chunks
            .iter()
            .map(|point| ReadyChunk {
                text: &point.payload.chunk_text,
                embedding: point.embedding.as_deref(),
            })
            .collect(),
        metadata: &payload.metadata,
        source_updated_at: payload.source_updated_at,
    };
    let mut line = serde_json::to_vec(&line).context("write a document")?;
    let document = match reader.line(&line, payload.source_updated_at) {
        Ok(document) => document,
        Err(rejected) => return Ok(Err(rejected.reason)),
    };
    let same = document.chunks.len() == chunks.len()
        && Value::Object(document.metadata) == payload.metadata
        && document.updated_at == payload.source_updated_at
        && document.chunks.iter().zip(chunks).all(|(read, chunk)| {
            read.text == chunk.payload.chunk_text && read.embedding == chunk.embedding
        });
    if !same {
        return Ok(Err("it reads back as something else".into()));
    }
    line.push(b'\n');
    Ok(Ok(line))
}
