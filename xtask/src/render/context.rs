//! What templates see: the values of one environment, and everything that follows from them.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::settings;
use super::template::Templates;
use super::values::choice::{Engine, Workload};
use super::values::server::OtherImage;
use super::values::{Environment, Values};

mod access;
mod alerts;
mod compose;

/// Everything that the templates of one environment may use.
///
/// # Errors
/// A text file that goes into a ConfigMap cannot be filled.
pub fn build(environment: &Environment, templates: &Templates) -> Result<Value> {
    let values = &environment.values;
    let mut context = Map::new();
    if let Value::Object(written) = serde_json::to_value(values)? {
        context.extend(written);
    }
    let mut add = |facts: Value| {
        if let Value::Object(facts) = facts {
            context.extend(facts);
        }
    };
    add(json!({"environment": environment.name, "components": components(values)}));
    add(labels(values));
    add(images(values));
    add(paths(values));
    add(access::facts(values));
    add(alerts::facts(environment));
    add(argocd(values));
    let files = files(&context, values, templates)?;
    context.extend(files);
    Ok(Value::Object(context))
}

/// The kinds of pods that this environment runs.
fn components(values: &Values) -> Vec<&'static str> {
    let all = [
        ("database", values.workload != Workload::External),
        ("pooler", values.pooler.is_some()),
        ("backup", values.backup.is_some()),
        ("exporter", values.monitoring.is_some()),
        ("migrate", values.migrate.is_some()),
        ("smoke", values.smoke),
    ];
    all.into_iter().filter(|(_, wanted)| *wanted).map(|(component, _)| component).collect()
}

type Labels = BTreeMap<String, String>;

fn labels(values: &Values) -> Value {
    let common = |component: &str| {
        let mut labels = values.labels.clone();
        labels.insert("app.kubernetes.io/name".into(), "paradedb".into());
        labels.insert("app.kubernetes.io/component".into(), component.into());
        labels
    };
    let all = ["database", "pooler", "backup", "exporter", "migrate", "smoke"];
    let selector = |component: &str| -> Labels {
        match component {
            "database" => values.pod.labels.clone(),
            other => [("app".to_string(), format!("{}-{other}", values.names.workload))].into(),
        }
    };
    let each = |make: &dyn Fn(&str) -> Labels| -> BTreeMap<&str, Labels> {
        all.iter().map(|component| (*component, make(component))).collect()
    };
    let with = |labels: Labels, extra: &Labels| -> Labels {
        labels.into_iter().chain(extra.clone()).collect()
    };
    let slice = |component: &str, service: String| {
        let extra = [
            ("kubernetes.io/service-name".to_string(), service),
            ("endpointslice.kubernetes.io/managed-by".to_string(), "xtask".to_string()),
        ];
        with(common(component), &extra.into())
    };
    let monitoring = values.monitoring.as_ref().map(|monitoring| monitoring.labels.clone());
    let argocd = values.argocd.as_ref().map(|argocd| argocd.labels.clone());
    let restricted = ("pod-security.kubernetes.io/enforce".to_string(), "restricted".to_string());
    let mut service_selector = values.pod.labels.clone();
    if values.workload == Workload::Cnpg {
        service_selector.insert("cnpg.io/instanceRole".into(), "primary".into());
    }
    json!({
        "pod_selector": values.pod.labels,
        "service_selector": service_selector,
        "selectors": each(&selector),
        "object_labels": each(&common),
        "pod_labels": each(&|component| with(common(component), &selector(component))),
        "namespace_labels": with(values.namespace.labels.clone(), &[restricted].into()),
        "monitor_labels": with(common("exporter"), &monitoring.unwrap_or_default()),
        "application_labels": with(common("database"), &argocd.unwrap_or_default()),
        "serving_labels": slice("pooler", format!("{}-serving", values.names.workload)),
        "external_labels": slice("database", values.names.service.to_string()),
    })
}

/// The reference of the server's image: exact tag, and the digest where it is known.
pub fn image_reference(values: &Values) -> String {
    let image = &values.image;
    let tag = match values.engine {
        Engine::Paradedb => format!("{}-pg{}", image.version, image.postgres_major),
        Engine::Postgres => image.version.to_string(),
    };
    pinned(image.repository.as_str(), &tag, image.digest.as_str())
}

