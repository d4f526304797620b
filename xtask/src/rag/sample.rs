//! Chunks that are made up, alike enough to real ones to measure with.
//!
//! *Meaning.* Embeddings of real texts lie in clusters, and in each of them spread over far fewer
//! directions than the vector has axes. So: 64 centres from a seeded Gaussian on the unit sphere;
//! around each, Gaussian noise of length 0.7 over 24 directions that all clusters share, and
//! Gaussian noise of length 0.2 over all axes; brought back to the sphere. (Noise over all axes
//! alone would make all members of a cluster equally far, which no text is.)
//!
//! *Words.* Of 20,000 made-up words, by Zipf's law with exponent 1.07. One word in five is of the
//! cluster's own 200, by the same law, so that words and meaning agree.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::pin_mut;
use jiff::Timestamp;
use pgvector::{HalfVector, Vector};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use crate::cutover::event::Story;
use crate::rag::store::Store;

/// How many clusters there are.
const CLUSTERS: usize = 64;
/// Directions over which the members of a cluster spread.
const DIRECTIONS: usize = 24;
/// How far they spread over these, as a share of the centre's length.
const SPREAD: f64 = 0.7;
/// How far they spread over all axes, likewise.
const BLUR: f64 = 0.2;
/// How many words there are.
const WORDS: usize = 20_000;
/// How many words each cluster has for itself.
const OWN_WORDS: usize = 200;
/// One word in so many is the cluster's own.
const OWN_EVERY: usize = 5;
/// The exponent of Zipf's law, as in English.
const ZIPF: f64 = 1.07;
/// How many repositories the chunks are of; a filter by one of them keeps a twentieth.
const REPOSITORIES: u64 = 20;
/// How many authors wrote them.
const AUTHORS: u64 = 50;
/// Chunks of one made-up document.
const CHUNKS_OF_DOCUMENT: u64 = 10;
/// Time between two documents, in seconds.
const DOCUMENT_EVERY: u64 = 600;
/// When the first document changed: 2025-01-01, in seconds since 1970.
const BEGINNING: i64 = 1_735_689_600;
/// How often progress is told, in chunks.
const TOLD_EVERY: u64 = 500;
/// Bytes of the text of a chunk of 512 tokens, on average.
pub const TEXT_BYTES: usize = 2000;
/// How long one statement that fills may take: all of the rows come in one `COPY`.
pub const FILL_LIMIT: Duration = Duration::from_hours(2);

/// One made-up chunk, or one made-up question.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its words.
    pub text: String,
    /// Its meaning.
    pub embedding: Vec<f32>,
}

/// Where made-up chunks come from. The same seed gives the same chunks.
pub struct Sample {
    dimensions: usize,
    centres: Vec<Vec<f64>>,
    directions: Vec<Vec<f64>>,
    zipf: Vec<f64>,
    own_zipf: Vec<f64>,
    seed: u64,
}

impl Sample {
    /// A sample of vectors with so many dimensions.
    pub fn new(dimensions: usize, seed: u64) -> Sample {
        let mut random = StdRng::seed_from_u64(seed);
        let mut sphere = |count: usize| -> Vec<Vec<f64>> {
            (0..count).map(|_| unit(gaussians(&mut random, dimensions))).collect()
        };
        Sample {
            dimensions,
            centres: sphere(CLUSTERS),
            directions: sphere(DIRECTIONS),
            zipf: zipf(WORDS),
            own_zipf: zipf(OWN_WORDS),
            seed,
        }
    }

    /// A chunk. Its number decides everything about it.
    pub fn chunk(&self, number: u64) -> Made {
        let mut random = self.random(number, 0);
        let cluster = random.random_range(0..CLUSTERS);
        let mut text = String::with_capacity(TEXT_BYTES + 16);
        let mut count = 0;
        while text.len() < TEXT_BYTES {
            let own = count % OWN_EVERY == 0;
            word(
                &mut text,
                if own { self.own(&mut random, cluster) } else { self.any(&mut random) },
            );
            count += 1;
            text.push_str(if count % 12 == 0 { ". " } else { " " });
        }
        Made { text, embedding: self.embedding(&mut random, cluster) }
    }

