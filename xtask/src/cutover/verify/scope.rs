//! What the verdict covers: the tables to compare, and what is outside, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::cutover::search;
use crate::cutover::verify::{Outside, Pair, Request};
use crate::failure::Failure;
use crate::pg::facts::Difference;
use crate::pg::sequences::{self, SequenceDifference, SequenceRule, SequenceValue};
use crate::pg::survey::{self, Relation};

/// What the tables begin with that note migrations; each server has its own.
const LEDGERS: [&str; 2] = ["refinery_schema_history", "rag_history_"];
/// Kinds of index that only a search engine has.
const SEARCH_INDEXES: [&str; 4] = ["USING paradedb", "USING bm25", "USING hnsw", "USING ivfflat"];

/// What is compared, and what is not.
pub(super) struct Scope {
    /// Every table with rows, as both sides have it.
    pub tables: Vec<TablePair>,
    /// What is not compared.
    pub outside: BTreeSet<Outside>,
}

/// A table as the source has it, and whether the target has it too.
pub(super) struct TablePair {
    pub source: Relation,
    pub target: Option<Relation>,
}

impl Scope {
    /// Reads both sides and divides what is there.
    pub(super) async fn read(pair: &Pair, request: &Request) -> Result<Scope> {
        let (source, target) =
            tokio::try_join!(survey::tables(&pair.source), survey::tables(&pair.target))?;
        let mut outside: BTreeSet<Outside> = request.outside.iter().cloned().collect();
        outside.extend(materialized_views(pair).await?);
        let mut by_title: BTreeMap<String, Relation> =
            target.into_iter().map(|relation| (relation.title(), relation)).collect();
        let mut tables = Vec::new();
        for relation in source {
            let title = relation.title();
            let counterpart = by_title.remove(&title);
            if let Some(reason) = reason_outside(&title, &outside, request.search) {
                outside.insert(Outside::new(title, reason));
            } else if relation.has_rows() && request.wants(&title) {
                tables.push(TablePair { source: relation, target: counterpart });
            }
        }
        for title in by_title.into_keys() {
            let reason = reason_outside(&title, &outside, false);
            outside
                .insert(Outside::new(title, reason.unwrap_or_else(|| "only on the target".into())));
        }
        if tables.is_empty() && !request.only.is_empty() {
            let message = format!("no table is called {}", request.only.join(" or "));
            return Err(Failure::usage(message).hint("write it as schema.name").into());
        }
        Ok(Scope { tables, outside })
    }

    /// Divides what differs in the schema into differences and what is outside.
    pub(super) fn judge(&mut self, differences: Vec<Difference>) -> Vec<Difference> {
        let mut real = Vec::new();
        for difference in differences {
            let reason = if difference.root_is_new {
                Some("only on the target".to_string())
            } else if is_search_index(&difference) {
                Some("search index".to_string())
            } else {
                // The functions of search are their engine's own, and so may its tables be.
                reason_outside(&difference.root, &self.outside, false)
            };
            match reason {
                Some(reason) if is_search_index(&difference) => {
                    self.outside.insert(Outside::new(difference.object, reason));
                }
                Some(reason) if !self.names(&difference.root) => {
                    self.outside.insert(Outside::new(difference.root, reason));
                }
                Some(_) => {}
                None => real.push(difference),
            }
        }
        real
    }

    fn names(&self, object: &str) -> bool {
        self.outside.iter().any(|outside| outside.object == object)
    }
}

impl Request {
    fn wants(&self, title: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == title)
    }
}

/// Why an object is outside, by its name. Rows of search that were moved are compared as all rows.
fn reason_outside(title: &str, outside: &BTreeSet<Outside>, is_moved: bool) -> Option<String> {
    if let Some(named) = outside.iter().find(|outside| outside.object == title) {
        return Some(named.reason.clone());
    }
    let name = title.rsplit('.').next().unwrap_or(title);
    if LEDGERS.iter().any(|ledger| name.starts_with(ledger)) {
        Some("ledger of migrations, each server has its own".into())
    } else if search::is_named(title) && !is_moved {
        Some("search, each side's own".into())
    } else {
        None
    }
}

fn is_search_index(difference: &Difference) -> bool {
    let definition = difference.source.as_ref().xor(difference.target.as_ref());
    difference.kind == "index"
        && definition.is_some_and(|text| SEARCH_INDEXES.iter().any(|kind| text.contains(kind)))
}

/// They are refreshed from what is compared, so their rows prove nothing.
async fn materialized_views(pair: &Pair) -> Result<Vec<Outside>> {
    let list = "SELECT schemaname || '.' || matviewname FROM pg_matviews";
    let rows = pair.source.query(list, &[]).await.context("list the materialized views")?;
    let outside = |row: &tokio_postgres::Row| {
        Outside::new(row.get::<_, String>(0), "materialized view: refreshed, rows not compared")
    };
    Ok(rows.iter().map(outside).collect())
}

/// The source's sequences as they stood when the comparison began.
pub(super) struct Sequences {
    rule: SequenceRule,
    source: Vec<SequenceValue>,
}

/// What was found out about sequences.
pub(super) struct JudgedSequences {
    pub differences: Vec<SequenceDifference>,
    pub compared: u64,
}

impl Sequences {
    /// Reads the source, before the target is read: what is in use may only run ahead there.
    pub(super) async fn read(pair: &Pair, rule: SequenceRule) -> Result<Sequences> {
        let source = match rule {
            SequenceRule::Outside => Vec::new(),
            _ => sequences::read(&pair.source).await?,
        };
        Ok(Sequences { rule, source })
    }

    /// Reads both again and compares. A sequence that moved on the source meanwhile is in use
    /// there: nothing can be said about it, and it is listed as outside.
    pub(super) async fn judge(
        self,
        pair: &Pair,
        outside: &mut BTreeSet<Outside>,
        search: bool,
    ) -> Result<JudgedSequences> {
        if self.rule == SequenceRule::Outside {
            return Ok(JudgedSequences { differences: Vec::new(), compared: 0 });
        }
        let target = sequences::read(&pair.target).await?;
        let now = sequences::read(&pair.source).await?;
        let mut quiet = Vec::new();
        for value in self.source {
            let title = value.title();
            if reason_outside(&title, outside, search).is_some() {
                continue;
            }
            if now.contains(&value) {
                quiet.push(value);
            } else {
                outside.insert(Outside::new(title, "sequence in use on the source meanwhile"));
            }
        }
        let differences = sequences::compare(&quiet, &target, self.rule);
        Ok(JudgedSequences { differences, compared: quiet.len() as u64 })
    }
}
