//! What runs in a cluster, stopped and given back what it had: by a stand-in for kubectl, which
//! refuses, conflicts, hangs and dies on demand; or in the cluster of `XTASK_TEST_KUBECONFIG`.

use std::time::Duration;

use serde_json::{Value, json};
use xtask::kube::workloads::{self, FORMER, Former, Kind, Workload, Workloads};

use stand::{NAMESPACE, Stand};

mod night;
mod pods;
mod rendered;
mod routes;
pub mod stand;

/// The stamp of a command.
const STAMP: &str = "run 7";
/// How long a wait may take that is meant to be in vain.
const SHORT: Duration = Duration::from_secs(1);
/// How long one may take that is meant to end well.
const LONG: Duration = Duration::from_secs(60);

/// A Deployment with three pods.
fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": {"of": "somebody"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "busybox:1.37"}]},
            },
        },
    })
}

/// A CronJob of every minute.
fn cronjob(name: &str) -> Value {
    let container = json!({"name": "main", "image": "busybox:1.37"});
    let pod = json!({"restartPolicy": "Never", "containers": [container]});
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "schedule": "* * * * *",
            "suspend": false,
            "jobTemplate": {"spec": {"template": {"spec": pod}}},
        },
    })
}

/// A Job that a CronJob has made, of one that is there in a cluster:
/// a collector of garbage takes away what names an owner that is not.
fn job(stand: &Stand, name: &str, cronjob: &str, looks_left: Option<u32>) -> Value {
    let of = stand.object("cronjobs.batch", cronjob)["metadata"]["uid"].clone();
    let uid = of.as_str().unwrap_or("1");
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": cronjob, "uid": uid});
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner],
            "labels": {}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "busybox:1.37"}]}}},
        "status": {"active": 1},
    });
    if let Some(looks) = looks_left {
        job["metadata"]["labels"]["looks-left"] = json!(looks);
    }
    job
}

/// An Application with an automation that has its own mind.
fn application(name: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "project": "rbx-applications",
            "destination": {"namespace": NAMESPACE, "server": "https://kubernetes.default.svc"},
            "source": {"repoURL": "https://git.example/robson", "path": "infra/k8s/prod"},
            "syncPolicy": {
                "automated": {"prune": true, "selfHeal": true, "allowEmpty": false},
                "retry": {"limit": 5},
            },
        },
    })
}

fn workload(kind: Kind, name: &str) -> Workload {
    Workload { kind, namespace: NAMESPACE.into(), name: name.into(), migrates: false }
}

fn workloads(stand: &Stand, all: Vec<Workload>) -> Workloads {
    Workloads { cluster: stand.cluster(), all, roles: Vec::new(), limit: LONG }
}

/// What people have written of an object: all but what a server adds.
fn written(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for name in ["resourceVersion", "generation", "uid", "creationTimestamp", "managedFields"] {
        metadata.remove(name);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        // The controller of Deployments counts there.
        annotations.remove("deployment.kubernetes.io/revision");
    }
    if metadata.get("annotations") == Some(&json!({})) {
        metadata.remove("annotations");
    }
    object.as_object_mut().unwrap().remove("status");
    object
}

/// What a person is told of an error.
fn told(error: &anyhow::Error) -> String {
    let hint = xtask::failure::find(error).and_then(|failure| failure.hint.clone());
    format!("{error:#}; {}", hint.unwrap_or_default())
}

