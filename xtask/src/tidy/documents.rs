//! Rules that keep the documents true: they name every verb, module, step and exit code there is,
//! and every invariant names what holds it.

use clap::CommandFactory;

use super::{File, Offence};
use crate::cutover::step::Step;
use crate::failure::Kind;

/// How a paragraph with an invariant begins.
const INVARIANT: &str = "**Invariant:**";
/// What stands before the name of the test or the type that holds it.
const HELD_BY: &str = "Held by `";

/// Everything that the documents do not say, or say wrongly.
pub(super) fn offences(files: &[File]) -> Vec<Offence> {
    let mut all = Vec::new();
    all.extend(missing(files, "README.md", &verbs()));
    all.extend(missing(files, "README.md", &exit_codes()));
    all.extend(missing(files, "ARCHITECTURE.md", &modules(files)));
    all.extend(missing(files, "ARCHITECTURE.md", &Step::ALL.map(|step| format!("`{step}`"))));
    if let Some(architecture) = document(files, "ARCHITECTURE.md") {
        all.extend(unheld_invariants(architecture, files));
    }
    all
}

fn document<'files>(files: &'files [File], path: &str) -> Option<&'files File> {
    files.iter().find(|file| file.path == path)
}

fn missing(files: &[File], path: &str, wanted: &[String]) -> Vec<Offence> {
    let text = document(files, path).map_or("", |file| file.text.as_str());
    let absent = wanted.iter().filter(|name| !text.contains(name.as_str()));
    absent
        .map(|name| Offence { place: path.into(), message: format!("it does not name {name}") })
        .collect()
}

/// Every verb that `--help` shows, two deep, as documents write it.
fn verbs() -> Vec<String> {
    let mut all = Vec::new();
    for verb in crate::cmd::Arguments::command().get_subcommands() {
        if verb.is_hide_set() {
            continue;
        }
        let below: Vec<String> = verb
            .get_subcommands()
            .filter(|second| !second.is_hide_set())
            .map(|second| format!("`{} {}`", verb.get_name(), second.get_name()))
            .collect();
        match below.is_empty() {
            true => all.push(format!("`{}`", verb.get_name())),
            false => all.extend(below),
        }
    }
    all
}

/// Every exit code as a row of a table begins.
fn exit_codes() -> Vec<String> {
    let kinds = [Kind::Refused, Kind::Usage, Kind::Failed, Kind::Undecided, Kind::Interrupted];
    kinds.iter().map(|kind| format!("| {} |", kind.exit_code())).collect()
}

/// The files directly under `src`.
fn modules(files: &[File]) -> Vec<String> {
    let within = files.iter().filter_map(|file| file.path.strip_prefix("xtask/src/"));
    let top = within.filter(|path| !path.contains('/') && path.ends_with(".rs"));
    top.map(|path| format!("`{path}`")).collect()
}

/// Invariants that name nothing, or something that does not exist any more.
fn unheld_invariants(architecture: &File, files: &[File]) -> Vec<Offence> {
    let mut all = Vec::new();
    // A line may break anywhere, also within what is looked for.
    let paragraphs = architecture.text.split("\n\n").map(|text| text.replace('\n', " "));
    for paragraph in paragraphs.filter(|paragraph| paragraph.contains(INVARIANT)) {
        let title: String = paragraph.trim().chars().take(60).collect();
        let Some((_, rest)) = paragraph.split_once(HELD_BY) else {
            let message = format!("\"{title}…\" does not say what holds it");
            all.push(architecture.offence_whole(message));
            continue;
        };
        let holder = rest.split('`').next().unwrap_or(rest);
        let name = holder.rsplit("::").next().unwrap_or(holder);
        let exists = files.iter().any(|file| !file.path.ends_with(".md") && defines(file, name));
        if !exists {
            let message = format!("\"{title}…\" is held by `{holder}`, which does not exist");
            all.push(architecture.offence_whole(message));
        }
    }
    all
}

/// Whether a file defines a function, a type, a constant or a module of this name.
fn defines(file: &File, name: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "const", "mod", "trait", "PROCEDURE"];
    kinds.iter().any(|kind| {
        let start = format!("{kind} {name}");
        file.text.match_indices(&start).any(|(at, _)| {
            let next = file.text[at + start.len()..].chars().next();
            next.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
        })
    })
}

mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn an_invariant_without_a_holder_is_told() {
        let code = [file("xtask/src/fence.rs", "pub struct Fence {\n")];
        let page = file(
            "ARCHITECTURE.md",
            "**Invariant:** one. Held by `fence::Fence`.\n\n**Invariant:** two.\n\n\
             **Invariant:** three. Held by `gone`.\n",
        );
        let found = unheld_invariants(&page, &code);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn verbs_are_named_with_their_group() {
        let all = verbs();
        assert!(all.contains(&"`drill`".to_string()), "{all:?}");
        assert!(all.contains(&"`cutover plan`".to_string()), "{all:?}");
        assert!(!all.iter().any(|verb| verb.contains("holder")), "{all:?}");
    }
}
