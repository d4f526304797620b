//! Rules about files: nothing lies around unused, and every step has its file.

use super::{File, Offence};
use crate::cutover::step::Step;

/// Where the steps live.
const STEPS: &str = "xtask/src/cutover/steps/";

/// Every file that breaks one of these rules.
pub(super) fn offences(files: &[File]) -> Vec<Offence> {
    let mut all = dead_modules(files);
    all.extend(dead_queries(files));
    all.extend(steps(files));
    all
}

/// Marks what only tests use: the folder of tests, and modules under `#[cfg(test)]`.
pub(super) fn mark_tests(files: &mut [File]) {
    let mut marked = Vec::new();
    for file in files.iter() {
        let module = declarations(file).filter(|(before, _)| *before == "#[cfg(test)]");
        marked.extend(module.filter_map(|(_, name)| path_of(file, name)));
    }
    for file in files {
        let is_marked = marked.iter().any(|path: &String| {
            file.path == *path
                || file.path.starts_with(&format!("{}/", path.trim_end_matches(".rs")))
        });
        file.is_test = is_marked || file.path.starts_with("xtask/tests/");
    }
}

/// The modules that a file declares, each with the line before it.
fn declarations(file: &File) -> impl Iterator<Item = (&str, &str)> {
    let before = std::iter::once("").chain(file.text.lines());
    before.zip(file.text.lines()).filter_map(|(before, line)| {
        let rest = line.strip_prefix("pub ").unwrap_or(line);
        Some((before.trim(), rest.strip_prefix("mod ")?.strip_suffix(';')?))
    })
}

/// The path of a module that a file declares.
fn path_of(file: &File, module: &str) -> Option<String> {
    let folder = file.path.strip_suffix(".rs")?;
    if is_root(file) {
        let (folder, _) = folder.rsplit_once('/')?;
        return Some(format!("{folder}/{module}.rs"));
    }
    Some(format!("{folder}/{module}.rs"))
}

/// Whether the compiler begins here: at the library, the program, and each binary of tests.
fn is_root(file: &File) -> bool {
    match file.path.strip_prefix("xtask/tests/") {
        Some(within) => within.ends_with("/main.rs") || !within.contains('/'),
        None => ["xtask/src/lib.rs", "xtask/src/main.rs"].contains(&file.path.as_str()),
    }
}

/// Rust files that no `mod` line leads to: the compiler never reads them.
fn dead_modules(files: &[File]) -> Vec<Offence> {
    let alive: Vec<String> = files
        .iter()
        .flat_map(|file| declarations(file).filter_map(|(_, name)| path_of(file, name)))
        .collect();
    let others = files.iter().filter(|file| file.is_rust() && !is_root(file));
    others
        .filter(|file| !alive.contains(&file.path))
        .map(|file| file.offence_whole("no `mod` line leads here: declare it or delete it"))
        .collect()
}

/// Queries that no Rust file includes. Migrations are found by their folder.
fn dead_queries(files: &[File]) -> Vec<Offence> {
    let queries = files.iter().filter(|file| {
        file.path.ends_with(".sql")
            && !file.path.starts_with("migrations/")
            && !file.path.starts_with("xtask/tests/migrations/")
    });
    let is_included = |query: &&File| {
        let name = query.path.rsplit('/').next().unwrap_or(&query.path);
        files.iter().any(|file| file.is_rust() && file.text.contains(name))
    };
    queries
        .filter(|query| !is_included(query))
        .map(|query| query.offence_whole("no Rust file includes it: use it or delete it"))
        .collect()
}

/// Every step has a file of its name with `act` and `look`, and no other file lies among them.
fn steps(files: &[File]) -> Vec<Offence> {
    let mut all = Vec::new();
    for step in Step::ALL {
        let path = format!("{STEPS}{step}.rs");
        let Some(file) = files.iter().find(|file| file.path == path) else {
            all.push(Offence { place: path, message: "the step has no file".into() });
            continue;
        };
        for verb in ["act", "look"] {
            let is_there = ["pub async fn", "pub fn"]
                .iter()
                .any(|start| file.text.contains(&format!("\n{start} {verb}(")));
            if !is_there {
                all.push(file.offence_whole(format!("a step has a function `{verb}`")));
            }
        }
    }
    let names: Vec<String> = Step::ALL.iter().map(|step| format!("{STEPS}{step}.rs")).collect();
    let strangers = files.iter().filter(|file| {
        let within = file.path.strip_prefix(STEPS);
        within.is_some_and(|within| !within.contains('/')) && !names.contains(&file.path)
    });
    all.extend(strangers.map(|file| file.offence_whole("`Step` has no step of this name")));
    all
}

mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_file_without_a_mod_line_is_dead() {
        let files = [
            file("xtask/src/lib.rs", "pub mod pg;\n"),
            file("xtask/src/pg.rs", "mod copy;\n"),
            file("xtask/src/pg/copy.rs", ""),
            file("xtask/src/pg/old.rs", ""),
            file("xtask/tests/it/main.rs", "mod verify;\n"),
            file("xtask/tests/it/verify.rs", ""),
        ];
        let dead = dead_modules(&files);
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].place, "xtask/src/pg/old.rs");
    }

    #[test]
    fn a_module_under_cfg_test_is_a_test_with_all_its_files() {
        let mut files = [
            file("xtask/src/lib.rs", "#[cfg(test)]\nmod sweep;\nmod pg;\n"),
            file("xtask/src/pg.rs", ""),
            file("xtask/src/sweep.rs", "mod world;\n"),
            file("xtask/src/sweep/world.rs", ""),
        ];
        mark_tests(&mut files);
        assert_eq!(files.map(|file| file.is_test), [false, false, true, true]);
    }
}
