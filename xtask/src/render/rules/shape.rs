//! Rules about the shape of documents that Kubernetes' own types leave open.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::{Object, at, items};

pub(super) const RULES: [Rule; 4] = [
    Rule::new("required-field", "a field that k8s-openapi silently fills in", required),
    Rule::new("known-word", "a word that the API server does not know", known_word),
    Rule::new("config-map", "a ConfigMap that the API server refuses", config_map),
    Rule::new("disruption-budget", "a budget that protects nothing", budget),
];

fn required(set: &Set, report: &mut Report) {
    for object in set.objects {
        let fields: &[&str] = match object.key.kind.as_str() {
            "StatefulSet" => {
                &["spec.selector.matchLabels", "spec.template.spec", "spec.serviceName"]
            }
            "Deployment" => &["spec.selector.matchLabels", "spec.template.spec"],
            "Job" => &["spec.template.spec"],
            "CronJob" => &["spec.schedule", "spec.jobTemplate.spec.template.spec"],
            "Service" => &["spec.ports"],
            "PersistentVolumeClaim" => {
                &["spec.accessModes", "spec.storageClassName", "spec.resources.requests.storage"]
            }
            "NetworkPolicy" => &["spec.podSelector", "spec.policyTypes"],
            "StorageClass" => &["provisioner", "reclaimPolicy", "volumeBindingMode"],
            "EndpointSlice" => &["addressType", "endpoints", "ports"],
            "ConfigMap" => &["data"],
            _ => &[],
        };
        let missing = fields.iter().filter(|field| is_missing(object.at(field)));
        for field in missing {
            report.add(object, field, "the field is missing", "write it");
        }
        for (path, container) in object.containers() {
            for field in ["name", "image", "resources"] {
                if is_missing(&container[field]) {
                    report.add(
                        object,
                        &format!("{path}.{field}"),
                        "the field is missing",
                        "write it",
                    );
                }
            }
        }
    }
}

fn is_missing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Words with a fixed set of values: kind of object, path, values. `*` goes through a list.
const WORDS: [(&str, &str, &[&str]); 10] = [
    ("StatefulSet", "spec.updateStrategy.type", &["OnDelete", "RollingUpdate"]),
    ("StatefulSet", "spec.podManagementPolicy", &["OrderedReady"]),
    ("Deployment", "spec.strategy.type", &["Recreate", "RollingUpdate"]),
    ("CronJob", "spec.concurrencyPolicy", &["Forbid"]),
    ("Job", "spec.template.spec.restartPolicy", &["Never", "OnFailure"]),
    ("CronJob", "spec.jobTemplate.spec.template.spec.restartPolicy", &["Never", "OnFailure"]),
    ("PersistentVolumeClaim", "spec.volumeMode", &["Filesystem"]),
    ("StorageClass", "volumeBindingMode", &["WaitForFirstConsumer", "Immediate"]),
    ("EndpointSlice", "addressType", &["IPv4", "IPv6"]),
    ("Service", "spec.type", &["ClusterIP", "NodePort", "LoadBalancer"]),
];

fn known_word(set: &Set, report: &mut Report) {
    for object in set.objects {
        for (_, path, words) in WORDS.iter().filter(|(kind, ..)| object.is(kind)) {
            let value = object.at(path);
            if !value.is_null() && !words.contains(&value.as_str().unwrap_or_default()) {
                let problem = format!("{value} is not one of {}", words.join(", "));
                report.add(object, path, problem, "use one of them");
            }
        }
        let restarts = ["Deployment", "StatefulSet"].contains(&object.key.kind.as_str());
        let policy = object.at("spec.template.spec.restartPolicy");
        if restarts && !policy.is_null() && policy != "Always" {
            let path = "spec.template.spec.restartPolicy";
            report.add(object, path, "only Always restarts a server", "leave it out");
        }
        let jobs = ["CronJob", "Job"].contains(&object.key.kind.as_str());
        if jobs
            && object
                .pod_template()
                .is_some_and(|(_, pod)| is_missing(at(pod, "spec.restartPolicy")))
        {
            report.add(object, "restartPolicy", "a Job must say it", "write Never");
        }
        for protocol in protocols(object) {
            if !["TCP", "UDP", "SCTP"].contains(&protocol.as_str().unwrap_or_default()) {
                let problem = format!("{protocol} is no protocol");
                report.add(object, "protocol", problem, "write TCP");
            }
        }
        for mode in access_modes(object) {
            if mode != "ReadWriteOnce" && mode != "ReadWriteOncePod" {
                let problem = format!("{mode} is no mode for one server on one disk");
                report.add(object, "spec.accessModes", problem, "use ReadWriteOncePod");
            }
        }
    }
}

fn access_modes(object: &Object) -> Vec<&Value> {
    let claims = items(object.at("spec.volumeClaimTemplates")).iter();
    let own = object.is("PersistentVolumeClaim").then_some(&object.body);
    claims.chain(own).flat_map(|claim| items(at(claim, "spec.accessModes"))).collect()
}

fn protocols(object: &Object) -> Vec<&Value> {
    let containers = object.containers();
    let of_pods = containers.iter().flat_map(|(_, one)| items(&one["ports"]));
    let of_rules = ["spec.ingress", "spec.egress"]
        .into_iter()
        .flat_map(|path| items(object.at(path)))
        .flat_map(|rule| items(&rule["ports"]));
    let of_service = items(object.at("spec.ports"));
    of_pods
        .chain(of_rules)
        .chain(of_service)
        .chain(items(object.at("ports")))
        .filter_map(|port| port.get("protocol"))
        .collect()
}

fn config_map(set: &Set, report: &mut Report) {
    const MOST: usize = 1 << 20;
    for object in set.of("ConfigMap") {
        let Some(data) = object.at("data").as_object() else { continue };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if let Some(key) = data.keys().find(|key| key.is_empty() || !key.chars().all(allowed)) {
            let problem = format!("`{}` is no key", key.escape_debug());
            report.add(object, "data", problem, "use letters, digits, - _ and .");
        }
        if data.values().map(|text| text.as_str().map_or(0, str::len)).sum::<usize>() > MOST {
            report.add(object, "data", "it is larger than 1 MiB", "split it");
        }
    }
}

fn budget(set: &Set, report: &mut Report) {
    for object in set.of("PodDisruptionBudget") {
        let least = object.at("spec.minAvailable");
        let most = object.at("spec.maxUnavailable");
        if least.is_null() == most.is_null() {
            let problem = "it needs exactly one of minAvailable and maxUnavailable";
            report.add(object, "spec", problem, "set max_unavailable in the values");
        }
        let labels = object.at("spec.selector.matchLabels");
        let matches = set.of("StatefulSet").any(|one| {
            crate::render::object::selects(labels, one.at("spec.template.metadata.labels"))
        });
        if !matches {
            let problem = "the selector matches no server";
            report.add(object, "spec.selector", problem, "use pod.labels");
        }
    }
}
