//! The environments of the workspace, and shapes that it does not use.

use std::path::{Path, PathBuf};

use xtask::render::template::Templates;
use xtask::render::values::Environment;
use xtask::render::{self, Rendered};

/// The workspace of these tests.
pub fn root() -> PathBuf {
    render::workspace(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The text of a values file.
pub fn values(environment: &str) -> String {
    std::fs::read_to_string(root().join(format!("infra/values/{environment}.yaml"))).unwrap()
}

/// Renders a text as an environment of this name.
pub fn rendered(name: &str, text: &str) -> anyhow::Result<Rendered> {
    let templates = Templates::new(&root().join("templates"))?;
    let file = PathBuf::from(format!("infra/values/{name}.yaml"));
    render::one(Environment::read(name, &file, text)?, &templates)
}

/// Production, moved to CloudNativePG.
pub fn cnpg() -> String {
    let more = "\nworkload: cnpg\ncnpg:\n  backup_schedule: 0 3 * * *\n";
    values("production") + more
}

/// Production, with a server outside the cluster.
pub fn external() -> String {
    values("production") + "\nworkload: external\nexternal:\n  addresses: [192.0.2.7]\n"
}

/// Production, with passwords in a SealedSecret.
pub fn sealed() -> String {
    let keys = ["POSTGRES_PASSWORD", "OWNER_PASSWORD", "RUNTIME_PASSWORD", "SEARCH_PASSWORD"];
    let more = ["REPLICATION_PASSWORD", "BACKUP_PASSWORD"];
    let lines: String = keys.iter().chain(&more).map(|key| format!("    {key}: AgBy\n")).collect();
    let secret = format!("  name: rbs-paradedb-secret\n  source: sealed\n  sealed:\n{lines}");
    values("production").replace("  name: rbs-paradedb-secret\n", &secret)
}

/// Every environment of the workspace, and those shapes that it does not use.
pub fn every_shape() -> Vec<Rendered> {
    let mut all = render::all(&root()).unwrap();
    for (name, text) in [("cnpg", cnpg()), ("external", external()), ("sealed", sealed())] {
        all.push(rendered(name, &text).unwrap());
    }
    all
}
