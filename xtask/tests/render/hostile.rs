//! Hostile values never change the structure of a document.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{root, values};
use xtask::render::template::Templates;
use xtask::render::values::Environment;
use xtask::render::{self, Rendered, quote, settings};

/// Places where any text may be written.
const PLACES: [&str; 7] = [
    "/argocd/repository",
    "/argocd/revision",
    "/argocd/labels/rbx.env",
    "/labels/team",
    "/pod/node/kubernetes.io~1hostname",
    "/postgresql/settings/application_name",
    "/pod/tolerations/0/value",
];

/// Production with every place filled.
fn filled(place: &str, text: &str) -> Value {
    let mut all: Value = serde_yaml::from_str(&values("production")).unwrap();
    all["labels"] = json!({"team": "x"});
    all["pod"]["node"] = json!({"kubernetes.io/hostname": "x"});
    all["pod"]["tolerations"] = json!([{"key": "x", "value": "x"}]);
    all["postgresql"]["settings"] = json!({"application_name": "x"});
    *all.pointer_mut(place).unwrap() = text.into();
    all
}

fn render(values: &Value) -> anyhow::Result<Rendered> {
    let templates = Templates::new(&root().join("templates"))?;
    let file = PathBuf::from("production.yaml");
    render::one(Environment::read("production", &file, &quote::quoted(values))?, &templates)
}

/// The keys and types of a document, without its texts.
fn skeleton(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            entries.iter().map(|(key, item)| (key.clone(), skeleton(item))).collect()
        }
        Value::Array(items) => items.iter().map(skeleton).collect(),
        Value::String(text) if text.contains(" = '") => json!(text.lines().count()),
        Value::String(_) => json!("text"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::Null => Value::Null,
    }
}

fn texts(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Object(entries) => entries.values().for_each(|item| texts(item, all)),
        Value::Array(items) => items.iter().for_each(|item| texts(item, all)),
        Value::String(text) => all.push(text.clone()),
        _ => {}
    }
}

fn hostile() -> impl Strategy<Value = String> {
    let known = [
        "\"",
        "'",
        "\n",
        "\r\n",
        "\t",
        "{{ x }}",
        "{% raw %}",
        ": ",
        "- a",
        "#",
        " # x",
        "😀",
        "yes",
        "y",
        "on",
        "~",
        "null",
        "0440",
        "1_000",
        "12:30",
        "|",
        ">-",
        "&a",
        "*a",
        "!!int 1",
        "---",
        "...",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{7f}",
        "\u{0}",
        "\\",
        "$(x)",
        "${X}",
        "%",
        "@",
    ];
    let piece = prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(str::to_string),
        1 => any::<String>(),
        1 => Just("long ".repeat(2000)),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn hostile_values_stay_values(text in hostile(), place in proptest::sample::select(PLACES.to_vec())) {
        // Refused is safe too.
        let Ok(one) = render(&filled(place, &text)) else { return Ok(()) };
        let plain = render(&filled(place, "x")).unwrap();
        prop_assert_eq!(one.objects.len(), plain.objects.len());
        let mut found = Vec::new();
        for (hostile, plain) in one.objects.iter().zip(&plain.objects) {
            prop_assert_eq!(skeleton(&hostile.body), skeleton(&plain.body));
            texts(&hostile.body, &mut found);
        }
        let ambiguous = one.findings.iter().any(|finding| finding.rule.starts_with("yaml"));
        prop_assert!(!ambiguous, "{:?}", one.findings);
        let expected = match place.starts_with("/postgresql") {
            true => settings::line("application_name", &text),
            false => text.clone(),
        };
        prop_assert!(found.iter().any(|one| one.contains(&expected)), "{text:?} is not there");
    }

    #[test]
    fn what_is_quoted_is_read_back(text in hostile()) {
        let value = json!({"a": text, "b": [text, true, 1]});
        let read: Value = serde_yaml::from_str(&quote::quoted(&value)).unwrap();
        prop_assert_eq!(read, value);
    }
}
