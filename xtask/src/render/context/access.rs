//! Who may log in, from where, with which limits.

use serde_json::{Value, json};

use crate::render::settings;
use crate::render::values::Values;
use crate::render::values::choice::{Engine, Platform};
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
struct Role<'a> {
    name: &'a Identifier,
    key: &'a SecretKey,
    option: &'static str,
}

fn roles(values: &Values) -> Vec<Role<'_>> {
    let database = &values.database;
    let keys = &values.secret.keys;
    let plain = |name, key| Role { name, key, option: "NOREPLICATION" };
    let mut all = vec![
        plain(&database.owner, &keys.owner),
        plain(&database.runtime, &keys.runtime),
        plain(&database.search, &keys.search),
        Role { name: &database.replication, key: &keys.replication, option: "REPLICATION" },
    ];
    if values.backup.is_some() {
        all.push(plain(&database.backup, &keys.backup));
    }
    if let Some(monitoring) = &values.monitoring {
        all.push(plain(&monitoring.role, &keys.monitor));
    }
    if let Some(pooler) = &values.pooler {
        all.push(plain(&pooler.lookup, &keys.pooler));
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
    let shown: Vec<Value> = roles
        .iter()
        .map(|role| json!({"name": role.name, "key": role.key, "option": role.option}))
        .collect();
    let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
    let parameters: serde_json::Map<String, Value> = settings::settings(values)
        .into_iter()
        .filter(|(name, _)| !OPERATOR_OWNS.contains(&name.as_str()))
        .map(|(name, value)| (name, value.into()))
        .collect();
    json!({
        "roles": shown,
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
    let line = |database: &str, role: &str, addresses: &Cidr| json!({"kind": kind, "database": database, "role": role, "addresses": addresses});
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
