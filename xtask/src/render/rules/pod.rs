//! Rules about pods: what the API server checks late, or never.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::{Object, at, items, selects};

pub(super) const RULES: [Rule; 11] = [
    Rule::new("volume-declared", "a mount of a volume that is not there", volume_declared),
    Rule::new("mount-unique", "two mounts at one path", mount_unique),
    Rule::new("config-key", "a file from a ConfigMap or key that is not there", config_key),
    Rule::new("container-unique", "two containers of one name", container_unique),
    Rule::new("quantity", "a size that Kubernetes reads otherwise, or not at all", quantity),
    Rule::new("request-within-limit", "a pod that is refused", request_within_limit),
    Rule::new("guaranteed", "a server that the node evicts first", guaranteed),
    Rule::new("shared-memory", "a parallel query without shared memory", shared_memory),
    Rule::new("grace-period", "a server killed in its last checkpoint", grace),
    Rule::new("entry-point", "an image that does not prepare its data folder", entry_point),
    Rule::new("selector-matches", "a workload that does not find its own pods", selector),
];

fn volume_declared(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((_, template)) = object.pod_template() else { continue };
        let declared: BTreeSet<&str> = items(at(template, "spec.volumes"))
            .iter()
            .filter_map(|volume| volume["name"].as_str())
            .chain(
                items(object.at("spec.volumeClaimTemplates"))
                    .iter()
                    .filter_map(|one| at(one, "metadata.name").as_str()),
            )
            .collect();
        for (path, container) in object.containers() {
            for mount in items(&container["volumeMounts"]) {
                let name = mount["name"].as_str().unwrap_or_default();
                if !declared.contains(name) {
                    let problem = format!("the volume `{name}` is not declared");
                    report.add(object, &format!("{path}.volumeMounts"), problem, "declare it");
                }
            }
        }
    }
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

fn mount_unique(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        for (path, container) in object.containers() {
            let paths = items(&container["volumeMounts"]).iter();
            if let Some(twice) = repeated(paths.filter_map(|mount| mount["mountPath"].as_str())) {
                let problem = format!("`{twice}` is mounted twice");
                report.add(object, &format!("{path}.volumeMounts"), problem, "keep one of them");
            }
        }
    }
}

fn config_key(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        for volume in items(at(template, "spec.volumes")) {
            let Some(name) = at(volume, "configMap.name").as_str() else { continue };
            let Some(map) = set.of("ConfigMap").find(|map| map.key.name == name) else {
                let problem = format!("the ConfigMap `{name}` is not rendered");
                report.add(object, &format!("{path}.spec.volumes"), problem, "correct the name");
                continue;
            };
            let mounts = object.containers().into_iter().flat_map(|(_, container)| {
                items(&container["volumeMounts"]).iter().collect::<Vec<_>>()
            });
            let by_path = mounts
                .filter(|mount| mount["name"] == volume["name"])
                .filter_map(|mount| mount["subPath"].as_str());
            let by_item = items(at(volume, "configMap.items")).iter();
            let keys = by_path.chain(by_item.filter_map(|item| item["key"].as_str()));
            for key in keys.filter(|key| map.at("data").get(key).is_none()) {
                let problem = format!("the ConfigMap `{name}` has no key `{key}`");
                report.add(object, &format!("{path}.spec"), problem, "correct the key");
            }
        }
    }
}

fn container_unique(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let containers = object.containers();
        let names = containers.iter().filter_map(|(_, one)| one["name"].as_str());
        if let Some(twice) = repeated(names) {
            let problem = format!("two containers are named `{twice}`");
            report.add(object, "spec.template.spec", problem, "rename one of them");
        }
    }
}

/// A quantity in thousandths of its unit; `None` where Kubernetes would not read it.
fn amount(text: &str) -> Option<f64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..unit_at].parse().ok()?;
    let factor = match &text[unit_at..] {
        "" => 1000.0,
        "m" => 1.0,
        "Ki" => 1000.0 * 1024.0,
        "Mi" => 1000.0 * 1024.0 * 1024.0,
        "Gi" => 1000.0 * 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1000.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number * factor)
}

