//! The layers: a module uses only what stands to its right in one line.

use super::{File, Offence};

/// The modules of the crate, from those that know everything to those that know nothing.
const LINE: [&str; 23] = [
    "main", "tidy", "cmd", "ui", "bench", "drill", "report", "cutover", "backup", "migrate", "rag",
    "django", "render", "ledger", "workload", "route", "servers", "kube", "pg", "process",
    "config", "failure", "data",
];

/// Modules that hold only data. Whoever stores, shows or names things may use them, so they stand
/// at the right end of the line, under the name `data`.
const DATA: [&str; 3] = ["cutover::event", "cutover::step", "cutover::header"];

/// Every use of a module that stands further left.
pub(super) fn offences(files: &[File]) -> Vec<Offence> {
    let mut all = Vec::new();
    for file in files {
        let Some(path) = file.path.strip_prefix("xtask/src/").filter(|_| file.is_rust()) else {
            continue;
        };
        let name = path.trim_end_matches(".rs").replace('/', "::");
        if name == "lib" || file.is_tidy() {
            continue;
        }
        let user = layer(&name);
        let Some(rank) = rank(user) else {
            all.push(file.offence_whole(format!("`{user}` has no place in the line of layers")));
            continue;
        };
        all.extend(lefties(file, user, rank));
    }
    all
}

fn lefties(file: &File, user: &str, user_rank: usize) -> Vec<Offence> {
    let mut all = Vec::new();
    for (number, line) in file.code() {
        for used in used_modules(line) {
            let used = layer(&used);
            let is_right = rank(used).is_none_or(|rank| rank > user_rank);
            if !is_right && used != user {
                let message = format!("`{user}` uses `{used}`, which stands to its left");
                all.push(file.offence(number, message));
            }
        }
    }
    all
}

/// The place of a module in the line: its first name, or `data`.
fn layer(module: &str) -> &str {
    let is_data = DATA.iter().any(|data| {
        module.strip_prefix(data).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    if is_data { "data" } else { module.split("::").next().unwrap_or(module) }
}

fn rank(layer: &str) -> Option<usize> {
    LINE.iter().position(|name| *name == layer)
}

/// The modules that a line names from the root of the crate, two names deep.
fn used_modules(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, start) in line.match_indices("crate::") {
        for first in names(&line[at + start.len()..]) {
            let (name, rest) = first;
            match rest.strip_prefix("::").map(names) {
                Some(seconds) if !seconds.is_empty() => {
                    all.extend(seconds.iter().map(|(second, _)| format!("{name}::{second}")));
                }
                _ => all.push(name.to_string()),
            }
        }
    }
    all
}

/// The name at the beginning of a path, or the names in its braces, each with what follows it.
fn names(path: &str) -> Vec<(&str, &str)> {
    let one = |path: &'_ str| {
        let end = path.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        end.unwrap_or(path.len())
    };
    match path.strip_prefix('{') {
        None => {
            let end = one(path);
            if end == 0 { Vec::new() } else { vec![(&path[..end], &path[end..])] }
        }
        Some(group) => {
            let group = group.split('}').next().unwrap_or(group);
            let parts = group.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| part.split_at(one(part))).collect()
        }
    }
}

mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn paths_are_read_with_their_braces() {
        assert_eq!(used_modules("use crate::ui::Ui;"), ["ui::Ui"]);
        assert_eq!(used_modules("use crate::{config, ui};"), ["config", "ui"]);
        let group = "use crate::cutover::{decision, event};";
        assert_eq!(used_modules(group), ["cutover::decision", "cutover::event"]);
        assert_eq!(used_modules("let a = crate::pg::endpoint::identifier(b);"), ["pg::endpoint"]);
    }

    #[test]
    fn a_lower_layer_may_use_data_and_nothing_else_of_the_engine() {
        let good = file("xtask/src/pg/state.rs", "use crate::cutover::header::Header;\n");
        assert_eq!(offences(&[good]), []);
        let bad = file("xtask/src/pg/state.rs", "use crate::cutover::{decision, step};\n");
        let found = offences(&[bad]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "`pg` uses `cutover`, which stands to its left");
    }

    #[test]
    fn a_new_module_needs_a_place() {
        assert_eq!(offences(&[file("xtask/src/helpers.rs", "")]).len(), 1);
    }
}
