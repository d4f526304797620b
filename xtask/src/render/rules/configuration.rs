//! Rules about what the server reads at start: settings, access, roles.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::context::checksum;
use crate::render::object::{Object, items};
use crate::render::settings;
use crate::render::values::choice::Engine;

pub(super) const RULES: [Rule; 9] = [
    Rule::new("config-file", "a server that runs with other settings than these", config_file),
    Rule::new("config-checksum", "a server that never sees a changed setting", config_checksum),
    Rule::new("preload-list", "a server without pg_search", preload),
    Rule::new("hba-method", "a login without a password", hba_method),
    Rule::new("hba-addresses", "a login from everywhere", hba_addresses),
    Rule::new("memory-budget", "a server that the kernel kills under load", memory_budget),
    Rule::new("cutover-settings", "a server that cannot be moved to, or back from", cutover),
    Rule::new("auto-tune-off", "settings that the values do not show", auto_tune),
    Rule::new("role-rights", "a role with more than it needs", role_rights),
];

/// The settings of a `postgresql.conf`, as name and value.
fn parsed(conf: &str) -> Vec<(&str, &str)> {
    conf.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('\'')))
        .collect()
}

fn setting<'a>(conf: &'a str, name: &str) -> &'a str {
    parsed(conf).into_iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

/// The ConfigMaps that hold the server's files, with one of them.
fn files<'a>(set: &Set<'a>, name: &str) -> Vec<(&'a Object, &'a str)> {
    set.of("ConfigMap")
        .filter_map(|object| Some((object, object.at("data").get(name)?.as_str()?)))
        .collect()
}

fn config_file(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let Some((path, container)) =
            object.containers().into_iter().find(|(path, _)| path.contains("spec.containers[0]"))
        else {
            continue;
        };
        for (option, file) in
            [("config_file", "postgresql.conf"), ("hba_file", "pg_hba.conf"), ("", "20_roles.sql")]
        {
            let mount = items(&container["volumeMounts"]).iter().find(|one| one["subPath"] == file);
            let target = mount.and_then(|one| one["mountPath"].as_str()).unwrap_or_default();
            let argument = Value::from(format!("{option}={target}"));
            let named = option.is_empty() || items(&container["args"]).contains(&argument);
            if target.is_empty() || !named || files(set, file).is_empty() {
                let problem = format!("{file} is not rendered, mounted and named");
                let fix = "keep the ConfigMap, its mount and the argument together";
                report.add(object, &path, problem, fix);
            }
        }
    }
}

fn config_checksum(set: &Set, report: &mut Report) {
    let name = format!("{}-configuration", set.values.names.workload);
    let Some(configuration) = set.of("ConfigMap").find(|object| object.key.name == name) else {
        return;
    };
    let Some(mut data) = configuration.at("data").as_object().cloned() else { return };
    // The smoke test is not the server's: a changed one need not restart it.
    data.shift_remove("smoke.sql");
    let wanted = checksum(&Value::from(data).to_string());
    for object in set.of("StatefulSet") {
        let annotations = object.at("spec.template.metadata.annotations");
        if annotations["checksum/configuration"] != wanted {
            let path = "spec.template.metadata.annotations";
            let problem = "the checksum is not that of the configuration";
            report.add(object, path, problem, "render both together");
        }
    }
}

fn preload(set: &Set, report: &mut Report) {
    for (object, conf) in files(set, "postgresql.conf") {
        let loaded: Vec<&str> = setting(conf, "shared_preload_libraries").split(',').collect();
        let mut wanted = settings::preload(set.values);
        if set.values.engine == Engine::Paradedb {
            wanted.push("pg_search");
        }
        if let Some(missing) = wanted.iter().find(|library| !loaded.contains(library)) {
            let problem =
                format!("{missing} is not loaded, and the image's own list does not apply");
            let fix = "name it in postgresql.preload";
            report.add(object, "data.postgresql.conf", problem, fix);
        }
    }
}

fn hba_lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first().is_some_and(|word| !word.starts_with('#')))
}

/// The lines of pg_hba.conf, wherever they are written.
fn access<'a>(set: &Set<'a>) -> Vec<(&'a Object, &'static str, String)> {
    let written = files(set, "pg_hba.conf").into_iter();
    let by_operator = set.of("Cluster").map(|object| {
        let lines = items(object.at("spec.postgresql.pg_hba")).iter().filter_map(Value::as_str);
        (object, "spec.postgresql.pg_hba", lines.collect::<Vec<_>>().join("\n"))
    });
    written.map(|(o, text)| (o, "data.pg_hba.conf", text.to_string())).chain(by_operator).collect()
}

fn hba_method(set: &Set, report: &mut Report) {
    for (object, path, text) in access(set) {
        for words in hba_lines(&text) {
            let method = words.last().copied().unwrap_or_default();
            if !matches!(method, "scram-sha-256" | "reject" | "cert") {
                let problem = format!("`{}` lets in by {method}", words.join(" "));
                report.add(object, path, problem, "use scram-sha-256");
            }
        }
    }
}