/// Every quantity of an object, with its path. A size must have a binary unit.
fn quantities(object: &Object) -> Vec<(String, &Value, bool)> {
    let mut all = Vec::new();
    for (path, container) in object.containers() {
        for kind in ["requests", "limits"] {
            for (resource, is_size) in [("cpu", false), ("memory", true)] {
                let value = &container["resources"][kind][resource];
                all.push((format!("{path}.resources.{kind}.{resource}"), value, is_size));
            }
        }
    }
    if let Some((path, template)) = object.pod_template() {
        for volume in items(at(template, "spec.volumes")) {
            if let Some(limit) = volume.get("emptyDir").map(|dir| &dir["sizeLimit"]) {
                all.push((format!("{path}.spec.volumes.emptyDir.sizeLimit"), limit, true));
            }
        }
    }
    let claims = items(object.at("spec.volumeClaimTemplates")).iter();
    for claim in claims.chain(object.is("PersistentVolumeClaim").then_some(&object.body)) {
        let value = at(claim, "spec.resources.requests.storage");
        all.push(("spec.resources.requests.storage".into(), value, true));
    }
    all
}

fn quantity(set: &Set, report: &mut Report) {
    for object in set.objects {
        for (path, value, is_size) in quantities(object) {
            let text = value.as_str().unwrap_or_default();
            let good = amount(text).is_some_and(|amount| amount > 0.0)
                && (!is_size || text.ends_with('i'));
            if !good {
                let problem = format!("{value} is not a quantity with a sure unit");
                report.add(object, &path, problem, "write cores as \"500m\", sizes as \"512Mi\"");
            }
        }
    }
}

fn request_within_limit(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        for (path, container) in object.containers() {
            for resource in ["cpu", "memory"] {
                let of = |kind: &str| {
                    amount(container["resources"][kind][resource].as_str().unwrap_or_default())
                };
                if of("requests").zip(of("limits")).is_some_and(|(request, limit)| request > limit)
                {
                    let path = format!("{path}.resources.requests.{resource}");
                    report.add(object, &path, "the request is above the limit", "lower it");
                }
            }
        }
    }
}

fn guaranteed(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        for (path, container) in object.containers() {
            if container["resources"]["requests"] != container["resources"]["limits"] {
                let problem = "requests and limits differ, so the node evicts the server first";
                report.add(object, &format!("{path}.resources"), problem, "make them equal");
            }
        }
    }
}

fn shared_memory(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let Some((path, template)) = object.pod_template() else { continue };
        let containers = object.containers();
        let mounts = containers.iter().flat_map(|(_, one)| items(&one["volumeMounts"]));
        let names: Vec<&Value> = mounts
            .filter(|mount| mount["mountPath"] == "/dev/shm")
            .map(|mount| &mount["name"])
            .collect();
        let sound = items(at(template, "spec.volumes")).iter().any(|volume| {
            names.contains(&&volume["name"])
                && at(volume, "emptyDir.medium") == "Memory"
                && at(volume, "emptyDir.sizeLimit").is_string()
        });
        if !sound {
            let problem = "/dev/shm has 64 MiB, and parallel queries fail beyond it";
            let fix = "mount an emptyDir with medium Memory and a sizeLimit there";
            report.add(object, &format!("{path}.spec.volumes"), problem, fix);
        }
    }
}

fn grace(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let path = "spec.template.spec.terminationGracePeriodSeconds";
        if object.at(path).as_u64().is_none_or(|seconds| seconds < 60) {
            let problem = "the last checkpoint may take longer, and a kill means crash recovery";
            report.add(object, path, problem, "allow at least 60 seconds");
        }
    }
}

fn entry_point(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        for (path, container) in object.containers() {
            let scripts = items(&container["volumeMounts"])
                .iter()
                .any(|mount| mount["mountPath"] == "/docker-entrypoint-initdb.d");
            if container["name"] == "paradedb" && container.get("command").is_some() {
                let problem = "a command replaces the image's entry point, which prepares PGDATA";
                report.add(object, &format!("{path}.command"), problem, "use args");
            }
            if scripts {
                let problem = "a mounted folder hides the image's own first step";
                let path = format!("{path}.volumeMounts");
                report.add(object, &path, problem, "mount single files by subPath");
            }
        }
    }
}

fn selector(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet").chain(set.of("Deployment")) {
        let wanted = object.at("spec.selector.matchLabels");
        if !selects(wanted, object.at("spec.template.metadata.labels")) {
            let problem = "the selector does not match the labels of the template";
            report.add(object, "spec.selector", problem, "make them equal");
        }
        let others = set.workloads().filter(|other| other.key != object.key);
        for other in others {
            let Some((_, template)) = other.pod_template() else { continue };
            if selects(wanted, at(template, "metadata.labels")) {
                let problem = format!("the selector also matches the pods of {}", other.key);
                report.add(object, "spec.selector", problem, "give each its own label");
            }
        }
    }
}
