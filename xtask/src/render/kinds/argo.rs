//! What this tool writes of ArgoCD's Application and AppProject. Narrower than the real kinds on
//! purpose: `helm` or `sources` have no place in a plain folder of manifests.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// Declares strict types.
macro_rules! strict {
    ($($name:ident { $($field:ident: $type:ty,)* })*) => { $(
        #[derive(Debug, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        pub(super) struct $name { $($field: $type,)* }
    )* };
}
pub(super) use strict;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    #[serde(rename = "repoURL")]
    repository: String,
    #[serde(rename = "targetRevision")]
    revision: String,
    path: String,
}

strict! {
    Application { api_version: String, kind: String, metadata: ObjectMeta, spec: ApplicationSpec, }
    ApplicationSpec {
        project: String,
        source: Option<Source>,
        sources: Option<Vec<Source>>,
        destination: Destination,
        revision_history_limit: Option<u32>,
        ignore_differences: Option<Vec<IgnoredDifference>>,
        sync_policy: Option<SyncPolicy>,
    }
    Destination { server: Option<String>, name: Option<String>, namespace: Option<String>, }
    IgnoredDifference {
        group: Option<String>,
        kind: String,
        name: Option<String>,
        namespace: Option<String>,
        json_pointers: Option<Vec<String>>,
        jq_path_expressions: Option<Vec<String>>,
        managed_fields_managers: Option<Vec<String>>,
    }
    SyncPolicy {
        automated: Option<Automated>,
        sync_options: Option<Vec<String>>,
        retry: Option<Retry>,
    }
    Automated {
        enabled: Option<bool>,
        prune: Option<bool>,
        self_heal: Option<bool>,
        allow_empty: Option<bool>,
    }
    Retry { limit: Option<i64>, backoff: Option<Backoff>, }
    Backoff { duration: Option<String>, factor: Option<u32>, max_duration: Option<String>, }
    AppProject { api_version: String, kind: String, metadata: ObjectMeta, spec: AppProjectSpec, }
    AppProjectSpec {
        description: Option<String>,
        source_repos: Vec<String>,
        destinations: Vec<Destination>,
        cluster_resource_whitelist: Option<Vec<GroupKind>>,
        namespace_resource_blacklist: Option<Vec<GroupKind>>,
        sync_windows: Option<Vec<SyncWindow>>,
        orphaned_resources: Option<BTreeMap<String, bool>>,
    }
    GroupKind { group: String, kind: String, }
    SyncWindow {
        kind: String,
        schedule: String,
        duration: String,
        applications: Option<Vec<String>>,
        manual_sync: Option<bool>,
    }
}
