//! A night in which a Secret leads clients: pods read it when they start, and are started anew.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use xtask::cutover::event::Event;
use xtask::cutover::step::Step;
use xtask::pg::endpoint::Endpoint;
use xtask::route::file;
use xtask::route::secret::POINTED_AT;
use xtask::workload::APPLICATION;

use super::deployment;
use super::stand::{CONTEXT, NAMESPACE, Stand};
use crate::environments::VALUES;
use crate::night::{Night, ROLLBACK, START, SWITCH, Server};
use crate::workload::PASSWORD;

/// How often the pods are looked after.
const EVERY: Duration = Duration::from_millis(20);

fn value(secret: &Value, key: &str) -> String {
    let encoded = secret["data"][key].as_str().expect("the key is there");
    String::from_utf8(STANDARD.decode(encoded).expect("base64")).expect("text")
}

/// Plays the pods of a Deployment: whenever their template changes they start anew, and read where
/// the Secret leads them.
fn run_pods(stand: Arc<Stand>, night: &Night) {
    let (endpoint_file, source) = (night.endpoint_file(), night.source.clone());
    tokio::spawn(async move {
        let mut template = Value::Null;
        loop {
            tokio::time::sleep(EVERY).await;
            let now = stand.object("deployments.apps", "backend")["spec"]["template"].clone();
            if now == template || now["metadata"]["annotations"][POINTED_AT].is_null() {
                continue;
            }
            let secret = stand.object("secrets", "rbs-django-secret");
            let port = value(&secret, "POSTGRES_PORT").parse().expect("a port");
            let server = Endpoint::new(
                &value(&secret, "POSTGRES_HOST"),
                port,
                &source.database,
                &value(&secret, "POSTGRES_USER"),
                &value(&secret, "POSTGRES_PASSWORD"),
            );
            file::write(&endpoint_file, &server).expect("the folder is ours");
            template = now;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_follow_a_secret_there_and_back_and_are_seen_to_arrive() {
    let stand = Arc::new(Stand::begin().await);
    stand.settings(&json!({"controllers": true}));
    let mut night = Night::begin("cluster_secret").await;
    let ports = [night.source.port, night.target.port];
    let data = json!({
        "POSTGRES_HOST": STANDARD.encode("127.0.0.1"),
        "POSTGRES_PORT": STANDARD.encode(ports[0].to_string()),
        "POSTGRES_USER": STANDARD.encode(APPLICATION),
        "POSTGRES_PASSWORD": STANDARD.encode(PASSWORD),
    });
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": data,
        "metadata": {"name": "rbs-django-secret", "namespace": NAMESPACE}});
    stand.put("secrets", &secret);
    stand.put("deployments.apps", &deployment("backend"));
    run_pods(stand.clone(), &night);
    let cutover = format!(
        "cutover:\n  peers: []\n  cluster: {{context: {CONTEXT}, namespace: {NAMESPACE}}}\n  \
         routes:\n  - secret:\n      name: rbs-django-secret\n      \
         keys: {{host: POSTGRES_HOST, port: POSTGRES_PORT, user: POSTGRES_USER, \
         password: POSTGRES_PASSWORD}}\n      source: {{host: 127.0.0.1, port: {}}}\n      \
         target: {{host: 127.0.0.1, port: {}}}\n      restarts: [backend]\n",
        ports[0], ports[1]
    );
    night.in_environment(&format!("{VALUES}{cutover}"), stand.programs());
    night.succeeds(START).await;
    night.watch();
    // The guardian does for the pods what a dead tool cannot.
    night.kill_at(SWITCH, Step::Flip).await;
    night.is_let_in(Server::Paradedb).await;
    for (verb, server) in [(SWITCH, Server::Paradedb), (ROLLBACK, Server::Plain)] {
        night.succeeds(verb).await;
        night.turned_to(server).await;
        let arrived = night.events().into_iter().rev().find_map(|event| match event {
            Event::StepDone { step: Step::Release, evidence, .. } => Some(evidence),
            _ => None,
        });
        assert!(arrived.expect("it is released")["arrived"].as_i64() > Some(0));
    }
    assert_eq!(stand.object("secrets", "rbs-django-secret")["data"], data);
    let journals = format!("{:?}{:?}", night.events(), stand.calls());
    assert!(!journals.contains(PASSWORD) && !journals.contains(&STANDARD.encode(PASSWORD)));
    night.ends(Server::Plain).await;
}
