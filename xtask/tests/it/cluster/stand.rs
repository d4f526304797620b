//! The cluster of a test: the stand-in, or a real one behind it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};
use xtask::kube::Cluster;
use xtask::process::find_program;

use real::Real;

mod real;

/// The namespace of a test's objects.
pub const NAMESPACE: &str = "xtask-test";
/// The context that the stand-in knows.
pub const CONTEXT: &str = "stand-in";
/// Python where it starts fast: not behind a shim.
const PYTHON: &str = "/usr/bin/python3";
/// How long one answer may take: a hanging call is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Whose turn it is in a real cluster: tests share a namespace.
static TURN: OnceCell<Arc<Mutex<()>>> = OnceCell::const_new();

/// A cluster to test in.
pub struct Stand {
    folder: TempDir,
    program: PathBuf,
    real: Option<Real>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Stand {
    /// A cluster without objects: a real one where the environment names one.
    pub async fn begin() -> Stand {
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
        let mut stand = Stand { program, folder, real: None, _turn: None };
        if let Some(real) = Real::named().await {
            let turn = TURN.get_or_init(|| async { Arc::new(Mutex::new(())) }).await;
            stand._turn = Some(turn.clone().lock_owned().await);
            real.clear().await;
            stand.real = Some(real);
        }
        stand.settings(&json!({}));
        stand
    }

    /// Whether a real cluster answers.
    pub fn is_real(&self) -> bool {
        self.real.is_some()
    }

    /// Whether somebody acts on what is written: in an API server alone nobody does.
    pub fn has_controllers(&self) -> bool {
        match &self.real {
            Some(real) => real.has_controllers,
            None => self.read("settings.json")["controllers"] == true,
        }
    }

    /// The cluster, as the tool takes it.
    pub fn cluster(&self) -> Cluster {
        Cluster::new(&self.program, None, CONTEXT, NAMESPACE).answering_within(ANSWER_LIMIT)
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

    /// How the stand-in behaves: `controllers`, and rights that are `refused`. A real cluster has
    /// the controllers that it has, and a role that may do all but what is refused.
    pub fn settings(&self, settings: &Value) {
        let mut settings = settings.clone();
        settings["context"] = json!(CONTEXT);
        if let Some(real) = &self.real {
            settings["real"] = real.settings(&settings["refused"]);
        }
        self.write("settings.json", &settings);
    }

    /// Puts an object there, new or changed.
    pub fn put(&self, resource: &str, object: &Value) {
        if let Some(real) = &self.real {
            return real.put(resource, object);
        }
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
        match &self.real {
            Some(real) => real.object(resource, name),
            None => self.read("objects.json")[format!("{resource}/{NAMESPACE}/{name}")].clone(),
        }
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
}
