//! What runs in the cluster and writes to the database: stopped before a switch, and given back
//! exactly what it had.
//!
//! What an object had before stands on the object itself, in an annotation that comes with the
//! change and goes with its restoration. So a second stop never takes the stopped state for the
//! former one, and a second restoration never undoes what a person has changed since.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::kube::{Cluster, Right, at, is_missing, with};

/// The annotation with what an object had before.
pub const FORMER: &str = "xtask.cutover/former";
/// How long one object may take to be stopped.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long one object may take to be given back what it had.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);
/// How often the cluster is asked whether something has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long controllers may take to notice a change, where nothing of the object runs any more.
const NOTICE_LIMIT: Duration = Duration::from_secs(10);

/// What can be stopped. The order is the order of stopping: who would start the others again comes
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An ArgoCD Application, which would put everything back.
    Application,
    /// A CronJob, whose running Jobs are waited for.
    CronJob,
    /// A Deployment, whose pods are waited for.
    Deployment,
}

impl Kind {
    /// The kind as the API server knows it.
    pub fn resource(self) -> &'static str {
        match self {
            Kind::Application => "applications.argoproj.io",
            Kind::CronJob => "cronjobs.batch",
            Kind::Deployment => "deployments.apps",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Application => "application",
            Kind::CronJob => "cronjob",
            Kind::Deployment => "deployment",
        }
    }

    /// Where the value is that stops it.
    fn path(self) -> &'static [&'static str] {
        match self {
            Kind::Application => &["spec", "syncPolicy", "automated"],
            Kind::CronJob => &["spec", "suspend"],
            Kind::Deployment => &["spec", "replicas"],
        }
    }

    /// The value there of a stopped one; null where it is to be absent.
    fn stopped(self) -> Value {
        match self {
            Kind::Application => Value::Null,
            Kind::CronJob => json!(true),
            Kind::Deployment => json!(0),
        }
    }

    fn value(self, object: &Value) -> &Value {
        at(object, &format!("/{}", self.path().join("/")))
    }
}

/// One object that is stopped for a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it runs migrations when it starts: then it is started again only where the database
    /// is seen to be the right one.
    #[serde(default)]
    pub migrates: bool,
}

impl Workload {
    /// As people call it.
    pub fn title(&self) -> String {
        format!("{} {} in namespace {}", self.kind.name(), self.name, self.namespace)
    }
}

/// A workload, and what it had before it was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Which.
    #[serde(flatten)]
    pub workload: Workload,
    /// Replicas, suspension or automation; null where it had none.
    pub former: Value,
}

/// Everything that is stopped for a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workloads {
    /// Where.
    pub cluster: Cluster,
    /// In the order of stopping: parents of Applications first, then Applications, CronJobs,
    /// Deployments.
    pub all: Vec<Workload>,
    /// Database roles that nobody else uses: no session of theirs may be left.
    pub roles: Vec<String>,
    /// How long running Jobs and pods may take to end, each.
    pub limit: Duration,
}

/// What was seen while workloads came to a stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// The addresses that pods had, as servers may see them.
    pub addresses: BTreeSet<String>,
    /// What a person should know, in sentences.
    pub remarks: Vec<String>,
}

/// Who may ask the work to stop.
pub type Asked<'a> = &'a (dyn Fn() -> bool + Sync);

impl Workloads {
    /// The rights that stopping and restoring need, by namespace.
    fn rights(&self) -> Vec<(String, Vec<Right>)> {
        let mut all: Vec<(String, Vec<Right>)> = Vec::new();
        for workload in &self.all {
            let mut needed = vec![
                Right { verb: "get", resource: workload.kind.resource() },
                Right { verb: "patch", resource: workload.kind.resource() },
            ];
            match workload.kind {
                Kind::Application => {}
                Kind::CronJob => needed.push(Right { verb: "list", resource: "jobs.batch" }),
                Kind::Deployment => needed.push(Right { verb: "list", resource: "pods" }),
            }
            let found = all.iter_mut().find(|(namespace, _)| *namespace == workload.namespace);
            match found {
                Some((_, rights)) => rights.extend(needed),
                None => all.push((workload.namespace.clone(), needed)),
            }
        }
        for (_, rights) in &mut all {
            rights.sort();
            rights.dedup();
        }
        all
    }

