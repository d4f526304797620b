//! Changes of `docker-compose.yml` that separate a developer's server from its data.

use serde_json::Value;

use super::{Change, Class, server};
use crate::render::files::COMPOSE;
use crate::render::object::items;
use crate::render::read;

/// What a change of the compose file does to the volumes of the old one.
pub fn changes(old: &str, new: &str) -> Vec<Change> {
    if old == new {
        return Vec::new();
    }
    let [old, new] = [old, new].map(document);
    let mut all = Vec::new();
    let (before, after) = (volumes(&old), volumes(&new));
    for (volume, place) in &before {
        let Some((_, now)) = after.iter().find(|(name, _)| name == volume) else {
            let effect = "docker compose would make an empty one under another name";
            all.push(refused("compose-volume-removed", volume, "", effect.into()));
            continue;
        };
        if place != now {
            let effect = format!("`{place}` becomes `{now}`: the data would not be found");
            all.push(refused("data-path-changed", volume, "services", effect));
        }
    }
    for (name, service) in services(&old) {
        let images = [service, &new["services"][name]]
            .map(|service| service["image"].as_str().unwrap_or_default().to_string());
        let volume = before.iter().find(|(volume, _)| mounts(&old, service, volume).is_some());
        let Some((volume, _)) = volume.filter(|_| !images[1].is_empty()) else { continue };
        if let Some(effect) = server::other_major(&images) {
            let path = format!("services.{name}.image");
            all.push(refused("image-major-changed", volume, &path, effect));
        }
    }
    all
}

fn refused(rule: &'static str, volume: &str, path: &str, effect: String) -> Change {
    let object = format!("volume/{volume}");
    let (rule, path, accept) = (Some(rule), path.to_string(), object.clone());
    Change { object, path, class: Class::Refused, rule, effect, accept }
}

fn document(text: &str) -> Value {
    let first = read::loosely(COMPOSE, text).objects.into_iter().next();
    first.map(|one| one.body).unwrap_or_default()
}

fn services(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["services"].as_object().into_iter().flatten()
}

/// Every volume as docker names it, with the place of the data of the service that mounts it.
fn volumes(document: &Value) -> Vec<(String, String)> {
    let project = document["name"].as_str().unwrap_or_default();
    let names = document["volumes"].as_object().into_iter().flatten();
    names
        .map(|(name, _)| {
            let volume = format!("{project}_{name}");
            let mut places =
                services(document).filter_map(|(_, service)| mounts(document, service, &volume));
            let place = places.next().unwrap_or_default();
            (volume, place)
        })
        .collect()
}

/// Where a service has a volume, and where its data is in it.
fn mounts(document: &Value, service: &Value, volume: &str) -> Option<String> {
    let project = document["name"].as_str().unwrap_or_default();
    let mounted = items(&service["volumes"]).iter().filter_map(Value::as_str);
    let (_, path) = mounted
        .filter_map(|mount| mount.split_once(':'))
        .find(|(name, _)| format!("{project}_{name}") == volume)?;
    let pgdata = service["environment"]["PGDATA"].as_str().unwrap_or_default();
    Some(format!("{path} {pgdata}").trim().to_string())
}
