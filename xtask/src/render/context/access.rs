//! Who may log in, from where, with which limits.

use serde_json::{Value, json};

use crate::render::settings;
use crate::render::values::Values;
use crate::render::values::choice::{Engine, Platform, Workload};
use crate::render::values::scalar::{Cidr, Identifier, Seconds, SecretKey};

/// Settings that CloudNativePG decides itself.
const OPERATOR_OWNS: [&str; 6] = [
    "listen_addresses",
    "unix_socket_directories",
    "shared_preload_libraries",
    "ssl",
    "ssl_cert_file",
    "ssl_key_file",
];

/// A role that the init SQL makes.
pub struct Role<'a> {
    /// Its name.
    pub name: &'a Identifier,
    /// What it is for; ends the name of its Secret where each role has one.
    pub part: &'static str,
    key: &'a SecretKey,
    option: &'static str,
    member_of: Option<&'static str>,
}

impl Role<'_> {
    /// Whether it may stream changes.
    pub fn replicates(&self) -> bool {
        self.option == "REPLICATION"
    }

    /// The Secret and the key in it that hold its password. CloudNativePG reads one Secret of the
    /// type basic-auth for each role.
    pub fn password(&self, values: &Values) -> (String, String) {
        match values.workload {
            Workload::Cnpg => (format!("{}-{}", values.secret.name, self.part), "password".into()),
            _ => (values.secret.name.to_string(), self.key.to_string()),
        }
    }
}

/// Every role of an environment, the owner first.
pub fn roles(values: &Values) -> Vec<Role<'_>> {
    let database = &values.database;
    let keys = &values.secret.keys;
    let plain =
        |part, name, key| Role { part, name, key, option: "NOREPLICATION", member_of: None };
    let reads = Some("pg_read_all_data");
    let replication = plain("replication", &database.replication, &keys.replication);
    let mut all = vec![
        plain("owner", &database.owner, &keys.owner),
        plain("runtime", &database.runtime, &keys.runtime),
        plain("search", &database.search, &keys.search),
        Role {
            option: "REPLICATION",
            member_of: reads.filter(|_| values.cutover.is_some()),
            ..replication
        },
    ];
    if values.backup.is_some() {
        all.push(Role { member_of: reads, ..plain("backup", &database.backup, &keys.backup) });
    }
    if let Some(monitoring) = &values.monitoring {
        let monitor = plain("monitor", &monitoring.role, &keys.monitor);
        all.push(Role { member_of: Some("pg_monitor"), ..monitor });
    }
    if let Some(pooler) = &values.pooler {
        all.push(plain("pooler", &pooler.lookup, &keys.pooler));
    }
    all
}

/// The extensions that the engine has.
pub fn extensions(values: &Values) -> Vec<&Identifier> {
    let known =
        |name: &&Identifier| values.engine == Engine::Paradedb || name.as_str() != "pg_search";
    values.database.extensions.iter().filter(known).collect()
}

/// What the templates need to know about access.
pub fn facts(values: &Values) -> Value {
    let database = &values.database;
    let roles = roles(values);
    let mut secret_keys = vec![values.secret.keys.superuser.as_str()];
    secret_keys.extend(roles.iter().map(|role| role.key.as_str()));
    let shown: Vec<Value> = roles.iter().map(|role| shown(values, role)).collect();
    let passwords: serde_json::Map<String, Value> = roles
        .iter()
        .map(|role| {
            let (secret, key) = role.password(values);
            (role.part.to_string(), json!({"secret": secret, "key": key}))
        })
        .collect();
    let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
    let parameters: serde_json::Map<String, Value> = settings::settings(values)
        .into_iter()
        .filter(|(name, _)| !OPERATOR_OWNS.contains(&name.as_str()))
        .map(|(name, value)| (name, value.into()))
        .collect();
    json!({
        "roles": shown,
        "managed_roles": &shown[1..],
        "passwords": passwords,
        "role_names": names,
        "secret_keys": secret_keys,
        "limits": limits(values),
        "access": access(values, &roles),
        "cnpg_parameters": parameters,
        "cnpg_hba": operator_access(values, &roles),
        "replication_reads": values.cutover.is_some(),
        "owner_target": format!(
            "host={} port=5432 dbname={} user={} sslmode={}",
            values.names.service, database.name, database.owner,
            if values.tls.is_some() { "require" } else { "disable" },
        ),
    })
}

