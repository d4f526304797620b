//! Rules about the objects of other operators.

use super::{Report, Rule, Set};
use crate::render::context::access;
use crate::render::context::image_reference;
use crate::render::object::{Object, items};

pub(super) const RULES: [Rule; 4] = [
    Rule::new("secret-keys", "a pod that waits for a key that nobody makes", secret_keys),
    Rule::new("cluster-image", "an operator that runs another server", cluster_image),
    Rule::new("cluster-roles", "a role of an operator's server that cannot log in", cluster_roles),
    Rule::new("cluster-backup", "a base backup that has no place to go", cluster_backup),
];

fn secret_keys(set: &Set, report: &mut Report) {
    for source in set.of("ExternalSecret").chain(set.of("SealedSecret")) {
        keys_of(source, set, report);
    }
}

/// Holds the keys that pods use of a Secret against those that its source makes.
fn keys_of(source: &Object, set: &Set, report: &mut Report) {
    let name = source.key.name.as_str();
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

fn cluster_roles(set: &Set, report: &mut Report) {
    for object in set.of("Cluster") {
        let roles = access::roles(set.values);
        let secret = |role: &access::Role<'_>| role.password(set.values).0;
        let path = "spec.bootstrap.initdb.secret.name";
        if roles.first().is_some_and(|owner| object.text(path) != secret(owner)) {
            let problem = "the owner's password is in another Secret";
            report.add(object, path, problem, "name the basic-auth Secret of the owner");
        }
        let managed = items(object.at("spec.managed.roles"));
        for role in roles.iter().skip(1) {
            let found = managed.iter().find(|one| one["name"] == role.name.as_str());
            let fits = found.is_some_and(|one| {
                one["passwordSecret"]["name"] == secret(role)
                    && one["login"] == true
                    && one["superuser"] == false
                    && one["createrole"] == false
                    && one["replication"] == role.replicates()
            });
            if !fits {
                let problem = format!("{} has no password, or other rights", role.name);
                report.add(object, "spec.managed.roles", problem, "render it from the values");
            }
        }
    }
}

fn cluster_backup(set: &Set, report: &mut Report) {
    for backup in set.of("ScheduledBackup") {
        let plugin = backup.text("spec.pluginConfiguration.name");
        let known = set.of("Cluster").any(|cluster| {
            cluster.key.name == backup.text("spec.cluster.name")
                && items(cluster.at("spec.plugins")).iter().any(|one| one["name"] == plugin)
        });
        if backup.text("spec.method") != "plugin" || !known {
            let problem = "the Cluster has no object store for it";
            report.add(backup, "spec.method", problem, "set cnpg.object_store");
        }
    }
}
