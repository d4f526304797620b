//! What a change of manifests would do to a living database: nothing, a restart, or a loss.
//!
//! The accident that this prevents: a StatefulSet and its claim got other names in Git, ArgoCD
//! pruned the old ones, and the database came back empty.

use serde_json::Value;

use super::object::{Object, at};
use super::rules::HOLDS_DATA;

mod server;

/// Why a change is refused, and what that protects from.
pub const RULES: [(&str, &str); 9] = [
    ("data-object-removed", "a rename or removal of what holds data"),
    ("data-path-changed", "a server that looks for its data elsewhere and initialises anew"),
    ("image-major-changed", "a server that cannot read the data of the former major version"),
    ("data-owner-changed", "a server that may no longer read its data"),
    ("immutable-field", "a change that needs the object deleted and recreated"),
    ("claim-size", "a size that the disk cannot take on"),
    ("protection-removed", "the next sync deleting what this one may not"),
    ("application-moved", "ArgoCD pruning everything that the new path does not hold"),
    ("service-removed", "clients without the address that they know"),
];

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nothing that anybody notices.
    Harmless,
    /// The pod restarts: a short outage of one server.
    Restarts,
    /// Data, or the way to it, would be lost or recreated.
    Refused,
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The object, as `statefulset/rbs-paradedb`.
    pub object: String,
    /// What changes in it.
    pub path: String,
    /// What the change does.
    pub class: Class,
    /// The rule that refuses it.
    pub rule: Option<&'static str>,
    /// What happens, in words.
    pub effect: String,
    /// What `--accept-data-loss` must name to allow it.
    pub accept: String,
}

impl Change {
    fn refused(object: &Object, rule: &'static str, path: &str, effect: String) -> Change {
        let name = object.key.short();
        let (object, path) = (name.clone(), path.to_string());
        Change { object, path, class: Class::Refused, rule: Some(rule), effect, accept: name }
    }

    fn allowed(object: &Object, class: Class, path: &str, effect: &str) -> Change {
        let name = object.key.short();
        let (object, path, effect) = (name.clone(), path.to_string(), effect.to_string());
        Change { object, path, class, rule: None, effect, accept: name }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let Change { object, path, class, rule, effect, .. } = self;
        let word = match class {
            Class::Harmless => "harmless",
            Class::Restarts => "restarts",
            Class::Refused => "REFUSED",
        };
        let rule = rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
        let place = if path.is_empty() { object.clone() } else { format!("{object} {path}") };
        format!("{word:<9} {place}: {rule}{effect}")
    }
}

/// The changes that stay refused after the operator named what may be lost.
pub fn refused<'a>(changes: &'a [Change], accepted: &[String]) -> Vec<&'a Change> {
    let stays =
        |change: &&Change| change.class == Class::Refused && !accepted.contains(&change.accept);
    changes.iter().filter(stays).collect()
}

/// Every change from one set of objects to another, the worst first.
pub fn between(old: &[Object], new: &[Object]) -> Vec<Change> {
    let mut changes = Vec::new();
    for before in old {
        match new.iter().find(|after| after.key == before.key) {
            None => changes.push(removed(before, new, old)),
            Some(after) => changes.extend(changed(before, after)),
        }
    }
    let added = new.iter().filter(|after| !old.iter().any(|before| before.key == after.key));
    changes.extend(added.map(|one| Change::allowed(one, Class::Harmless, "", "is new")));
    changes.sort_by_key(|change| std::cmp::Reverse(change.class));
    changes
}

/// What the removal of an object does.
pub fn removed(before: &Object, new: &[Object], old: &[Object]) -> Change {
    let kind = before.key.kind.as_str();
    let successor = new.iter().find(|after| {
        after.key.kind == before.key.kind && !old.iter().any(|one| one.key == after.key)
    });
    let instead = successor.map(|one| format!(", and {} comes instead", one.key));
    let instead = instead.unwrap_or_default();
    if HOLDS_DATA.contains(&kind) {
        let effect = format!("ArgoCD would prune it{instead}: the database would come back empty");
        Change::refused(before, "data-object-removed", "", effect)
    } else if kind == "Service" {
        let effect = format!("its address goes{instead}: clients lose the database");
        Change::refused(before, "service-removed", "", effect)
    } else {
        Change::allowed(before, Class::Harmless, "", "is removed")
    }
}

/// Fields that no object can change while it lives, by kind.
const IMMUTABLE: [(&str, &[&str]); 7] = [
    (
        "StatefulSet",
        &[
            "spec.serviceName",
            "spec.selector",
            "spec.podManagementPolicy",
            "spec.volumeClaimTemplates",
        ],
    ),
    (
        "PersistentVolumeClaim",
        &["spec.accessModes", "spec.storageClassName", "spec.volumeMode", "spec.volumeName"],
    ),
    ("Service", &["spec.clusterIP", "spec.type"]),
    ("StorageClass", &["provisioner", "reclaimPolicy", "parameters", "volumeBindingMode"]),
    ("Deployment", &["spec.selector"]),
    ("EndpointSlice", &["addressType"]),
    ("Cluster", &["spec.storage.storageClass", "spec.bootstrap"]),
];

