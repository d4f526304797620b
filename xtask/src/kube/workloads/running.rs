//! Whether something of a stopped workload still runs.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::{Kind, Workload, alive, is_noticed};
use crate::kube::{Cluster, at};

/// How long controllers may take to notice a change, where nothing of the object runs any more.
const NOTICE_LIMIT: Duration = Duration::from_secs(10);

/// Whether anything of a stopped workload runs.
pub(super) enum Running {
    /// Nothing; perhaps with a remark.
    Nothing(Option<String>),
    /// What, and how to end it by hand.
    Still(String, String),
}

pub(super) async fn running(
    cluster: &Cluster,
    workload: &Workload,
    since: Duration,
) -> Result<Running> {
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
