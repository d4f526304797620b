//! Rules about the objects of other operators.

use super::{Report, Rule, Set};
use crate::render::context::image_reference;
use crate::render::object::items;

pub(super) const RULES: [Rule; 2] = [
    Rule::new("secret-keys", "a pod that waits for a key that nobody makes", secret_keys),
    Rule::new("cluster-image", "an operator that runs another server", cluster_image),
];

fn secret_keys(set: &Set, report: &mut Report) {
    let name = set.values.secret.name.as_str();
    let Some(source) = set.objects.iter().find(|object| {
        object.key.name == name && (object.is("ExternalSecret") || object.is("SealedSecret"))
    }) else {
        return;
    };
    let made: Vec<&str> = match source.key.kind.as_str() {
        "ExternalSecret" => items(source.at("spec.data"))
            .iter()
            .filter_map(|one| one["secretKey"].as_str())
            .collect(),
        _ => source
            .at("spec.encryptedData")
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect(),
    };
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        let volumes = items(crate::render::object::at(template, "spec.volumes")).iter();
        let used = volumes
            .filter(|volume| volume["secret"]["secretName"] == name)
            .flat_map(|volume| items(&volume["secret"]["items"]))
            .filter_map(|item| item["key"].as_str());
        for key in used.filter(|key| !made.contains(key)) {
            let problem = format!("{} does not make the key {key}", source.key);
            let fix = "add the key to the Secret's source";
            report.add(object, &format!("{path}.spec.volumes"), problem, fix);
        }
    }
}

fn cluster_image(set: &Set, report: &mut Report) {
    for object in set.of("Cluster") {
        if object.text("spec.imageName") != image_reference(set.values) {
            let problem = "the image is not that of the values";
            report.add(object, "spec.imageName", problem, "use image.version");
        }
        let loaded = items(object.at("spec.postgresql.shared_preload_libraries"));
        if set.values.engine == crate::render::values::choice::Engine::Paradedb
            && !loaded.iter().any(|library| library == "pg_search")
        {
            let path = "spec.postgresql.shared_preload_libraries";
            report.add(object, path, "pg_search is not loaded", "name it in postgresql.preload");
        }
    }
}