/// What the change of an object does, field by field.
pub fn changed(before: &Object, after: &Object) -> Vec<Change> {
    let mut changes = Vec::new();
    let fields = IMMUTABLE.iter().filter(|(kind, _)| before.is(kind)).flat_map(|(_, f)| *f);
    for field in fields {
        if plain(before.at(field)) != plain(after.at(field)) {
            let effect = format!(
                "{} becomes {}: the object must be deleted and recreated",
                clipped(before.at(field)),
                clipped(after.at(field))
            );
            changes.push(Change::refused(before, "immutable-field", field, effect));
        }
    }
    changes.extend(server::changes(before, after));
    changes.extend(protection(before, after));
    changes.extend(application(before, after));
    if !changes.is_empty() {
        return changes;
    }
    let (old, new) = (plain(&before.body), plain(&after.body));
    let Some(path) = first_difference(&old, &new, String::new()) else { return changes };
    let template = before.pod_template().map(|(path, _)| path);
    let restarts = ["StatefulSet", "Deployment"].contains(&before.key.kind.as_str())
        && template.is_some_and(|path| plain(before.at(path)) != plain(after.at(path)));
    changes.push(if restarts {
        Change::allowed(before, Class::Restarts, &path, "the pod template changes")
    } else if before.is("Cluster") {
        Change::allowed(before, Class::Restarts, &path, "the operator may restart the server")
    } else {
        Change::allowed(before, Class::Harmless, &path, "changes")
    });
    changes
}

/// A document without what the server adds and nobody writes.
fn plain(body: &Value) -> Value {
    const ADDED: [&str; 7] = [
        "status",
        "creationTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "uid",
        "kubectl.kubernetes.io/last-applied-configuration",
    ];
    match body {
        Value::Object(entries) => entries
            .iter()
            .filter(|(name, value)| !ADDED.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

fn clipped(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The path of the first difference; `None` where there is none.
fn first_difference(old: &Value, new: &Value, path: String) -> Option<String> {
    if old == new {
        return None;
    }
    let below = |name: &str| if path.is_empty() { name.into() } else { format!("{path}.{name}") };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let before = old.get(name).unwrap_or(&Value::Null);
                let after = new.get(name).unwrap_or(&Value::Null);
                first_difference(before, after, below(name))
            })
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).enumerate().find_map(|(index, (before, after))| {
                first_difference(before, after, format!("{path}[{index}]"))
            })
        }
        _ => Some(path),
    }
}

/// Protections that were there and are not any more.
fn protection(before: &Object, after: &Object) -> Vec<Change> {
    let mut changes = Vec::new();
    if !HOLDS_DATA.contains(&before.key.kind.as_str()) {
        return changes;
    }
    let name = "argocd.argoproj.io/sync-options";
    let lost: Vec<&str> = before
        .annotation(name)
        .split(',')
        .filter(|option| option.starts_with("Prune=") || option.starts_with("Delete="))
        .filter(|option| !after.annotation(name).split(',').any(|one| one == *option))
        .collect();
    if !lost.is_empty() {
        let effect = format!("{} goes: the next sync may delete it", lost.join(" and "));
        changes.push(Change::refused(before, "protection-removed", "metadata.annotations", effect));
    }
    let path = "spec.persistentVolumeClaimRetentionPolicy";
    if before.at(path)["whenDeleted"] == "Retain" && after.at(path) != before.at(path) {
        let effect = "claims may go with the StatefulSet".to_string();
        changes.push(Change::refused(before, "protection-removed", path, effect));
    }
    changes
}

/// Changes of an Application that make ArgoCD prune.
fn application(before: &Object, after: &Object) -> Vec<Change> {
    if !before.is("Application") {
        return Vec::new();
    }
    let moved = ["spec.source.path", "spec.source.repoURL", "spec.destination", "spec.project"];
    let mut changes: Vec<Change> = moved
        .iter()
        .filter(|path| before.at(path) != after.at(path))
        .map(|path| {
            let effect = "objects that the new place does not hold would be pruned".to_string();
            Change::refused(before, "application-moved", path, effect)
        })
        .collect();
    let prunes = |object: &Object| at(&object.body, "spec.syncPolicy.automated.prune") == true;
    let cascades = |object: &Object| at(&object.body, "metadata.finalizers").is_array();
    if (prunes(after) && !prunes(before)) || (cascades(after) && !cascades(before)) {
        let effect = "ArgoCD would delete what leaves Git".to_string();
        changes.push(Change::refused(before, "protection-removed", "spec.syncPolicy", effect));
    }
    changes
}
