//! Indexes that are built outside a transaction: a build that was cut short leaves an invalid one
//! behind, which `IF NOT EXISTS` would take for done.

use anyhow::{Context, Result};

use crate::migrate::files::File;
use crate::migrate::statements;
use crate::pg::endpoint::{Session, literal, qualified};

/// What stands under the name of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// An index that a build has left behind, or that one is at work on.
    Invalid,
    /// An index that queries use.
    Valid,
}

/// The name of the index that a file builds outside a transaction, unquoted; none where it does
/// something else.
pub fn built_by(file: &File) -> Option<String> {
    if !file.is_outside() {
        return None;
    }
    let statements = statements::split(&file.text);
    let [statement] = statements.as_slice() else { return None };
    let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
    let rest = match words.as_slice() {
        ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", rest @ ..]
        | ["CREATE", "INDEX", "CONCURRENTLY", rest @ ..] => rest,
        _ => return None,
    };
    let name = match rest {
        ["IF", "NOT", "EXISTS", name, "ON", ..] | [name, "ON", ..] => name,
        _ => return None,
    };
    Some(match name.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_lowercase(),
    })
}

/// The table of the index that a file builds outside a transaction, as the file writes it.
pub fn built_on(file: &File) -> Option<String> {
    let statements = statements::split(&file.text);
    let words = &statements.first()?.words;
    let on = words.iter().position(|word| word == "ON")?;
    words
        .get(on + 1)
        .map(|name| if name.starts_with('"') { name.clone() } else { name.to_lowercase() })
}

/// What stands under a name in a schema.
///
/// # Errors
/// The connection is lost.
pub async fn standing(session: &Session, schema: &str, name: &str) -> Result<Standing> {
    let row = session
        .query_opt(
            "SELECT indisvalid AND indisready FROM pg_index
             JOIN pg_class ON pg_class.oid = indexrelid
             JOIN pg_namespace ON pg_namespace.oid = relnamespace
             WHERE nspname = $1 AND relname = $2",
            &[&schema, &name],
        )
        .await
        .with_context(|| format!("look at index {name}"))?;
    Ok(match row.map(|row| row.get(0)) {
        None => Standing::Absent,
        Some(true) => Standing::Valid,
        Some(false) => Standing::Invalid,
    })
}

/// A statement that fails unless the index is there and valid.
pub fn proof(schema: &str, name: &str) -> String {
    let index = qualified(schema, name);
    let body = format!(
        "BEGIN
             PERFORM FROM pg_index WHERE indexrelid = to_regclass({index})
                                     AND indisvalid AND indisready;
             IF NOT FOUND THEN
                 RAISE EXCEPTION USING MESSAGE = {message};
             END IF;
         END",
        index = literal(&index),
        message = literal(&format!("index {index} is not there or not valid")),
    );
    format!("DO {}", literal(&body))
}
