//! Manifests that cannot eat the data.
//!
//! Values are read strictly, templates quote every value, each document is read back more strictly
//! than a cluster would, and all of them together are held against the rules. Rendering is pure:
//! the same values give the same bytes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::failure::Failure;

pub mod catalog;
pub mod change;
pub mod cluster;
pub mod context;
pub mod docs;
pub mod files;
pub mod history;
pub mod kinds;
pub mod object;
pub mod quote;
pub mod read;
pub mod rules;
pub mod settings;
pub mod template;
pub mod values;

use object::Object;
use rules::Finding;
use values::Environment;

/// One rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it goes, relative to the workspace.
    pub path: String,
    /// Its whole text, with the line that marks it as generated.
    pub text: String,
}

/// One environment, rendered.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The environment.
    pub environment: Environment,
    /// Its files, in the order of the catalogue.
    pub files: Vec<File>,
    /// Its objects, in the order of the files.
    pub objects: Vec<Object>,
    /// Every broken rule.
    pub findings: Vec<Finding>,
}

/// The folder that holds `templates` and `infra`: the first one upwards from a folder.
///
/// # Errors
/// No folder on the way up holds templates.
pub fn workspace(from: &Path) -> Result<PathBuf> {
    let holds =
        |folder: &&Path| folder.join("templates").is_dir() && folder.join("infra/values").is_dir();
    from.ancestors().find(holds).map(Path::to_path_buf).ok_or_else(|| {
        Failure::usage(format!(
            "no folder above {} holds templates and infra/values",
            from.display()
        ))
        .hint("run it inside the workspace")
        .into()
    })
}

/// Renders every environment of a workspace.
///
/// # Errors
/// A values file or a template is wrong. Broken rules are no error here: they are findings.
pub fn all(root: &Path) -> Result<Vec<Rendered>> {
    let templates = template::Templates::new(&root.join("templates"))?;
    let environments = values::read_all(&root.join("infra/values"))?;
    environments.into_iter().map(|environment| one(environment, &templates)).collect()
}

/// Renders one environment.
///
/// # Errors
/// A template is wrong.
pub fn one(environment: Environment, templates: &template::Templates) -> Result<Rendered> {
    let context = context::build(&environment, templates)
        .with_context(|| format!("prepare environment {}", environment.name))?;
    let mut files = Vec::new();
    for entry in &catalog::ALL {
        let Some(path) = entry.output(&environment) else { continue };
        let body = templates.fill(entry.template, &context)?;
        let head = files::head(entry.template, &environment.name);
        files.push(File { path, text: format!("{head}\n{}\n", body.trim()) });
    }
    let (objects, mut findings) = read_back(&files);
    let set = rules::Set { values: &environment.values, objects: &objects, files: &files };
    findings.extend(rules::check(&set));
    Ok(Rendered { environment, files, objects, findings })
}

/// Reads rendered files back into objects, with every strictness.
pub fn read_back(files: &[File]) -> (Vec<Object>, Vec<Finding>) {
    let mut objects = Vec::new();
    let mut findings = Vec::new();
    let manifests = files.iter().filter(|file| file.path.ends_with(".yaml"));
    for file in manifests {
        let read = read::strictly(&file.path, &file.text);
        objects.extend(read.objects);
        findings.extend(read.findings);
    }
    (objects, findings)
}
