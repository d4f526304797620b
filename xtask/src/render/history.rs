//! The manifests of another revision, read from Git, and those that lie in the working tree.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::change::{self, Change};
use super::files::{self, COMPOSE, IN_ROOT, MANIFESTS};
use super::object::Object;
use super::values::Environment;
use super::{Rendered, read};
use crate::failure::Failure;
use crate::process::{self, Invocation};

/// Every rendered file and manifest of a revision, by path, as [`files::on_disk`] reads them now.
///
/// # Errors
/// Git is not there, or does not know the revision.
pub async fn at(root: &Path, revision: &str) -> Result<BTreeMap<String, String>> {
    let program = process::find_program("git").ok_or_else(|| {
        Failure::usage("git is not installed").hint("install git, or put it on PATH")
    })?;
    let git = |arguments: &[&str]| {
        Invocation::new(&program).folder(root).argument("--no-pager").arguments(arguments)
    };
    let tree = format!("{revision}^{{tree}}");
    let found = git(&["rev-parse", "--verify", "--end-of-options", &tree]).output().await?;
    if found.code != Some(0) {
        let message = format!("git knows no revision `{revision}` here: {}", found.stderr.trim());
        return Err(Failure::usage(message).hint("git log --oneline -- infra").into());
    }
    let commit = found.stdout.trim();
    let prefix = git(&["rev-parse", "--show-prefix"]).run().await.context("find the repository")?;
    let prefix = prefix.trim();
    let places = IN_ROOT.iter().chain(&[MANIFESTS]).map(|place| format!("{prefix}{place}"));
    let names = git(&["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--"])
        .arguments(places)
        .run()
        .await
        .with_context(|| format!("list the manifests of {revision}"))?;
    let mut all = BTreeMap::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let text = git(&["cat-file", "blob", &format!("{commit}:{name}")])
            .run()
            .await
            .with_context(|| format!("read {name} of {revision}"))?;
        let name = name.strip_prefix(prefix).unwrap_or(name);
        all.insert(name.to_string(), text);
    }
    Ok(all)
}

/// The files that belong to one environment: those that were generated from its values, and
/// people's own in its folder.
pub fn of_environment(
    all: &BTreeMap<String, String>,
    environment: &Environment,
) -> BTreeMap<String, String> {
    let mark = format!("infra/values/{}.yaml;", environment.name);
    let folder = environment.values.folder.as_ref().map(|folder| format!("{folder}/"));
    let belongs = |name: &str, text: &str| match files::is_generated(text) {
        true => text.lines().next().is_some_and(|line| line.contains(&mark)),
        false => folder.as_ref().is_some_and(|folder| name.starts_with(folder)),
    };
    let own = all.iter().filter(|(name, text)| belongs(name, text));
    own.map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// The objects of one file; documents that are no objects are left out.
fn objects_of(name: &str, text: &str) -> Vec<Object> {
    let all = read::loosely(name, text).objects.into_iter();
    all.filter(|object| !object.key.kind.is_empty() && !object.key.name.is_empty()).collect()
}

/// Whether a file holds objects of Kubernetes.
fn is_manifest(name: &str) -> bool {
    let below = name.strip_prefix(MANIFESTS).is_some_and(|rest| rest.starts_with('/'));
    below && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

/// Every object of some files.
pub fn objects(files: &BTreeMap<String, String>) -> Vec<Object> {
    let manifests = files.iter().filter(|(name, _)| is_manifest(name));
    manifests.flat_map(|(name, text)| objects_of(name, text)).collect()
}

/// What changes from some files to what would lie on the disk after rendering, docker compose
/// included; the worst first.
pub fn changes(
    old: &BTreeMap<String, String>,
    disk: &BTreeMap<String, String>,
    rendered: &[Rendered],
) -> Vec<Change> {
    let mut all = change::between(&objects(old), &afterwards(disk, rendered));
    let mut new = rendered.iter().flat_map(|one| &one.files);
    let new = new.find(|file| file.path == COMPOSE).map(|file| file.text.as_str());
    if let Some(old) = old.get(COMPOSE) {
        all.extend(change::compose::changes(old, new.unwrap_or_default()));
    }
    all.sort_by_key(|change| std::cmp::Reverse(change.class));
    all
}

/// Every object that would lie on the disk after rendering: the rendered ones, and those of
/// people's own files.
pub fn afterwards(disk: &BTreeMap<String, String>, rendered: &[Rendered]) -> Vec<Object> {
    let own = disk.iter().filter(|(name, text)| is_manifest(name) && !files::is_generated(text));
    let own = own.flat_map(|(name, text)| objects_of(name, text));
    rendered.iter().flat_map(|one| one.objects.iter().cloned()).chain(own).collect()
}
