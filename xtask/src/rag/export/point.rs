//! One chunk as another store keeps it: a stable id, a vector, and everything else that is known.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The namespace of the ids. It may never change: other stores know chunks by what comes of it.
const NAMESPACE: Uuid = Uuid::from_u128(0x2d1d_5b3e_8f0a_4c67_9b57_61c4_e0a7_3f92);
/// What stands between the parts of a name.
const SEPARATOR: &str = "\u{1f}";
/// How far two numbers of a direction may be apart: what single precision loses by normalizing.
const TOLERANCE: f64 = 1e-5;

/// What names a chunk, here and everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    pub(super) repo: String,
    pub(super) source_type: String,
    pub(super) source_id: String,
    pub(super) chunk_index: i32,
}

impl Name {
    /// The chunk's id in every other store: a UUID of version 5.
    pub(super) fn id(&self) -> Uuid {
        let Name { repo, source_type, source_id, chunk_index } = self;
        let index = chunk_index.to_string();
        let name = [repo.as_str(), source_type, source_id, &index].join(SEPARATOR);
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }
}

/// What is kept beside the vector, named as the store's columns are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Payload {
    #[serde(flatten)]
    pub(super) name: Name,
    pub(super) chunk_text: String,
    pub(super) metadata: Value,
    pub(super) author: Option<String>,
    pub(super) labels: Vec<String>,
    pub(super) source_updated_at: Timestamp,
    pub(super) deleted: bool,
}

/// One chunk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) payload: Payload,
    pub(super) embedding: Option<Vec<f32>>,
}

impl Point {
    /// A number that changes with anything of the chunk, so that what is equal need not be sent.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut digest = Sha256::new();
        // A payload is written as JSON in one way only: its fields have one order, and so have the
        // keys of the metadata, which come from PostgreSQL.
        digest.update(serde_json::to_vec(&self.payload).unwrap_or_default());
        for number in self.embedding.iter().flatten() {
            digest.update(number.to_le_bytes());
        }
        let mut first = [0; 16];
        first.copy_from_slice(&digest.finalize()[..16]);
        u128::from_be_bytes(first)
    }

    /// Roughly how many bytes it has when it is sent.
    pub(super) fn size(&self) -> usize {
        self.payload.chunk_text.len() + 12 * self.embedding.as_ref().map_or(0, Vec::len) + 1000
    }

    /// What differs from what another store gave back; nothing where it is equal.
    ///
    /// Stores that compare by cosine keep directions: a vector may come back with length 1.
    pub(super) fn difference(&self, other: &Point) -> Option<&'static str> {
        if self.payload != other.payload {
            return Some("payload");
        }
        match (&self.embedding, &other.embedding) {
            (None, None) => None,
            (Some(one), Some(other)) if has_one_direction(one, other) => None,
            _ => Some("vector"),
        }
    }
}

fn has_one_direction(one: &[f32], other: &[f32]) -> bool {
    let length = |all: &[f32]| {
        let sum: f64 = all.iter().map(|number| f64::from(*number).powi(2)).sum();
        if sum > 0.0 { sum.sqrt() } else { 1.0 }
    };
    let (of_one, of_other) = (length(one), length(other));
    let mut pairs = one.iter().zip(other);
    one.len() == other.len()
        && pairs.all(|(one, other)| {
            (f64::from(*one) / of_one - f64::from(*other) / of_other).abs() <= TOLERANCE
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(embedding: Option<Vec<f32>>) -> Point {
        let name = Name {
            repo: "rbx/robson".into(),
            source_type: "github.doc".into(),
            source_id: "docs/a.md".into(),
            chunk_index: 3,
        };
        let payload = Payload {
            name,
            chunk_text: "the fence".into(),
            metadata: serde_json::json!({"author": "me"}),
            author: Some("me".into()),
            labels: vec!["ops".into()],
            source_updated_at: Timestamp::UNIX_EPOCH,
            deleted: false,
        };
        Point { payload, embedding }
    }

    #[test]
    fn an_id_never_changes() {
        let id = point(None).payload.name.id();
        assert_eq!(id.to_string(), "f0ac0682-179f-5d1e-8b58-d2f734b70f26");
        assert_eq!(id.get_version_num(), 5);
        let mut other = point(None).payload.name;
        other.chunk_index = 4;
        assert_ne!(other.id(), id);
    }

    #[test]
    fn a_fingerprint_changes_with_everything_and_with_nothing_else() {
        let one = point(Some(vec![0.5, 1.0]));
        assert_eq!(one.fingerprint(), one.clone().fingerprint());
        let mut others = vec![point(None), point(Some(vec![0.5, 1.1])), one.clone(), one.clone()];
        others[2].payload.deleted = true;
        others[3].payload.metadata = serde_json::json!({"author": "you"});
        for other in others {
            assert_ne!(other.fingerprint(), one.fingerprint(), "{other:?}");
        }
    }

    #[test]
    fn a_direction_is_equal_whatever_its_length() {
        let one = point(Some(vec![3.0, 4.0]));
        assert_eq!(one.difference(&point(Some(vec![0.6, 0.8]))), None);
        assert_eq!(one.difference(&point(Some(vec![0.6, 0.801]))), Some("vector"));
        assert_eq!(one.difference(&point(Some(vec![-3.0, -4.0]))), Some("vector"));
        assert_eq!(one.difference(&point(None)), Some("vector"));
        assert_eq!(point(Some(vec![0.0])).difference(&point(Some(vec![0.0]))), None);
        let mut other = one.clone();
        other.payload.labels.clear();
        assert_eq!(one.difference(&other), Some("payload"));
    }
}
