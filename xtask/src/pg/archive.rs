//! What `pg_dump` writes into an archive that another server would refuse.

use std::path::Path;

use anyhow::{Context, Result, bail};
use regex::bytes::{Captures, Regex};

/// The file of a dump in directory format that holds its definitions.
pub const CONTENTS: &str = "toc.dat";

/// What servers since the minor releases of November 2026 (15.20 and its sisters) keep among the
/// options of every column. It is the server's own, and every server makes its own.
const MARK: &str = "pg_attver=";

/// The statement in which an older `pg_dump` writes it out: `dumpTableSchema` in `pg_dump.c`. A
/// quoted name may hold anything, also the end of a line.
const STATEMENT: &str = r#"(?x-u) \n (?<head> ALTER\ (?:FOREIGN\ )?TABLE\ (?:ONLY\ )?
    (?:"(?:[^"]|"")+"|[^\s".]+) (?:\.(?:"(?:[^"]|"")+"|[^\s".]+))?
    \ ALTER\ COLUMN\ (?:"(?:[^"]|"")+"|[^\s"]+) \ SET\ )
    \( (?<options> [^()]* \bpg_attver=[0-9]+ [^()]*) \);"#;

/// Takes the marks of columns out of an archive: a server of an older minor release refuses them as
/// unknown options, and an older `pg_dump` writes them out.
///
/// The archive's definitions stand in it as they are, each behind its length (`WriteStr` in
/// `pg_backup_archiver.c`), and data stand elsewhere or behind them, compressed. So what is taken
/// out becomes as many spaces, and nothing moves. Safe to run twice.
///
/// # Errors
/// The file cannot be read or written.
pub fn leave_out_marks(archive: &Path) -> Result<()> {
    let bytes = std::fs::read(archive).with_context(|| format!("read {}", archive.display()))?;
    let (without, count) = blank(&bytes)?;
    if count > 0 {
        std::fs::write(archive, without).with_context(|| format!("write {}", archive.display()))?;
    }
    Ok(())
}

fn blank(bytes: &[u8]) -> Result<(Vec<u8>, usize)> {
    let statement = Regex::new(STATEMENT).context("a pattern that is always the same")?;
    let mut count = 0;
    let without = statement.replace_all(bytes, |found: &Captures<'_>| {
        count += 1;
        let options = String::from_utf8_lossy(&found["options"]).into_owned();
        let kept: Vec<&str> =
            options.split(", ").filter(|option| !option.starts_with(MARK)).collect();
        let mut text = b"\n".to_vec();
        if !kept.is_empty() {
            text.extend_from_slice(&found["head"]);
            text.extend_from_slice(format!("({});", kept.join(", ")).as_bytes());
        }
        text.resize(found[0].len(), b' ');
        text
    });
    if without.len() != bytes.len() {
        bail!("the marks of columns cannot be taken out of the archive without moving the rest");
    }
    Ok((without.into_owned(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(text: &str) -> (String, usize) {
        let (bytes, count) = blank(text.as_bytes()).expect("it can be taken out");
        (String::from_utf8(bytes).expect("text stays text"), count)
    }

    #[test]
    fn marks_go_and_nothing_moves() {
        let dump = "CREATE TABLE public.a (i integer);\n\
                    ALTER TABLE ONLY public.a ALTER COLUMN i SET (pg_attver=22162256);\n\
                    ALTER TABLE ONLY public.\"we \"\"ird\n\" ALTER COLUMN \"Zürich. SET (\" \
                    SET (pg_attver=1);\n\
                    ALTER FOREIGN TABLE ONLY x.y ALTER COLUMN z SET (pg_attver=2);\nEND";
        let (text, count) = without(dump);
        assert_eq!((count, text.len()), (3, dump.len()));
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["CREATE", "TABLE", "public.a", "(i", "integer);", "END"]);
        assert_eq!(without(&text), (text.clone(), 0), "a second time nothing is left to do");
    }

    #[test]
    fn other_options_of_the_column_stay() {
        for options in ["pg_attver=7, n_distinct=5", "n_distinct=5, pg_attver=7", "n_distinct=5"] {
            let dump = format!("\nALTER TABLE ONLY a.b ALTER COLUMN c SET ({options});\n");
            let (text, _) = without(&dump);
            let wanted = "ALTER TABLE ONLY a.b ALTER COLUMN c SET (n_distinct=5);";
            assert_eq!(text.trim(), wanted, "of {options}");
        }
    }

    #[test]
    fn what_only_speaks_of_a_mark_stays() {
        for text in [
            "\nCOMMENT ON TABLE a IS 'pg_attver=7';",
            "\nALTER TABLE ONLY a.b ALTER COLUMN c SET (fillfactor=7);",
            "-- ALTER TABLE ONLY a.b ALTER COLUMN c SET (pg_attver=7);",
        ] {
            assert_eq!(without(text), (text.to_string(), 0));
        }
    }
}
