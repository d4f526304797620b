//! One object of Kubernetes, as rules see it: a tree of JSON with a name.

use std::fmt;

use serde_json::Value;

/// What identifies an object for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Group without version, empty for the core.
    pub group: String,
    /// Kind, as `StatefulSet`.
    pub kind: String,
    /// Namespace, empty where the kind has none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// How an operator names the object: `pvc/rbs-paradedb-data`.
    pub fn short(&self) -> String {
        let kind = match self.kind.as_str() {
            "PersistentVolumeClaim" => "pvc".to_string(),
            "PersistentVolume" => "pv".to_string(),
            other => other.to_lowercase(),
        };
        format!("{kind}/{}", self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.short())
    }
}

/// One object, and the file that holds it.
#[derive(Debug, Clone)]
pub struct Object {
    /// What identifies it.
    pub key: Key,
    /// The file, relative to the workspace.
    pub file: String,
    /// The whole document.
    pub body: Value,
}

impl Object {
    /// Takes a document for an object.
    pub fn new(file: &str, body: Value) -> Object {
        let text = |pointer: &str| {
            body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string()
        };
        let version = text("/apiVersion");
        let group = version.split_once('/').map_or("", |(group, _)| group).to_string();
        let key = Key {
            group,
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        };
        Object { key, file: file.into(), body }
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.key.kind == kind
    }

    /// The value at a path of the form `spec.template.spec`; `Null` where there is none.
    pub fn at(&self, path: &str) -> &Value {
        at(&self.body, path)
    }

    /// The text at a path; empty where there is none.
    pub fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }

    /// One annotation; empty where there is none.
    pub fn annotation(&self, name: &str) -> &str {
        self.at("metadata.annotations").get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The wave in which ArgoCD applies it; 0 where it does not say.
    pub fn wave(&self) -> i64 {
        self.annotation("argocd.argoproj.io/sync-wave").parse().unwrap_or(0)
    }

    /// The template of the pods that it makes, with its path.
    pub fn pod_template(&self) -> Option<(&'static str, &Value)> {
        let path = match self.key.kind.as_str() {
            "StatefulSet" | "Deployment" | "Job" => "spec.template",
            "CronJob" => "spec.jobTemplate.spec.template",
            _ => return None,
        };
        Some((path, self.at(path)))
    }

    /// Every container of its pods, init containers first, with its path.
    pub fn containers(&self) -> Vec<(String, &Value)> {
        let Some((path, template)) = self.pod_template() else { return Vec::new() };
        ["initContainers", "containers"]
            .into_iter()
            .flat_map(|list| {
                items(at(template, &format!("spec.{list}")))
                    .iter()
                    .enumerate()
                    .map(move |(index, one)| (format!("{path}.spec.{list}[{index}]"), one))
            })
            .collect()
    }
}

/// The value at a path of the form `spec.template.spec`; `Null` where there is none.
pub fn at<'a>(body: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(body, |value, name| &value[name])
}

/// The items of a list; none where it is no list.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether each label of a selector is among some labels. An empty selector selects nothing here.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
    })
}
