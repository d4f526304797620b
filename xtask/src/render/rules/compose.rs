//! Rules about `docker-compose.yml` and `.env.example`.

use serde_json::{Map, Value};

use super::secret::holds_password;
use super::{Report, Rule, Set};
use crate::render::context::{data_paths, image_reference};
use crate::render::object::items;
use crate::render::read;

pub(super) const RULES: [Rule; 5] = [
    Rule::new("compose-ports", "a developer's database on the open network", ports),
    Rule::new("compose-volume", "development data that is gone with the container", volume),
    Rule::new("compose-image", "development on another version than production", image),
    Rule::new("compose-health", "a service that counts as healthy while it initialises", health),
    Rule::new("compose-secret", "a password in the compose file", secret),
];

const FILE: &str = "docker-compose.yml";

/// The services of the compose file; none where it is not rendered.
fn services(set: &Set) -> Map<String, Value> {
    let Some(file) = set.files.iter().find(|file| file.path == FILE) else { return Map::new() };
    let document = read::loosely(FILE, &file.text).objects.into_iter().next();
    let services = document.map(|one| one.body["services"].clone());
    services.and_then(|value| value.as_object().cloned()).unwrap_or_default()
}

fn ports(set: &Set, report: &mut Report) {
    for (name, service) in services(set) {
        let open = items(&service["ports"])
            .iter()
            .any(|port| !port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")));
        if open {
            let problem = format!("{name}: a port is open to the network");
            report.add_file(FILE, problem, "publish it on 127.0.0.1");
        }
    }
}

fn volume(set: &Set, report: &mut Report) {
    let services = services(set);
    let Some(service) = services.get("paradedb") else { return };
    let (mount, pgdata) = data_paths(set.values.image.postgres_major);
    let mounted = items(&service["volumes"])
        .iter()
        .filter_map(Value::as_str)
        .any(|volume| volume.split_once(':').is_some_and(|(_, path)| path == mount));
    if !mounted || service["environment"]["PGDATA"] != pgdata {
        let problem = format!("the volume is not at {mount}, or PGDATA is not {pgdata}");
        report.add_file(FILE, problem, "render both from image.postgres_major");
    }
}

fn image(set: &Set, report: &mut Report) {
    let services = services(set);
    for (name, service) in &services {
        let image = service["image"].as_str().unwrap_or_default();
        let tag =
            image.split('@').next().unwrap_or_default().rsplit(':').next().unwrap_or_default();
        let other = name == "paradedb" && image != image_reference(set.values);
        if other || !super::image::is_exact(tag) {
            let problem = format!("{name}: `{image}` is not the exact image of the values");
            report.add_file(FILE, problem, "use image.version and an exact tag");
        }
    }
}

fn health(set: &Set, report: &mut Report) {
    for (name, service) in services(set) {
        let test = items(&service["healthcheck"]["test"]);
        if !test.contains(&Value::from("--host=127.0.0.1")) {
            let problem = format!("{name}: the health check does not ask by address");
            report.add_file(FILE, problem, "use pg_isready --host=127.0.0.1");
        }
    }
}

fn secret(set: &Set, report: &mut Report) {
    let Some(file) = set.files.iter().find(|file| file.path == FILE) else { return };
    let literal = file.text.lines().any(|line| line.trim_start().starts_with("POSTGRES_PASSWORD:"));
    if literal || holds_password(&file.text) {
        report.add_file(FILE, "it holds a password", "read it from RBS_PG_PASSWORD");
    }
    let Some(example) = set.files.iter().find(|file| file.path == ".env.example") else { return };
    for name in ["DATABASE", "USER", "PASSWORD", "HOST", "PORT"] {
        if !example.text.lines().any(|line| line.starts_with(&format!("RBS_PG_{name}="))) {
            let problem = format!("RBS_PG_{name} is missing");
            report.add_file(".env.example", problem, "name what the application reads");
        }
    }
}
