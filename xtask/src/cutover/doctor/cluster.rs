//! The cluster's side: whether it would prune, lose or revert what the run relies on. Each check
//! is a pure function over what kubectl said.

use anyhow::Result;
use serde_json::Value;

use super::Finding;
use super::probes::Asks;
use crate::pg::endpoint::{Endpoint, identifier};
use crate::render::cluster::Cluster;
use crate::render::object::{Object, items};
use crate::render::rules::HOLDS_DATA;
use crate::render::values::Environment;
use crate::render::values::choice::{Platform, StorageKind, Workload};

/// The cluster answers.
pub const REACHED: &str = "cluster";
/// ArgoCD would prune what holds data.
pub const PRUNED: &str = "pruned";
/// A deleted claim takes the disk along.
pub const RECLAIM: &str = "reclaim-policy";
/// Room for the copy.
pub const DISK: &str = "disk-free";
/// The major version of image and data.
pub const MAJOR: &str = "image-major";
/// Who owns the Secret.
pub const MANAGED: &str = "secret-managed";
/// A probe that is green on an empty database.
pub const PROBE: &str = "empty-probe";
/// The Secret's passwords against the roles.
pub const PASSWORD: &str = "secret-password";

/// What ArgoCD writes on what it delivers.
const TRACKING: &str = "argocd.argoproj.io/tracking-id";
/// What it obeys on each object.
const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Room that a copy needs, in sizes of the source's database: rows and indexes, and WAL beside.
const ROOM: u64 = 2;

/// What the cluster says, as far as it answered.
struct Living {
    objects: Vec<Object>,
    volumes: Vec<Object>,
    secret: Option<Object>,
    /// `PG_VERSION` of the data directory, and bytes free beside it.
    disk: Result<(String, u64)>,
}

/// Every check of the cluster of an environment.
pub(super) async fn examine(
    environment: &Environment,
    cluster: Option<&Cluster>,
    target: &Endpoint,
    data: Option<u64>,
) -> Vec<Finding> {
    let values = &environment.values;
    if values.platform != Platform::Kubernetes || values.workload != Workload::StatefulSet {
        return Vec::new();
    }
    let Some(cluster) = cluster else {
        let fix = format!("write `cutover.cluster` into infra/values/{}.yaml", environment.name);
        return vec![Finding::warn(REACHED, "no cluster is named: it is not looked at", fix)];
    };
    let living = match ask(environment, cluster).await {
        Ok(living) => living,
        Err(error) => {
            let fix = "check `kubectl cluster-info`, and what you may read there";
            return vec![Finding::refuse(REACHED, format!("{error:#}"), fix)];
        }
    };
    let mut all = vec![Finding::ok(REACHED, format!("namespace {}", values.namespace.name))];
    all.extend(pruned(&living.objects));
    all.push(reclaim(environment, &living.volumes));
    all.push(managed(environment, living.secret.as_ref()));
    all.extend(probe(environment, &living.objects));
    match &living.disk {
        Ok((version, free)) => {
            all.push(major(environment, version, &living.objects));
            all.extend(data.map(|data| room(*free, data)));
        }
        Err(error) => {
            let fix = format!("kubectl get pod {}-0", values.names.workload);
            all.push(Finding::warn(MAJOR, format!("the pod does not say: {error:#}"), fix));
        }
    }
    all.extend(passwords(environment, cluster, target).await);
    all
}

async fn ask(environment: &Environment, cluster: &Cluster) -> Result<Living> {
    let values = &environment.values;
    let namespace = values.namespace.name.as_str();
    let objects = |found: Vec<Value>| -> Vec<Object> {
        found.into_iter().map(|body| Object::new("cluster", body)).collect()
    };
    let kinds = "statefulsets.apps,persistentvolumeclaims";
    let pod = format!("{}-0", values.names.workload);
    // No name of the environment is in the script; the shell expands its own variable.
    let script = "cat \"$PGDATA/PG_VERSION\" && df -Pk \"$PGDATA\" | tail -n 1";
    let secret = cluster.object("secret", namespace, values.secret.name.as_str()).await?;
    Ok(Living {
        objects: objects(cluster.list(kinds, Some(namespace)).await?),
        volumes: objects(cluster.list("persistentvolumes", None).await?),
        secret: secret.map(|body| Object::new("cluster", body)),
        disk: cluster.within(namespace, &pod, script).await.and_then(|said| read_disk(&said)),
    })
}

/// `18`, and the fourth column of `df`, in bytes.
fn read_disk(said: &str) -> Result<(String, u64)> {
    let mut lines = said.lines();
    let version = lines.next().unwrap_or_default().trim().to_string();
    let free = lines.next().and_then(|line| line.split_whitespace().nth(3));
    let free = free.and_then(|text| text.parse::<u64>().ok());
    match free {
        Some(kibibytes) => Ok((version, kibibytes * 1024)),
        None => anyhow::bail!("the pod's answer is not that of cat and df"),
    }
}

