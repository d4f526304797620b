//! Strict types: Kubernetes' own from k8s-openapi, others written here, because a cluster accepts
//! a misspelt field of a custom resource as quietly as k8s-openapi drops one.

use k8s_openapi::api::{apps, batch, core, discovery, networking, policy, storage};
use serde::de::DeserializeOwned;

use super::object::Object;
use super::rules::Finding;

mod argo;
mod operators;

/// Reads an object into its strict type: what does not fit is a finding.
pub fn check(object: &Object) -> Vec<Finding> {
    let version = object.text("apiVersion");
    match (version, object.key.kind.as_str()) {
        ("v1", "Namespace") => typed::<core::v1::Namespace>(object),
        ("v1", "PersistentVolumeClaim") => typed::<core::v1::PersistentVolumeClaim>(object),
        ("v1", "Service") => typed::<core::v1::Service>(object),
        ("v1", "ConfigMap") => typed::<core::v1::ConfigMap>(object),
        ("v1", "Secret") => typed::<core::v1::Secret>(object),
        ("apps/v1", "StatefulSet") => typed::<apps::v1::StatefulSet>(object),
        ("apps/v1", "Deployment") => typed::<apps::v1::Deployment>(object),
        ("batch/v1", "Job") => typed::<batch::v1::Job>(object),
        ("batch/v1", "CronJob") => typed::<batch::v1::CronJob>(object),
        ("policy/v1", "PodDisruptionBudget") => typed::<policy::v1::PodDisruptionBudget>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => typed::<networking::v1::NetworkPolicy>(object),
        ("storage.k8s.io/v1", "StorageClass") => typed::<storage::v1::StorageClass>(object),
        ("discovery.k8s.io/v1", "EndpointSlice") => typed::<discovery::v1::EndpointSlice>(object),
        ("argoproj.io/v1alpha1", "Application") => typed::<argo::Application>(object),
        ("argoproj.io/v1alpha1", "AppProject") => typed::<argo::AppProject>(object),
        ("postgresql.cnpg.io/v1", "Cluster") => typed::<operators::Cluster>(object),
        ("postgresql.cnpg.io/v1", "ScheduledBackup") => typed::<operators::ScheduledBackup>(object),
        ("external-secrets.io/v1", "ExternalSecret") => typed::<operators::ExternalSecret>(object),
        ("bitnami.com/v1alpha1", "SealedSecret") => typed::<operators::SealedSecret>(object),
        ("monitoring.coreos.com/v1", "PodMonitor") => typed::<operators::PodMonitor>(object),
        ("monitoring.coreos.com/v1", "PrometheusRule") => {
            typed::<operators::PrometheusRule>(object)
        }
        (version, kind) => vec![Finding::new(
            "known-kind",
            object,
            "kind",
            format!("{version} {kind} is not a kind that this tool renders"),
            "correct apiVersion and kind, or add a strict type in render/kinds",
        )],
    }
}

fn typed<T: DeserializeOwned>(object: &Object) -> Vec<Finding> {
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string().replace(".?", ""));
    // One type of callback for all kinds: the parts that they share are compiled once.
    let note: &mut dyn FnMut(serde_ignored::Path<'_>) = &mut note;
    let read: Result<T, _> = serde_ignored::deserialize(&object.body, note);
    let mut findings: Vec<Finding> = unknown
        .into_iter()
        .map(|path| {
            let problem = "the field does not exist in this kind";
            Finding::new("unknown-field", object, &path, problem, "correct its spelling or place")
        })
        .collect();
    if let Err(error) = read {
        let misspelt = error.to_string().starts_with("unknown field");
        let rule = if misspelt { "unknown-field" } else { "field-type" };
        let fix = "write the type that the kind asks for";
        findings.push(Finding::new(rule, object, "", error.to_string(), fix));
    }
    findings
}
