//! The outcome of a verification: data that is stored, shown and acted on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::pg::facts::Difference;
use crate::pg::sequences::SequenceDifference;

/// What was compared, how, and what differs. Differences are data; that a comparison could not be
/// made is an error and leaves no certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// At which instant the rows were compared: `pinned at …`, `live`, or `live, pins lost at …`.
    pub mode: String,
    /// When the comparison began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// `server_version_num` of the source.
    pub source_version: i32,
    /// `server_version_num` of the target.
    pub target_version: i32,
    /// The random seeds of the two sums, so that anyone can compute them again.
    pub seeds: [i64; 2],
    /// Every compared table, in order of name.
    pub tables: Vec<TableCertificate>,
    /// What differs in the schema.
    pub schema: Vec<Difference>,
    /// Whether the schema was compared.
    pub schema_compared: bool,
    /// What differs in the sequences.
    pub sequences: Vec<SequenceDifference>,
    /// How many sequences were compared.
    pub sequences_compared: u64,
    /// What the verdict does not cover, and why.
    pub outside: Vec<Outside>,
    /// Rows of the source that were compared.
    pub rows: u64,
    /// Bytes of the source's tables that were compared.
    pub bytes: u64,
}

/// What the verdict does not cover.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Outside {
    /// `schema.name` of a relation, or the name of another object.
    pub object: String,
    /// Why it is not compared.
    pub reason: String,
}

impl Outside {
    /// An object that is not compared, and why.
    pub fn new(object: impl Into<String>, reason: impl Into<String>) -> Outside {
        Outside { object: object.into(), reason: reason.into() }
    }
}

/// One table's part of the certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableCertificate {
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// Rows on the source.
    pub source_rows: u64,
    /// Rows on the target.
    pub target_rows: u64,
    /// Bytes of its rows on the source.
    pub bytes: u64,
    /// The digest of all rows on the source, in hexadecimal.
    pub source_digest: String,
    /// The digest of all rows on the target, in hexadecimal.
    pub target_digest: String,
    /// Whether every row is equal. While clients write, digests that were read a moment apart may
    /// differ although every suspect row was then seen equal: this field is the verdict.
    pub equal: bool,
    /// The first differing rows.
    pub differences: Vec<RowDifference>,
    /// How many rows differ, in all.
    pub difference_count: u64,
    /// Rows that never stopped changing while they were looked at.
    pub unsettled: u64,
    /// Time from the table's first query to its last answer.
    pub milliseconds: u64,
    /// Such as `rewritten, certified live`.
    pub note: Option<String>,
}

impl TableCertificate {
    /// `schema.name`.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// One value that differs, or one row that only one side has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowDifference {
    /// The row's key, such as `id=7`; `(no key)` in a table without one.
    pub key: String,
    /// The column that differs; none where the whole row is missing on one side.
    pub column: Option<String>,
    /// The value, or the row, on the source; clipped. None where there is none or it is NULL.
    pub source: Option<String>,
    /// The same on the target.
    pub target: Option<String>,
}

impl Certificate {
    /// Whether everything that was compared is equal. Unsettled rows do not fail it: no difference
    /// was seen in them, and they are listed.
    pub fn passes(&self) -> bool {
        self.schema.is_empty()
            && self.sequences.is_empty()
            && self.tables.iter().all(|table| table.equal)
    }

    /// How many differences there are, in rows, schema and sequences.
    pub fn difference_count(&self) -> u64 {
        let rows: u64 = self.tables.iter().map(|table| table.difference_count).sum();
        rows + self.schema.len() as u64 + self.sequences.len() as u64
    }

    /// How many rows never settled.
    pub fn unsettled(&self) -> u64 {
        self.tables.iter().map(|table| table.unsettled).sum()
    }

    /// A short name for exactly these differences. Who accepts them by this name accepts these and
    /// no others: it does not depend on seeds, times or order of work.
    pub fn digest_of_differences(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for table in self.tables.iter().filter(|table| !table.equal) {
            lines.push(format!("table {} {}", table.title(), table.difference_count));
            let rows = table.differences.iter();
            lines.extend(rows.map(|row| format!("row {} {row:?}", table.title())));
        }
        lines.extend(self.schema.iter().map(|difference| format!("schema {difference:?}")));
        lines.extend(self.sequences.iter().map(|difference| format!("sequence {difference:?}")));
        lines.sort_unstable();
        let mut hash = Sha256::new();
        for line in lines {
            hash.update(line.as_bytes());
            hash.update([0]);
        }
        hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}
