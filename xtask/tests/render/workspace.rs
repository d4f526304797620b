//! What is in the tree is what would be rendered now, in every shape without a broken rule.

use super::{every_shape, rendered, root, values};
use xtask::render::{self, docs, files};

#[test]
fn no_rule_is_broken_in_any_shape() {
    for one in every_shape() {
        let findings: Vec<String> = one.findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}: {findings:#?}", one.environment.name);
    }
}

#[test]
fn the_workspace_is_as_rendered() {
    let rendered = render::all(&root()).unwrap();
    let all: Vec<&render::File> = rendered.iter().flat_map(|one| &one.files).collect();
    let differences = files::compare(&files::on_disk(&root()).unwrap(), &all, true);
    let shown: Vec<String> = differences.iter().map(files::Difference::describe).collect();
    assert!(shown.is_empty(), "run `cargo xtask render`: {shown:#?}");
    let page = std::fs::read_to_string(root().join(docs::PAGE)).unwrap();
    assert_eq!(docs::refreshed(&page).unwrap(), page, "run `cargo xtask render`");
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    let texts =
        || -> Vec<render::File> { every_shape().into_iter().flat_map(|one| one.files).collect() };
    assert_eq!(texts(), texts());
}

#[test]
fn production_keeps_the_names_that_the_first_user_knows() {
    let one = rendered("production", &values("production")).unwrap();
    let names: Vec<String> = one.objects.iter().map(|object| object.key.short()).collect();
    for name in ["statefulset/rbs-paradedb", "pvc/rbs-paradedb-data", "service/paradedb"] {
        assert!(names.contains(&name.to_string()), "{names:?}");
    }
    let set = one.objects.iter().find(|object| object.is("StatefulSet")).unwrap();
    assert_eq!(set.key.namespace, "robson");
    assert_eq!(set.text("spec.serviceName"), "rbs-paradedb");
    assert_eq!(set.at("spec.selector.matchLabels")["app"], "rbs-paradedb");
    assert!(!one.objects.iter().any(|object| object.is("Namespace") || object.is("StorageClass")));
}

#[test]
fn a_misspelt_value_is_refused_with_file_line_and_neighbour() {
    let text =
        values("production").replace("  claim: rbs-paradedb-data", "  calim: rbs-paradedb-data");
    let error = rendered("production", &text).unwrap_err();
    let failure = xtask::failure::find(&error).unwrap();
    let line = text.lines().position(|line| line.contains("calim")).unwrap() + 1;
    let place = format!("infra/values/production.yaml:{line}: ");
    assert!(failure.message.starts_with(&place), "{}", failure.message);
    assert_eq!(failure.hint.as_deref(), Some("did you mean `claim`?"));
    assert_eq!(failure.kind.exit_code(), 2);
}

#[test]
fn wrong_values_are_refused() {
    let production = values("production");
    for (from, to, says) in [
        ("size: 10Gi", "size: 10G", "binary unit"),
        ("name: rbsdb", "name: rbs-db", "SQL name"),
        ("app: rbs-paradedb", "app: a\n    app: b", "duplicate"),
        ("memory: 1Gi\n", "", "missing field `memory`"),
        ("kind: claim", "kind: disk", "unknown variant `disk`"),
        ("schedule: 15 2 * * *", "schedule: 15 25 * * *", "cron"),
        ("work_mem: 4Mi", "settings: { fsync: \"off\" }", "decided by the tool"),
        ("digest: open", "digest: sha256:abc", "sha256"),
        ("folder: infra", "folder: ../infra", "path inside"),
    ] {
        assert!(production.contains(from), "{from}");
        let error = rendered("production", &production.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(says), "{from} -> {to}: {error}");
    }
}

#[test]
fn every_value_of_the_types_is_explained() {
    let all = xtask::render::values::explained();
    assert!(all.len() > 120, "{}", all.len());
    for field in &all {
        assert!(field.meaning.ends_with('.'), "{}", field.path);
    }
    let claim = all.iter().find(|field| field.path == "storage.claim").unwrap();
    assert_eq!(claim.default, None);
    let limit = all.iter().find(|field| field.path == "postgresql.lock_timeout").unwrap();
    assert_eq!((limit.unit, limit.default.as_deref()), ("seconds", Some("5")));
    assert!(all.iter().any(|field| field.path == "network.clients[].namespace"));
}

#[test]
fn no_settings_file_can_exceed_the_memory_limit() {
    let text = values("production").replace("  work_mem: 4Mi\n", "");
    let one = rendered("production", &text).unwrap();
    assert!(one.findings.iter().any(|finding| finding.rule == "memory-budget"));
}
