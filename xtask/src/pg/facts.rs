//! What a schema means, as a list of facts that two servers of different versions agree on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use tokio_postgres::Row;

use crate::pg::endpoint::Session;

mod rereading;

/// How many characters of a definition a difference shows.
const SHOWN_DEFINITION: usize = 400;

/// One thing that the schema says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// Such as `column`, `grant` or `trigger`.
    pub kind: String,
    /// What it is said about, fully named.
    pub object: String,
    /// What is said, as text that compares equal where the meaning is equal.
    pub definition: String,
    /// The object of its own that it belongs to: a column's table, a grant's function.
    pub root: String,
}

/// A fact that does not hold on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Such as `column`, `grant` or `trigger`.
    pub kind: String,
    /// What it is said about, fully named.
    pub object: String,
    /// What the source says, clipped; none where the object is missing there.
    pub source: Option<String>,
    /// What the target says, clipped; none where the object is missing there.
    pub target: Option<String>,
    /// The object of its own that it belongs to: a column's table, a grant's function.
    pub root: String,
    /// Whether that object exists on the target alone, so that the source says nothing about it.
    pub root_is_new: bool,
}

/// The queries, each in a file of its own; every one answers kind, object, definition and root.
const QUERIES: [&str; 15] = [
    include_str!("sql/facts/columns.sql"),
    include_str!("sql/facts/comments.sql"),
    include_str!("sql/facts/constraints.sql"),
    include_str!("sql/facts/grants.sql"),
    include_str!("sql/facts/indexes.sql"),
    include_str!("sql/facts/owners.sql"),
    include_str!("sql/facts/policies.sql"),
    include_str!("sql/facts/relations.sql"),
    include_str!("sql/facts/roles.sql"),
    include_str!("sql/facts/routines.sql"),
    include_str!("sql/facts/sequences.sql"),
    include_str!("sql/facts/spaces.sql"),
    include_str!("sql/facts/triggers.sql"),
    include_str!("sql/facts/types.sql"),
    include_str!("sql/facts/views.sql"),
];
/// The predefined roles that an owner without superuser is asked to be a member of.
const ASKED_FOR: [&str; 3] = ["pg_create_subscription", "pg_signal_backend", "pg_read_all_stats"];
/// What every query starts from.
const PRELUDE: &str = include_str!("sql/facts/prelude.sql");

/// Everything that is part of the schema's meaning, in canonical order.
///
/// # Errors
/// The catalog cannot be read.
pub async fn facts(session: &Session) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for query in QUERIES {
        let rows = session
            .query(
                &format!(
                    "{PRELUDE}
{query}"
                ),
                &[],
            )
            .await;
        facts.extend(rows.context("read the schema")?.iter().map(fact));
    }
    facts.sort_unstable();
    Ok(facts)
}

fn fact(row: &Row) -> Fact {
    Fact {
        kind: row.get(0),
        object: row.get(1),
        definition: row.get::<_, Option<String>>(2).unwrap_or_default(),
        root: row.get(3),
    }
}

/// One hash of all facts: it changes when the schema's meaning does.
pub fn fingerprint(facts: &[Fact]) -> String {
    let mut hash = Sha256::new();
    for fact in facts {
        for part in [&fact.kind, &fact.object, &fact.definition] {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every fact that does not hold on both servers, read now. Where two versions print the same view
/// in different words, the newer server settles it.
///
/// # Errors
/// A catalog cannot be read.
pub async fn differences(source: &Session, target: &Session) -> Result<Vec<Difference>> {
    let (mut source_facts, mut target_facts) = tokio::try_join!(facts(source), facts(target))?;
    let (one, other) = tokio::try_join!(own_memberships(source), own_memberships(target))?;
    let own = [one, other].concat();
    for facts in [&mut source_facts, &mut target_facts] {
        facts.retain(|fact| fact.kind != "membership" || !own.contains(&fact.object));
    }
    if source.major() < target.major() {
        rereading::reread(target, &mut source_facts, &target_facts).await?;
    } else if target.major() < source.major() {
        rereading::reread(source, &mut target_facts, &source_facts).await?;
    }
    Ok(compare(&source_facts, &target_facts))
}

/// What this tool asks of the role that it logs in as says nothing about the service: an owner may
/// need it on one side, where a superuser is at work on the other.
async fn own_memberships(session: &Session) -> Result<Vec<String>> {
    let sql = "SELECT format('%I in %I', session_user, role) FROM unnest($1::text[]) AS role";
    let rows = session.query(sql, &[&ASKED_FOR.as_slice()]).await;
    Ok(rows.context("read who we are")?.iter().map(|row| row.get(0)).collect())
}

/// Every fact that does not hold on both sides. Between servers of different major versions use
/// [`differences`]: they print the same view in different words.
pub fn compare(source: &[Fact], target: &[Fact]) -> Vec<Difference> {
    let by_name = |facts: &[Fact]| -> BTreeMap<(String, String), Fact> {
        facts.iter().map(|fact| ((fact.kind.clone(), fact.object.clone()), fact.clone())).collect()
    };
    let roots: BTreeSet<String> = source.iter().map(|fact| fact.root.clone()).collect();
    let (source, target) = (by_name(source), by_name(target));
    let names: BTreeSet<_> = source.keys().chain(target.keys()).collect();
    let differs = |name: &&(String, String)| {
        let (one, other) = (source.get(*name), target.get(*name));
        let definition = |fact: Option<&Fact>| fact.map(|fact| fact.definition.clone());
        if definition(one) == definition(other) {
            return None;
        }
        let root = one.or(other)?.root.clone();
        Some(Difference {
            kind: name.0.clone(),
            object: name.1.clone(),
            source: definition(one).map(|text| clip(&text)),
            target: definition(other).map(|text| clip(&text)),
            root_is_new: !roots.contains(&root),
            root,
        })
    };
    names.iter().filter_map(differs).collect()
}

fn clip(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(SHOWN_DEFINITION).collect();
    if characters.next().is_some() { format!("{shown}…") } else { shown }
}
