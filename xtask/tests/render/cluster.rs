//! The living cluster, played by a small script in the place of kubectl.

use std::path::{Path, PathBuf};

use super::{rendered, values};
use xtask::render::change::Class;
use xtask::render::cluster::Cluster;

/// A program that answers `diff`, `get` and `apply` with files of its folder.
fn kubectl(folder: &Path, diff: &str, get: &str) -> PathBuf {
    std::fs::write(folder.join("diff"), diff).unwrap();
    std::fs::write(folder.join("get"), get).unwrap();
    let program = folder.join("kubectl");
    let script = "#!/bin/sh\nhere=$(dirname \"$0\")\necho \"$@\" >> \"$here/called\"\n\
        case \"$1\" in\n\
        diff) cat > \"$here/input\"; cat \"$here/diff\"; [ ! -s \"$here/diff\" ];;\n\
        get) cat \"$here/get\";;\n\
        apply) cat > \"$here/input\";;\n\
        esac\n";
    xtask::render::files::replace(&program, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    program
}

#[tokio::test]
async fn a_claim_that_would_be_pruned_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let living = r#"{"items": [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "old-data",
         "namespace": "robson", "annotations": {"argocd.argoproj.io/tracking-id":
         "paradedb:/PersistentVolumeClaim:robson/old-data"}}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "others",
         "namespace": "robson"}}]}"#;
    let cluster = Cluster::new(kubectl(folder.path(), "", living), None);
    let one = rendered("production", &values("production")).unwrap();
    let live = cluster.diff(&one).await.unwrap();
    assert_eq!(live.changes.len(), 1, "{:#?}", live.changes);
    assert_eq!(live.changes[0].class, Class::Refused);
    assert_eq!(live.changes[0].accept, "pvc/old-data");
    let input = std::fs::read_to_string(folder.path().join("input")).unwrap();
    assert!(!input.contains("\"kind\":\"Job\""), "hooks are left out");
}

#[tokio::test]
async fn a_changed_field_is_classified() {
    let folder = tempfile::tempdir().unwrap();
    let diff = "diff -u -N -U1000000 /tmp/LIVE-1/x /tmp/MERGED-1/x\n\
        --- /tmp/LIVE-1/x\n+++ /tmp/MERGED-1/x\n\
        @@ -1,9 +1,9 @@\n apiVersion: apps/v1\n kind: StatefulSet\n metadata:\n\
        \x20  name: rbs-paradedb\n\
        \x20  namespace: robson\n spec:\n-  serviceName: old\n+  serviceName: rbs-paradedb\n";
    let cluster = Cluster::new(kubectl(folder.path(), diff, "{\"items\": []}"), None);
    let one = rendered("production", &values("production")).unwrap();
    let live = cluster.diff(&one).await.unwrap();
    assert_eq!(live.changes[0].rule, Some("immutable-field"), "{:#?}", live.changes);
    assert!(live.lines.contains("+  serviceName: rbs-paradedb"), "{}", live.lines);
}

#[tokio::test]
async fn the_dry_run_includes_the_pod_of_the_stateful_set() {
    let folder = tempfile::tempdir().unwrap();
    let program = kubectl(folder.path(), "", "{}");
    let cluster = Cluster::new(program, Some("there".into()));
    let one = rendered("staging", &values("staging")).unwrap();
    // The script does not know the option that names a context, and accepts everything.
    let count = cluster.dry_run(&one).await.unwrap();
    assert_eq!(count, one.objects.len() + 1);
    let called = std::fs::read_to_string(folder.path().join("called")).unwrap();
    assert!(
        called.starts_with("--context there apply --dry-run=server --validate=strict"),
        "{called}"
    );
}
