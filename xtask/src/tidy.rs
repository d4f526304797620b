//! The rules of this project that the compiler does not know, as one test.
//!
//! The tree is read once, every rule looks at it, and all offences are told together: a rule that
//! stops at the first one makes a person mend them one by one.

use std::fmt;
use std::path::{Path, PathBuf};

mod documents;
mod layers;
mod runbook;
mod text;
mod tree;

/// One file of the project.
struct File {
    /// From the root of the project, with `/` between folders.
    path: String,
    /// What it holds.
    text: String,
    /// Whether only tests use it.
    is_test: bool,
}

impl File {
    /// Every line with its number, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines of code, without comments: of a file of tests none, of others up to their tests.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test { 0 } else { self.tests_begin() };
        self.code().take_while(move |(number, _)| *number < end)
    }

    /// The line with which the tests within a file begin.
    fn tests_begin(&self) -> usize {
        let pairs = self.code().zip(self.code().skip(1));
        let is_begin = |line: &str, next: &str| {
            line == "#[cfg(test)]" && next.contains("mod ") && next.ends_with('{')
        };
        let mut begins = pairs.filter(|((_, line), (_, next))| is_begin(line, next));
        begins.next().map_or(usize::MAX, |((number, _), _)| number)
    }

    /// The lines of code, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Whether it is Rust.
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it belongs to these rules, which must name what they forbid.
    fn is_tidy(&self) -> bool {
        self.path.starts_with("xtask/src/tidy")
    }

    /// An offence in one of its lines.
    fn offence(&self, line: usize, message: impl Into<String>) -> Offence {
        Offence { place: format!("{}:{line}", self.path), message: message.into() }
    }

    /// An offence of the file as a whole.
    fn offence_whole(&self, message: impl Into<String>) -> Offence {
        Offence { place: self.path.clone(), message: message.into() }
    }
}

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Offence {
    place: String,
    message: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

/// The folder of the whole project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads every file that a rule looks at.
fn read_tree() -> Vec<File> {
    let mut files = Vec::new();
    for folder in ["xtask/src", "xtask/tests", "migrations"] {
        read_folder(&root().join(folder), folder, &mut files);
    }
    for document in ["README.md", "ARCHITECTURE.md", "RUNBOOK.md", "docs/events.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap_or_default();
        files.push(File { path: document.into(), text, is_test: false });
    }
    tree::mark_tests(&mut files);
    files
}

fn read_folder(folder: &Path, path: &str, files: &mut Vec<File>) {
    // A folder that is not there has no files: `migrations` comes with a later issue.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            read_folder(&entry.path(), &path, files);
        } else if path.ends_with(".rs") || path.ends_with(".sql") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            files.push(File { path, text, is_test: false });
        }
    }
}

#[test]
fn the_tree_is_tidy() {
    let files = read_tree();
    assert!(files.len() > 50, "the tree was not found at {}", root().display());
    let offences: Vec<String> = [
        text::offences(&files),
        layers::offences(&files),
        tree::offences(&files),
        documents::offences(&files),
        runbook::offences(&files),
    ]
    .into_iter()
    .flatten()
    .map(|offence| offence.to_string())
    .collect();
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

/// A file for the tests of the rules.
fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into(), is_test: false }
}
