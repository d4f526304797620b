//! What this tool writes of the kinds of CloudNativePG, External Secrets, Sealed Secrets and the
//! Prometheus operator.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

use super::argo::strict;

type Labels = BTreeMap<String, String>;

strict! {
    ExternalSecret {
        api_version: String, kind: String, metadata: ObjectMeta, spec: ExternalSecretSpec,
    }
    ExternalSecretSpec {
        refresh_interval: String,
        secret_store_ref: StoreReference,
        target: SecretTarget,
        data: Vec<SecretData>,
    }
    StoreReference { kind: String, name: String, }
    SecretTarget { name: String, creation_policy: String, deletion_policy: String, }
    SecretData { secret_key: String, remote_ref: RemoteReference, }
    RemoteReference { key: String, property: Option<String>, version: Option<String>, }
    SealedSecret {
        api_version: String, kind: String, metadata: ObjectMeta, spec: SealedSecretSpec,
    }
    SealedSecretSpec { encrypted_data: Labels, template: Option<SealedTemplate>, }
    SealedTemplate { metadata: ObjectMeta, }
    PodMonitor { api_version: String, kind: String, metadata: ObjectMeta, spec: PodMonitorSpec, }
    PodMonitorSpec { selector: LabelSelector, pod_metrics_endpoints: Vec<MetricsEndpoint>, }
    MetricsEndpoint { port: String, interval: Option<String>, path: Option<String>, }
    PrometheusRule {
        api_version: String, kind: String, metadata: ObjectMeta, spec: PrometheusRuleSpec,
    }
    PrometheusRuleSpec { groups: Vec<RuleGroup>, }
    RuleGroup { name: String, rules: Vec<AlertRule>, }
    AlertRule {
        alert: String,
        expr: String,
        r#for: Option<String>,
        labels: Option<Labels>,
        annotations: Option<Labels>,
    }
    Reference { name: String, }
    Cluster { api_version: String, kind: String, metadata: ObjectMeta, spec: ClusterSpec, }
    ClusterStorage { size: String, storage_class: String, }
    Bootstrap { initdb: InitDb, }
    InheritedMetadata { labels: Labels, }
    ScheduledBackup {
        api_version: String, kind: String, metadata: ObjectMeta, spec: ScheduledBackupSpec,
    }
    ScheduledBackupSpec { schedule: String, backup_owner_reference: String, cluster: Reference, }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClusterSpec {
    instances: u32,
    image_name: String,
    image_pull_policy: String,
    #[serde(rename = "postgresUID")]
    user: u32,
    #[serde(rename = "postgresGID")]
    group: u32,
    #[serde(rename = "enablePDB")]
    disruption_budget: bool,
    enable_superuser_access: bool,
    start_delay: u32,
    stop_delay: u32,
    inherited_metadata: InheritedMetadata,
    storage: ClusterStorage,
    resources: ResourceRequirements,
    bootstrap: Bootstrap,
    postgresql: ClusterSettings,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InitDb {
    database: String,
    owner: String,
    secret: Reference,
    data_checksums: bool,
    #[serde(rename = "postInitApplicationSQL")]
    sql: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterSettings {
    shared_preload_libraries: Vec<String>,
    parameters: Labels,
    pg_hba: Vec<String>,
}