/// One role, as the templates see it.
fn shown(values: &Values, role: &Role<'_>) -> Value {
    let member_of: Vec<&str> = role.member_of.into_iter().collect();
    json!({
        "name": role.name, "key": role.key, "option": role.option,
        "replication": role.replicates(), "member_of": member_of,
        "secret": role.password(values).0,
    })
}

/// The statements that CloudNativePG runs once in the new database, one by one: the roles, without
/// a password, and what they may do.
pub fn operator_statements(values: &Values, grants: &str) -> Vec<String> {
    let made = roles(values).into_iter().skip(1).map(|role| {
        let (name, option) = (role.name, role.option);
        format!("CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE {option}")
    });
    let lines = grants.lines().filter(|line| !line.starts_with("--") && !line.is_empty());
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    // Only a whole statement ends a line with a semicolon.
    let granted = text.split(";\n").map(|one| one.trim().to_string()).filter(|one| !one.is_empty());
    made.chain(granted).collect()
}

/// The lines of pg_hba.conf beyond the loopback: each role from where its clients are.
fn access(values: &Values, roles: &[Role<'_>]) -> Vec<Value> {
    let kind = if values.tls.is_some() { "hostssl" } else { "host" };
    let peers = values.cutover.iter().flat_map(|cutover| &cutover.peers);
    let mut all = Vec::new();
    for role in roles {
        for addresses in &values.network.pods {
            all.push((role.name, addresses));
        }
    }
    for peer in peers {
        all.push((&values.database.replication, &peer.addresses));
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|line| seen.insert(*line));
    let line = |database: &str, role: &str, addresses: &Cidr| {
        let place = addresses;
        json!({"kind": kind, "database": database, "role": role, "addresses": place})
    };
    if values.platform == Platform::Compose {
        // One developer's machine: the tool itself connects as the superuser, through the bridge.
        return values.network.pods.iter().map(|addresses| line("all", "all", addresses)).collect();
    }
    let database = values.database.name.as_str();
    all.into_iter().map(|(role, addresses)| line(database, role.as_str(), addresses)).collect()
}

/// The same for CloudNativePG, one line each.
fn operator_access(values: &Values, roles: &[Role<'_>]) -> Vec<String> {
    let part = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_string();
    access(values, roles)
        .iter()
        .map(|line| {
            let [kind, database, role, addresses] =
                ["kind", "database", "role", "addresses"].map(|name| part(line, name));
            format!("{kind} {database} {role} {addresses} scram-sha-256")
        })
        .collect()
}

/// Limits per role, so that one bad query of the application cannot hold everything.
fn limits(values: &Values) -> Vec<Value> {
    let database = &values.database;
    let postgresql = &values.postgresql;
    let seconds = |limit: Seconds| format!("{}s", limit.0);
    let mut all: Vec<(&Identifier, &str, String)> = vec![
        (&database.owner, "lock_timeout", seconds(postgresql.lock_timeout)),
        (&database.search, "statement_timeout", seconds(postgresql.search_timeout)),
        (&database.search, "default_transaction_read_only", "on".into()),
    ];
    // A role that owns the tables and serves the application too gets the limits of both.
    let idle = "idle_in_transaction_session_timeout";
    all.push((&database.runtime, "statement_timeout", seconds(postgresql.statement_timeout)));
    all.push((&database.runtime, "lock_timeout", seconds(postgresql.lock_timeout)));
    for role in [&database.owner, &database.runtime, &database.search] {
        all.push((role, idle, seconds(postgresql.idle_in_transaction_timeout)));
    }
    all.into_iter()
        .map(|(role, setting, value)| json!({"role": role, "setting": setting, "value": value}))
        .collect()
}
