//! `lint`: holds the files against what hurts a database in use, before any server is asked.
//!
//! Locks and rewrites are squawk's to know; a table that the same text makes may have both, because
//! nobody uses it yet. What is meant is allowed by a line at the head of the file, with its reason:
//! `-- xtask: allow RULE, because …`.

use serde::Serialize;
use squawk_linter::{Linter, Rule};
use squawk_syntax::SourceFile;

use crate::migrate::files::File;
use crate::migrate::statements::{self, Statement};

/// squawk's rules about long locks and rewrites of tables in use. Its others are about taste, or
/// about objects that an application uses by name.
const RULES: [Rule; 11] = [
    Rule::AddingFieldWithDefault,
    Rule::AddingForeignKeyConstraint,
    Rule::AddingNotNullableField,
    Rule::AddingRequiredField,
    Rule::AddingSerialPrimaryKeyField,
    Rule::ChangingColumnType,
    Rule::ConstraintMissingNotValid,
    Rule::DisallowedUniqueConstraint,
    Rule::RequireConcurrentIndexCreation,
    Rule::RequireConcurrentIndexDeletion,
    Rule::RequireConcurrentReindex,
];
/// What a line that allows a rule begins with.
const ALLOW: &str = "allow ";
/// What stands between the rule and the reason.
const BECAUSE: &str = ", because ";
/// A reason that is shorter is none.
const SHORTEST_REASON: usize = 10;

/// One offence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offence {
    /// Folder and file name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule's name, by which it can be allowed.
    pub rule: String,
    /// What is wrong.
    pub message: String,
}

/// Every offence of files that are applied together, one after the other.
pub fn lint(files: &[&File]) -> Vec<Offence> {
    let mut all: Vec<Offence> = files.iter().flat_map(|file| one(file)).collect();
    all.extend(locks(files));
    all.retain(|offence| {
        let file = files.iter().find(|file| file.title() == offence.file);
        file.is_none_or(|file| !allowed(file).any(|rule| rule == offence.rule))
    });
    all.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    all
}

/// The rules that a file may break, for the reason that it gives.
fn allowed(file: &File) -> impl Iterator<Item = &str> {
    let reasoned = file.marks().filter_map(|mark| mark.strip_prefix(ALLOW)?.split_once(BECAUSE));
    reasoned.filter(|(_, reason)| reason.trim().len() >= SHORTEST_REASON).map(|(rule, _)| rule)
}

fn offence(file: &File, line: usize, rule: &str, message: impl Into<String>) -> Offence {
    Offence { file: file.title(), line, rule: rule.into(), message: message.into() }
}

/// What is wrong with a file by itself.
fn one(file: &File) -> Vec<Offence> {
    let statements = statements::split(&file.text);
    let mut all = white_space(file);
    for mark in file.marks().filter_map(|mark| mark.strip_prefix(ALLOW)) {
        let reason = mark.split_once(BECAUSE).map_or("", |(_, reason)| reason);
        if reason.trim().len() < SHORTEST_REASON {
            let message = format!("write: -- xtask: {ALLOW}RULE{BECAUSE}…");
            all.push(offence(file, 1, "reason", message));
        }
    }
    if file.is_outside() {
        all.extend(outside(file, &statements));
    } else {
        let concurrent =
            statements.iter().filter(|one| one.words.iter().any(|word| word == "CONCURRENTLY"));
        all.extend(concurrent.map(|one| {
            let message = "CONCURRENTLY cannot run in a transaction: give the statement a file of \
                           its own that begins with `-- xtask: no-transaction`";
            offence(file, one.line, "transaction", message)
        }));
    }
    all.extend(statements.iter().filter_map(|statement| rewrite(file, statement)));
    all
}