    /// A question: two words of a cluster and one of all, and a point of that cluster that no chunk
    /// is at.
    pub fn question(&self, number: u64) -> Made {
        let mut random = self.random(number, 1);
        let cluster = random.random_range(0..CLUSTERS);
        let mut text = String::new();
        for own in [true, true, false] {
            word(
                &mut text,
                if own { self.own(&mut random, cluster) } else { self.any(&mut random) },
            );
            text.push(' ');
        }
        Made { text: text.trim_end().into(), embedding: self.embedding(&mut random, cluster) }
    }

    /// The repository that a filter may name.
    pub fn repository(number: u64) -> String {
        format!("bench/{}", number % REPOSITORIES)
    }

    fn random(&self, number: u64, stream: u64) -> StdRng {
        // Far apart for every pair, so that no two streams share a beginning.
        let seed = self.seed ^ (number * 2 + stream).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        StdRng::seed_from_u64(seed)
    }

    fn any(&self, random: &mut StdRng) -> usize {
        draw(random, &self.zipf)
    }

    /// The cluster's own words are spread over the vocabulary, behind the most frequent ones.
    fn own(&self, random: &mut StdRng, cluster: usize) -> usize {
        let place = draw(random, &self.own_zipf);
        WORDS - 1 - (place * CLUSTERS + cluster) % (WORDS - OWN_WORDS)
    }

    fn embedding(&self, random: &mut StdRng, cluster: usize) -> Vec<f32> {
        let mut vector = self.centres[cluster].clone();
        let scale = SPREAD / (DIRECTIONS as f64).sqrt();
        for direction in &self.directions {
            let length = gaussian(random) * scale;
            for (axis, along) in vector.iter_mut().zip(direction) {
                *axis += length * along;
            }
        }
        let scale = BLUR / (self.dimensions as f64).sqrt();
        for (axis, noise) in vector.iter_mut().zip(gaussians(random, self.dimensions)) {
            *axis += noise * scale;
        }
        unit(vector).into_iter().map(|axis| axis as f32).collect()
    }
}

/// Puts chunks `0..count` into the store, past `rag_merge`: to measure searches, not loading.
///
/// # Errors
/// The server refuses or is lost.
pub async fn fill(store: &Store, sample: &Sample, count: u64, story: &Story) -> Result<()> {
    let columns = "repo, source_type, source_id, chunk_index, chunk_text, chunk_embedding, \
        metadata, source_updated_at";
    let types = format!("SELECT {columns} FROM rag_knowledge_entries");
    let types = store.session.prepare(&types).await.context("read the types of the columns")?;
    let types: Vec<Type> = types.columns().iter().map(|column| column.type_().clone()).collect();
    let is_half = types.iter().any(|column| column.name() == "halfvec");
    let copy = format!("COPY rag_knowledge_entries ({columns}) FROM STDIN (FORMAT binary)");
    let sink = store.session.copy_in(&copy).await.context("fill the store")?;
    let writer = BinaryCopyInWriter::new(sink, &types);
    pin_mut!(writer);
    for number in 0..count {
        let made = sample.chunk(number);
        let document = number / CHUNKS_OF_DOCUMENT;
        let source_type = ["github.doc", "github.pr", "github.issue"][(document % 3) as usize];
        let index = (number % CHUNKS_OF_DOCUMENT) as i32;
        let changed = Timestamp::from_second(BEGINNING + (document * DOCUMENT_EVERY) as i64)?;
        let embedding: &(dyn ToSql + Sync) = match is_half {
            true => &HalfVector::from_f32_slice(&made.embedding),
            false => &Vector::from(made.embedding.clone()),
        };
        let (repo, source_id) = (Sample::repository(document), format!("document/{document}"));
        let metadata = metadata(document);
        let row: [&(dyn ToSql + Sync); 8] =
            [&repo, &source_type, &source_id, &index, &made.text, embedding, &metadata, &changed];
        writer.as_mut().write(&row).await.context("fill the store")?;
        if number % TOLD_EVERY == 0 {
            story.progress("fill", number, count, "chunks");
        }
    }
    writer.finish().await.context("fill the store")?;
    Ok(())
}

