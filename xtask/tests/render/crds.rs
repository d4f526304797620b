//! ArgoCD's own schemas, where they are at hand; else skipped by name.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::{every_shape, root};

/// The schema of one kind, or a line that says that its test is skipped.
fn schema(name: &str) -> Option<Value> {
    let file = root().join("../shared/crds").join(format!("{name}-crd.yaml"));
    let Ok(text) = std::fs::read_to_string(&file) else {
        writeln!(std::io::stderr(), "skipped: {} is not there", file.display()).unwrap();
        return None;
    };
    let crd: Value = serde_yaml::from_str(&text).unwrap();
    let schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    assert!(schema["properties"]["spec"].is_object(), "{}", file.display());
    Some(schema)
}

/// What a value breaks of a schema. A field that the schema does not know is broken too: a cluster
/// would drop it in silence.
fn broken(schema: &Value, value: &Value, path: &str, all: &mut Vec<String>) {
    let mut say = |what: String| all.push(format!("{path}: {what}"));
    if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
        say(format!("{value} is none of {allowed:?}"));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        // The only pattern of these schemas, in words.
        assert_eq!(pattern, "^.{2,}|[^./]$");
        let text = value.as_str().unwrap_or_default();
        if text.chars().count() < 2 && (text.is_empty() || text.ends_with(['.', '/'])) {
            say(format!("{value} does not match {pattern}"));
        }
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some(other) => panic!("{path}: the type {other} is not known here"),
        None => schema["x-kubernetes-int-or-string"] == true || schema["anyOf"].is_array(),
    };
    if !fits {
        say(format!("{value} is no {}", schema["type"]));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        broken(&schema["items"], item, &format!("{path}[{index}]"), all);
    }
    if let Some(fields) = value.as_object() {
        fields_broken(schema, fields, path, all);
    }
}

fn fields_broken(schema: &Value, fields: &Map<String, Value>, path: &str, all: &mut Vec<String>) {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !fields.contains_key(*name)) {
        all.push(format!("{path}: {name} is missing"));
    }
    let more = &schema["additionalProperties"];
    // What stands in the metadata is Kubernetes' own and checked by its own type.
    let free = schema["x-kubernetes-preserve-unknown-fields"] == true || path == "metadata";
    for (name, value) in fields {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match schema["properties"].get(name) {
            Some(known) => broken(known, value, &below, all),
            None if more.is_object() => broken(more, value, &below, all),
            None if free => {}
            None => all.push(format!("{below}: the schema does not know it")),
        }
    }
}

fn all_broken(schema: &Value, value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    broken(schema, value, "", &mut all);
    all
}

#[test]
fn argocd_objects_fit_their_schemas() {
    for (kind, name) in [("Application", "application"), ("AppProject", "appproject")] {
        let Some(schema) = schema(name) else { return };
        let shapes = every_shape();
        let objects = shapes.iter().flat_map(|one| &one.objects).filter(|one| one.is(kind));
        let mut count = 0;
        for object in objects {
            count += 1;
            assert_eq!(all_broken(&schema, &object.body), [""; 0], "{}", object.key);
        }
        assert!(count > 0, "no {kind} is rendered");
    }
}

#[test]
fn the_schemas_reject_what_does_not_fit() {
    let Some(schema) = schema("application") else { return };
    let whole = every_shape();
    let one = whole.iter().flat_map(|one| &one.objects).find(|one| one.is("Application"));
    for (pointer, wrong) in [
        ("/spec/project", json!(1)),
        ("/spec/source/repoUrl", json!("x")),
        ("/spec/syncPolicy/automated/prune", json!("false")),
        ("/spec/ignoreDifferences/0/kind", Value::Null),
        ("/spec/syncPolicy/syncOptions", json!({"a": "b"})),
    ] {
        let mut body = one.unwrap().body.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = wrong;
        assert_ne!(all_broken(&schema, &body), [""; 0], "{pointer}");
    }
}