/// Bytes that cannot be seen change a checksum all the same.
fn white_space(file: &File) -> Vec<Offence> {
    let mut all = Vec::new();
    if file.text.starts_with('\u{feff}') {
        all.push(offence(file, 1, "white-space", "a byte order mark before the first statement"));
    }
    for (number, line) in file.text.split('\n').enumerate() {
        let unseen = |letter: char| {
            letter == '\t' || letter == '\r' || (letter != ' ' && letter.is_whitespace())
        };
        let message = if line.contains('\r') {
            "a carriage return: the file was saved with the line ends of another system"
        } else if line.contains(unseen) {
            "a tab, or a blank that only looks like a space"
        } else if line.ends_with(' ') {
            "blanks at the end of the line"
        } else {
            continue;
        };
        all.push(offence(file, number + 1, "white-space", message));
    }
    if !file.text.ends_with('\n') {
        let last = file.text.lines().count();
        all.push(offence(file, last, "white-space", "the last line has no end"));
    }
    all
}

/// A file outside a transaction: one statement, which may be run again after a crash.
fn outside(file: &File, statements: &[Statement]) -> Vec<Offence> {
    let [statement] = statements else {
        let count = statements.len();
        let message = format!("one statement may stand here, and there are {count}");
        return vec![offence(file, 1, "one-statement", message)];
    };
    let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
    let can_run_again = matches!(
        words.as_slice(),
        ["CREATE", "INDEX", "CONCURRENTLY", "IF", "NOT", "EXISTS", ..]
            | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", "IF", "NOT", "EXISTS", ..]
            | ["DROP", "INDEX", "CONCURRENTLY", "IF", "EXISTS", ..]
    );
    if can_run_again {
        return Vec::new();
    }
    let message = "it must be CREATE INDEX CONCURRENTLY IF NOT EXISTS or DROP INDEX CONCURRENTLY \
                   IF EXISTS: only what can run again survives a crash";
    vec![offence(file, statement.line, "run-again", message)]
}

/// Rewrites and long locks that squawk does not know.
fn rewrite(file: &File, statement: &Statement) -> Option<Offence> {
    let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
    let sets = |what: &str| words.windows(2).any(|pair| pair == ["SET", what]);
    let message = match words.as_slice() {
        ["CLUSTER", ..] | ["VACUUM", "FULL", ..] => {
            "the whole table is written anew, and nobody can read it meanwhile"
        }
        ["LOCK", ..] => "LOCK TABLE is held until the end of the file",
        ["REFRESH", "MATERIALIZED", "VIEW", next, ..] if *next != "CONCURRENTLY" => {
            "a view that is refreshed without CONCURRENTLY cannot be read meanwhile"
        }
        ["ALTER", "TABLE", ..]
            if ["TABLESPACE", "LOGGED", "UNLOGGED", "ACCESS"].iter().any(|what| sets(what)) =>
        {
            "the whole table is written anew, and nobody can read it meanwhile"
        }
        _ => return None,
    };
    Some(offence(file, statement.line, "rewrite", message))
}

