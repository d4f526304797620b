//! The cluster of a test: the stand-in, or a real one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::config;
use xtask::kube::Cluster;
use xtask::process::{Invocation, find_program};

/// The namespace of a test's objects.
pub const NAMESPACE: &str = "xtask-test";
/// The context that the stand-in knows.
pub const CONTEXT: &str = "stand-in";
/// The kubeconfig of a cluster to test in.
const KUBECONFIG: &str = "XTASK_TEST_KUBECONFIG";
/// Python where it starts fast: not behind a shim.
const PYTHON: &str = "/usr/bin/python3";
/// How long one answer may take: a hanging call is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// A cluster to test in.
pub struct Stand {
    folder: TempDir,
    program: PathBuf,
    kubeconfig: PathBuf,
    context: String,
}

impl Stand {
    /// A stand-in without objects.
    pub fn new() -> Stand {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("kubectl");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cluster/kubectl.py");
        let usual = Some(PathBuf::from(PYTHON)).filter(|python| python.is_file());
        let python = usual.or_else(|| find_program("python3")).expect("Python 3 is there");
        let text = format!(
            "#!/bin/sh
exec env STAND='{}' {} -S {} \"$@\"
",
            folder.path().display(),
            python.display(),
            script.display()
        );
        std::fs::write(&program, text).expect("the folder is ours");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("the file is ours");
        let stand = Stand {
            kubeconfig: folder.path().join("config"),
            context: CONTEXT.into(),
            program,
            folder,
        };
        stand.settings(&json!({}));
        stand
    }

    /// A real cluster with a namespace for the test, where the environment names one.
    pub async fn real() -> Option<Stand> {
        let kubeconfig = config::path(KUBECONFIG)?;
        let program = find_program("kubectl").expect("kubectl is there");
        let asked = Invocation::new(&program)
            .argument("--kubeconfig")
            .argument(&kubeconfig)
            .arguments(["config", "current-context"]);
        let context = asked.run().await.expect("it has a context").trim().to_string();
        let folder = tempfile::tempdir().expect("a folder");
        let stand = Stand { folder, program, kubeconfig, context };
        stand
            .apply(&json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE}}))
            .await;
        Some(stand)
    }

    /// The cluster, as the tool takes it.
    pub fn cluster(&self) -> Cluster {
        let kubeconfig = Some(self.kubeconfig.clone());
        Cluster::new(&self.program, kubeconfig, &self.context, NAMESPACE)
            .answering_within(ANSWER_LIMIT)
    }

    fn read(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.folder.path().join(name));
        text.map_or(json!({}), |text| serde_json::from_str(&text).expect("it is JSON"))
    }

    fn write(&self, name: &str, value: &Value) {
        let new = self.folder.path().join(format!("{name}.test"));
        std::fs::write(&new, value.to_string()).expect("the folder is ours");
        std::fs::rename(&new, self.folder.path().join(name)).expect("the folder is ours");
    }

    /// How the stand-in behaves: `controllers`, and rights that are `refused`.
    pub fn settings(&self, settings: &Value) {
        let mut settings = settings.clone();
        settings["context"] = json!(CONTEXT);
        self.write("settings.json", &settings);
    }

    /// Puts an object there, new or changed.
    pub fn put(&self, resource: &str, object: &Value) {
        let mut objects = self.read("objects.json");
        let mut object = object.clone();
        let metadata = &mut object["metadata"];
        let version = metadata["resourceVersion"]
            .as_str()
            .map_or(1, |version| version.parse::<u64>().expect("a number") + 1);
        metadata["resourceVersion"] = json!(version.to_string());
        if metadata["generation"].is_null() {
            metadata["generation"] = json!(1);
        }
        let name = metadata["name"].as_str().expect("a name").to_string();
        objects[format!("{resource}/{NAMESPACE}/{name}")] = object;
        self.write("objects.json", &objects);
    }

    /// An object as it is now.
    pub fn object(&self, resource: &str, name: &str) -> Value {
        self.read("objects.json")[format!("{resource}/{NAMESPACE}/{name}")].clone()
    }

    /// Tells the stand-in to fail at the next calls whose line holds a text: `refuse`, `conflict`,
    /// `hang`, `hang after`, `die`, `die after`.
    pub fn fault(&self, line: &str, kind: &str, times: u32) {
        self.write("faults.json", &json!([{"match": line, "kind": kind, "times": times}]));
    }

    /// The folder of the program.
    pub fn programs(&self) -> &Path {
        self.folder.path()
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.write("faults.json", &json!([]));
    }

    /// The command lines so far.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("calls.jsonl"));
        let line = |line: &str| {
            let call: Value = serde_json::from_str(line).expect("it is JSON");
            let words = call["argv"].as_array().expect("a list").iter();
            words.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        };
        text.unwrap_or_default().lines().map(line).collect()
    }

    /// Makes an object in a real cluster.
    pub async fn apply(&self, object: &Value) {
        let call = self.kubectl(&["apply", "--filename", "-"]).input(object.to_string());
        call.run().await.expect("the cluster takes it");
    }

    /// Takes away from a real cluster what the test has made.
    pub async fn clear(&self) {
        let call = self.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
        call.run().await.expect("the cluster takes it away");
    }

    fn kubectl(&self, arguments: &[&str]) -> Invocation {
        Invocation::new(&self.program)
            .argument("--kubeconfig")
            .argument(&self.kubeconfig)
            .arguments(["--context", &self.context])
            .arguments(arguments)
    }
}
