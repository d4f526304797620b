//! Rules about images: exact, and of one version.

use super::{Report, Rule, Set};
use crate::render::context::image_reference;
use crate::render::object::Object;

pub(super) const RULES: [Rule; 4] = [
    Rule::new("image-reference", "an image that no node can pull", reference),
    Rule::new("image-exact", "an image that changes under a fixed name", exact),
    Rule::new("image-version", "a server of another version than its values", version),
    Rule::new("pull-policy", "a restart that needs the registry", pull_policy),
];

/// Every image of an object, with its path.
pub fn images(object: &Object) -> Vec<(String, &str)> {
    let mut all: Vec<(String, &str)> = object
        .containers()
        .into_iter()
        .map(|(path, one)| (format!("{path}.image"), one["image"].as_str().unwrap_or_default()))
        .collect();
    if object.is("Cluster") {
        all.push(("spec.imageName".into(), object.text("spec.imageName")));
    }
    all
}

/// The tag of an image reference; empty where it has none.
fn tag(image: &str) -> &str {
    let without_digest = image.split('@').next().unwrap_or_default();
    let last = without_digest.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map_or("", |(_, tag)| tag)
}

/// Whether a tag names one release: digits with dots, at least two dots, and no floating word.
pub fn is_exact(tag: &str) -> bool {
    let floating = ["latest", "stable", "main", "master", "edge", "nightly"];
    let release = tag.split(['-', '_']).next().unwrap_or_default().trim_start_matches('v');
    let parts: Vec<&str> = release.split('.').collect();
    parts.len() >= 2
        && parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
        && !floating.iter().any(|word| tag.contains(word))
}

fn reference(set: &Set, report: &mut Report) {
    for object in set.objects {
        for (path, image) in images(object) {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
            if image.is_empty() || !image.chars().all(allowed) {
                let problem = format!("`{image}` is not an image reference");
                report.add(object, &path, problem, "write repository:tag@sha256:…");
            }
        }
    }
}

fn exact(set: &Set, report: &mut Report) {
    for object in set.objects {
        for (path, image) in images(object) {
            let tag = tag(image);
            // Two numbers float: 0.25 follows every 0.25.x.
            let numbers = tag.split(['-', '_']).next().unwrap_or_default().split('.').count();
            let of_paradedb = image.contains("paradedb/paradedb");
            if !is_exact(tag) || (of_paradedb && numbers < 3) {
                let problem = format!("the tag `{tag}` is not one release");
                report.add(object, &path, problem, "name the exact version, and pin its digest");
            }
        }
    }
}

fn version(set: &Set, report: &mut Report) {
    let wanted = image_reference(set.values);
    let repository = format!("{}:", set.values.image.repository);
    for object in set.objects {
        for (path, image) in images(object) {
            if image.starts_with(&repository) && image != wanted {
                let problem = format!("`{image}` is not the image of the values");
                report.add(object, &path, problem, format!("use {wanted}"));
            }
        }
    }
}

fn pull_policy(set: &Set, report: &mut Report) {
    for object in set.objects {
        for (path, container) in object.containers() {
            if container["imagePullPolicy"] != "IfNotPresent" {
                let problem = "a restart would need the registry, and may get another image";
                let path = format!("{path}.imagePullPolicy");
                report.add(object, &path, problem, "set IfNotPresent");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_exact;

    #[test]
    fn floating_tags_are_seen() {
        for floating in ["", "latest", "latest-pg18", "pg18", "v0", "18", "staging-latest", "main"]
        {
            assert!(!is_exact(floating), "{floating}");
        }
        for exact in ["0.25.3-pg18", "v1.25.2-p0", "1.75.1", "16.10-trixie", "v0.19.1"] {
            assert!(is_exact(exact), "{exact}");
        }
    }
}
