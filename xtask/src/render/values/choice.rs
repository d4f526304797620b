//! Values that are one of a few words.

use serde::{Deserialize, Serialize};

use super::explain::Explain;

/// Declares a choice, whose words are spelt as in the values file.
macro_rules! choices {
    ($(
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $( $(#[doc = $meaning:literal])+ $variant:ident = $word:literal, )*
        }
    )*) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $( $(#[doc = $meaning])+ #[serde(rename = $word)] $variant, )*
        }

        impl Explain for $name {
            const UNIT: &'static str = concat!("one of" $(, " ", $word)*);
        }
    )* };
}

choices! {
    /// What an environment is rendered for.
    pub enum Platform {
        /// Kubernetes, with or without ArgoCD.
        Kubernetes = "kubernetes",
        /// docker compose, on one developer's machine.
        Compose = "compose",
    }

    /// Which kind of server runs.
    pub enum Engine {
        /// PostgreSQL with pg_search.
        Paradedb = "paradedb",
        /// Plain PostgreSQL.
        Postgres = "postgres",
    }

    /// What keeps the server running.
    pub enum Workload {
        /// A StatefulSet of one pod.
        StatefulSet = "statefulset",
        /// A Cluster of the CloudNativePG operator.
        Cnpg = "cnpg",
        /// A server outside the cluster, reached through a Service without selector.
        External = "external",
    }

    /// Who makes the claim.
    pub enum StorageKind {
        /// A PersistentVolumeClaim of its own.
        Claim = "claim",
        /// A claim template of the StatefulSet.
        Template = "template",
    }

    /// Who may mount the claim at once.
    pub enum AccessMode {
        /// All pods of one node.
        ReadWriteOnce = "ReadWriteOnce",
        /// One pod; the safest for one server.
        ReadWriteOncePod = "ReadWriteOncePod",
    }

    /// Who makes the Secret.
    pub enum SecretSource {
        /// A person or another tool, outside Git.
        Existing = "existing",
        /// The External Secrets Operator.
        External = "external",
        /// The Sealed Secrets controller.
        Sealed = "sealed",
    }

    /// What a changed pod template does.
    pub enum UpdateStrategy {
        /// Nothing, until a person deletes the pod.
        OnDelete = "OnDelete",
        /// It restarts the pod at once.
        RollingUpdate = "RollingUpdate",
    }

    /// What ParadeDB is for.
    pub enum Topology {
        /// It takes over from plain PostgreSQL.
        Switch = "switch",
        /// It follows plain PostgreSQL, which goes on serving, and answers searches.
        Follow = "follow",
    }

    /// What a change of schema meets with that waits for the copy.
    pub enum OnDdl {
        /// An error, after a second.
        Cancel = "cancel",
        /// The way free: the copy lets its snapshot go and takes another.
        Yield = "yield",
    }

    /// What a taint does to a pod that does not accept it.
    pub enum TaintEffect {
        /// Keeps it away.
        NoSchedule = "NoSchedule",
        /// Drives it out.
        NoExecute = "NoExecute",
    }
}
