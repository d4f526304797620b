//! The manifests of another revision, read from Git, and those that lie in the working tree.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::files::{self, MANIFESTS};
use super::object::Object;
use super::{Rendered, read};
use crate::process::Invocation;

/// Every object of a revision.
///
/// # Errors
/// Git is not there, or does not know the revision.
pub async fn at(root: &Path, revision: &str) -> Result<Vec<Object>> {
    let git = |arguments: &[&str]| {
        Invocation::new("git").folder(root).argument("--no-pager").arguments(arguments)
    };
    let commit =
        git(&["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{tree}}")])
            .run()
            .await
            .with_context(|| format!("find revision {revision}"))?;
    let commit = commit.trim();
    let prefix = git(&["rev-parse", "--show-prefix"]).run().await.context("find the repository")?;
    let prefix = prefix.trim();
    let below = format!("{prefix}{MANIFESTS}");
    let names = git(&["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, &below])
        .run()
        .await
        .with_context(|| format!("list the manifests of {revision}"))?;
    let mut objects = Vec::new();
    for name in names.split('\0').filter(|name| is_manifest(name)) {
        let text = git(&["cat-file", "blob", &format!("{commit}:{name}")])
            .run()
            .await
            .with_context(|| format!("read {name} of {revision}"))?;
        let name = name.strip_prefix(prefix).unwrap_or(name);
        objects.extend(objects_of(name, &text));
    }
    Ok(objects)
}

fn is_manifest(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// The objects of one file; documents that are no objects are left out.
fn objects_of(name: &str, text: &str) -> Vec<Object> {
    let all = read::loosely(name, text).objects.into_iter();
    all.filter(|object| !object.key.kind.is_empty() && !object.key.name.is_empty()).collect()
}

/// Every object that lies on the disk now.
pub fn on_disk(disk: &BTreeMap<String, String>) -> Vec<Object> {
    let manifests = disk.iter().filter(|(name, _)| is_manifest(name));
    manifests.flat_map(|(name, text)| objects_of(name, text)).collect()
}

/// Every object that would lie on the disk after rendering: the rendered ones, and those of
/// people's own files.
pub fn afterwards(disk: &BTreeMap<String, String>, rendered: &[Rendered]) -> Vec<Object> {
    let own = disk.iter().filter(|(name, text)| is_manifest(name) && !files::is_generated(text));
    let own = own.flat_map(|(name, text)| objects_of(name, text));
    rendered.iter().flat_map(|one| one.objects.iter().cloned()).chain(own).collect()
}
