//! Which templates exist, which environments want them, and where their output goes.

use super::values::choice::{Platform, SecretSource, StorageKind, Workload};
use super::values::{Environment, Values};

/// One template and its output.
pub struct Entry {
    /// The template, below `templates/`.
    pub template: &'static str,
    /// Whether an environment wants it.
    wanted: fn(&Values) -> bool,
    /// Where its output goes.
    place: Place,
}

enum Place {
    /// In the folder of the environment, under this name.
    Folder(&'static str),
    /// Beside the Applications of other systems, named after this one.
    Application,
    /// Beside the AppProjects of other systems, named after this one.
    Project,
    /// In the root of the workspace.
    Root(&'static str),
}

const fn manifest(
    template: &'static str,
    name: &'static str,
    wanted: fn(&Values) -> bool,
) -> Entry {
    Entry { template, wanted, place: Place::Folder(name) }
}

/// Every template. To add an object, add its template and one line here.
pub const ALL: [Entry; 21] = [
    manifest("apps/paradedb/namespace.yaml.j2", "namespace.yaml", |v| v.namespace.create),
    manifest("apps/paradedb/storageclass.yaml.j2", "storageclass.yaml", |v| {
        v.storage.create_class && runs_inside(v)
    }),
    manifest("apps/paradedb/secret.yaml.j2", "secret.yaml", |v| {
        v.secret.source != SecretSource::Existing
    }),
    manifest("apps/paradedb/configmap.yaml.j2", "configmap.yaml", |v| {
        is_stateful_set(v) || v.smoke
    }),
    manifest("apps/paradedb/networkpolicy.yaml.j2", "networkpolicy.yaml", |_| true),
    manifest("apps/paradedb/pvc.yaml.j2", "pvc.yaml", |v| {
        is_stateful_set(v) && v.storage.kind == StorageKind::Claim
    }),
    manifest("apps/paradedb/service.yaml.j2", "service.yaml", runs_inside),
    manifest("apps/paradedb/service-headless.yaml.j2", "service-headless.yaml", is_stateful_set),
    manifest("apps/paradedb/statefulset.yaml.j2", "statefulset.yaml", is_stateful_set),
    manifest("apps/paradedb/cnpg-cluster.yaml.j2", "cnpg-cluster.yaml", |v| {
        v.workload == Workload::Cnpg
    }),
    manifest("apps/paradedb/external.yaml.j2", "external.yaml", |v| {
        v.workload == Workload::External
    }),
    manifest("apps/paradedb/poddisruptionbudget.yaml.j2", "poddisruptionbudget.yaml", |v| {
        v.max_unavailable.is_some() && is_stateful_set(v)
    }),
    manifest("apps/paradedb/pooler.yaml.j2", "pooler.yaml", |v| v.pooler.is_some()),
    manifest("apps/paradedb/backup.yaml.j2", "backup.yaml", |v| v.backup.is_some()),
    manifest("apps/paradedb/monitoring.yaml.j2", "monitoring.yaml", |v| v.monitoring.is_some()),
    manifest("apps/paradedb/migrate.yaml.j2", "migrate.yaml", |v| v.migrate.is_some()),
    manifest("apps/paradedb/smoke.yaml.j2", "smoke.yaml", |v| v.smoke),
    Entry {
        template: "gitops/argocd-apps/paradedb.yaml.j2",
        wanted: |v| v.argocd.is_some(),
        place: Place::Application,
    },
    Entry {
        template: "gitops/argocd-projects/project.yaml.j2",
        wanted: |v| v.argocd.as_ref().is_some_and(|argocd| argocd.project.create),
        place: Place::Project,
    },
    Entry {
        template: "docker-compose.yml.j2",
        wanted: |v| v.compose.is_some(),
        place: Place::Root("docker-compose.yml"),
    },
    Entry {
        template: "env.example.j2",
        wanted: |v| v.compose.is_some(),
        place: Place::Root(".env.example"),
    },
];

fn is_stateful_set(values: &Values) -> bool {
    values.workload == Workload::StatefulSet
}

fn runs_inside(values: &Values) -> bool {
    values.workload != Workload::External
}

impl Entry {
    /// Where the output goes, relative to the workspace; `None` where it is not wanted.
    pub fn output(&self, environment: &Environment) -> Option<String> {
        let values = &environment.values;
        let on_kubernetes = values.platform == Platform::Kubernetes;
        let fits = on_kubernetes != matches!(self.place, Place::Root(_));
        if !fits || !(self.wanted)(values) {
            return None;
        }
        let argocd = values.argocd.as_ref();
        match self.place {
            Place::Folder(name) => Some(format!("{}/{name}", values.folder.as_ref()?)),
            Place::Application => {
                Some(format!("infra/k8s/gitops/argocd-apps/{}.yaml", argocd?.application))
            }
            Place::Project => {
                Some(format!("infra/k8s/gitops/argocd-projects/{}.yaml", argocd?.project.name))
            }
            Place::Root(name) => Some(name.into()),
        }
    }
}
