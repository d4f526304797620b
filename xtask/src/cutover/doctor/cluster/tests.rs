//! Each check is made to fire.

use serde_json::json;

use super::*;
use crate::cutover::doctor::Level;

fn environment(change: (&str, &str)) -> Environment {
    let text = include_str!("../../../../../infra/values/production.yaml");
    assert!(text.contains(change.0), "{change:?}");
    let text = text.replacen(change.0, change.1, 1);
    Environment::read("production", "production.yaml".as_ref(), &text).unwrap()
}

fn production() -> Environment {
    environment(("", ""))
}

fn object(body: Value) -> Object {
    Object::new("cluster", body)
}

fn tracked(kind: &str, name: &str, options: &str) -> Object {
    object(json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "robson", "annotations": {
            "argocd.argoproj.io/tracking-id": format!("paradedb:/{kind}:robson/{name}"),
            "argocd.argoproj.io/sync-options": options,
        }},
    }))
}

fn set(image: &str, probe: &[&str], guard: &str) -> Object {
    object(json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "rbs-paradedb", "namespace": "robson"},
        "spec": {"template": {"spec": {
            "initContainers": [{"name": guard}],
            "containers": [{"image": image, "readinessProbe": {"exec": {"command": probe}}}],
        }}},
    }))
}

#[test]
fn what_argocd_would_prune_is_refused() {
    let claim = |options: &str| tracked("PersistentVolumeClaim", "rbs-paradedb-data", options);
    let found = pruned(&[claim("ServerSideApply=true")]);
    assert_eq!(found[0].level, Level::Refuse, "{found:?}");
    assert!(found[0].command.starts_with("kubectl annotate pvc/rbs-paradedb-data"), "{found:?}");
    assert_eq!(pruned(&[claim("Prune=false,Delete=false")])[0].level, Level::Ok);
    let by_hand = object(json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "a"}}));
    assert_eq!(pruned(&[by_hand])[0].level, Level::Ok, "nobody prunes what ArgoCD does not know");
}

#[test]
fn a_volume_that_goes_with_its_claim_is_refused() {
    let volume = |policy: &str| {
        object(json!({"kind": "PersistentVolume", "metadata": {"name": "pv1"}, "spec": {
            "claimRef": {"namespace": "robson", "name": "rbs-paradedb-data"},
            "persistentVolumeReclaimPolicy": policy,
        }}))
    };
    let found = reclaim(&production(), &[volume("Delete")]);
    assert_eq!(found.level, Level::Refuse);
    assert!(found.command.contains("kubectl patch pv pv1") && found.command.contains("Retain"));
    assert_eq!(reclaim(&production(), &[volume("Retain")]).level, Level::Ok);
    assert_eq!(reclaim(&production(), &[]).level, Level::Warn);
    let templated = environment(("kind: claim", "kind: template"));
    assert_eq!(super::claim(&templated), "rbs-paradedb-data-rbs-paradedb-0");
}

#[test]
fn a_secret_in_git_is_refused() {
    let name = "rbs-paradedb-secret";
    let found = managed(&production(), Some(&tracked("Secret", name, "")));
    assert_eq!(found.level, Level::Refuse);
    assert!(found.found.contains("ArgoCD manages"), "{found:?}");
    assert_eq!(managed(&production(), None).level, Level::Refuse);
    let made = object(json!({"kind": "Secret", "metadata": {"name": name, "ownerReferences": [
        {"kind": "ExternalSecret", "name": "a"}]}}));
    assert!(managed(&production(), Some(&made)).found.contains("ExternalSecret makes"));
}

#[test]
fn another_major_than_that_of_the_data_is_refused() {
    let of = |version: &str, image: &str| {
        major(&production(), version, &[set(image, &["pg_isready"], "guard")]).level
    };
    assert_eq!(of("18", "docker.io/paradedb/paradedb:0.25.3-pg18"), Level::Ok);
    assert_eq!(of("18", "docker.io/paradedb/paradedb:0.25.3-pg18@sha256:a"), Level::Ok);
    assert_eq!(of("17", "docker.io/paradedb/paradedb:0.25.3-pg17"), Level::Refuse);
    assert_eq!(of("18", "docker.io/paradedb/paradedb:latest"), Level::Refuse);
}

#[test]
fn a_disk_without_room_is_told() {
    let gib = 1 << 30;
    assert_eq!(room(gib, 2 * gib).level, Level::Refuse);
    assert_eq!(room(3 * gib, 2 * gib).level, Level::Warn);
    assert_eq!(room(5 * gib, 2 * gib).level, Level::Ok);
    let said = "18\n/dev/sda1 100 40 60 40% /var/lib/postgresql\n";
    assert_eq!(read_disk(said).unwrap(), ("18".into(), 60 * 1024));
    assert!(read_disk("18\n").is_err());
}

#[test]
fn a_probe_that_is_green_on_nothing_is_told() {
    let level = |environment: &Environment, probe: &str, guard: &str| {
        probe_level(environment, &set("a:1-pg18", &[probe], guard))
    };
    assert_eq!(level(&production(), "pg_isready", "guard"), Level::Warn);
    assert_eq!(level(&production(), "pg_isready", "other"), Level::Refuse);
    assert_eq!(level(&production(), "psql -c 'SELECT 1'", "guard"), Level::Warn);
    let rows = "psql -c 'SELECT FROM api_order LIMIT 1'";
    assert_eq!(level(&production(), rows, "other"), Level::Ok);
    let holding = environment(("holds_data: false", "holds_data: true"));
    assert_eq!(level(&holding, "pg_isready", "guard"), Level::Ok);
}

fn probe_level(environment: &Environment, set: &Object) -> Level {
    probe(environment, std::slice::from_ref(set))[0].level
}