async fn restore(stand: &Stand, former: &[Former]) -> Vec<String> {
    let mut remarks = Vec::new();
    for one in former.iter().rev() {
        let remark = workloads::restore(&stand.cluster(), one).await.expect("it is given back");
        remarks.extend(remark);
    }
    remarks
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_has_again_exactly_what_it_had() {
    let stand = Stand::begin().await;
    stand.settings(&json!({"controllers": true}));
    stand.put("applications.argoproj.io", &application("robson-root"));
    stand.put("applications.argoproj.io", &application("robson-prod"));
    stand.put("cronjobs.batch", &cronjob("stop-monitor"));
    stand.put("jobs.batch", &job(&stand, "stop-monitor-1", "stop-monitor", Some(2)));
    stand.put("deployments.apps", &deployment("backend"));
    let all = [
        ("applications.argoproj.io", workload(Kind::Application, "robson-root")),
        ("applications.argoproj.io", workload(Kind::Application, "robson-prod")),
        ("cronjobs.batch", workload(Kind::CronJob, "stop-monitor")),
        ("deployments.apps", workload(Kind::Deployment, "backend")),
    ];
    let told = if stand.has_controllers() { 0 } else { 1 };
    let objects = || all.each_ref().map(|(resource, one)| stand.object(resource, &one.name));
    let before = objects().map(|object| written(&object));
    let workloads = workloads(&stand, all.iter().map(|(_, one)| one.clone()).collect());
    assert_eq!(workloads.lacks().await.unwrap(), Vec::<String>::new());
    let former = workloads.former().await.unwrap();
    let stopped = workloads.stop(&former, STAMP, &|| false).await.unwrap();
    assert_eq!(stopped.remarks.len(), told, "{stopped:?}");
    assert!(workloads.are_stopped(STAMP).await.unwrap());
    assert!(!workloads.are_stopped("another").await.unwrap());
    let now = objects();
    assert_eq!(now[1]["spec"]["syncPolicy"], json!({"retry": {"limit": 5}}));
    assert_eq!(now[2]["spec"]["suspend"], true);
    assert_eq!(now[3]["spec"]["replicas"], 0);
    assert_eq!(now[3]["metadata"]["annotations"][FORMER], "3");
    // A second process that stops them again knows what they had.
    assert_eq!(workloads.former().await.unwrap(), former);
    workloads.stop(&former, "later", &|| false).await.unwrap();
    assert!(workloads.are_stopped("later").await.unwrap());
    // Whoever comes too late gives nothing back that a later command has stopped.
    for one in &former {
        workloads::restore_of(&stand.cluster(), one, STAMP).await.unwrap();
    }
    assert!(workloads.are_stopped("later").await.unwrap());
    assert_eq!(restore(&stand, &former).await, Vec::<String>::new());
    assert_eq!(objects().map(|object| written(&object)), before);
    // What a person changes afterwards is left alone by whoever restores again.
    let mut scaled = stand.object("deployments.apps", "backend");
    scaled["spec"]["replicas"] = json!(5);
    stand.put("deployments.apps", &scaled);
    restore(&stand, &former).await;
    assert_eq!(stand.object("deployments.apps", "backend")["spec"]["replicas"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_and_lost_answers_are_met_by_looking_again() {
    let stand = Stand::begin().await;
    stand.settings(&json!({"controllers": true}));
    for fault in ["conflict", "die", "die after", "hang", "hang after"] {
        let name = fault.replace(' ', "-");
        stand.put("deployments.apps", &deployment(&name));
        let workloads = workloads(&stand, vec![workload(Kind::Deployment, &name)]);
        let former = workloads.former().await.unwrap();
        stand.fault("patch deployments.apps", fault, 1);
        workloads.stop(&former, STAMP, &|| false).await.expect(fault);
        assert!(workloads.are_stopped(STAMP).await.unwrap(), "{fault}");
        stand.fault("patch deployments.apps", fault, 1);
        restore(&stand, &former).await;
        let object = written(&stand.object("deployments.apps", &name));
        assert_eq!(object["spec"]["replicas"], 3, "{fault}");
        assert_eq!(object["metadata"]["annotations"], json!({"of": "somebody"}), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_running_is_named_with_what_ends_it() {
    let stand = Stand::begin().await;
    stand.put("cronjobs.batch", &cronjob("scan"));
    stand.put("jobs.batch", &job(&stand, "scan-28", "scan", None));
    let mut scan = workloads(&stand, vec![workload(Kind::CronJob, "scan")]);
    scan.limit = SHORT;
    let former = scan.former().await.unwrap();
    let error = told(&scan.stop(&former, STAMP, &|| false).await.unwrap_err());
    for wanted in ["job scan-28 of cronjob scan", "still runs after 1s", "delete job scan-28"] {
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    let mut paused = application("busy");
    paused["status"] = json!({"operationState": {
        "phase": "Running", "startedAt": "2026-11-28T03:00:00Z", "operation": {},
    }});
    stand.put("applications.argoproj.io", &paused);
    let mut busy = workloads(&stand, vec![workload(Kind::Application, "busy")]);
    busy.limit = SHORT;
    let former = busy.former().await.unwrap();
    let error = told(&busy.stop(&former, STAMP, &|| false).await.unwrap_err());
    assert!(error.contains("argocd app terminate-op busy"), "{error}");
}

/// An API server alone: nobody makes pods, and nobody takes them away.
#[tokio::test(flavor = "multi_thread")]
async fn without_controllers_every_wait_ends_and_says_why() {
    let stand = Stand::begin().await;
    stand.put("deployments.apps", &deployment("backend"));
    let mut backend = workloads(&stand, vec![workload(Kind::Deployment, "backend")]);
    let former = backend.former().await.unwrap();
    let stopped = backend.stop(&former, STAMP, &|| false).await.unwrap();
    match stand.has_controllers() {
        true => assert_eq!(stopped.remarks, Vec::<String>::new()),
        false => assert!(stopped.remarks[0].contains("no controller has noticed"), "{stopped:?}"),
    }
    restore(&stand, &former).await;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "backend-x", "namespace": NAMESPACE, "labels": {"app": "backend"}},
        "spec": {"containers": [{"name": "main", "image": "busybox:1.37"}]},
    });
    stand.put("pods", &pod);
    backend.limit = SHORT;
    let error = told(&backend.stop(&former, STAMP, &|| false).await.unwrap_err());
    for wanted in ["1 pods of deployment backend", "such as backend-x"] {
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    restore(&stand, &former).await;
    assert_eq!(stand.object("deployments.apps", "backend")["spec"]["replicas"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_and_objects_are_named_before_anything_is_touched() {
    let stand = Stand::begin().await;
    stand.settings(&json!({"refused": ["patch cronjobs.batch"]}));
    let workloads = workloads(&stand, vec![workload(Kind::CronJob, "scan")]);
    let lacking = workloads.lacks().await.unwrap();
    assert_eq!(lacking, [format!("patch cronjobs.batch --namespace {NAMESPACE}")]);
    let error = format!("{:#}", workloads.former().await.unwrap_err());
    assert!(error.contains("the cluster has no cronjob scan"), "{error}");
    assert!(
        stand
            .calls()
            .iter()
            .all(|call| !call.contains(" patch --") && !call.contains("patch cronjobs.batch scan"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_has_nothing_to_be_given_back() {
    let stand = Stand::begin().await;
    let workload = workload(Kind::Deployment, "gone");
    let former = [Former { workload, former: json!(2) }];
    let remarks = restore(&stand, &former).await;
    assert!(remarks[0].contains("deployment gone"), "{remarks:?}");
}