fn hba_addresses(set: &Set, report: &mut Report) {
    for (object, path, text) in access(set) {
        for words in hba_lines(&text) {
            let everywhere =
                words.iter().any(|word| matches!(*word, "0.0.0.0/0" | "::/0" | "samenet"))
                    || (words[0] != "local" && words.get(3) == Some(&"all"));
            if everywhere {
                let problem = format!("`{}` lets in from everywhere", words.join(" "));
                report.add(object, path, problem, "name the addresses of the clients");
            }
            if set.values.tls.is_some() && words[0] == "host" && !is_loopback(words[3]) {
                let problem = format!("`{}` lets in without encryption", words.join(" "));
                report.add(object, path, problem, "use hostssl");
            }
        }
    }
}

fn is_loopback(addresses: &str) -> bool {
    matches!(addresses, "127.0.0.1/32" | "::1/128")
}

/// A size of `postgresql.conf` in mebibytes.
fn mebibytes(value: &str) -> u64 {
    let number = |suffix: &str| value.strip_suffix(suffix).and_then(|n| n.parse::<u64>().ok());
    number("GB").map(|n| n << 10).or(number("MB")).or(number("kB").map(|n| n >> 10)).unwrap_or(0)
}

fn memory_budget(set: &Set, report: &mut Report) {
    for (object, conf) in files(set, "postgresql.conf") {
        let connections: u64 = setting(conf, "max_connections").parse().unwrap_or(0);
        let work = connections * mebibytes(setting(conf, "work_mem"));
        let shared = mebibytes(setting(conf, "shared_buffers"));
        let parallel = set.values.resources.shared_memory.in_mebibytes();
        let limit = set.values.resources.memory.in_mebibytes();
        if shared + parallel + work > limit || shared == 0 {
            let problem = format!(
                "shared_buffers {shared} MB + shared memory {parallel} MB + \
                 {connections} connections × work_mem {work} MB in all exceed the limit of \
                 {limit} MB"
            );
            let fix = "raise resources.memory, or lower postgresql.max_connections or work_mem";
            report.add(object, "data.postgresql.conf", problem, fix);
        }
    }
}

fn cutover(set: &Set, report: &mut Report) {
    let Some(cutover) = &set.values.cutover else { return };
    for (object, conf) in files(set, "postgresql.conf") {
        let at_least = |name: &str, least: u32| {
            setting(conf, name).parse::<u32>().is_ok_and(|count| count >= least)
        };
        let mut missing = Vec::new();
        if setting(conf, "wal_level") != "logical" {
            missing.push("wal_level");
        }
        let mut counted = vec!["max_replication_slots", "max_wal_senders"];
        counted.push("max_logical_replication_workers");
        if set.values.image.postgres_major >= 18 {
            counted.push("max_active_replication_origins");
        }
        missing.extend(counted.into_iter().filter(|name| !at_least(name, cutover.slots)));
        if matches!(setting(conf, "max_slot_wal_keep_size"), "" | "-1") {
            missing.push("max_slot_wal_keep_size");
        }
        for name in missing {
            let problem = format!("{name} is not what a cutover needs");
            let fix = "do not override it in postgresql.settings";
            report.add(object, "data.postgresql.conf", problem, fix);
        }
    }
}

fn auto_tune(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let off = object.containers().iter().any(|(_, container)| {
            items(&container["env"])
                .iter()
                .any(|one| one["name"] == "PDB_TUNE" && one["value"] == "false")
        });
        if !off {
            let problem = "the image would write settings of its own at its first start";
            report.add(
                object,
                "spec.template.spec.containers[0].env",
                problem,
                "set PDB_TUNE false",
            );
        }
    }
}

fn role_rights(set: &Set, report: &mut Report) {
    for (object, sql) in files(set, "20_roles.sql") {
        let created = sql.lines().filter(|line| line.starts_with("CREATE ROLE"));
        let above = ["SUPERUSER", "CREATEROLE", "CREATEDB", "BYPASSRLS"];
        for line in created {
            if let Some(word) = line.split_whitespace().find(|word| above.contains(word)) {
                let problem = format!("`{line}` gives {word}");
                report.add(object, "data.20_roles.sql", problem, "leave it out");
            }
        }
        let replication = format!("CREATE ROLE {} ", set.values.database.replication);
        let streams =
            |line: &&str| line.contains(" REPLICATION ") && !line.starts_with(&replication);
        if let Some(line) = sql.lines().find(streams) {
            let problem = format!("`{line}` may stream everything");
            report.add(object, "data.20_roles.sql", problem, "only the replication role may");
        }
        for wanted in ["REVOKE CREATE ON SCHEMA public FROM PUBLIC", "REVOKE ALL ON DATABASE"] {
            if !sql.contains(wanted) {
                let problem = format!("`{wanted}` is missing");
                report.add(object, "data.20_roles.sql", problem, "restore the line");
            }
        }
    }
}
