//! The objects of search: what the migrations make. They are ParadeDB's alone, unless the plain
//! server has them too, and so they stay behind at a rollback.

use anyhow::{Context, Result};

use crate::migrate::place::SEARCH_EXTENSION;
use crate::pg::endpoint::{Session, identifier};
use crate::pg::facts::Difference;

/// What every object of search begins with.
pub const PREFIX: &str = "rag_";
/// The history that stands in the schema of search.
const HISTORY: &str = "rag_history_common";
/// The extensions of search, first what is made last.
pub const EXTENSIONS: [&str; 2] = [SEARCH_EXTENSION, "vector"];
/// What a difference in the health of an index is called.
const HEALTH: &str = "index health";

/// Whether a name, with or without its schema, is one of search.
pub fn is_named(title: &str) -> bool {
    title.rsplit('.').next().unwrap_or(title).starts_with(PREFIX)
}

/// The differences that do not come from search: neither its objects nor its extensions, nor the
/// schema that was made for it.
pub fn without(differences: Vec<Difference>) -> Vec<Difference> {
    let of_search: Vec<String> = differences
        .iter()
        .filter_map(|one| one.root.strip_suffix(HISTORY)?.strip_suffix('.').map(str::to_string))
        .chain(EXTENSIONS.map(str::to_string))
        .collect();
    let is_of_search = |one: &Difference| is_named(&one.root) || of_search.contains(&one.root);
    differences.into_iter().filter(|one| !is_of_search(one)).collect()
}

/// The objects of search that a database has, as `schema.name`.
///
/// # Errors
/// The catalog cannot be read.
pub async fn standing(session: &Session) -> Result<Vec<String>> {
    let rows = session
        .query(
            "SELECT nspname || '.' || relname FROM pg_class
             JOIN pg_namespace ON pg_namespace.oid = relnamespace
             WHERE relname LIKE 'rag\\_%' AND relkind IN ('r', 'p', 'v', 'm')
               AND nspname !~ '^pg_' ORDER BY 1",
            &[],
        )
        .await
        .context("list the objects of search")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Every index of search that is not whole: invalid, or found wanting by pg_search itself, which
/// holds each row of the table against the index.
///
/// # Errors
/// An index cannot be looked at.
pub async fn unhealthy_indexes(session: &Session) -> Result<Vec<Difference>> {
    let rows = session
        .query(
            "SELECT pg_namespace.nspname::text, index.relname::text, pg_am.amname::text,
                    indisvalid AND indisready, pg_namespace.nspname || '.' || heap.relname
             FROM pg_index
             JOIN pg_class AS index ON index.oid = indexrelid
             JOIN pg_class AS heap ON heap.oid = indrelid
             JOIN pg_am ON pg_am.oid = index.relam
             JOIN pg_namespace ON pg_namespace.oid = heap.relnamespace
             WHERE heap.relname LIKE 'rag\\_%' ORDER BY 1, 2",
            &[],
        )
        .await
        .context("look at the indexes of search")?;
    let mut all = Vec::new();
    for row in rows {
        let (schema, name, method): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let (is_valid, root): (bool, String) = (row.get(3), row.get(4));
        let fault = match (is_valid, method.as_str()) {
            (false, _) => Some("invalid; mend it: cargo xtask migrate repair".to_string()),
            (true, "paradedb" | "bm25") => fault_of(session, &schema, &name).await?,
            (true, _) => None,
        };
        all.extend(fault.map(|fault| Difference {
            kind: HEALTH.into(),
            object: format!("{schema}.{name}"),
            source: None,
            target: Some(fault),
            root,
            root_is_new: false,
        }));
    }
    Ok(all)
}

/// A finding of pg_search 0.25 that is no fault: entries of rows that were deleted stay in a
/// segment until it is merged, also after VACUUM, and searches leave them out.
const REFERENCES_DELETED: &str = "heap_references_valid";

/// What pg_search finds wrong with an index of its own.
async fn fault_of(session: &Session, schema: &str, name: &str) -> Result<Option<String>> {
    let title = format!("{}.{}", identifier(schema), identifier(name));
    let rows = session
        .query(
            "SELECT to_jsonb(finding)::text
             FROM pdb.verify_index($1::text::regclass, heapallindexed := true) AS finding
             WHERE NOT passed AND check_name NOT LIKE '%: ' || $2",
            &[&title, &REFERENCES_DELETED],
        )
        .await
        .with_context(|| format!("verify index {title}"))?;
    Ok(rows.first().map(|row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_search_has_made_is_told_from_what_a_person_has_made() {
        let difference = |kind: &str, root: &str| Difference {
            kind: kind.into(),
            object: root.into(),
            source: None,
            target: Some("there".into()),
            root: root.into(),
            root_is_new: true,
        };
        let all = vec![
            difference("relation", "search.rag_history_common"),
            difference("routine", "search.rag_search"),
            difference("schema", "search"),
            difference("extension", "vector"),
            difference("relation", "public.more"),
            difference("schema", "other"),
        ];
        let left: Vec<String> = without(all).into_iter().map(|one| one.root).collect();
        assert_eq!(left, ["public.more", "other"]);
    }
}
