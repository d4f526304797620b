//! Rules against losing the data: prune, rename, re-initialisation, a volume that is not there.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::context::data_paths;
use crate::render::object::{Object, at, items};

pub(super) const RULES: [Rule; 11] = [
    Rule::new("one-server", "two servers on one set of data", one_server),
    Rule::new("data-protected", "ArgoCD pruning or deleting what holds data", data_protected),
    Rule::new("no-replace", "ArgoCD recreating what holds data", no_replace),
    Rule::new("retention-policy", "a deleted StatefulSet taking its claims along", retention),
    Rule::new("reclaim-retain", "a deleted claim taking the disk along", reclaim),
    Rule::new("claim-wave", "a sync that waits for ever for a claim to bind", claim_wave),
    Rule::new("claim-exists", "a pod that waits for a claim that nobody makes", claim_exists),
    Rule::new("stable-names", "a rename, which is an empty database", stable_names),
    Rule::new("mount-path", "a mount where this major version does not look", mount_path),
    Rule::new("pgdata-on-claim", "data in the container, gone with the pod", pgdata_on_claim),
    Rule::new("guard", "a server that initialises over lost or foreign data", guard),
];

/// The kinds whose loss is the loss of data, or of the way to it.
pub const HOLDS_DATA: [&str; 8] = [
    "StatefulSet",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "Namespace",
    "StorageClass",
    "ExternalSecret",
    "SealedSecret",
    "Cluster",
];

const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";

fn one_server(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        if object.at("spec.replicas") != 1 {
            report.add(
                object,
                "spec.replicas",
                "ParadeDB Community is exactly one server",
                "set 1",
            );
        }
    }
    let enterprise = set.values.cnpg.as_ref().is_some_and(|cnpg| cnpg.enterprise);
    for object in set.of("Cluster") {
        if object.at("spec.instances") != 1 && !enterprise {
            let fix = "set cnpg.instances to 1, or cnpg.enterprise with the Enterprise image";
            report.add(object, "spec.instances", "ParadeDB Community is exactly one server", fix);
        }
    }
}

fn data_protected(set: &Set, report: &mut Report) {
    for object in set.objects.iter().filter(|o| HOLDS_DATA.contains(&o.key.kind.as_str())) {
        let options: Vec<&str> = object.annotation(SYNC_OPTIONS).split(',').collect();
        for wanted in ["Prune=false", "Delete=false"] {
            if !options.contains(&wanted) {
                let problem = format!("ArgoCD may remove it: {wanted} is not set");
                let fix = "annotate it with \"Prune=false,Delete=false\"";
                report.add(object, "metadata.annotations", problem, fix);
            }
        }
    }
}

fn no_replace(set: &Set, report: &mut Report) {
    for object in set.objects {
        let of_application = items(object.at("spec.syncPolicy.syncOptions")).iter();
        let options = object
            .annotation(SYNC_OPTIONS)
            .split(',')
            .chain(of_application.filter_map(Value::as_str));
        for option in options.filter(|o| matches!(*o, "Replace=true" | "Force=true")) {
            let problem = format!("{option} deletes and recreates objects");
            report.add(object, "sync options", problem, "leave it out");
        }
    }
}

fn retention(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let policy = object.at("spec.persistentVolumeClaimRetentionPolicy");
        if policy["whenDeleted"] != "Retain" || policy["whenScaled"] != "Retain" {
            let problem = "claims may go with the StatefulSet";
            let path = "spec.persistentVolumeClaimRetentionPolicy";
            report.add(object, path, problem, "set whenDeleted and whenScaled to Retain");
        }
    }
}

fn reclaim(set: &Set, report: &mut Report) {
    for object in set.of("StorageClass") {
        if object.text("reclaimPolicy") != "Retain" {
            let problem = "a deleted claim would delete the data";
            report.add(object, "reclaimPolicy", problem, "set Retain");
        }
    }
}

fn claim_wave(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        for claim in claims_of(object).iter().filter_map(|name| find(set, name)) {
            if claim.wave() < object.wave() {
                let problem = format!(
                    "wave {} is before wave {} of {}: the claim binds only when the pod comes",
                    claim.wave(),
                    object.wave(),
                    object.key
                );
                report.add(claim, "metadata.annotations", problem, "use the same wave");
            }
        }
    }
}

fn find<'a>(set: &Set<'a>, claim: &str) -> Option<&'a Object> {
    set.of("PersistentVolumeClaim").find(|object| object.key.name == claim)
}

/// The claims that the pods of an object mount by name.
fn claims_of(object: &Object) -> Vec<String> {
    let Some((_, template)) = object.pod_template() else { return Vec::new() };
    items(at(template, "spec.volumes"))
        .iter()
        .filter_map(|volume| at(volume, "persistentVolumeClaim.claimName").as_str())
        .map(str::to_string)
        .collect()
}

