//! A file with a change of schema: what it may hold, and to which side it goes first. Nothing here
//! asks a server.

use std::path::Path;

use anyhow::Result;
use refinery::Migration;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cutover::plan::hex;
use crate::failure::Failure;
use crate::migrate::files::File;
use crate::migrate::lint::{self, Offence};
use crate::migrate::statements::{self, Statement};

/// What offences name as the folder of the file.
const PLACE: &str = "change";
/// The rule of `lint` that says nothing here: no checksum depends on what cannot be seen.
const WHITE_SPACE: &str = "white-space";
/// The rules that nobody can accept: the change would not be the same on both sides, or not whole.
const NEVER_ACCEPTED: [&str; 4] = ["transaction", "statement", "reason", "no-transaction"];
/// Kinds of object that belong to a whole server, or to replication.
const NOT_OF_THE_SCHEMA: [&str; 11] = [
    "DATABASE",
    "ROLE",
    "USER",
    "GROUP",
    "TABLESPACE",
    "SUBSCRIPTION",
    "PUBLICATION",
    "SYSTEM",
    "SERVER",
    "EVENT",
    "FOREIGN",
];

/// To which side a change goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// It only adds: the side that follows can take every row with it and without it.
    FollowerFirst,
    /// It takes away, renames or forbids: the side that serves judges, and what was written before
    /// arrives before the other side has it.
    ServingFirst,
}

/// A change of schema.
#[derive(Debug, Clone)]
pub struct Change {
    /// The file's name.
    pub name: String,
    /// SHA-256 of what it says, in hex.
    pub digest: String,
    /// Its statements.
    pub statements: Vec<Statement>,
    /// To which side it goes first.
    pub order: Order,
}

impl Change {
    /// Reads a file, and refuses what cannot be brought to both sides of a running service.
    ///
    /// # Errors
    /// The file cannot be read, or breaks a rule that was not accepted; all of them are named.
    pub fn read(path: &Path, accepted: &[String]) -> Result<Change> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("the change {} cannot be read: {error}", path.display()))
                .hint("name a file with SQL: cargo xtask cutover ddl FILE")
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let change = Change::of(&name, &text);
        let offences = offences(&name, &text, &change.statements, accepted)?;
        if change.statements.is_empty() {
            return Err(Failure::usage(format!("{name} holds no statement")).into());
        }
        if offences.is_empty() {
            return Ok(change);
        }
        let all = offences
            .iter()
            .map(|one| format!("\n  - line {}: {} [{}]", one.line, one.message, one.rule));
        let all = all.collect::<String>();
        Err(Failure::refused(format!("{name} is refused:{all}"))
            .hint("mend the file, or accept what is meant by its name: --accept RULE")
            .into())
    }

    fn of(name: &str, text: &str) -> Change {
        let statements = statements::split(text);
        let only_adds = statements.iter().all(|statement| adds(&words(statement)));
        Change {
            name: name.into(),
            digest: hex(&Sha256::digest(text)),
            order: if only_adds { Order::FollowerFirst } else { Order::ServingFirst },
            statements,
        }
    }
}

/// Every offence that was not accepted.
fn offences(
    name: &str,
    text: &str,
    statements: &[Statement],
    accepted: &[String],
) -> Result<Vec<Offence>> {
    let migration = Migration::unapplied("V1__change", text)?;
    let file = File { set: PLACE, path: name.into(), text: text.into(), migration };
    let offence = |line: usize, rule: &str, message: &str| Offence {
        file: file.title(),
        line,
        rule: rule.into(),
        message: message.into(),
    };
    let mut all = lint::lint(&[&file]);
    if file.is_outside() {
        let message = "both sides take the whole file or nothing, so it runs in a transaction";
        all.push(offence(1, "no-transaction", message));
    }
    let objections = statements.iter().filter_map(|statement| {
        let message = objection(&words(statement))?;
        Some(offence(statement.line, "statement", message))
    });
    all.extend(objections);
    all.retain(|one| {
        let is_accepted = accepted.contains(&one.rule);
        one.rule != WHITE_SPACE
            && (!is_accepted || NEVER_ACCEPTED.iter().any(|rule| *rule == one.rule))
    });
    all.sort_by_key(|one| one.line);
    Ok(all)
}

fn words(statement: &Statement) -> Vec<&str> {
    statement.words.iter().map(String::as_str).collect()
}

/// Why a statement cannot be brought to both sides; none where it can.
fn objection(words: &[&str]) -> Option<&'static str> {
    let [first, rest @ ..] = words else { return None };
    if !["CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE"].contains(first) {
        return Some(
            "only statements that change the schema may stand here: rows go to the side that \
             serves, and follow by themselves",
        );
    }
    let makes = matches!(*first, "CREATE" | "ALTER" | "DROP");
    if makes && rest.first().is_some_and(|kind| NOT_OF_THE_SCHEMA.contains(kind)) {
        return Some("it belongs to a whole server or to replication, not to this schema");
    }
    if rest.first().is_some_and(|kind| ["TEMP", "TEMPORARY", "LOCAL", "GLOBAL"].contains(kind)) {
        return Some("a temporary object ends with its session");
    }
    if words.iter().any(|word| word.trim_matches('"').eq_ignore_ascii_case("xtask_cutover")) {
        return Some("the schema xtask_cutover is the tool's own");
    }
    let is_table = *first == "CREATE" && rest.iter().take(2).any(|word| *word == "TABLE");
    if is_table && outside_parentheses(words).contains(&"AS") {
        return Some("the two sides would fill it with rows of their own: make it, then fill it");
    }
    None
}