/// The reference of any other image.
pub fn other_image(image: &OtherImage) -> String {
    pinned(image.repository.as_str(), image.tag.as_str(), image.digest.as_str())
}

fn pinned(repository: &str, tag: &str, digest: &str) -> String {
    match digest {
        "open" => format!("{repository}:{tag}"),
        digest => format!("{repository}:{tag}@{digest}"),
    }
}

fn images(values: &Values) -> Value {
    let s3 = values.backup.as_ref().and_then(|backup| backup.s3.as_ref());
    let others: BTreeMap<&str, String> = [
        ("pooler", values.pooler.as_ref().map(|pooler| &pooler.image)),
        ("exporter", values.monitoring.as_ref().map(|monitoring| &monitoring.image)),
        ("migrate", values.migrate.as_ref().map(|migrate| &migrate.image)),
        ("s3", s3.map(|s3| &s3.image)),
    ]
    .into_iter()
    .filter_map(|(name, image)| Some((name, other_image(image?))))
    .collect();
    json!({"image_reference": image_reference(values), "images": others})
}

/// Where the volume is mounted, and where the data is in it. Both are for ever, so both follow from
/// the major version alone.
pub fn data_paths(postgres_major: u32) -> (&'static str, String) {
    if postgres_major >= 18 {
        ("/var/lib/postgresql", format!("/var/lib/postgresql/{postgres_major}/docker"))
    } else {
        ("/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata".into())
    }
}

fn paths(values: &Values) -> Value {
    let (mount_path, pgdata) = data_paths(values.image.postgres_major);
    let data_volume = match values.storage.kind {
        super::values::choice::StorageKind::Claim => "data",
        super::values::choice::StorageKind::Template => values.storage.claim.as_str(),
    };
    json!({
        "mount_path": mount_path,
        "pgdata": pgdata,
        "data_volume": data_volume,
        "initdb_arguments":
            "--encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth-local=scram-sha-256 --auth-host=scram-sha-256",
        "probe": [
            "pg_isready", "--host=127.0.0.1", "--port=5432",
            format!("--dbname={}", values.database.name),
            format!("--username={}", values.database.superuser),
        ],
        "preload": settings::preload(values),
        "extensions": access::extensions(values),
    })
}

fn argocd(values: &Values) -> Value {
    let kinds = values.argocd.iter().flat_map(|argocd| &argocd.project.cluster_kinds);
    let kinds: Vec<Value> = kinds
        .map(|kind| {
            let (group, kind) = kind.split_once('/').unwrap_or(("", kind));
            json!({"group": group, "kind": kind})
        })
        .collect();
    json!({"cluster_kinds": kinds})
}

/// The text files that go into ConfigMaps.
fn files(
    context: &Map<String, Value>,
    values: &Values,
    templates: &Templates,
) -> Result<Map<String, Value>> {
    let file = |name: &str| templates.fill(&format!("apps/paradedb/files/{name}.j2"), context);
    let lines = settings::settings(values);
    let conf: String = lines.iter().map(|(name, value)| settings::line(name, value)).collect();
    let mut configuration = Map::new();
    if values.workload == Workload::StatefulSet {
        configuration.insert("postgresql.conf".into(), conf.clone().into());
        for name in ["pg_hba.conf", "20_roles.sql", "guard.sh"] {
            let source = name.trim_start_matches("20_");
            configuration.insert(name.into(), file(source)?.into());
        }
    }
    let server = serde_json::to_string(&configuration)?;
    if values.smoke {
        configuration.insert("smoke.sql".into(), file("smoke.sql")?.into());
    }
    let mut all = Map::new();
    all.insert("checksum".into(), checksum(&server).into());
    all.insert("configuration".into(), configuration.into());
    if values.pooler.is_some() {
        let ini = file("pgbouncer.ini")?;
        all.insert("pooler_checksum".into(), checksum(&ini).into());
        all.insert("pgbouncer_ini".into(), ini.into());
    }
    if let Some(compose) = &values.compose {
        all.extend(compose::facts(values, compose, &conf, &file)?);
    }
    if values.backup.is_some() {
        all.insert("dump_script".into(), file("dump.sh")?.into());
        all.insert("verify_script".into(), file("verify.sh")?.into());
    }
    Ok(all)
}

/// A checksum that changes the pod template with its configuration.
pub fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
