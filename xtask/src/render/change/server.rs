//! Changes of the server and its claim that separate it from its data.

use serde_json::Value;

use super::Change;
use crate::render::object::{Object, at, items};

/// What separates the server from its data.
pub fn changes(before: &Object, after: &Object) -> Vec<Change> {
    match before.key.kind.as_str() {
        "StatefulSet" => stateful_set(before, after),
        "PersistentVolumeClaim" => {
            let path = "spec.resources.requests.storage";
            size(before, path, before.text(path), after.text(path)).into_iter().collect()
        }
        "Cluster" => {
            let path = "spec.storage.size";
            let size = size(before, path, before.text(path), after.text(path));
            let images = [before, after].map(|object| object.text("spec.imageName").to_string());
            size.into_iter().chain(major(before, "spec.imageName", &images)).collect()
        }
        _ => Vec::new(),
    }
}

fn stateful_set(before: &Object, after: &Object) -> Vec<Change> {
    let mut changes = Vec::new();
    let [old, new] = [before, after].map(DataPath::of);
    for ((path, old_value), (_, new_value)) in old.parts.iter().zip(&new.parts) {
        if old_value != new_value {
            let effect =
                format!("`{old_value}` becomes `{new_value}`: the data would not be found");
            let change = Change::refused(before, "data-path-changed", path, effect);
            changes.push(Change { accept: format!("pvc/{}", old.claim), ..change });
        }
    }
    let images = [before, after].map(|object| server(object)["image"].to_string());
    changes.extend(major(before, "spec.template.spec.containers[0].image", &images));
    let path = "spec.template.spec.securityContext";
    for field in ["runAsUser", "fsGroup"] {
        let [old, new] = [before, after].map(|object| &object.at(path)[field]);
        if !old.is_null() && old != new {
            let effect = format!("{field} {old} becomes {new}: the data belongs to {old}");
            let path = format!("{path}.{field}");
            changes.push(Change::refused(before, "data-owner-changed", &path, effect));
        }
    }
    changes
}

/// The container of the server: the one with PGDATA or the port, else the first.
fn server(object: &Object) -> &Value {
    let containers = items(object.at("spec.template.spec.containers"));
    let of_server = containers.iter().find(|container| variable(container, "PGDATA").is_some());
    of_server.or(containers.first()).unwrap_or(&Value::Null)
}

fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let all = items(&container["env"]).iter();
    all.filter(|one| one["name"] == name).find_map(|one| one["value"].as_str())
}

/// Everything that decides which bytes on which disk the server takes for its data.
struct DataPath {
    claim: String,
    parts: [(&'static str, String); 5],
}

impl DataPath {
    fn of(object: &Object) -> DataPath {
        let container = server(object);
        let by_name = items(object.at("spec.template.spec.volumes")).iter().filter_map(|volume| {
            let claim = at(volume, "persistentVolumeClaim.claimName").as_str()?;
            Some((volume["name"].as_str()?, claim.to_string()))
        });
        let by_template =
            items(object.at("spec.volumeClaimTemplates")).iter().filter_map(|template| {
                let name = at(template, "metadata.name").as_str()?;
                Some((name, format!("{name}-{}-0", object.key.name)))
            });
        let claims: Vec<(&str, String)> = by_name.chain(by_template).collect();
        let mount = items(&container["volumeMounts"])
            .iter()
            .find(|mount| claims.iter().any(|(name, _)| mount["name"] == *name));
        let text = |field: &str| {
            mount.and_then(|mount| mount[field].as_str()).unwrap_or_default().to_string()
        };
        let volume = text("name");
        let claim = claims.into_iter().find(|(name, _)| *name == volume).map(|(_, claim)| claim);
        let claim = claim.unwrap_or_default();
        let pgdata = variable(container, "PGDATA").unwrap_or_default().to_string();
        let parts = [
            ("PGDATA", pgdata),
            ("mountPath", text("mountPath")),
            ("subPath", text("subPath")),
            ("volume name", volume),
            ("claim", claim.clone()),
        ];
        DataPath { claim, parts }
    }
}

/// The major version that a tag names, as `…-pg18` or `18.1`.
fn major_of(image: &str) -> Option<u32> {
    let tag = image.trim_matches('"').split('@').next()?.rsplit(':').next()?;
    let digits =
        tag.rsplit_once("-pg").or_else(|| tag.rsplit_once("latest-pg")).map_or(tag, |p| p.1);
    digits.split(['.', '-']).next()?.parse().ok()
}

fn major(object: &Object, path: &str, [old, new]: &[String; 2]) -> Option<Change> {
    if old == new {
        return None;
    }
    let (old_major, new_major) = (major_of(old), major_of(new));
    if old_major.is_some() && old_major == new_major {
        return None;
    }
    let effect = format!(
        "{old} becomes {new}: PostgreSQL {} cannot start on the data of {}",
        shown(new_major),
        shown(old_major)
    );
    Some(Change::refused(object, "image-major-changed", path, effect))
}

fn shown(major: Option<u32>) -> String {
    major.map_or_else(|| "of an unknown major version".into(), |major| major.to_string())
}

/// A claim cannot shrink, and local-path cannot grow it either.
fn size(object: &Object, path: &str, old: &str, new: &str) -> Option<Change> {
    if old == new {
        return None;
    }
    let class = format!(
        "{}{}",
        object.text("spec.storageClassName"),
        object.text("spec.storage.storageClass")
    );
    let bytes = |text: &str| crate::render::values::scalar::Bytes::try_from(text.to_string()).ok();
    let grows = bytes(old).zip(bytes(new)).is_some_and(|(old, new)| new > old);
    if grows && !class.starts_with("local-path") {
        return None;
    }
    let effect = format!("{old} becomes {new}: {class} cannot do that to a living volume");
    Some(Change::refused(object, "claim-size", path, effect))
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn the_major_version_is_in_the_tag() {
        assert_eq!(major_of("docker.io/paradedb/paradedb:0.25.3-pg18@sha256:ab"), Some(18));
        assert_eq!(major_of("\"postgres:16.10-trixie\""), Some(16));
        assert_eq!(major_of("paradedb/paradedb:latest"), None);
    }
}