fn metadata(document: u64) -> Value {
    let labels: &[&str] = match document % 4 {
        0 => &["ops"],
        1 => &["ops", "night"],
        _ => &[],
    };
    json!({
        "author": format!("author{}", document % AUTHORS), "labels": labels,
        "title": format!("Document {document}"),
    })
}

/// Writes a word of the vocabulary: two to four syllables, another for each number.
fn word(text: &mut String, number: usize) {
    const FIRST: &[u8] = b"bdfgklmnprstvz";
    const SECOND: &[u8] = b"aeiou";
    let mut rest = number + FIRST.len() * SECOND.len();
    while rest > 0 {
        text.push(char::from(FIRST[rest % FIRST.len()]));
        rest /= FIRST.len();
        text.push(char::from(SECOND[rest % SECOND.len()]));
        rest /= SECOND.len();
    }
}

/// The sums of Zipf's law over so many places.
fn zipf(count: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut add = |place: usize| {
        sum += (place as f64).powf(-ZIPF);
        sum
    };
    (1..=count).map(&mut add).collect()
}

fn draw(random: &mut StdRng, sums: &[f64]) -> usize {
    let total = sums.last().copied().unwrap_or(1.0);
    let at = random.random::<f64>() * total;
    sums.partition_point(|sum| *sum < at).min(sums.len() - 1)
}

fn gaussians(random: &mut StdRng, count: usize) -> Vec<f64> {
    (0..count).map(|_| gaussian(random)).collect()
}

/// One number of the normal distribution, by Box and Muller.
fn gaussian(random: &mut StdRng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

fn unit(mut vector: Vec<f64>) -> Vec<f64> {
    let length = vector.iter().map(|axis| axis * axis).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.iter_mut().for_each(|axis| *axis /= length);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn the_same_seed_gives_the_same_chunks() {
        let (one, other) = (Sample::new(64, 7), Sample::new(64, 7));
        assert_eq!(one.chunk(5), other.chunk(5));
        assert_eq!(one.question(5), other.question(5));
        assert_ne!(one.chunk(5), one.chunk(6));
        assert_ne!(one.chunk(5), Sample::new(64, 8).chunk(5));
        assert_ne!(one.chunk(5).embedding, one.question(5).embedding);
    }

    #[test]
    fn chunks_lie_in_clusters() {
        let sample = Sample::new(768, 1);
        let chunks: Vec<_> = (0..400).map(|number| sample.chunk(number)).collect();
        let near = chunks[1..].iter().map(|one| cosine(&one.embedding, &chunks[0].embedding));
        let near: Vec<f32> = near.collect();
        let of_cluster = near.iter().filter(|cosine| **cosine > 0.45).count();
        // One in 64 is of the same cluster.
        assert!((1..40).contains(&of_cluster), "{of_cluster}");
        let lengths = chunks.iter().map(|one| cosine(&one.embedding, &one.embedding));
        assert!(lengths.into_iter().all(|length| (length - 1.0).abs() < 1e-3));
    }

    #[test]
    fn words_differ_and_few_are_frequent() {
        let mut words = std::collections::HashSet::new();
        for number in 0..WORDS {
            let mut text = String::new();
            word(&mut text, number);
            assert!(words.insert(text));
        }
        let mut random = StdRng::seed_from_u64(1);
        let sums = zipf(WORDS);
        let frequent = (0..10_000).filter(|_| draw(&mut random, &sums) < 100).count();
        assert!((4000..7000).contains(&frequent), "{frequent}");
    }
}
