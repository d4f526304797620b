//! What people write: one file per environment, read strictly into Rust types.
//!
//! An unknown key, a wrong type or a name that Kubernetes would refuse is an error with file, line
//! and the nearest valid name, before any template sees it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::context;
use crate::failure::Failure;
use explain::{Field, values};

pub mod around;
pub mod choice;
pub mod clients;
pub mod cutover;
pub mod explain;
pub mod nearest;
pub mod place;
pub mod scalar;
pub mod server;

use choice::{Engine, Platform, Workload};

/// Settings whose value is a promise of the tool, not a taste.
const OWNED: [&str; 8] = [
    "config_file",
    "data_directory",
    "fsync",
    "full_page_writes",
    "hba_file",
    "listen_addresses",
    "password_encryption",
    "shared_preload_libraries",
];

values! {
    /// Everything that one environment decides.
    pub struct Values {
        /// What the environment is rendered for.
        platform: Platform = Platform::Kubernetes;
        /// Which kind of server runs; a target without pg_search is never taken for ParadeDB.
        engine: Engine = Engine::Paradedb;
        /// What keeps the server running.
        workload: Workload = Workload::StatefulSet;
        /// Folder of the rendered manifests, for the platform kubernetes.
        folder: Option<scalar::Inside> = None;
        /// The image of the server.
        image: server::Image;
        /// What the server may use.
        resources: server::Resources;
        /// The namespace.
        namespace: place::Namespace;
        /// The names that other systems know.
        names: place::Names;
        /// Labels of every object, beside the recommended ones.
        labels: BTreeMap<String, String> = BTreeMap::new();
        /// How the pod is run.
        pod: server::Pod;
        /// The disk.
        storage: server::Storage;
        /// The database and its roles.
        database: server::Database;
        /// Where the passwords are.
        secret: server::Secret;
        /// PostgreSQL's settings.
        postgresql: server::Postgresql = server::Postgresql::default();
        /// Certificates of the server.
        tls: Option<server::Tls> = None;
        /// Who may connect.
        network: place::Network;
        /// What a cutover needs of this server, and how it goes; left out where there is none.
        cutover: Option<cutover::Cutover> = None;
        /// Pods that may be away at once, for a PodDisruptionBudget; 0 makes a drain wait.
        max_unavailable: Option<u32> = None;
        /// PgBouncer.
        pooler: Option<around::Pooler> = None;
        /// Backups.
        backup: Option<around::Backup> = None;
        /// Figures and alerts.
        monitoring: Option<around::Monitoring> = None;
        /// Migrations at each sync.
        migrate: Option<around::Migrate> = None;
        /// Whether a Job proves extensions and indexes after each sync.
        smoke: bool = true;
        /// A server outside the cluster, for the workload external.
        external: Option<place::External> = None;
        /// A CloudNativePG Cluster, for the workload cnpg.
        cnpg: Option<place::Cnpg> = None;
        /// ArgoCD.
        argocd: Option<place::Argocd> = None;
        /// The developer's machine, for the platform compose.
        compose: Option<place::Compose> = None;
    }
}

/// One environment: the name of its file, and what stands in it.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The name of the values file without its ending.
    pub name: String,
    /// What the file says, with all defaults.
    pub values: Values,
}

impl Environment {
    /// Reads one values file.
    ///
    /// # Errors
    /// The text is not YAML, or a key or value is wrong; the message has file, line and, for a
    /// misspelt key, the nearest valid one.
    pub fn read(name: &str, file: &Path, text: &str) -> Result<Environment> {
        let wrong = |message: String, line: Option<usize>, hint: Option<String>| {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let failure = Failure::usage(format!("{}{line}: {message}", file.display()));
            hint.into_iter().fold(failure, Failure::hint)
        };
        let values: Values = serde_yaml::from_str(text).map_err(|error| {
            let message = error.to_string();
            let hint = nearest::suggestion(&message);
            wrong(message, error.location().map(|place| place.line()), hint)
        })?;
        // Duplicate keys inside a free map are only seen by the untyped reader.
        serde_yaml::from_str::<serde_yaml::Value>(text).map_err(|error| {
            wrong(error.to_string(), error.location().map(|place| place.line()), None)
        })?;
        values.complete().map_err(|message| wrong(message, None, None))?;
        Ok(Environment { name: name.into(), values })
    }
}

