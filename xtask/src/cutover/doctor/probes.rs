//! What the probes of the application's pods ask: a pod that is ready on an empty database gets
//! clients, and nobody notices what is missing.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;
use serde_json::{Value, json};

use super::Finding;
use super::cluster::PROBE;
use crate::cutover::verbs::Operation;
use crate::kube::workloads::{Kind, Workload};
use crate::kube::{Cluster, at};

/// What one probe asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asks {
    /// There is no probe.
    Nothing,
    /// Whether something listens.
    Port(String),
    /// Whether the database's server answers, whatever it holds.
    Server(String),
    /// The program itself; what it looks at is not in the manifest.
    Application(String),
    /// Something that an empty database does not have.
    Rows(String),
}

impl fmt::Display for Asks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asks::Nothing => formatter.write_str("none"),
            Asks::Port(what) | Asks::Server(what) | Asks::Application(what) | Asks::Rows(what) => {
                formatter.write_str(what)
            }
        }
    }
}

impl Asks {
    /// What a probe of a manifest asks.
    pub(super) fn of(probe: &Value) -> Asks {
        let port = |action: &Value| match &action["port"] {
            Value::String(name) => format!("port {name}"),
            number => format!("port {number}"),
        };
        if let Some(command) = at(probe, "/exec/command").as_array() {
            let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
            return Asks::of_command(&words.join(" "));
        }
        if probe["httpGet"].is_object() {
            let get = &probe["httpGet"];
            let path = get["path"].as_str().unwrap_or("/");
            return Asks::Application(format!("GET {path} on {}", port(get)));
        }
        if probe["grpc"].is_object() {
            return Asks::Application(format!("gRPC health on {}", port(&probe["grpc"])));
        }
        if probe["tcpSocket"].is_object() {
            return Asks::Port(format!("TCP {}", port(&probe["tcpSocket"])));
        }
        Asks::Nothing
    }

    fn of_command(command: &str) -> Asks {
        let shown = format!("`{command}`");
        let lower = command.to_lowercase();
        let has = |all: &[&str]| all.iter().any(|one| lower.contains(one));
        if has(&["migrate --check", "migrate --noinput --check"]) {
            return Asks::Rows(shown);
        }
        if has(&["psql"]) && names_a_table(&lower) {
            return Asks::Rows(shown);
        }
        if has(&["pg_isready", "psql", "select 1"]) {
            return Asks::Server(shown);
        }
        match has(&["nc -z", "/dev/tcp/"]) {
            true => Asks::Port(shown),
            false => Asks::Application(shown),
        }
    }
}

/// Whether a statement reads a table that is not the server's own.
fn names_a_table(statement: &str) -> bool {
    let mut words = statement.split_whitespace();
    while let Some(word) = words.next() {
        if word != "from" {
            continue;
        }
        let table = words.next().unwrap_or_default().trim_matches(['"', '\'', '(', ';']);
        if !table.is_empty() && !table.starts_with("pg_") && !table.contains("_schema.") {
            return true;
        }
    }
    false
}

/// The probes of every Deployment that the run stops, or starts anew.
pub(super) async fn examine(operation: &Operation) -> Vec<Finding> {
    let options = &operation.options;
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    let stopped = options.workloads.iter().flat_map(|workloads| {
        let deployments = workloads.all.iter().filter(|one| one.kind == Kind::Deployment);
        deployments.map(move |one| (workloads.cluster.in_namespace(&one.namespace), one.clone()))
    });
    let secrets = options.routes.secrets();
    let restarted = secrets.iter().flat_map(|secret| {
        secret.restarts.iter().map(move |name| (secret.cluster.clone(), restarted(secret, name)))
    });
    for (cluster, workload) in stopped.chain(restarted) {
        if seen.insert(workload.title()) {
            all.extend(look(&cluster, &workload).await);
        }
    }
    all
}

fn restarted(secret: &crate::route::secret::Secret, name: &str) -> Workload {
    Workload {
        kind: Kind::Deployment,
        namespace: secret.cluster.namespace().into(),
        name: name.into(),
        migrates: false,
    }
}

async fn look(cluster: &Cluster, workload: &Workload) -> Option<Finding> {
    match read(cluster, workload).await {
        Ok(Some(deployment)) => Some(judge(cluster.context(), workload, &deployment)),
        // That it is missing, or that the cluster is silent, is a finding of the plan.
        Ok(None) | Err(_) => None,
    }
}

async fn read(cluster: &Cluster, workload: &Workload) -> Result<Option<Value>> {
    cluster.get(workload.kind.resource(), &workload.name).await
}

