//! Selectors and rights, as kubectl is told them.

use super::*;

#[test]
fn a_selector_is_written_as_kubectl_takes_it() {
    let written = selector(&json!({
        "matchLabels": {"app": "rbs"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["web", "api"]},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }));
    assert_eq!(written, "app=rbs,tier in (web,api),!canary");
    assert_eq!(selector(&Value::Null), "");
}

#[test]
fn rights_are_asked_for_once_and_where_they_are_needed() {
    let workload = |kind, namespace: &str, name: &str| Workload {
        kind,
        namespace: namespace.into(),
        name: name.into(),
        migrates: false,
    };
    let workloads = Workloads {
        cluster: Cluster::new("kubectl", None, "k3s", "robson"),
        all: vec![
            workload(Kind::Application, "argocd", "robson-root"),
            workload(Kind::Application, "argocd", "robson-prod"),
            workload(Kind::Deployment, "robson", "backend"),
        ],
        roles: Vec::new(),
        limit: Duration::ZERO,
    };
    let rights = workloads.rights();
    let count = |index: usize| (rights[index].0.as_str(), rights[index].1.len());
    assert_eq!(count(0), ("argocd", 2));
    assert_eq!(count(1), ("robson", 3));
}
