//! Single mutations of the rendered set, each rejected by the name of its rule. One that passes is
//! a defect of the rules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{cnpg, external, rendered, sealed, values};
use xtask::render::object::Object;
use xtask::render::{File, Rendered, kinds, read, rules};

/// The table of mutations.
const TABLE: &str = include_str!("mutations.txt");

/// Does to the value at a JSON pointer what a line of the table says.
fn apply(body: &mut Value, pointer: &str, edit: &str) {
    let (verb, operand) = edit.split_once(' ').unwrap_or((edit, "null"));
    let operand: Value = serde_json::from_str(operand).unwrap();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/");
    let parent = body.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} has no parent"));
    let Value::Object(entries) = parent else {
        let (items, index) = (parent.as_array_mut().unwrap(), last.parse::<usize>().unwrap());
        match verb {
            "set" => items[index] = operand,
            "remove" => drop(items.remove(index)),
            other => panic!("{other} does not fit the list at {pointer}"),
        }
        return;
    };
    match verb {
        "set" => drop(entries.insert(last, operand)),
        "remove" => drop(entries.shift_remove(&last).unwrap_or_else(|| panic!("no {pointer}"))),
        "rename" => {
            let value = entries.shift_remove(&last).unwrap_or_else(|| panic!("no {pointer}"));
            entries.insert(operand.as_str().unwrap().into(), value);
        }
        "replace" => {
            let (from, to) = (operand[0].as_str().unwrap(), operand[1].as_str().unwrap());
            let text = entries[&last].as_str().unwrap();
            assert!(text.contains(from), "{pointer} does not hold {from}");
            let text = text.replacen(from, to, 1);
            entries.insert(last, text.into());
        }
        "push" => {
            entries.entry(last).or_insert_with(|| json!([])).as_array_mut().unwrap().push(operand);
        }
        other => panic!("{other} is no edit"),
    }
}

/// The names of the rules that an edited set breaks.
fn broken(one: &Rendered, objects: &[Object]) -> Vec<&'static str> {
    let set = rules::Set { values: &one.environment.values, objects, files: &one.files };
    let typed = objects.iter().flat_map(kinds::check);
    typed.chain(rules::check(&set)).map(|finding| finding.rule).collect()
}

fn shape(name: &str) -> Rendered {
    let text = match name {
        "cnpg" => cnpg(),
        "external" => external(),
        "sealed" => sealed(),
        name => values(name),
    };
    rendered(name, &text).unwrap()
}

#[test]
fn every_mutation_is_rejected_by_the_name_of_its_rule() {
    let mut shapes: BTreeMap<&str, Rendered> = BTreeMap::new();
    let mut passed = Vec::new();
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines.clone() {
        let parts: Vec<&str> = line.splitn(4, " | ").collect();
        let [rule, object, pointer, edit] = parts.as_slice() else { panic!("{line}") };
        let (environment, object) = object.split_once(' ').unwrap();
        let one = shapes.entry(environment).or_insert_with(|| shape(environment));
        let mut objects = one.objects.clone();
        let index = objects.iter().position(|one| one.key.short() == object);
        let index = index.unwrap_or_else(|| panic!("{environment} has no {object}"));
        let mut body = objects[index].body.clone();
        apply(&mut body, pointer, edit);
        objects[index] = Object::new(&objects[index].file, body);
        let broken = broken(one, &objects);
        if !broken.contains(rule) {
            passed.push(format!("{line}: only {broken:?}"));
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
    assert!(lines.count() >= 60);
}

#[test]
fn every_rule_rejects_some_mutation() {
    let tested = |name: &str| {
        let other = include_str!("mutations.rs").contains(&format!("\"{name}\""));
        other || TABLE.lines().any(|line| line.starts_with(&format!("{name} | ")))
    };
    let untested: Vec<&str> =
        rules::rules().map(|rule| rule.name).filter(|name| !tested(name)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn a_cluster_kind_that_the_project_forbids() {
    let text =
        values("production").replace("  name: robson\n\n", "  name: robson\n  create: true\n\n");
    let one = rendered("production", &text).unwrap();
    assert!(
        one.findings.iter().any(|finding| finding.rule == "project-permits"),
        "{:?}",
        one.findings
    );
}

#[test]
fn texts_that_two_readers_read_differently() {
    for (text, rule) in [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: y, namespace: a }\n", "yaml-1.1"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  a: off\n", "yaml-1.1"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n", "yaml-syntax"),
        ("a: [1\n", "yaml-syntax"),
    ] {
        let read = read::strictly("a.yaml", text);
        assert!(
            read.findings.iter().any(|finding| finding.rule == rule),
            "{text}: {:?}",
            read.findings
        );
    }
}

#[test]
fn compose() {
    let one = shape("local");
    for (path, from, to, rule) in [
        ("docker-compose.yml", "127.0.0.1:${RBS", "${RBS", "compose-ports"),
        (
            "docker-compose.yml",
            ":/var/lib/postgresql\"",
            ":/var/lib/postgresql/data\"",
            "compose-volume",
        ),
        ("docker-compose.yml", "0.25.3-pg18", "latest", "compose-image"),
        ("docker-compose.yml", "postgres:16.10-trixie", "postgres:16-alpine", "compose-image"),
        ("docker-compose.yml", "\"--host=127.0.0.1\", ", "", "compose-health"),
        ("docker-compose.yml", "POSTGRES_PASSWORD_FILE", "POSTGRES_PASSWORD", "compose-secret"),
        (".env.example", "RBS_PG_HOST", "PG_HOST", "compose-secret"),
    ] {
        let files: Vec<File> = one
            .files
            .iter()
            .map(|file| match file.path == path {
                true => {
                    assert!(file.text.contains(from), "{from}");
                    File { path: path.into(), text: file.text.replacen(from, to, 1) }
                }
                false => file.clone(),
            })
            .collect();
        let set = rules::Set { values: &one.environment.values, objects: &[], files: &files };
        let broken: Vec<&str> = rules::check(&set).iter().map(|finding| finding.rule).collect();
        assert!(broken.contains(&rule), "{from} -> {to}: {broken:?}");
    }
}
