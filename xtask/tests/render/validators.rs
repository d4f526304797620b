//! Other people's validators, where they are installed; else skipped by name.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::{every_shape, rendered, root, values};
use xtask::process::{Invocation, find_program};
use xtask::render::files;

/// A digest of the right shape: the real ones are open, and two checks ask only whether there is one.
const SOME_DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A program, or a line that says that its test is skipped.
fn program(name: &str) -> Option<std::path::PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        writeln!(std::io::stderr(), "skipped: {name} is not installed").unwrap();
    }
    found
}

/// Every shape in a folder of its own, pinned by digest.
fn laid_out() -> tempfile::TempDir {
    // Not hidden: checkov leaves hidden folders out.
    let folder = tempfile::Builder::new().prefix("manifests").tempdir().unwrap();
    for one in every_shape() {
        for file in &one.files {
            let text = pinned(&file.text);
            files::replace(&folder.path().join(&one.environment.name).join(&file.path), &text)
                .unwrap();
        }
    }
    folder
}

fn pinned(text: &str) -> String {
    let pin = |line: &str| match line.trim_start().strip_prefix("image: \"") {
        Some(_) if !line.contains('@') => format!("{}@{SOME_DIGEST}\"", line.trim_end_matches('"')),
        _ => line.to_string(),
    };
    text.lines().map(|line| pin(line) + "\n").collect()
}

fn manifests(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(manifests(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            all.push(path.to_str().unwrap().to_string());
        }
    }
    all
}

#[tokio::test]
async fn kubernetes_validate_finds_no_error() {
    let Some(validate) = program("kubernetes-validate") else { return };
    let folder = laid_out();
    let output = Invocation::new(validate)
        .arguments(["-k", "1.36", "--strict", "--quiet"])
        .arguments(manifests(folder.path()))
        .deadline(Duration::from_secs(300))
        .output()
        .await
        .unwrap();
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
}

#[tokio::test]
async fn checkov_finds_no_error_and_skips_one_check() {
    let Some(checkov) = program("checkov") else { return };
    let folder = laid_out();
    let output = Invocation::new(checkov)
        .arguments(["--framework", "kubernetes", "--compact", "--skip-download"])
        .arguments(["--output", "json", "--directory"])
        .argument(folder.path())
        .deadline(Duration::from_secs(300))
        .output()
        .await
        .unwrap();
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let failed = &report["results"]["failed_checks"];
    assert_eq!(report["summary"]["failed"], 0, "{failed:#}");
    let skipped = report["results"]["skipped_checks"].as_array().cloned().unwrap_or_default();
    for check in skipped {
        assert_eq!(check["check_id"], "CKV_K8S_40", "{check:#}");
        assert!(!check["check_result"]["suppress_comment"].as_str().unwrap_or_default().is_empty());
    }
}

#[tokio::test]
async fn docker_compose_accepts_the_file() {
    let Some(docker) = program("docker") else { return };
    let compose = |arguments: &[&str]| {
        Invocation::new(&docker)
            .argument("compose")
            .arguments(arguments)
            .variable("RBS_PG_PASSWORD", "x")
            .folder(root())
    };
    if compose(&["version"]).output().await.unwrap().code != Some(0) {
        writeln!(std::io::stderr(), "skipped: docker compose is not installed").unwrap();
        return;
    }
    compose(&["--profile", "cutover", "config", "--quiet"]).run().await.unwrap();
}

#[test]
fn compose_has_the_services_and_the_names_of_the_application() {
    let one = rendered("local", &values("local")).unwrap();
    let text = |path: &str| &one.files.iter().find(|file| file.path == path).unwrap().text;
    let compose: serde_json::Value = serde_yaml::from_str(text("docker-compose.yml")).unwrap();
    assert_eq!(compose["services"]["paradedb"]["image"], "docker.io/paradedb/paradedb:0.25.3-pg18");
    assert!(compose["services"]["paradedb"].get("profiles").is_none());
    assert_eq!(compose["services"]["postgres"]["profiles"][0], "cutover");
    let roles = compose["configs"]["roles"]["content"].as_str().unwrap();
    assert!(!roles.replace("$$", "").contains('$'), "{roles}");
    assert!(text(".env.example").contains("RBS_PG_HOST=127.0.0.1\n"));
}
