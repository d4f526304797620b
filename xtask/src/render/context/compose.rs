//! What `docker-compose.yml` needs beyond the rest.

use anyhow::Result;
use serde_json::{Map, Value};

use crate::render::context::data_paths;
use crate::render::values::Values;
use crate::render::values::place::Compose;

/// The files of the server and the sizes, as docker compose writes them.
///
/// # Errors
/// A file cannot be filled.
pub fn facts(
    values: &Values,
    compose: &Compose,
    conf: &str,
    file: &dyn Fn(&str) -> Result<String>,
) -> Result<Map<String, Value>> {
    // docker compose would put variables into a text; a doubled dollar sign is one.
    let verbatim = |text: &str| Value::from(text.replace('$', "$$"));
    let size = |mebibytes: u64| Value::from(format!("{mebibytes}m"));
    let major = compose.postgres_tag.as_str().split(['.', '-']).next().unwrap_or_default();
    let (source_mount, _) = data_paths(major.parse().unwrap_or(values.image.postgres_major));
    let facts = [
        ("compose_postgresql", verbatim(conf)),
        ("compose_access", verbatim(&file("pg_hba.conf")?)),
        ("compose_roles", verbatim(&file("roles.sql")?)),
        ("compose_memory", size(values.resources.memory.in_mebibytes())),
        ("compose_shared_memory", size(values.resources.shared_memory.in_mebibytes())),
        ("compose_source_mount", source_mount.into()),
    ];
    Ok(facts.into_iter().map(|(name, fact)| (name.to_string(), fact)).collect())
}