fn is_of_argocd(object: &Object) -> bool {
    !object.annotation(TRACKING).is_empty()
        || !object.at("metadata.labels")["argocd.argoproj.io/instance"].is_null()
}

/// Whatever holds data and ArgoCD delivers must say that it is not to be pruned.
fn pruned(objects: &[Object]) -> Vec<Finding> {
    let holding = objects.iter().filter(|one| HOLDS_DATA.contains(&one.key.kind.as_str()));
    let is_safe = |one: &&Object| {
        let options = one.annotation(SYNC_OPTIONS);
        options.split(',').any(|option| option.trim() == "Prune=false")
    };
    let (safe, exposed): (Vec<&Object>, Vec<&Object>) =
        holding.filter(|one| is_of_argocd(one)).partition(is_safe);
    if exposed.is_empty() {
        let found = format!("{} objects with data say Prune=false", safe.len());
        return vec![Finding::ok(PRUNED, found)];
    }
    let tell = |one: &&Object| {
        let found = format!("ArgoCD would prune {} once its file is gone", one.key.short());
        let command = format!(
            "kubectl annotate {} --namespace {} {SYNC_OPTIONS}=Prune=false,Delete=false \
             --overwrite; then render it so",
            one.key.short(),
            one.key.namespace
        );
        Finding::refuse(PRUNED, found, command)
    };
    exposed.iter().map(tell).collect()
}

/// The claim that holds the data.
fn claim(environment: &Environment) -> String {
    let values = &environment.values;
    match values.storage.kind {
        StorageKind::Claim => values.storage.claim.to_string(),
        StorageKind::Template => format!("{}-{}-0", values.storage.claim, values.names.workload),
    }
}

/// The volume behind the claim must outlive it.
fn reclaim(environment: &Environment, volumes: &[Object]) -> Finding {
    let (claim, namespace) = (claim(environment), environment.values.namespace.name.as_str());
    let is_ours = |volume: &&Object| {
        volume.text("spec.claimRef.namespace") == namespace
            && volume.text("spec.claimRef.name") == claim
    };
    let Some(volume) = volumes.iter().find(is_ours) else {
        let fix = format!("kubectl get pvc {claim} --namespace {namespace}");
        return Finding::warn(RECLAIM, format!("claim {claim} has no volume yet"), fix);
    };
    let name = &volume.key.name;
    match volume.text("spec.persistentVolumeReclaimPolicy") {
        "Retain" => Finding::ok(RECLAIM, format!("pv/{name} outlives its claim")),
        policy => Finding::refuse(
            RECLAIM,
            format!("pv/{name} of claim {claim} has {policy}: a deleted claim deletes the data"),
            format!(
                "kubectl patch pv {name} --patch \
                 '{{\"spec\":{{\"persistentVolumeReclaimPolicy\":\"Retain\"}}}}'"
            ),
        ),
    }
}

/// A Secret that ArgoCD delivers stands in Git, and is put back whenever it is changed.
fn managed(environment: &Environment, secret: Option<&Object>) -> Finding {
    let name = &environment.values.secret.name;
    let namespace = &environment.values.namespace.name;
    let Some(secret) = secret else {
        let found = format!("Secret {namespace}/{name} does not exist");
        let fix = "make it with every key of `secret.keys`; `cargo xtask render --explain`";
        return Finding::refuse(MANAGED, found, fix);
    };
    if is_of_argocd(secret) {
        let found = format!("ArgoCD manages Secret {name}: it stands in Git, and is put back");
        let fix = format!(
            "kubectl annotate secret {name} --namespace {namespace} \
             {SYNC_OPTIONS}=Prune=false --overwrite; then take it out of Git, and change the \
             passwords"
        );
        return Finding::refuse(MANAGED, found, fix);
    }
    let owner = items(secret.at("metadata.ownerReferences")).first();
    match owner.and_then(|owner| owner["kind"].as_str()) {
        Some(kind) => Finding::ok(MANAGED, format!("{kind} makes Secret {name}")),
        None => Finding::ok(MANAGED, format!("Secret {name} is outside Git")),
    }
}