fn judge(context: &str, workload: &Workload, deployment: &Value) -> Finding {
    let containers = at(deployment, "/spec/template/spec/containers").as_array();
    let containers: Vec<&Value> = containers.into_iter().flatten().collect();
    // A pod is ready once all its containers are: one that asks for rows is enough.
    let readiness = containers.iter().map(|one| (Asks::of(&one["readinessProbe"]), *one));
    let readiness = readiness.max_by(|(one, _), (other, _)| one.cmp(other));
    let Some((asks, container)) = readiness else {
        let fix = format!("look at {}", workload.title());
        return Finding::warn(PROBE, format!("{} has no containers", workload.title()), fix);
    };
    let liveness = Asks::of(&container["livenessProbe"]);
    let title = workload.title();
    let said = format!("{title}: readiness {asks}, liveness {liveness}");
    if let Asks::Rows(_) = asks {
        return Finding::ok(PROBE, said);
    }
    let migrates = match workload.migrates {
        true => "; it migrates at its start, so it would make tables there",
        false => "",
    };
    let (verdict, ask) = match asks {
        Asks::Application(_) => (
            "whether that is green on an empty database is the application's own word",
            "ask it so once against an empty database, or ",
        ),
        _ => ("it is ready on an empty database", ""),
    };
    let fix = format!("{ask}{}", command(context, workload, container));
    Finding::warn(PROBE, format!("{said}: {verdict}{migrates}"), fix)
}

/// Has readiness ask for something that an empty database lacks.
fn command(context: &str, workload: &Workload, container: &Value) -> String {
    let name = container["name"].as_str().unwrap_or_default();
    let probe = json!({
        "exec": {"command": ["python", "manage.py", "migrate", "--check"]},
        "httpGet": null, "tcpSocket": null, "grpc": null,
    });
    format!(
        "have readiness ask for a row, such as: kubectl --context {context} --namespace {} patch \
         deployment {} --patch '{{\"spec\":{{\"template\":{{\"spec\":{{\"containers\":[{{\"name\":\
         \"{name}\",\"readinessProbe\":{probe}}}]}}}}}}}}'; and in Git",
        workload.namespace, workload.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutover::doctor::Level;

    fn backend(containers: Value) -> Finding {
        let workload = Workload {
            kind: Kind::Deployment,
            namespace: "robson".into(),
            name: "backend".into(),
            migrates: true,
        };
        let deployment = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        judge("k3s", &workload, &deployment)
    }

    #[test]
    fn what_a_probe_asks_is_told_by_its_manifest() {
        let of = |probe: Value| Asks::of(&probe).to_string();
        assert_eq!(of(Value::Null), "none");
        assert_eq!(of(json!({"tcpSocket": {"port": "http"}})), "TCP port http");
        let get = json!({"httpGet": {"path": "/readyz", "port": 8000}});
        assert_eq!(of(get), "GET /readyz on port 8000");
        let exec = |text: &str| Asks::of(&json!({"exec": {"command": ["sh", "-c", text]}}));
        assert!(matches!(exec("pg_isready -h 127.0.0.1"), Asks::Server(_)));
        assert!(matches!(exec("psql -c 'SELECT 1'"), Asks::Server(_)));
        assert!(matches!(exec("psql -c 'SELECT 1 FROM pg_class'"), Asks::Server(_)));
        assert!(matches!(exec("psql -c 'SELECT 1 FROM django_migrations'"), Asks::Rows(_)));
        assert!(matches!(exec("python manage.py migrate --check"), Asks::Rows(_)));
        assert!(matches!(exec("nc -z paradedb 5432"), Asks::Port(_)));
        assert!(matches!(exec("/bin/check"), Asks::Application(_)));
    }

    #[test]
    fn pods_that_are_ready_on_an_empty_database_are_told_with_what_mends_it() {
        let found = backend(json!([{"name": "web"}]));
        assert_eq!(found.level, Level::Warn);
        for wanted in ["readiness none", "ready on an empty database", "would make tables"] {
            assert!(found.found.contains(wanted), "{wanted}: {found:?}");
        }
        let wanted = "kubectl --context k3s --namespace robson patch deployment backend --patch '";
        assert!(found.command.contains(wanted), "{found:?}");
        let patch = found.command.split('\'').nth(1).unwrap();
        let patch: Value = serde_json::from_str(patch).unwrap();
        assert_eq!(at(&patch, "/spec/template/spec/containers/0/name"), "web");
        let get = json!({"httpGet": {"path": "/readyz", "port": 8000}});
        let found = backend(json!([{"name": "web", "readinessProbe": get, "livenessProbe": get}]));
        assert_eq!(found.level, Level::Warn);
        assert!(found.found.contains("application's own word"), "{found:?}");
        let rows = json!({"exec": {"command": ["python", "manage.py", "migrate", "--check"]}});
        let found = backend(json!([{"name": "proxy"}, {"name": "web", "readinessProbe": rows}]));
        assert_eq!(found.level, Level::Ok, "{found:?}");
    }
}
