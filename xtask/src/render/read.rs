//! Reading a rendered document back, more strictly than any cluster would.
//!
//! Duplicate keys, unknown fields, wrong types and texts that YAML 1.1 takes for something else are
//! errors here, each with the name of a rule.

use serde::Deserialize;
use serde_json::Value;

use super::kinds;
use super::object::Object;
use super::rules::Finding;

pub mod plain;

/// What was read from one file.
#[derive(Debug, Default)]
pub struct Documents {
    /// The objects, in the order of the file.
    pub objects: Vec<Object>,
    /// What is wrong with the text itself.
    pub findings: Vec<Finding>,
}

/// Reads all documents of a file, with every strictness.
pub fn strictly(file: &str, text: &str) -> Documents {
    let mut read = loosely(file, text);
    for (line, word) in plain::ambiguous(text) {
        let path = format!("{file}:{line}");
        let problem = format!("`{word}` is text here and something else to a reader of YAML 1.1");
        read.findings.push(Finding::in_file("yaml-1.1", path, problem, "quote it"));
    }
    for object in &read.objects {
        read.findings.extend(kinds::check(object));
    }
    read
}

/// Reads all documents of a file as they are.
pub fn loosely(file: &str, text: &str) -> Documents {
    let mut read = Documents::default();
    for document in serde_yaml::Deserializer::from_str(text) {
        // The untyped reader is the one that sees duplicate keys.
        let value = serde_yaml::Value::deserialize(document)
            .map_err(|error| error.to_string())
            .and_then(|value| serde_json::to_value(value).map_err(|error| error.to_string()));
        match value {
            Ok(Value::Null) => {}
            Ok(body) => read.objects.push(Object::new(file, body)),
            Err(problem) => {
                let fix = "mend the template that this file is rendered from";
                read.findings.push(Finding::in_file("yaml-syntax", file.into(), problem, fix));
                return read;
            }
        }
    }
    read
}
