//! The line of one database in PgBouncer's configuration: found, read and rewritten. Everything
//! else in the file stays as it is, to the byte.

use anyhow::Result;

use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;

/// The section that names databases.
const SECTION: &str = "databases";

/// The text of a configuration with the line of `alias` leading to the server of `server`.
///
/// # Errors
/// There is no such line.
pub fn rewrite(text: &str, alias: &str, server: &Endpoint) -> Result<String> {
    let mut is_found = false;
    let mut all = String::with_capacity(text.len());
    let has_sections = text.lines().any(|line| section(line).is_some());
    // A file of databases alone is included below the header of its section.
    let mut is_inside = !has_sections;
    for line in text.split_inclusive('\n') {
        if let Some(name) = section(line) {
            is_inside = name.eq_ignore_ascii_case(SECTION);
        }
        match value_of(line, alias).filter(|_| is_inside) {
            Some(value) => {
                is_found = true;
                let start = line.len() - value.len();
                all.push_str(&line[..start]);
                all.push_str(&pointed(value, alias, server));
            }
            None => all.push_str(line),
        }
    }
    if is_found {
        return Ok(all);
    }
    Err(Failure::refused(format!("there is no line for database {alias} in [{SECTION}]"))
        .hint(format!("write `{alias} = host=… port=… dbname=…` there, and RELOAD"))
        .into())
}

fn section(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

/// What follows the equals sign, its line end included, where the line is that of `alias`.
fn value_of<'a>(line: &'a str, alias: &str) -> Option<&'a str> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_same = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\"") == alias,
        None => name == alias,
    };
    is_same.then_some(value)
}

/// The same settings with another server; unchanged to the byte where they lead there already.
fn pointed(value: &str, alias: &str, server: &Endpoint) -> String {
    if leads_to(&settings(value), alias, server) {
        return value.to_string();
    }
    let line_end = &value[value.trim_end_matches(['\r', '\n']).len()..];
    let kept: Vec<String> = settings(value)
        .into_iter()
        .filter(|(name, _)| !["host", "hostaddr", "port", "dbname"].contains(&name.as_str()))
        .map(|(name, value)| format!(" {name}={}", quoted(&value)))
        .collect();
    let database = match server.database == alias {
        true => String::new(),
        false => format!(" dbname={}", quoted(&server.database)),
    };
    let host = quoted(&server.host);
    format!(" host={host} port={}{database}{}{line_end}", server.port, kept.concat())
}

fn leads_to(settings: &[(String, String)], alias: &str, server: &Endpoint) -> bool {
    let of = |wanted: &str| {
        let found = settings.iter().rev().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    of("host") == Some(&server.host)
        && of("hostaddr").is_none()
        && of("port").unwrap_or("5432") == server.port.to_string()
        && of("dbname").unwrap_or(alias) == server.database
}

/// The settings of a line: names and values, unquoted.
fn settings(value: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut rest = value.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('\'') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (after[..end].to_string(), &after[end..])
            }
        };
        all.push((name.trim().to_string(), value));
        rest = left.trim_start();
    }
    all
}

/// Reads up to the closing quote; two quotes are one. Returns what is left as well.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if letters.next_if(|(_, next)| *next == '\'').is_some() => value.push('\''),
            '\'' => return (value, &text[at + 1..]),
            other => value.push(other),
        }
    }
    (value, "")
}

fn quoted(value: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-:/".contains(letter);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_string();
    }
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "; a comment\n[databases]\nother = host=elsewhere port=1\n\
        trading = host=old port=5432 dbname=rbsdb pool_size=9 connect_query='SELECT ''x'''\n\
        \n[pgbouncer]\ntrading = not ours\nlisten_port = 6432\n";

    fn new() -> Endpoint {
        Endpoint::new("new", 5433, "rbsdb", "postgres", "secret")
    }

    #[test]
    fn only_the_server_of_one_database_changes() {
        let text = rewrite(FILE, "trading", &new()).unwrap();
        let wanted = "trading = host=new port=5433 dbname=rbsdb pool_size=9 \
            connect_query='SELECT ''x'''\n";
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let former: Vec<&str> = FILE.split_inclusive('\n').collect();
        assert_eq!(lines[3], wanted);
        assert_eq!((&lines[..3], &lines[4..]), (&former[..3], &former[4..]));
        assert!(!text.contains("secret"));
    }

    #[test]
    fn there_and_back_is_the_same_text() {
        let back = Endpoint::new("old", 5432, "rbsdb", "postgres", "");
        let there = rewrite(FILE, "trading", &new()).unwrap();
        assert_eq!(rewrite(&there, "trading", &back).unwrap(), FILE);
        let odd = "[databases]\ntrading=dbname=rbsdb  host='old'\n";
        assert_eq!(rewrite(odd, "trading", &back).unwrap(), odd, "it leads there already");
    }

    #[test]
    fn a_file_of_databases_alone_needs_no_header() {
        let text = rewrite("\"trading\"=host=old\r\n", "trading", &new()).unwrap();
        assert_eq!(text, "\"trading\"= host=new port=5433 dbname=rbsdb\r\n");
    }

    #[test]
    fn a_missing_database_is_named() {
        let error = rewrite(FILE, "absent", &new()).unwrap_err();
        assert!(error.to_string().contains("database absent"), "{error}");
        let elsewhere = rewrite("[pgbouncer]\ntrading = x\n", "trading", &new());
        assert!(elsewhere.is_err());
    }

    proptest! {
        #[test]
        fn a_value_has_no_way_out(value in "[^\\x00-\\x1f]{0,16}") {
            let text = format!("password={} pool_size=3", quoted(&value));
            let read = settings(&text);
            prop_assert_eq!(&read[0], &("password".to_string(), value));
            prop_assert_eq!(&read[1], &("pool_size".to_string(), "3".to_string()));
        }
    }
}
