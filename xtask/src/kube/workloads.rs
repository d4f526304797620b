//! What runs in the cluster and writes to the database: stopped before a switch, and given back
//! exactly what it had.
//!
//! What an object had before stands on the object itself, in an annotation that comes with the
//! change and goes with its restoration. So a second stop never takes the stopped state for the
//! former one, and a second restoration never undoes what a person has changed since. Another says
//! which command has stopped it.

mod running;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::kube::workloads::running::{Running, running};
use crate::kube::{Cluster, Right, at, is_missing, with};

/// The annotation with what an object had before.
pub const FORMER: &str = "xtask.cutover/former";
/// The annotation with who has stopped it: who comes late must not start what a later command has
/// stopped.
pub const STOPPED_BY: &str = "xtask.cutover/stopped-by";
/// How long one object may take to be stopped.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long one object may take to be given back what it had.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);
/// How often the cluster is asked whether something has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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

impl Former {
    /// Whether this is what a stopped one has, so that it says nothing of the time before.
    pub fn is_of_a_stopped_one(&self) -> bool {
        self.former == self.workload.kind.stopped()
    }

    /// Whether it is stopped by the tool, whoever ran it.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn is_still_stopped(&self, cluster: &Cluster) -> Result<bool> {
        let Workload { kind, namespace, name, .. } = &self.workload;
        let object = cluster.in_namespace(namespace).get(kind.resource(), name).await?;
        Ok(object.is_some_and(|object| mark(&object, FORMER).is_some()))
    }
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
            let former = match mark(&object, FORMER) {
                Some(text) => serde_json::from_str(text)
                    .with_context(|| format!("read {FORMER} of {}", workload.title()))?,
                None => workload.kind.value(&object).clone(),
            };
            all.push(Former { workload: workload.clone(), former });
        }
        Ok(all)
    }

    /// Whether each is stopped by the command of a stamp.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn are_stopped(&self, stamp: &str) -> Result<bool> {
        for workload in &self.all {
            let cluster = self.cluster.in_namespace(&workload.namespace);
            let object = cluster.get(workload.kind.resource(), &workload.name).await?;
            let is_stopped = object.is_some_and(|object| {
                let is_ours = mark(&object, STOPPED_BY) == Some(stamp);
                is_ours && *workload.kind.value(&object) == workload.kind.stopped()
            });
            if !is_stopped {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stops each, in order, and waits until nothing of it runs. What each had must be written down
    /// by then. Those of a kind are stopped together; an Application alone, because its parent has
    /// to be still before it is touched. Each bears the stamp of this command.
    ///
    /// # Errors
    /// The cluster refuses, somebody asked to stop, or something goes on running for too long.
    pub async fn stop(
        &self,
        former: &[Former],
        stamp: &str,
        is_asked: Asked<'_>,
    ) -> Result<Stopped> {
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
                stop(&cluster, one, stamp).await?;
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
    let is_ours = |object: &Value| {
        // One that was restored before may have been changed by a person since.
        mark(object, FORMER).is_some()
            || *one.workload.kind.value(object) == one.workload.kind.stopped()
    };
    restore_where(cluster, one, is_ours).await
}

/// The same, only where the command of a stamp has stopped it, and no later one.
///
/// # Errors
/// As [`restore`].
pub async fn restore_of(cluster: &Cluster, one: &Former, stamp: &str) -> Result<Option<String>> {
    restore_where(cluster, one, |object| mark(object, STOPPED_BY) == Some(stamp)).await
}

async fn restore_where(
    cluster: &Cluster,
    one: &Former,
    is_ours: impl Fn(&Value) -> bool,
) -> Result<Option<String>> {
    let Workload { kind, namespace, name, .. } = &one.workload;
    let cluster = cluster.in_namespace(namespace);
    let restored = cluster
        .change(kind.resource(), name, RESTORE_LIMIT, |object| {
            if !is_ours(object) {
                return Ok(object.clone());
            }
            let object = with(object, &["metadata", "annotations", FORMER], Value::Null);
            let object = with(&object, &["metadata", "annotations", STOPPED_BY], Value::Null);
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

/// What the tool has written on an object that it has stopped.
fn mark<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

async fn stop(cluster: &Cluster, one: &Former, stamp: &str) -> Result<()> {
    let Workload { kind, name, .. } = &one.workload;
    let former = serde_json::to_string(&one.former)?;
    let changed = cluster.change(kind.resource(), name, STOP_LIMIT, |object| {
        let object = with(object, &["metadata", "annotations", FORMER], json!(former));
        let object = with(&object, &["metadata", "annotations", STOPPED_BY], json!(stamp));
        Ok(with(&object, kind.path(), kind.stopped()))
    });
    changed.await.map(drop)
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
mod tests;
