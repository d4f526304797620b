//! Documents cut into chunks that a model reads at once.

use anyhow::{Context, Result};
use text_splitter::{ChunkConfig, MarkdownSplitter, TextSplitter};
use tiktoken_rs::{CoreBPE, cl100k_base};

/// Tokens of a chunk, at most.
pub const CHUNK_TOKENS: usize = 512;
/// Tokens that a chunk repeats from the one before, at most.
pub const OVERLAP_TOKENS: usize = 128;
/// How the source type of program text ends; it is cut as plain text, all else as Markdown.
const CODE: &str = ".code";

/// Cuts at headings, paragraphs and sentences, in this order of preference, and never inside a
/// word where that can be helped.
///
/// Tokens are counted by `cl100k_base`, OpenAI's public vocabulary. Another model counts a little
/// differently, which matters only where its limit lies near 512.
pub struct Chunker {
    markdown: MarkdownSplitter<CoreBPE>,
    plain: TextSplitter<CoreBPE>,
}

impl Chunker {
    /// Reads the vocabulary, which is part of the program.
    ///
    /// # Errors
    /// The vocabulary is damaged.
    pub fn new() -> Result<Chunker> {
        let config = || {
            let vocabulary = cl100k_base().context("read the vocabulary")?;
            let config = ChunkConfig::new(CHUNK_TOKENS).with_sizer(vocabulary);
            config.with_overlap(OVERLAP_TOKENS).context("set the overlap")
        };
        Ok(Chunker {
            markdown: MarkdownSplitter::new(config()?),
            plain: TextSplitter::new(config()?),
        })
    }

    /// The chunks of a text, in order.
    pub fn split(&self, text: &str, source_type: &str) -> Vec<String> {
        let chunks: Box<dyn Iterator<Item = &str>> = match source_type.ends_with(CODE) {
            true => Box::new(self.plain.chunks(text)),
            false => Box::new(self.markdown.chunks(text)),
        };
        chunks.map(str::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../../ARCHITECTURE.md");

    #[test]
    fn no_chunk_is_longer_than_a_model_reads_and_nothing_is_left_out() {
        let vocabulary = cl100k_base().unwrap();
        let chunker = Chunker::new().unwrap();
        for source_type in ["github.doc", "github.code"] {
            let chunks = chunker.split(REAL, source_type);
            assert!(chunks.len() > 5, "{}", chunks.len());
            let longest = chunks.iter().map(|chunk| vocabulary.encode_ordinary(chunk).len()).max();
            assert!(longest.unwrap() <= CHUNK_TOKENS, "{longest:?}");
            let mut end = 0;
            for chunk in &chunks {
                let at = REAL.find(chunk.as_str()).expect("a chunk is a part of the text");
                let between = REAL.get(end..at).unwrap_or("");
                assert!(between.trim().is_empty(), "left out: {between:?}");
                end = at + chunk.len();
            }
            assert!(REAL[end..].trim().is_empty());
        }
    }

    #[test]
    fn the_same_text_gives_the_same_chunks() {
        let chunker = Chunker::new().unwrap();
        assert_eq!(chunker.split(REAL, "github.doc"), chunker.split(REAL, "github.doc"));
        assert_eq!(chunker.split("  \n ", "github.doc"), Vec::<String>::new());
    }
}
