//! Rules: what a cluster would accept and an operator would regret.
//!
//! Each rule is one small function with a stable name. A finding names the object, the path in it
//! and the way to mend it. The table in the docs is made from [`ALL`].

use std::fmt;

use super::File;
use super::object::Object;
use super::values::Values;

mod argocd;
mod compose;
mod configuration;
mod data;
pub use data::HOLDS_DATA;
mod image;
pub use image::images;
mod naming;
mod network;
mod operators;
mod pod;
mod probe;
mod schedule;
mod secret;
mod security;
mod service;
mod shape;

/// Everything that one environment renders, and the values that it comes from.
pub struct Set<'a> {
    /// The values.
    pub values: &'a Values,
    /// Every object.
    pub objects: &'a [Object],
    /// Every file.
    pub files: &'a [File],
}

impl<'a> Set<'a> {
    /// The objects of one kind.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.is(kind))
    }

    /// The objects that make pods.
    pub fn workloads(&self) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(|object| object.pod_template().is_some())
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The stable name of the rule.
    pub rule: &'static str,
    /// The object, as `statefulset/rbs-paradedb`, or the file.
    pub object: String,
    /// The path in the object.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub fix: String,
}

impl Finding {
    /// Something wrong at a path of an object.
    pub fn new(
        rule: &'static str,
        object: &Object,
        path: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        let (problem, fix) = (problem.into(), fix.into());
        Finding { rule, object: object.key.short(), path: path.into(), problem, fix }
    }

    /// Something wrong with the text of a file.
    pub fn in_file(rule: &'static str, file: String, problem: String, fix: &str) -> Finding {
        Finding { rule, object: file, path: String::new(), problem, fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { rule, object, path, problem, fix } = self;
        let place = if path.is_empty() { object.clone() } else { format!("{object} {path}") };
        write!(formatter, "{rule}: {place}: {problem}; {fix}")
    }
}

/// One rule.
pub struct Rule {
    /// Its name, which never changes.
    pub name: &'static str,
    /// What it protects from, for the table in the docs.
    pub guards: &'static str,
    check: fn(&Set, &mut Report),
}

impl Rule {
    const fn new(name: &'static str, guards: &'static str, check: fn(&Set, &mut Report)) -> Rule {
        Rule { name, guards, check }
    }
}

/// Collects what one rule finds.
pub struct Report {
    rule: &'static str,
    findings: Vec<Finding>,
}

impl Report {
    fn add(
        &mut self,
        object: &Object,
        path: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(Finding::new(self.rule, object, path, problem, fix));
    }

    fn add_file(&mut self, file: &str, problem: impl Into<String>, fix: &str) {
        self.findings.push(Finding::in_file(self.rule, file.into(), problem.into(), fix));
    }
}

/// Rules that the readers themselves enforce: their names, and what they protect from.
pub const OF_READERS: [(&str, &str); 5] = [
    ("yaml-syntax", "a document that is no YAML, or names a key twice"),
    ("yaml-1.1", "an unquoted word that kubectl reads as a boolean or a number"),
    ("known-kind", "a kind or version that nothing checks"),
    ("unknown-field", "a misspelt field, which a cluster drops in silence"),
    ("field-type", "a number where a text belongs, or the other way round"),
];

/// Every rule that looks at the objects, by subject.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let groups: [&[Rule]; 15] = [
        &data::RULES,
        &image::RULES,
        &secret::RULES,
        &configuration::RULES,
        &pod::RULES,
        &probe::RULES,
        &security::RULES,
        &service::RULES,
        &network::RULES,
        &naming::RULES,
        &shape::RULES,
        &schedule::RULES,
        &argocd::RULES,
        &operators::RULES,
        &compose::RULES,
    ];
    groups.into_iter().flatten()
}

/// Holds a set against every rule.
pub fn check(set: &Set) -> Vec<Finding> {
    rules()
        .flat_map(|rule| {
            let mut report = Report { rule: rule.name, findings: Vec::new() };
            (rule.check)(set, &mut report);
            report.findings
        })
        .collect()
}
