//! What became of each test, and what two sides differ in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The outcomes of tests that fail, the worst last.
const FAILURES: [&str; 2] = ["failed", "error"];
/// What is said of a test that one side did not run.
const ABSENT: &str = "did not run";

/// One line of the record.
#[derive(Debug, Deserialize)]
struct Line {
    test: String,
    outcome: String,
    #[serde(default)]
    why: Option<String>,
}

/// One test's outcome, and why where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    word: String,
    why: Option<String>,
}

/// The outcomes of one side, by the tests' names.
#[derive(Debug, Clone, Default)]
pub struct Outcomes(BTreeMap<String, Outcome>);

/// A test that ended otherwise on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name.
    pub test: String,
    /// How it ended on the plain side.
    pub source: String,
    /// How it ended on the ParadeDB side.
    pub target: String,
    /// What the ParadeDB side said about it.
    pub why: Option<String>,
    /// Whether it fails there and not here.
    pub is_new_failure: bool,
}

impl Outcomes {
    /// Reads a record.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn read(file: &Path) -> Result<Outcomes> {
        let text = std::fs::read_to_string(file).context("read the outcomes")?;
        let mut all = Outcomes::default();
        for line in text.lines() {
            all.add(serde_json::from_str(line).context("read an outcome")?);
        }
        Ok(all)
    }

    /// A test may be told of more than once: each of its parts, its call and its end. The worst
    /// counts.
    fn add(&mut self, Line { test, outcome, why }: Line) {
        let is_worse = match self.0.get(&test) {
            None => true,
            Some(known) => rank(&outcome) > rank(&known.word),
        };
        if is_worse {
            self.0.insert(test, Outcome { word: outcome, why });
        }
    }

    /// Whether no test was told of.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a test fails.
    pub fn has_failures(&self) -> bool {
        self.0.values().any(|outcome| rank(&outcome.word) > 0)
    }

    /// How many tests have which outcome.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for outcome in self.0.values() {
            *counts.entry(outcome.word.clone()).or_default() += 1;
        }
        counts
    }

    /// What ended otherwise on the other side.
    pub fn against(&self, other: &Outcomes) -> Vec<Difference> {
        let tests: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let word = |side: &Outcomes, test: &String| {
            side.0.get(test).map_or(ABSENT.to_string(), |outcome| outcome.word.clone())
        };
        let mut all = Vec::new();
        for test in tests {
            let (source, target) = (word(self, test), word(other, test));
            if source == target {
                continue;
            }
            // What does not even run there is no success.
            let fails = rank(&target) > 0 || target == ABSENT;
            all.push(Difference {
                test: test.clone(),
                is_new_failure: fails && rank(&source) == 0,
                why: other.0.get(test).and_then(|outcome| outcome.why.clone()),
                source,
                target,
            });
        }
        all
    }
}

fn rank(word: &str) -> usize {
    FAILURES.iter().position(|failure| *failure == word).map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(all: &[(&str, &str)]) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for (test, outcome) in all {
            let (test, outcome) = (test.to_string(), outcome.to_string());
            outcomes.add(Line { test, outcome, why: None });
        }
        outcomes
    }

    #[test]
    fn only_what_fails_there_and_not_here_is_a_new_failure() {
        let here = outcomes(&[
            ("both", "passed"),
            ("broken", "failed"),
            ("mended", "error"),
            ("new", "passed"),
            ("gone", "skipped"),
            ("skipped there", "passed"),
        ]);
        let there = outcomes(&[
            ("both", "passed"),
            ("broken", "error"),
            ("mended", "passed"),
            ("new", "failed"),
            ("skipped there", "skipped"),
            ("only there", "error"),
        ]);
        let differences = here.against(&there);
        let named = |wanted: bool| {
            let some = differences.iter().filter(|one| one.is_new_failure == wanted);
            some.map(|one| one.test.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(named(true), ["gone", "new", "only there"]);
        assert_eq!(named(false), ["broken", "mended", "skipped there"]);
        assert_eq!(here.against(&here), []);
    }

    #[test]
    fn the_worst_of_a_tests_parts_counts() {
        let all = outcomes(&[("one", "failed"), ("one", "passed"), ("two", "passed")]);
        assert!(all.has_failures());
        assert_eq!(all.counts()["failed"], 1);
        assert_eq!(all.counts().len(), 2);
    }
}