/// The words of a statement that stand in no parentheses.
fn outside_parentheses<'words>(words: &[&'words str]) -> Vec<&'words str> {
    let mut depth = 0_usize;
    let mut all = Vec::new();
    for word in words {
        match *word {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            word if depth == 0 => all.push(word),
            _ => {}
        }
    }
    all
}

/// Whether a statement only adds: every row that is written without it can be taken with it.
fn adds(words: &[&str]) -> bool {
    match words {
        ["CREATE", "UNIQUE", ..] => false,
        ["CREATE" | "COMMENT" | "GRANT", ..] => true,
        ["ALTER", "TYPE", ..] => words.windows(2).any(|pair| pair == ["ADD", "VALUE"]),
        ["ALTER", "TABLE", rest @ ..] => {
            let outer = outside_parentheses(actions(rest));
            let mut all = outer.split(|word| *word == ",");
            all.all(adds_a_column)
        }
        _ => false,
    }
}

/// What is done to a table: the words after its name.
fn actions<'words, 'text>(words: &'words [&'text str]) -> &'words [&'text str] {
    let mut rest = words;
    for skipped in [&["IF", "EXISTS"][..], &["ONLY"][..]] {
        rest = rest.strip_prefix(skipped).unwrap_or(rest);
    }
    rest = rest.get(1..).unwrap_or_default();
    while let [".", _, more @ ..] = rest {
        rest = more;
    }
    rest.strip_prefix(&["*"][..]).unwrap_or(rest)
}

/// Whether an action adds a column that every row may lack.
fn adds_a_column(action: &[&str]) -> bool {
    let ["ADD", what, ..] = action else { return false };
    let is_constraint =
        ["CONSTRAINT", "UNIQUE", "PRIMARY", "FOREIGN", "CHECK", "EXCLUDE"].contains(what);
    let has = |word: &str| action.contains(&word);
    let forbids = ["UNIQUE", "PRIMARY", "CHECK", "REFERENCES"].into_iter().any(has);
    let is_required =
        action.windows(2).any(|pair| pair == ["NOT", "NULL"]) && !has("DEFAULT") && !has("AS");
    !is_constraint && !forbids && !is_required
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        Change::of("change.sql", text).order
    }

    fn rules(text: &str, accepted: &[&str]) -> Vec<String> {
        let accepted: Vec<String> = accepted.iter().map(|rule| (*rule).to_string()).collect();
        let statements = statements::split(text);
        let found = offences("change.sql", text, &statements, &accepted).unwrap();
        found.into_iter().map(|one| one.rule).collect()
    }

    #[test]
    fn what_only_adds_goes_to_the_follower_first() {
        for text in [
            "ALTER TABLE t ADD COLUMN c text",
            "ALTER TABLE IF EXISTS ONLY a.t ADD c numeric(10, 2), ADD d text DEFAULT 'x' NOT NULL",
            "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL UNIQUE)",
            "CREATE INDEX i ON t (a); COMMENT ON TABLE t IS 'drop'",
            "CREATE TYPE mood AS ENUM ('fine'); ALTER TYPE other ADD VALUE 'more'",
            "GRANT SELECT ON t TO reader",
        ] {
            assert_eq!(order(text), Order::FollowerFirst, "{text}");
        }
    }

    #[test]
    fn what_takes_away_or_forbids_goes_to_the_serving_side_first() {
        for text in [
            "ALTER TABLE t DROP COLUMN c",
            "ALTER TABLE t ADD c text, DROP d",
            "ALTER TABLE t ADD c text NOT NULL",
            "ALTER TABLE t ADD c int REFERENCES u",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
            "ALTER TABLE t ADD UNIQUE (a)",
            "ALTER TABLE t RENAME COLUMN a TO b",
            "CREATE UNIQUE INDEX i ON t (a)",
            "CREATE TABLE u (id int PRIMARY KEY); DROP TABLE t",
            "REVOKE SELECT ON t FROM reader",
        ] {
            assert_eq!(order(text), Order::ServingFirst, "{text}");
        }
    }

    #[test]
    fn what_is_not_the_schema_is_refused_whatever_is_accepted() {
        for text in [
            "UPDATE t SET a = 1;",
            "BEGIN; COMMIT;",
            "DO $$ BEGIN END $$;",
            "SELECT 1;",
            "SET ROLE other;",
            "CREATE TABLE u AS SELECT 1 AS a;",
            "CREATE TEMP TABLE u (a int);",
            "CREATE ROLE other;",
            "ALTER SYSTEM SET work_mem = '1GB';",
            "DROP TABLE xtask_cutover.run;",
            "DROP TABLE \"xtask_cutover\".run;",
        ] {
            assert!(rules(text, &["statement"]).contains(&"statement".to_string()), "{text}");
        }
        let concurrent = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);";
        assert_eq!(rules(concurrent, &["transaction"]), ["transaction"]);
        let outside = format!("-- xtask: no-transaction\n{concurrent}");
        assert_eq!(rules(&outside, &["no-transaction"]), ["no-transaction"]);
    }

    #[test]
    fn long_locks_and_rewrites_are_refused_unless_they_are_accepted() {
        let text = "ALTER TABLE t ALTER a TYPE bigint;";
        assert_eq!(rules(text, &[]), ["changing-column-type"]);
        assert!(rules(text, &["changing-column-type"]).is_empty());
        assert!(rules("CREATE TABLE t (a int);\nCREATE INDEX i ON t (a);", &[]).is_empty());
    }
}
