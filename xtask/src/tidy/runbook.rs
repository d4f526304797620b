//! Rules that keep the runbook whole: whatever the tool may say at night has its entry there.

use super::{File, Offence};
use crate::cutover::step::Step;

/// The page.
const RUNBOOK: &str = "RUNBOOK.md";
/// The page about events, and the type that it is about.
const EVENTS: (&str, &str) = ("docs/events.md", "xtask/src/cutover/event.rs");
/// How a refusal is made in code.
const REFUSALS: [&str; 2] = ["Refusal::new(", "Refusal::warning("];
/// The file of refusals that are queries.
const QUERIES: &str = "refused_objects.sql";
/// How an error with exit code 4 is made in code.
const UNDECIDED: [&str; 2] = ["Failure::undecided(", "Kind::Undecided,"];

/// Every entry that is missing.
pub(super) fn offences(files: &[File]) -> Vec<Offence> {
    let text = |path: &str| {
        files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str())
    };
    let mut wanted: Vec<String> = Step::ALL.map(|step| format!("### step: {step}\n")).into();
    wanted.extend(refusals(files).into_iter().map(|name| format!("### refusal: {name}\n")));
    wanted.extend(undecided(files).into_iter().map(|text| format!("### exit 4: `{text}`\n")));
    let mut all = missing(RUNBOOK, text(RUNBOOK), &wanted);
    let events = variants(text(EVENTS.1)).into_iter().map(|name| format!("| `{name}` |"));
    all.extend(missing(EVENTS.0, text(EVENTS.0), &events.collect::<Vec<_>>()));
    all
}

fn missing(path: &str, text: &str, wanted: &[String]) -> Vec<Offence> {
    let absent = wanted.iter().filter(|entry| !text.contains(entry.as_str()));
    let tell = |entry: &String| Offence {
        place: path.into(),
        message: format!("it has no entry \"{}\"", entry.trim()),
    };
    absent.map(tell).collect()
}

/// The code of a file as one text, without comments and tests.
fn code(file: &File) -> String {
    file.production().map(|(_, line)| format!("{line}\n")).collect()
}

/// The name of every refusal that the code makes.
fn refusals(files: &[File]) -> Vec<String> {
    let mut all = Vec::new();
    for file in files.iter().filter(|file| !file.is_tidy()) {
        if file.path.ends_with(QUERIES) {
            let names = file.text.lines().filter_map(|line| line.strip_prefix("SELECT '"));
            all.extend(names.filter_map(|line| Some(line.split_once('\'')?.0.to_string())));
        }
        if !file.is_rust() {
            continue;
        }
        let code = code(file);
        for made in REFUSALS {
            for (at, _) in code.match_indices(made) {
                let argument = code[at + made.len()..].trim_start();
                all.extend(first_argument(argument, &code));
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

/// The text of an argument that is a literal or a constant of the same file; none where it is
/// handed on from elsewhere.
fn first_argument(argument: &str, code: &str) -> Option<String> {
    if let Some(literal) = argument.strip_prefix('"') {
        return Some(literal.split('"').next()?.to_string());
    }
    let name: String =
        argument.chars().take_while(|letter| letter.is_uppercase() || *letter == '_').collect();
    let (_, value) = code.split_once(&format!("const {name}: &str = \""))?;
    (!name.is_empty()).then(|| value.split('"').next().map(str::to_string))?
}

/// What each error with exit code 4 says, without what is filled in: its longest piece.
fn undecided(files: &[File]) -> Vec<String> {
    let mut all = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_tidy()) {
        if file.path.ends_with("failure.rs") {
            continue;
        }
        let code = code(file);
        for made in UNDECIDED {
            for (at, _) in code.match_indices(made) {
                let after = code[at + made.len()..].trim_start();
                // The text may stand in a variable, just above.
                let said = match after.starts_with("message") {
                    true => &code[code[..at].rfind("let message").unwrap_or(at)..],
                    false => after,
                };
                all.extend(said.split('"').nth(1).map(longest_piece));
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

fn longest_piece(message: &str) -> String {
    let pieces = message.split(['{', '}', '\\']);
    pieces.max_by_key(|piece| piece.len()).unwrap_or(message).to_string()
}

/// The names of an enum's variants as they are stored.
fn variants(code: &str) -> Vec<String> {
    let Some((_, body)) = code.split_once("pub enum Event {\n") else { return Vec::new() };
    let body = body.split("\n}\n").next().unwrap_or(body);
    let names = body.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.trim_end_matches([' ', '{', ',']);
        name.chars().all(char::is_alphanumeric).then_some(name).filter(|name| !name.is_empty())
    });
    names.map(snake_case).collect()
}

fn snake_case(name: &str) -> String {
    let mut all = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !all.is_empty() {
            all.push('_');
        }
        all.extend(letter.to_lowercase());
    }
    all
}

mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn whatever_the_tool_may_say_is_found() {
        let code = "const ODD: &str = \"odd-one\";\n\
            fn a() { Refusal::new(\n    \"wal\", b); Refusal::warning(ODD, c); }\n\
            fn b() { Refusal::new(d, e) }\n\
            fn f() { Err(Failure::undecided(format!(\"run {run} is lost{why}\"))) }\n\
            fn g() { let message = \"nobody knows\"; Err(Failure::undecided(message)) }\n";
        let query = "SELECT 'large', format('x')\nFROM a\n";
        let files =
            [file("xtask/src/a.rs", code), file("xtask/src/pg/sql/refused_objects.sql", query)];
        assert_eq!(refusals(&files), ["large", "odd-one", "wal"]);
        assert_eq!(undecided(&files), [" is lost", "nobody knows"]);
        let found = offences(&files);
        assert!(found.iter().any(|one| one.message.contains("refusal: odd-one")), "{found:?}");
    }

    #[test]
    fn every_event_is_found() {
        let all = variants(include_str!("../cutover/event.rs"));
        for name in ["verb", "step_started", "interrupted", "samples", "ended"] {
            assert!(all.contains(&name.to_string()), "{name}: {all:?}");
        }
        assert!(all.len() > 20, "{all:?}");
    }
}
