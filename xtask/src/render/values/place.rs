//! Where the server stands: namespace, names, network, ArgoCD, and places other than a StatefulSet.

use std::collections::BTreeMap;

use super::explain::values;
use super::scalar::{Address, Cidr, DnsName, Identifier, Name, Schedule, Seconds, Tag};

values! {
    /// The namespace of every object.
    pub struct Namespace {
        /// Name of the namespace.
        name: Name;
        /// Whether to render it; not where the AppProject forbids it.
        create: bool = false;
        /// Labels of the namespace, where it is rendered.
        labels: BTreeMap<String, String> = BTreeMap::new();
    }

    /// The names that other systems know. They are for ever.
    pub struct Names {
        /// The StatefulSet or the CloudNativePG Cluster.
        workload: Name;
        /// The Service that clients connect to.
        service: Name;
    }

    /// Who may connect.
    pub struct Network {
        /// Pods that may connect to the database.
        clients: Vec<Client>;
        /// Addresses of pods, for pg_hba.conf.
        pods: Vec<Cidr> = vec![Cidr::fixed("10.42.0.0/16")];
    }

    /// Pods that may connect.
    pub struct Client {
        /// Their namespace.
        namespace: DnsName;
        /// Their labels; all pods of the namespace where left out.
        labels: BTreeMap<String, String> = BTreeMap::new();
    }

    /// A server outside the cluster.
    pub struct External {
        /// Its addresses.
        addresses: Vec<Address>;
        /// Its port.
        port: u16 = 5432;
    }

    /// A Cluster of the CloudNativePG operator.
    pub struct Cnpg {
        /// Servers in the cluster. ParadeDB Community has exactly one.
        instances: u32 = 1;
        /// Whether the image is ParadeDB Enterprise, which alone may have more than one.
        enterprise: bool = false;
        /// The ObjectStore of the Barman Cloud plugin, which exists already; left out for none.
        /// WAL and base backups go there.
        object_store: Option<DnsName> = None;
        /// When the operator takes a base backup to the object store; left out for none.
        backup_schedule: Option<Schedule> = None;
    }

    /// How ArgoCD delivers the manifests.
    pub struct Argocd {
        /// Name of the Application.
        application: Name;
        /// Namespace of ArgoCD.
        namespace: Name = Name::fixed("argocd");
        /// The repository that holds the manifests.
        repository: String;
        /// The commit, tag or branch to deliver.
        revision: String;
        /// Whether the revision may be a branch. Production pins a commit or a tag.
        follow_branch: bool = false;
        /// The AppProject.
        project: Project;
        /// Labels of the Application.
        labels: BTreeMap<String, String> = BTreeMap::new();
        /// Whether ArgoCD syncs by itself. It never prunes.
        automated: bool = true;
    }

    /// The AppProject, and what it permits.
    pub struct Project {
        /// Name of the AppProject.
        name: Name;
        /// Whether to render it, or it exists.
        create: bool = false;
        /// Namespaces that it permits.
        namespaces: Vec<DnsName>;
        /// Kinds outside a namespace that it permits, as Namespace or group/Kind.
        cluster_kinds: Vec<String> = Vec::new();
        /// When a sync may run by itself; always where left out.
        sync_windows: Vec<SyncWindow> = Vec::new();
    }

    /// A time in which a sync is allowed.
    pub struct SyncWindow {
        /// When it opens.
        schedule: Schedule;
        /// How long it stays open, as 2h or 30m.
        duration: String;
    }

    /// The developer's machine.
    pub struct Compose {
        /// Port of the server on 127.0.0.1.
        port: u16 = 5432;
        /// Port of plain PostgreSQL on 127.0.0.1, in the profile `cutover`.
        postgres_port: u16 = 5433;
        /// Tag of the image of plain PostgreSQL, the source of a rehearsal.
        postgres_tag: Tag;
        /// The name that the volume of the data has, for ever.
        volume: Identifier = Identifier::fixed("paradedb_data");
        /// Time for a clean shutdown.
        grace: Seconds = Seconds(60);
    }
}
