//! A real cluster, where `XTASK_TEST_KUBECONFIG` names one. An API server alone is enough; it has
//! to know ArgoCD's Application.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::OnceCell;
use xtask::config;
use xtask::failure::tolerate;
use xtask::process::{Invocation, find_program};

use super::NAMESPACE;

/// The kubeconfig of a cluster to test in; its user may do everything.
const KUBECONFIG: &str = "XTASK_TEST_KUBECONFIG";
/// Who may not do everything.
const LIMITED: &str = "xtask-limited";
/// What a test makes.
const KINDS: &str = "deployments.apps,cronjobs.batch,jobs.batch,pods,services,\
                     endpointslices.discovery.k8s.io,secrets,applications.argoproj.io,\
                     roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io";
/// How long a controller may take to notice what is new.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// How long a Job runs that is to end by itself.
const JOB_ENDS_AFTER: Duration = Duration::from_millis(1500);

/// A real cluster.
#[derive(Debug, Clone)]
pub struct Real {
    program: PathBuf,
    kubeconfig: PathBuf,
    context: String,
    /// Whether somebody acts on what is written.
    pub has_controllers: bool,
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

impl Real {
    /// The cluster of the environment, with a namespace for tests.
    pub async fn named() -> Option<Real> {
        static NAMED: OnceCell<Option<Real>> = OnceCell::const_new();
        NAMED.get_or_init(Real::find).await.clone()
    }

    async fn find() -> Option<Real> {
        let kubeconfig = config::path(KUBECONFIG)?;
        let program = find_program("kubectl").expect("kubectl is there");
        let asked = Invocation::new(&program)
            .argument("--kubeconfig")
            .argument(&kubeconfig)
            .arguments(["config", "current-context"]);
        let context = asked.run().await.expect("it has a context").trim().to_string();
        let mut real = Real { program, kubeconfig, context, has_controllers: false };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE}});
        let call = real.call(&["apply", "--filename", "-"]).input(namespace.to_string());
        call.run().await.expect("the cluster takes it");
        real.clear().await;
        real.has_controllers = real.is_noticed().await;
        Some(real)
    }

    async fn is_noticed(&self) -> bool {
        let mut probe = super::super::deployment("noticed");
        probe["spec"]["replicas"] = json!(0);
        let call = self.call(&["create", "--filename", "-"]).input(probe.to_string());
        call.run().await.expect("the cluster takes it");
        let begun = std::time::Instant::now();
        while begun.elapsed() < NOTICED_WITHIN {
            if self.get("deployments.apps", "noticed").await["status"]["observedGeneration"] == 1 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        false
    }

    fn call(&self, arguments: &[&str]) -> Invocation {
        Invocation::new(&self.program)
            .argument("--kubeconfig")
            .argument(&self.kubeconfig)
            .arguments(["--context", &self.context, "--namespace", NAMESPACE])
            .arguments(arguments)
    }

    /// Takes away what another test has left.
    pub async fn clear(&self) {
        let flags = ["--all", "--force", "--grace-period=0", "--wait=true"];
        let call = self.call(&["delete", KINDS]).arguments(flags);
        call.run().await.expect("the cluster takes it away");
    }

    /// How the stand-in reaches it; as somebody with fewer rights where some are refused.
    pub fn settings(&self, refused: &Value) -> Value {
        let mut settings = json!({
            "program": self.program, "kubeconfig": self.kubeconfig, "context": self.context,
        });
        if refused.as_array().is_some_and(|all| !all.is_empty()) {
            wait(self.limit());
            settings["as"] = json!(LIMITED);
        }
        settings
    }

    /// Somebody who may read everything here, and change nothing.
    async fn limit(&self) {
        let group = "rbac.authorization.k8s.io";
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": LIMITED},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": LIMITED},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": LIMITED},
            "subjects": [{"apiGroup": group, "kind": "User", "name": LIMITED}]});
        for object in [role, binding] {
            let call = self.call(&["create", "--filename", "-"]).input(object.to_string());
            call.run().await.expect("the cluster takes it");
        }
    }

    /// Puts an object there, new or changed.
    pub fn put(&self, resource: &str, object: &Value) {
        let mut object = object.clone();
        let name = object["metadata"]["name"].as_str().expect("a name").to_string();
        let labels = object["metadata"]["labels"].as_object_mut();
        let ends = labels.and_then(|labels| labels.shift_remove("looks-left")).is_some();
        let is_there = !self.object(resource, &name).is_null();
        let verb = if is_there { "replace" } else { "create" };
        if !is_there {
            let metadata = object["metadata"].as_object_mut().expect("an object");
            metadata.shift_remove("resourceVersion");
            metadata.shift_remove("uid");
        }
        let call = self.call(&[verb, "--filename", "-"]).input(object.to_string());
        wait(call.run()).expect("the cluster takes it");
        if ends {
            let real = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(JOB_ENDS_AFTER).await;
                let ended = real.call(&["delete", "jobs.batch", &name, "--wait=false"]).run().await;
                tolerate(ended, "the test says that it still runs");
            });
        }
    }

    /// An object as it is now; null where there is none.
    pub fn object(&self, resource: &str, name: &str) -> Value {
        wait(self.get(resource, name))
    }

    async fn get(&self, resource: &str, name: &str) -> Value {
        let call = self.call(&["get", resource, name, "--ignore-not-found", "--output", "json"]);
        let text = call.run().await.expect("the cluster answers");
        match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).expect("it is JSON"),
        }
    }
}