    /// The rights that the tool lacks, each with its namespace.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn lacks(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (namespace, rights) in self.rights() {
            let lacking = self.cluster.in_namespace(&namespace).lacks(&rights).await?;
            all.extend(lacking.iter().map(|right| format!("{right} --namespace {namespace}")));
        }
        Ok(all)
    }

    /// What each has now; for one that is stopped already, what it had before.
    ///
    /// # Errors
    /// One is missing, or the cluster does not answer.
    pub async fn former(&self) -> Result<Vec<Former>> {
        let mut all = Vec::new();
        for workload in &self.all {
            let cluster = self.cluster.in_namespace(&workload.namespace);
            let object = cluster.get(workload.kind.resource(), &workload.name).await?;
            let object = object.ok_or_else(|| {
                let message = format!("the cluster has no {}", workload.title());
                Failure::refused(message).hint("name what there is, or leave it out")
            })?;
            let former = match mark(&object) {
                Some(text) => serde_json::from_str(text)
                    .with_context(|| format!("read {FORMER} of {}", workload.title()))?,
                None => workload.kind.value(&object).clone(),
            };
            all.push(Former { workload: workload.clone(), former });
        }
        Ok(all)
    }

    /// Whether each is stopped by the tool.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn are_stopped(&self) -> Result<bool> {
        for workload in &self.all {
            let cluster = self.cluster.in_namespace(&workload.namespace);
            let object = cluster.get(workload.kind.resource(), &workload.name).await?;
            let is_stopped = object.is_some_and(|object| {
                mark(&object).is_some() && *workload.kind.value(&object) == workload.kind.stopped()
            });
            if !is_stopped {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stops each, in order, and waits until nothing of it runs. What each had must be written down
    /// by then. Those of a kind are stopped together; an Application alone, because its parent has
    /// to be still before it is touched.
    ///
    /// # Errors
    /// The cluster refuses, somebody asked to stop, or something goes on running for too long.
    pub async fn stop(&self, former: &[Former], is_asked: Asked<'_>) -> Result<Stopped> {
        let mut stopped = Stopped::default();
        let is_together = |one: &Former, next: &Former| {
            one.workload.kind == next.workload.kind && one.workload.kind != Kind::Application
        };
        for group in former.chunk_by(is_together) {
            for one in group {
                if is_asked() {
                    bail!("somebody asked to stop");
                }
                let cluster = self.cluster.in_namespace(&one.workload.namespace);
                stopped.addresses.extend(addresses(&cluster, &one.workload).await?);
                stop(&cluster, one).await?;
            }
            let begun = Instant::now();
            for one in group {
                stopped.remarks.extend(self.ends(&one.workload, begun, is_asked).await?);
            }
        }
        Ok(stopped)
    }

    async fn ends(
        &self,
        workload: &Workload,
        begun: Instant,
        is_asked: Asked<'_>,
    ) -> Result<Option<String>> {
        let cluster = self.cluster.in_namespace(&workload.namespace);
        loop {
            match running(&cluster, workload, begun.elapsed()).await? {
                Running::Nothing(remark) => return Ok(remark),
                Running::Still(what, fix) if begun.elapsed() > self.limit => {
                    let message = format!("{what} after {:?}", self.limit);
                    return Err(Failure::failed(message).hint(fix).into());
                }
                Running::Still(..) if is_asked() => bail!("somebody asked to stop"),
                Running::Still(..) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// Gives one workload back what it had. One that is gone is told, and no error: there is nothing to
/// give back.
///
/// # Errors
/// The cluster does not answer, or refuses.
pub async fn restore(cluster: &Cluster, one: &Former) -> Result<Option<String>> {
    let Workload { kind, namespace, name, .. } = &one.workload;
    let cluster = cluster.in_namespace(namespace);
    let restored = cluster
        .change(kind.resource(), name, RESTORE_LIMIT, |object| {
            let is_stopped = *kind.value(object) == kind.stopped();
            if mark(object).is_none() && !is_stopped {
                // It was restored before, and may have been changed by a person since.
                return Ok(object.clone());
            }
            let object = with(object, &["metadata", "annotations", FORMER], Value::Null);
            Ok(with(&object, kind.path(), one.former.clone()))
        })
        .await;
    match restored {
        Ok(_) => Ok(None),
        Err(error) if is_missing(&error) => {
            Ok(Some(format!("{} is gone, so nothing was given back to it", one.workload.title())))
        }
        Err(error) => Err(error),
    }
}

/// What an object had before, where the tool has stopped it.
fn mark(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(FORMER)?.as_str()
}

async fn stop(cluster: &Cluster, one: &Former) -> Result<()> {
    let Workload { kind, name, .. } = &one.workload;
    let former = serde_json::to_string(&one.former)?;
    let changed = cluster.change(kind.resource(), name, STOP_LIMIT, |object| {
        let path = ["metadata", "annotations", FORMER];
        let object = with(object, &path, json!(former));
        Ok(with(&object, kind.path(), kind.stopped()))
    });
    changed.await.map(drop)
}

/// Whether anything of a stopped workload runs.
enum Running {
    /// Nothing; perhaps with a remark.
    Nothing(Option<String>),
    /// What, and how to end it by hand.
    Still(String, String),
}

async fn running(cluster: &Cluster, workload: &Workload, since: Duration) -> Result<Running> {
    match workload.kind {
        Kind::Application => sync(cluster, workload).await,
        Kind::CronJob => jobs(cluster, workload).await,
        Kind::Deployment => pods(cluster, workload, since).await,
    }
}

/// A synchronization that is under way puts everything back at its end.
async fn sync(cluster: &Cluster, workload: &Workload) -> Result<Running> {
    let object = cluster.get(workload.kind.resource(), &workload.name).await?.unwrap_or_default();
    let is_running = at(&object, "/status/operationState/phase") == "Running";
    if !is_running && object.get("operation").is_none() {
        return Ok(Running::Nothing(None));
    }
    let fix = format!("argocd app terminate-op {}", workload.name);
    Ok(Running::Still(format!("{} is still synchronizing", workload.title()), fix))
}

async fn jobs(cluster: &Cluster, workload: &Workload) -> Result<Running> {
    let jobs = cluster.list("jobs.batch", None).await?;
    let runs = jobs.iter().find(|job| is_owned_by(job, "CronJob", workload) && !has_ended(job));
    Ok(match runs.map(|job| at(job, "/metadata/name").as_str().unwrap_or_default()) {
        None => Running::Nothing(None),
        Some(job) => Running::Still(
            format!("job {job} of {} still runs", workload.title()),
            format!("wait for it, or: kubectl --namespace {} delete job {job}", workload.namespace),
        ),
    })
}

fn is_owned_by(object: &Value, kind: &str, workload: &Workload) -> bool {
    let owners = at(object, "/metadata/ownerReferences").as_array();
    owners.is_some_and(|owners| {
        owners.iter().any(|owner| owner["kind"] == kind && owner["name"] == workload.name)
    })
}

fn has_ended(job: &Value) -> bool {
    let conditions = at(job, "/status/conditions").as_array();
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| {
            (condition["type"] == "Complete" || condition["type"] == "Failed")
                && condition["status"] == "True"
        })
    })
}

/// Pods are gone, and a controller has seen that there shall be none: else it might make one a
/// moment later. Where no controller is at work nobody makes one.
async fn pods(cluster: &Cluster, workload: &Workload, since: Duration) -> Result<Running> {
    let object = cluster.get(workload.kind.resource(), &workload.name).await?.unwrap_or_default();
    let pods = alive(cluster, &object).await?;
    let title = workload.title();
    if let Some(pod) = pods.first() {
        let name = at(pod, "/metadata/name").as_str().unwrap_or_default();
        let namespace = cluster.namespace();
        return Ok(Running::Still(
            format!("{} pods of {title} still run, such as {name}", pods.len()),
            format!("kubectl --namespace {namespace} delete pod {name}; is the node there?"),
        ));
    }
    if is_noticed(&object) {
        return Ok(Running::Nothing(None));
    }
    if since > NOTICE_LIMIT {
        let remark = format!(
            "no controller has noticed within {NOTICE_LIMIT:?} that {title} has no replicas; none \
             of its pods runs"
        );
        return Ok(Running::Nothing(Some(remark)));
    }
    let fix = "see whether kube-controller-manager is at work";
    Ok(Running::Still(format!("no controller has noticed {title}"), fix.into()))
}

/// Whether a controller has seen the object as it is now.
pub fn is_noticed(object: &Value) -> bool {
    let generation = at(object, "/metadata/generation").as_i64();
    let observed = at(object, "/status/observedGeneration").as_i64();
    observed.is_some() && observed >= generation
}

/// The pods of a Deployment that have not ended.
///
/// # Errors
/// The cluster does not answer.
pub async fn alive(cluster: &Cluster, deployment: &Value) -> Result<Vec<Value>> {
    let selector = selector(at(deployment, "/spec/selector"));
    if selector.is_empty() {
        // An empty selector would find the pods of everybody.
        return Ok(Vec::new());
    }
    let pods = cluster.list("pods", Some(&selector)).await?;
    let has_ended = |pod: &Value| {
        let phase = at(pod, "/status/phase");
        phase == "Succeeded" || phase == "Failed"
    };
    Ok(pods.into_iter().filter(|pod| !has_ended(pod)).collect())
}

/// The addresses of a Deployment's pods.
async fn addresses(cluster: &Cluster, workload: &Workload) -> Result<Vec<String>> {
    if workload.kind != Kind::Deployment {
        return Ok(Vec::new());
    }
    let object = cluster.get(workload.kind.resource(), &workload.name).await?.unwrap_or_default();
    let pods = alive(cluster, &object).await?;
    let address = |pod: &Value| at(pod, "/status/podIP").as_str().map(String::from);
    Ok(pods.iter().filter_map(address).collect())
}

/// A selector of labels as kubectl takes it.
fn selector(selector: &Value) -> String {
    let mut all = Vec::new();
    for (name, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        all.push(format!("{name}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        let values = values.join(",");
        all.push(match expression["operator"].as_str().unwrap_or_default() {
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_string(),
            "DoesNotExist" => format!("!{key}"),
            _ => format!("{key} in ({values})"),
        });
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_written_as_kubectl_takes_it() {
        let written = selector(&json!({
            "matchLabels": {"app": "rbs"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["web", "api"]},
                {"key": "canary", "operator": "DoesNotExist"},
            ],
        }));
        assert_eq!(written, "app=rbs,tier in (web,api),!canary");
        assert_eq!(selector(&Value::Null), "");
    }

    #[test]
    fn rights_are_asked_for_once_and_where_they_are_needed() {
        let workload = |kind, namespace: &str, name: &str| Workload {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            migrates: false,
        };
        let workloads = Workloads {
            cluster: Cluster::new("kubectl", None, "k3s", "robson"),
            all: vec![
                workload(Kind::Application, "argocd", "robson-root"),
                workload(Kind::Application, "argocd", "robson-prod"),
                workload(Kind::Deployment, "robson", "backend"),
            ],
            roles: Vec::new(),
            limit: Duration::ZERO,
        };
        let rights = workloads.rights();
        let count = |index: usize| (rights[index].0.as_str(), rights[index].1.len());
        assert_eq!(count(0), ("argocd", 2));
        assert_eq!(count(1), ("robson", 3));
    }
}
