//! What a change of the manifests would do.

use super::{rendered, values};
use xtask::process::Invocation;
use xtask::render::change::{self, Change, Class};
use xtask::render::history;
use xtask::render::object::Object;

fn objects(text: &str) -> Vec<Object> {
    rendered("production", text).unwrap().objects
}

/// The changes from production to production with some words replaced.
fn replaced(words: &[(&str, &str)]) -> Vec<Change> {
    let old = values("production");
    let new = words.iter().fold(old.clone(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    change::between(&objects(&old), &objects(&new))
}

/// The changes after one edit of one object.
fn edited(kind: &str, edit: impl Fn(&mut serde_json::Value)) -> Vec<Change> {
    let old = objects(&values("production"));
    let mut new = old.clone();
    edit(&mut new.iter_mut().find(|object| object.is(kind)).unwrap().body);
    change::between(&old, &new)
}

fn refused_by<'a>(changes: &'a [Change], rule: &str) -> &'a Change {
    let found = changes.iter().find(|change| change.rule == Some(rule));
    found.unwrap_or_else(|| panic!("{rule} is not among {changes:#?}"))
}

#[test]
fn nothing_changes_nothing() {
    assert_eq!(replaced(&[]), []);
}

#[test]
fn the_accident_of_the_first_user_is_refused() {
    let changes = replaced(&[
        ("workload: rbs-paradedb", "workload: robson-paradedb"),
        ("kind: claim", "kind: template"),
        ("claim: rbs-paradedb-data", "claim: data"),
    ]);
    let refused = change::refused(&changes, &[]);
    let names: Vec<&str> = refused.iter().map(|change| change.object.as_str()).collect();
    assert!(names.contains(&"pvc/rbs-paradedb-data"), "{names:?}");
    assert!(names.contains(&"statefulset/rbs-paradedb"), "{names:?}");
    let claim = refused_by(&changes, "data-object-removed");
    assert_eq!(claim.class, Class::Refused);
}

#[test]
fn only_the_exact_object_accepts_the_loss() {
    let changes = replaced(&[("claim: rbs-paradedb-data", "claim: other")]);
    let accept =
        |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_string()).collect() };
    assert!(!change::refused(&changes, &accept(&["pvc/other"])).is_empty());
    assert!(!change::refused(&changes, &accept(&["statefulset/rbs-paradedb"])).is_empty());
    let left = change::refused(&changes, &accept(&["pvc/rbs-paradedb-data"]));
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn each_way_to_lose_the_data_is_refused_by_name() {
    let older = replaced(&[("postgres_major: 18", "postgres_major: 17")]);
    refused_by(&older, "image-major-changed");
    assert_eq!(refused_by(&older, "data-path-changed").accept, "pvc/rbs-paradedb-data");
    refused_by(&replaced(&[("class: local-path", "class: fast")]), "immutable-field");
    refused_by(&replaced(&[("size: 10Gi\n  class", "size: 5Gi\n  class")]), "claim-size");
    refused_by(&replaced(&[("size: 10Gi\n  class", "size: 20Gi\n  class")]), "claim-size");
    refused_by(&replaced(&[("app: rbs-paradedb", "app: other")]), "immutable-field");
    refused_by(&replaced(&[("service: paradedb", "service: database")]), "service-removed");
    refused_by(
        &replaced(&[("folder: infra/k8s/apps", "folder: infra/k8s/prod")]),
        "application-moved",
    );
    refused_by(
        &replaced(&[("name: robson\n", "name: other\n"), ("[robson,", "[other, robson,")]),
        "data-object-removed",
    );
}

#[test]
fn each_edit_of_an_object_that_loses_data_is_refused_by_name() {
    let container = "/spec/template/spec/containers/0";
    let at = |path: &str| format!("{container}{path}");
    let set = |path: String, value: serde_json::Value| {
        move |body: &mut serde_json::Value| *body.pointer_mut(&path).unwrap() = value.clone()
    };
    let data = "data-path-changed";
    refused_by(
        &edited("StatefulSet", set(at("/env/0/value"), "/var/lib/postgresql/x".into())),
        data,
    );
    refused_by(&edited("StatefulSet", set(at("/volumeMounts/0/mountPath"), "/data".into())), data);
    let sub_path = |body: &mut serde_json::Value| {
        body.pointer_mut(&at("/volumeMounts/0")).unwrap()["subPath"] = "x".into();
    };
    refused_by(&edited("StatefulSet", sub_path), data);
    let claim = "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName".to_string();
    refused_by(&edited("StatefulSet", set(claim, "other".into())), data);
    let user = "/spec/template/spec/securityContext/runAsUser".to_string();
    refused_by(&edited("StatefulSet", set(user, 70.into())), "data-owner-changed");
    let image = "docker.io/paradedb/paradedb:latest";
    refused_by(&edited("StatefulSet", set(at("/image"), image.into())), "image-major-changed");
    let options = "/metadata/annotations/argocd.argoproj.io~1sync-options".to_string();
    let protection = "protection-removed";
    refused_by(&edited("PersistentVolumeClaim", set(options, "Delete=false".into())), protection);
    let prune = "/spec/syncPolicy/automated/prune".to_string();
    refused_by(&edited("Application", set(prune, true.into())), protection);
    let service = "/spec/clusterIP".to_string();
    refused_by(
        &edited("Service", move |body| body["spec"]["clusterIP"] = "None".into()),
        "immutable-field",
    );
    drop(service);
}

#[test]
fn a_setting_restarts_the_pod_and_a_backup_hour_does_not() {
    let changes = replaced(&[("max_connections: 100", "max_connections: 90")]);
    assert_eq!(changes[0].class, Class::Restarts, "{changes:#?}");
    assert_eq!(changes[0].object, "statefulset/rbs-paradedb");
    let changes = replaced(&[("schedule: 15 2 * * *", "schedule: 15 4 * * *")]);
    assert!(changes.iter().all(|change| change.class == Class::Harmless), "{changes:#?}");
    let same_major = replaced(&[("version: \"0.25.3\"", "version: \"0.25.4\"")]);
    assert!(same_major.iter().all(|change| change.class != Class::Refused), "{same_major:#?}");
}

#[tokio::test]
async fn a_revision_is_read_from_git_with_peoples_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        Invocation::new("git")
            .folder(folder.path())
            .arguments(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .arguments(arguments)
    };
    let path = folder.path().join("infra/k8s/prod");
    std::fs::create_dir_all(&path).unwrap();
    let claim =
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: old, namespace: a}\n";
    std::fs::write(path.join("claim.yml"), claim).unwrap();
    git(&["init", "--quiet"]).run().await.unwrap();
    git(&["add", "."]).run().await.unwrap();
    git(&["commit", "--quiet", "--message", "one"]).run().await.unwrap();
    std::fs::remove_file(path.join("claim.yml")).unwrap();

    let old = history::at(folder.path(), "HEAD").await.unwrap();
    assert_eq!(old.len(), 1);
    let changes = change::between(&old, &[]);
    assert_eq!(refused_by(&changes, "data-object-removed").accept, "pvc/old");
    assert!(history::at(folder.path(), "--help").await.is_err());
}