impl Values {
    /// Holds values against each other: a choice needs its group.
    fn complete(&self) -> Result<(), String> {
        if let Some(name) = self.postgresql.misnamed().first() {
            return Err(format!("postgresql.settings: `{name}` is not a PostgreSQL setting"));
        }
        let owned = self.postgresql.settings.keys().find(|name| OWNED.contains(&name.as_str()));
        if let Some(name) = owned {
            return Err(format!("postgresql.settings: `{name}` is decided by the tool"));
        }
        let needs = [
            (
                self.platform == Platform::Kubernetes,
                self.folder.is_some(),
                "platform kubernetes",
                "folder",
            ),
            (self.workload == Workload::Cnpg, self.cnpg.is_some(), "workload cnpg", "cnpg"),
            (
                self.workload == Workload::External,
                self.external.is_some(),
                "workload external",
                "external",
            ),
            (
                self.platform == Platform::Compose,
                self.compose.is_some(),
                "platform compose",
                "compose",
            ),
            (
                self.secret.source == choice::SecretSource::External,
                self.secret.external.is_some(),
                "secret.source external",
                "secret.external",
            ),
            (
                self.secret.source == choice::SecretSource::Sealed,
                !self.secret.sealed.is_empty(),
                "secret.source sealed",
                "secret.sealed",
            ),
        ];
        match needs.iter().find(|(chosen, given, ..)| *chosen && !given) {
            Some((_, _, choice, group)) => Err(format!("{choice} needs `{group}`")),
            None => {
                self.cutover.as_ref().map_or(Ok(()), cutover::Cutover::complete)?;
                self.fits_operator()
            }
        }
    }

    /// What CloudNativePG cannot do.
    fn fits_operator(&self) -> Result<(), String> {
        let Some(cnpg) = self.cnpg.as_ref().filter(|_| self.workload == Workload::Cnpg) else {
            return Ok(());
        };
        if cnpg.backup_schedule.is_some() && cnpg.object_store.is_none() {
            let why = "a base backup needs a place to go; dumps are `backup`";
            return Err(format!("cnpg.backup_schedule needs `cnpg.object_store`: {why}"));
        }
        if self.secret.source == choice::SecretSource::Sealed {
            let why = "the operator reads one Secret for each role, and seals are bound to a name";
            return Err(format!("workload cnpg needs secret.source existing or external: {why}"));
        }
        if self.database.superuser.as_str() != "postgres" {
            return Err("workload cnpg: database.superuser is always `postgres`".into());
        }
        let reserved = |name: &str| {
            ["pg_", "cnpg_"].iter().any(|prefix| name.starts_with(prefix))
                || ["postgres", "streaming_replica"].contains(&name)
        };
        match context::access::roles(self).iter().find(|role| reserved(role.name.as_str())) {
            Some(role) => Err(format!("workload cnpg: the operator reserves `{}`", role.name)),
            None => Ok(()),
        }
    }
}

impl Default for server::Postgresql {
    fn default() -> server::Postgresql {
        server::Postgresql {
            max_connections: 100,
            work_mem: None,
            preload: ["pg_search", "pg_cron", "pg_stat_statements"]
                .map(scalar::Identifier::fixed)
                .to_vec(),
            statement_timeout: scalar::Seconds(30),
            lock_timeout: scalar::Seconds(5),
            idle_in_transaction_timeout: scalar::Seconds(60),
            search_timeout: scalar::Seconds(5),
            settings: BTreeMap::new(),
        }
    }
}

/// Every value that can be written, in the order of the types.
pub fn explained() -> Vec<Field> {
    use explain::Explain;
    Values::fields()
}

/// Where the values of a workspace are.
pub const FOLDER: &str = "infra/values";

/// Reads one environment of a workspace.
///
/// # Errors
/// There is none of this name, or its file is wrong.
pub fn read_one(root: &Path, name: &str) -> Result<Environment> {
    let folder = root.join(FOLDER);
    let file = folder.join(format!("{name}.yaml"));
    if !file.is_file() {
        let known: Vec<String> = names(&folder)?;
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match nearest::nearest(name, &known) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are: {}", known.join(", ")),
        };
        return Err(Failure::usage(format!("there is no environment `{name}`")).hint(hint).into());
    }
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    Environment::read(name, &file, &text)
}

/// The names of the environments in a folder, in their order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        let file = entry.context("read the folder of values")?.file_name();
        all.extend(file.to_str().and_then(|name| name.strip_suffix(".yaml")).map(String::from));
    }
    all.sort();
    Ok(all)
}

/// Reads every environment of a folder, in the order of their names.
///
/// # Errors
/// The folder cannot be read or holds nothing, or a file is wrong.
pub fn read_all(folder: &Path) -> Result<Vec<Environment>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut environments = Vec::new();
    for entry in entries {
        let file = entry.context("read the folder of values")?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(name) = name.strip_suffix(".yaml") else {
            return Err(Failure::usage(format!("{}: not a values file", file.display()))
                .hint("name it <environment>.yaml, or move it elsewhere")
                .into());
        };
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        environments.push(Environment::read(name, &file, &text)?);
    }
    environments.sort_by(|a, b| a.name.cmp(&b.name));
    if environments.is_empty() {
        let message = format!("{} holds no values file", folder.display());
        return Err(Failure::usage(message).into());
    }
    Ok(environments)
}