fn claim_exists(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        for claim in claims_of(object) {
            if find(set, &claim).is_none() {
                let problem = format!("the claim {claim} is not rendered");
                report.add(object, "spec.template.spec.volumes", problem, "correct the name");
            }
        }
    }
}

fn stable_names(set: &Set, report: &mut Report) {
    let workload = set.values.names.workload.as_str();
    let claim = set.values.storage.claim.as_str();
    for object in set.of("StatefulSet").chain(set.of("Cluster")) {
        if object.key.name != workload {
            let fix = format!("name it {workload}, as names.workload says");
            report.add(object, "metadata.name", "the name is not that of the values", fix);
        }
    }
    for object in set.of("StatefulSet") {
        let templates = items(object.at("spec.volumeClaimTemplates"));
        let by_template = templates.iter().any(|one| at(one, "metadata.name") == claim);
        if !by_template && !claims_of(object).iter().any(|name| name == claim) {
            let fix = format!("mount the claim {claim}, as storage.claim says");
            report.add(object, "spec", "the claim of the values is not mounted", fix);
        }
    }
}

/// The server's container, its path, its PGDATA and the major version that its image names.
fn server(object: &Object) -> Option<(String, &Value, String, u32)> {
    let (path, container) =
        object.containers().into_iter().find(|(path, _)| path.ends_with("spec.containers[0]"))?;
    let environment = items(&container["env"]).iter();
    let pgdata =
        environment.filter(|one| one["name"] == "PGDATA").find_map(|e| e["value"].as_str());
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.split('@').next().unwrap_or_default();
    let major = tag.rsplit_once("-pg").and_then(|(_, major)| major.parse().ok())?;
    Some((path, container, pgdata.unwrap_or_default().to_string(), major))
}

/// The names of the volumes that are claims.
fn claimed(object: &Object) -> Vec<&str> {
    let by_template = items(object.at("spec.volumeClaimTemplates")).iter();
    let by_name = items(object.at("spec.template.spec.volumes")).iter();
    by_name
        .filter(|volume| volume.get("persistentVolumeClaim").is_some())
        .filter_map(|volume| volume["name"].as_str())
        .chain(by_template.filter_map(|one| at(one, "metadata.name").as_str()))
        .collect()
}

fn mount_path(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let Some((path, container, pgdata, major)) = server(object) else { continue };
        let (mount, data) = data_paths(major);
        let claimed = claimed(object);
        let volume = items(&container["volumeMounts"])
            .iter()
            .find(|one| one["name"].as_str().is_some_and(|name| claimed.contains(&name)));
        let mounted = volume.and_then(|one| one["mountPath"].as_str()).unwrap_or_default();
        if mounted != mount {
            let problem = format!("the claim is mounted at `{mounted}`");
            let fix = format!("PostgreSQL {major} images keep their data below {mount}");
            report.add(object, &format!("{path}.volumeMounts"), problem, fix);
        }
        if pgdata != data {
            let problem = format!("PGDATA is `{pgdata}`, where no data of this version is");
            report.add(object, &format!("{path}.env"), problem, format!("set {data}"));
        }
    }
}

fn pgdata_on_claim(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let Some((path, container, pgdata, _)) = server(object) else { continue };
        let claimed = claimed(object);
        let kept = items(&container["volumeMounts"]).iter().any(|mount| {
            let below = mount["mountPath"].as_str().unwrap_or_default();
            mount["name"].as_str().is_some_and(|name| claimed.contains(&name))
                && mount.get("subPath").is_none()
                && mount["readOnly"] != true
                && pgdata.strip_prefix(below).is_some_and(|rest| rest.starts_with('/'))
        });
        if !kept {
            let problem = format!("PGDATA `{pgdata}` is not below a writable mount of a claim");
            let fix = "mount the claim above PGDATA, without subPath";
            report.add(object, &format!("{path}.volumeMounts"), problem, fix);
        }
    }
}

fn guard(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let Some((_, main, pgdata, major)) = server(object) else {
            let problem = "the image does not say its major version, so nothing can guard the data";
            report.add(object, "spec.template.spec.containers[0].image", problem, "use …-pg18");
            continue;
        };
        let containers = object.containers();
        let guard = containers.iter().find(|(_, container)| container["name"] == "guard");
        let sound = guard.is_some_and(|(path, guard)| {
            let variable = |name: &str| {
                let all = items(&guard["env"]).iter();
                all.filter(|one| one["name"] == name).find_map(|one| one["value"].as_str())
            };
            path.contains("initContainers")
                && guard["image"] == main["image"]
                && variable("PGDATA") == Some(pgdata.as_str())
                && variable("MAJOR") == Some(major.to_string().as_str())
                && guard["command"] == serde_json::json!(["/bin/sh", "/etc/postgresql/guard.sh"])
        });
        if !sound {
            let problem = "no init container guards the same PGDATA with the same image";
            let fix = "render it from templates/apps/paradedb/statefulset.yaml.j2";
            report.add(object, "spec.template.spec.initContainers", problem, fix);
        }
    }
}
