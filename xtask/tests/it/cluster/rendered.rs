//! What `render` writes, as an API server judges it.

use std::path::Path;

use xtask::render::cluster::Cluster;
use xtask::render::template::Templates;
use xtask::render::values::Environment;
use xtask::render::{self, Rendered};

use super::stand::{CONTEXT, NAMESPACE, Stand};
use crate::support::skip;

/// Production in the namespace of the tests, with more values.
fn production(more: &str) -> Rendered {
    let root = render::workspace(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let file = root.join("infra/values/production.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let namespace = "namespace:\n  name: robson\n";
    assert!(text.contains(namespace));
    let text = text.replace(namespace, &format!("namespace:\n  name: {NAMESPACE}\n")) + more;
    let environment = Environment::read("production", &file, &text).unwrap();
    let templates = Templates::new(&root.join("templates")).unwrap();
    let mut rendered = render::one(environment, &templates).unwrap();
    // Those of ArgoCD are in a namespace of its own.
    rendered.objects.retain(|object| object.key.namespace == NAMESPACE);
    rendered
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_takes_all_that_is_rendered() {
    let stand = Stand::begin().await;
    if !stand.is_real() {
        skip!("XTASK_TEST_KUBECONFIG names no cluster");
    }
    let cluster = Cluster::new(stand.programs().join("kubectl"), Some(CONTEXT.into()));
    cluster.reach().await.unwrap();
    let own = production("");
    // The pod of the StatefulSet is judged beside it.
    assert_eq!(cluster.dry_run(&own).await.unwrap(), own.objects.len() + 1);
    let outside = production("\nworkload: external\nexternal:\n  addresses: [192.0.2.7]\n");
    assert_eq!(cluster.dry_run(&outside).await.unwrap(), outside.objects.len());
    let nowhere = production("\nworkload: external\nexternal:\n  addresses: [127.0.0.1]\n");
    assert!(cluster.dry_run(&nowhere).await.is_err(), "a slice leads to no loopback");
}
