//! Rules about names and labels.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::{at, items};

pub(super) const RULES: [Rule; 6] = [
    Rule::new("name-syntax", "a name that the API server refuses", name_syntax),
    Rule::new("name-length", "a StatefulSet or CronJob whose pods cannot be named", name_length),
    Rule::new("unique-object", "two files that fight over one object", unique),
    Rule::new("namespace", "an object in the wrong namespace, or in default", namespace),
    Rule::new("label-syntax", "a label that the API server refuses", label_syntax),
    Rule::new("tracking-label", "claims that ArgoCD takes for its own and prunes", tracking),
];

const CLUSTER_KINDS: [&str; 3] = ["Namespace", "StorageClass", "PersistentVolume"];

fn name_syntax(set: &Set, report: &mut Report) {
    for object in set.objects {
        let name = &object.key.name;
        let good = (1..=253).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !good {
            let problem = format!("`{name}` is not a DNS name");
            report.add(object, "metadata.name", problem, "use lower-case letters, digits and -");
        }
        for (path, container) in object.containers() {
            let ports = items(&container["ports"]).iter();
            for port in ports {
                let name = port["name"].as_str().unwrap_or_default();
                let number = port["containerPort"].as_i64().unwrap_or(0);
                if name.is_empty() || name.len() > 15 || !(1..=65535).contains(&number) {
                    let problem = format!("`{name}` {number} is no named port");
                    let fix = "use at most 15 letters, and 1 to 65535";
                    report.add(object, &format!("{path}.ports"), problem, fix);
                }
            }
        }
    }
}

fn name_length(set: &Set, report: &mut Report) {
    for object in set.objects {
        let most = match object.key.kind.as_str() {
            // Ten characters of a hash, or eleven of a time, are appended and must fit a label.
            "StatefulSet" | "CronJob" | "Deployment" => 52,
            "Service" | "Job" | "Namespace" => 63,
            _ => 253,
        };
        if object.key.name.len() > most {
            let problem = format!("{} characters are more than {most}", object.key.name.len());
            report.add(object, "metadata.name", problem, "shorten names.workload");
        }
    }
}

fn unique(set: &Set, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for object in set.objects {
        if !seen.insert(&object.key) {
            let problem = format!("it is rendered twice, the second time in {}", object.file);
            report.add(object, "metadata.name", problem, "rename one of them");
        }
    }
}

fn namespace(set: &Set, report: &mut Report) {
    let own = set.values.namespace.name.as_str();
    for object in set.objects {
        let kind = object.key.kind.as_str();
        let argocd =
            set.values.argocd.as_ref().map_or("argocd", |argocd| argocd.namespace.as_str());
        let wanted = match kind {
            kind if CLUSTER_KINDS.contains(&kind) => "",
            "Application" | "AppProject" => argocd,
            _ => own,
        };
        if object.key.namespace != wanted || wanted == "default" {
            let problem = format!("the namespace is `{}`", object.key.namespace);
            let fix = if wanted == "default" {
                "choose a namespace of its own".into()
            } else {
                format!("use `{wanted}`")
            };
            report.add(object, "metadata.namespace", problem, fix);
        }
    }
}

fn is_label_name(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or_default();
    text.split('/').count() <= 2 && !name.is_empty() && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && (text.is_empty() || (text.starts_with(edge) && text.ends_with(edge)))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn label_syntax(set: &Set, report: &mut Report) {
    for object in set.objects {
        let mut places = vec![("metadata.labels".to_string(), object.at("metadata.labels"))];
        if let Some((path, template)) = object.pod_template() {
            let labels = at(template, "metadata.labels");
            places.push((format!("{path}.metadata.labels"), labels));
            let node = at(template, "spec.nodeSelector");
            places.push((format!("{path}.spec.nodeSelector"), node));
        }
        places.push(("spec.selector".into(), object.at("spec.selector.matchLabels")));
        for (path, labels) in places {
            for (name, value) in labels.as_object().into_iter().flatten() {
                if !is_label_name(name) || !value.as_str().is_some_and(is_label_value) {
                    let problem = format!("`{}: {value}` is no label", name.escape_debug());
                    let fix = "use at most 63 letters, digits, - _ and .";
                    report.add(object, &path, problem, fix);
                }
            }
        }
    }
}

fn tracking(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        for claim in items(object.at("spec.volumeClaimTemplates")) {
            let labels = at(claim, "metadata.labels");
            if labels.get("app.kubernetes.io/instance").is_some_and(Value::is_string) {
                let problem = "claims with ArgoCD's tracking label look like leftovers to it";
                let path = "spec.volumeClaimTemplates.metadata.labels";
                report.add(object, path, problem, "leave app.kubernetes.io/instance out");
            }
        }
    }
}