/// The image that runs must be of the major that the data is of, and of the values.
fn major(environment: &Environment, version: &str, objects: &[Object]) -> Finding {
    let wanted = environment.values.image.postgres_major.to_string();
    let workload = environment.values.names.workload.as_str();
    let set = objects.iter().find(|one| one.is("StatefulSet") && one.key.name == workload);
    let image = set.map(|set| {
        let containers = items(set.at("spec.template.spec.containers"));
        containers.first().and_then(|one| one["image"].as_str()).unwrap_or_default()
    });
    let image = image.unwrap_or_default();
    let fix = format!(
        "pin an image of PostgreSQL {version} in infra/values/{}.yaml; a new major needs a cutover",
        environment.name
    );
    if version != wanted {
        let found =
            format!("the data directory is of PostgreSQL {version}, the values say {wanted}");
        return Finding::refuse(MAJOR, found, fix);
    }
    let tag = image.split('@').next().unwrap_or(image);
    if !tag.ends_with(&format!("-pg{version}")) {
        let found =
            format!("image `{image}` does not name PostgreSQL {version}: it may be another");
        return Finding::refuse(MAJOR, found, fix);
    }
    Finding::ok(MAJOR, format!("data and image are of PostgreSQL {version}"))
}

/// Whether the copy has room on the target's volume.
fn room(free: u64, data: u64) -> Finding {
    let [free_gib, data_gib] = [free, data].map(|bytes| bytes as f64 / f64::from(1 << 30));
    let found = format!("{free_gib:.1} GiB free for a source of {data_gib:.1} GiB");
    let fix = "make room on the node, or take a larger volume: local-path enforces no size";
    match free {
        free if free < data => Finding::refuse(DISK, found, fix),
        free if free < data.saturating_mul(ROOM) => Finding::warn(DISK, found, fix),
        _ => Finding::ok(DISK, found),
    }
}

/// A probe that asks only whether the server answers is green on an empty database; then the guard
/// must know that there is data.
fn probe(environment: &Environment, objects: &[Object]) -> Vec<Finding> {
    let values = &environment.values;
    let workload = values.names.workload.as_str();
    let set = objects.iter().find(|one| one.is("StatefulSet") && one.key.name == workload);
    let Some(set) = set else { return Vec::new() };
    let containers = items(set.at("spec.template.spec.containers"));
    let asks_rows =
        containers.iter().any(|one| matches!(Asks::of(&one["readinessProbe"]), Asks::Rows(_)));
    let guards = items(set.at("spec.template.spec.initContainers"));
    let is_guarded = guards.iter().any(|one| one["name"] == "guard");
    let fix = format!(
        "after the first cutover: storage.holds_data: true in infra/values/{}.yaml, then \
         cargo xtask render",
        environment.name
    );
    let found = "is ready on an empty database";
    vec![match (asks_rows, is_guarded, values.storage.holds_data) {
        (true, ..) => Finding::ok(PROBE, format!("{workload}: its probe asks the database")),
        (_, true, true) => Finding::ok(PROBE, format!("{workload}: the guard knows of its data")),
        (_, true, false) => Finding::warn(PROBE, format!("{workload} {found}"), fix),
        (_, false, _) => Finding::refuse(
            PROBE,
            format!("{workload} {found}, and nothing guards its volume"),
            "deliver the rendered StatefulSet: cargo xtask render --diff-live",
        ),
    }]
}

/// Each role logs in on the target with the password of its key.
async fn passwords(
    environment: &Environment,
    cluster: &Cluster,
    target: &Endpoint,
) -> Vec<Finding> {
    let values = &environment.values;
    let (database, keys) = (&values.database, &values.secret.keys);
    let (namespace, name) = (values.namespace.name.as_str(), values.secret.name.as_str());
    let pairs = [
        (&database.superuser, &keys.superuser),
        (&database.owner, &keys.owner),
        (&database.runtime, &keys.runtime),
        (&database.search, &keys.search),
        (&database.replication, &keys.replication),
    ];
    let mut all = Vec::new();
    let mut well = Vec::new();
    for (role, key) in pairs {
        let password = match cluster.secret(namespace, name, key.as_str()).await {
            Ok(password) => password,
            Err(error) => {
                let fix = format!("add key {key} to Secret {namespace}/{name}");
                all.push(Finding::refuse(PASSWORD, format!("role {role}: {error:#}"), fix));
                continue;
            }
        };
        // The maintenance database, because the target itself may be fenced already.
        let login = target.with_user(role.as_str(), &password).with_database("postgres");
        match login.connect_as_client("xtask doctor").await {
            Ok(_) => well.push(role.to_string()),
            Err(error) => {
                let fix = format!(
                    "on the target: ALTER ROLE {} LOGIN PASSWORD '…', that of key {key}",
                    identifier(role.as_str())
                );
                let found = format!("role {role} cannot log in with key {key}: {error:#}");
                all.push(Finding::refuse(PASSWORD, found, fix));
            }
        }
    }
    if !well.is_empty() {
        all.push(Finding::ok(
            PASSWORD,
            format!("the Secret's passwords let in {}", well.join(", ")),
        ));
    }
    all
}

#[cfg(test)]
mod tests;