/// Long locks and rewrites of tables that these files do not make themselves.
fn locks(files: &[&File]) -> Vec<Offence> {
    let mut text = String::new();
    let mut starts = Vec::new();
    for file in files {
        starts.push(text.len());
        text.push_str(&file.text);
        text.push('\n');
    }
    let mut linter = Linter::from(RULES);
    // A table that is made in the same transaction is in nobody's way.
    linter.settings.assume_in_transaction = true;
    let mut all = Vec::new();
    for violation in linter.lint(&SourceFile::parse(&text), &text) {
        let at = usize::from(violation.text_range.start());
        let index = starts.partition_point(|start| *start <= at).saturating_sub(1);
        let Some((file, start)) = files.get(index).zip(starts.get(index)) else { continue };
        let line = text[*start..at].matches('\n').count() + 1;
        all.push(offence(file, line, &violation.code.to_string(), violation.message));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use refinery::Migration;

    fn file(name: &str, text: &str) -> File {
        File {
            set: "common",
            path: format!("{name}.sql").into(),
            text: text.into(),
            migration: Migration::unapplied(name, text).unwrap(),
        }
    }

    fn rules(text: &str) -> Vec<String> {
        let file = file("V1__one", text);
        lint(&[&file]).into_iter().map(|offence| offence.rule).collect()
    }

    #[test]
    fn what_locks_or_rewrites_a_table_in_use_is_refused() {
        for (text, rule) in [
            ("CREATE INDEX i ON t (a);\n", "require-concurrent-index-creation"),
            ("DROP INDEX i;\n", "require-concurrent-index-deletion"),
            ("REINDEX TABLE t;\n", "require-concurrent-reindex"),
            ("ALTER TABLE t ADD c timestamptz DEFAULT clock_timestamp();\n", "adding-field"),
            ("ALTER TABLE t ADD s text GENERATED ALWAYS AS (a) STORED;\n", "adding-field"),
            ("ALTER TABLE t ALTER a TYPE bigint;\n", "changing-column-type"),
            ("ALTER TABLE t ADD CONSTRAINT x CHECK (a > 0);\n", "constraint-missing-not-valid"),
            ("ALTER TABLE t ALTER a SET NOT NULL;\n", "adding-not-nullable-field"),
            ("ALTER TABLE t ADD UNIQUE (a);\n", "disallowed-unique-constraint"),
            ("CLUSTER t USING i;\n", "rewrite"),
            ("VACUUM FULL t;\n", "rewrite"),
            ("LOCK TABLE t;\n", "rewrite"),
            ("ALTER TABLE t SET TABLESPACE other;\n", "rewrite"),
            ("ALTER TABLE t SET UNLOGGED;\n", "rewrite"),
            ("REFRESH MATERIALIZED VIEW m;\n", "rewrite"),
        ] {
            let found = rules(text);
            assert!(found.iter().any(|one| one.starts_with(rule)), "{text}{found:?}");
        }
    }

    #[test]
    fn a_table_of_the_same_files_may_have_all_of_it() {
        let made = file("V1__made", "CREATE TABLE t (a integer);\n");
        let used = file("V2__used", "CREATE INDEX i ON t (a);\n");
        assert_eq!(lint(&[&made, &used]), []);
        let found = lint(&[&used]);
        assert_eq!((found[0].file.as_str(), found[0].line), ("common/V2__used.sql", 1));
    }

    #[test]
    fn what_is_allowed_needs_its_reason() {
        let allow = "-- xtask: allow require-concurrent-index-creation";
        let index = "CREATE INDEX i ON t (a);\n";
        assert!(rules(&format!("{allow}, because the table is empty then\n{index}")).is_empty());
        let found = rules(&format!("{allow}, because\n{index}"));
        assert_eq!(found, ["reason", "require-concurrent-index-creation"]);
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        for text in [
            "SELECT 1;\r\nSELECT 2;\n",
            "\u{feff}SELECT 1;\n",
            "SELECT 1; \n",
            "SELECT\t1;\n",
            "SELECT\u{a0}1;\n",
            "SELECT 1;",
        ] {
            assert!(rules(text).contains(&"white-space".to_string()), "{text:?}");
        }
        assert!(rules("SELECT 1;\n").is_empty());
    }

    #[test]
    fn outside_a_transaction_stands_one_statement_that_may_run_again() {
        let mark = "-- xtask: no-transaction\n";
        let good = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);\n";
        assert!(rules(&format!("{mark}{good}")).is_empty());
        assert_eq!(rules(&format!("{mark}{good}{good}")), ["one-statement"]);
        assert_eq!(rules(&format!("{mark}CREATE INDEX CONCURRENTLY i ON t (a);\n")), ["run-again"]);
        assert_eq!(rules(&format!("{mark}SELECT 1;\n")), ["run-again"]);
        assert_eq!(rules(good), ["transaction"]);
    }
}
