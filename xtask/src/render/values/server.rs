//! The database server itself: its image, its size, its disk, its roles and its settings.

use std::collections::BTreeMap;

use super::choice::{AccessMode, SecretSource, StorageKind, UpdateStrategy};
use super::explain::values;
use super::scalar::{
    Bytes, Cores, Digest, DnsName, Identifier, Name, Repository, Seconds, SecretKey, Setting, Tag,
};

values! {
    /// The image of the server.
    pub struct Image {
        /// Where the image is pulled from.
        repository: Repository = Repository::fixed("docker.io/paradedb/paradedb");
        /// The version of ParadeDB, or of the plain image where the engine is postgres.
        version: Tag;
        /// The major version of PostgreSQL inside; it decides the folder of the data.
        postgres_major: u32 = 18;
        /// The digest that pins the content; `open` renders the exact tag and is reported.
        digest: Digest = Digest::fixed("open");
    }

    /// Any other image, by exact tag and digest.
    pub struct OtherImage {
        /// Where the image is pulled from.
        repository: Repository;
        /// The exact tag.
        tag: Tag;
        /// The digest that pins the content; `open` renders the exact tag and is reported.
        digest: Digest = Digest::fixed("open");
    }

    /// What the server may use. Requests equal limits, so that the node never evicts it first.
    pub struct Resources {
        /// Memory of the server; PostgreSQL's settings are computed from it.
        memory: Bytes;
        /// Processor time of the server; the number of parallel workers is computed from it.
        cpu: Cores;
        /// Shared memory for parallel queries; counts against the memory.
        shared_memory: Bytes = Bytes::mebibytes(128);
    }

    /// The disk that holds the data. Its names are for ever: a renamed claim is an empty database.
    pub struct Storage {
        /// A claim of its own, or one that the StatefulSet makes.
        kind: StorageKind = StorageKind::Claim;
        /// Name of the claim, or of the claim template.
        claim: Name;
        /// Size of the claim. local-path neither enforces nor changes it.
        size: Bytes;
        /// StorageClass of the claim.
        class: DnsName = DnsName::fixed("local-path");
        /// Whether to render that StorageClass, with the reclaim policy Retain.
        create_class: bool = false;
        /// Who may mount the claim at once.
        access_mode: AccessMode = AccessMode::ReadWriteOncePod;
        /// The volume already holds this database: the guard then refuses an empty volume too.
        holds_data: bool = false;
    }

    /// The database and its roles, each with the least that it needs.
    pub struct Database {
        /// Name of the database.
        name: Identifier;
        /// The role that initialises the server; never used by the application.
        superuser: Identifier = Identifier::fixed("postgres");
        /// Owns the tables and runs migrations.
        owner: Identifier;
        /// Reads and writes rows; owns nothing.
        runtime: Identifier;
        /// Reads what the search migrations grant to it; read-only.
        search: Identifier;
        /// Streams changes during a cutover.
        replication: Identifier;
        /// Reads everything, for dumps.
        backup: Identifier = Identifier::fixed("backup");
        /// Extensions of the database beside what the image brings.
        extensions: Vec<Identifier> =
            vec![Identifier::fixed("pg_search"), Identifier::fixed("vector")];
    }

    /// Where the passwords are. They never stand in a manifest: this is a reference.
    pub struct Secret {
        /// Name of the Secret.
        name: DnsName;
        /// Who makes the Secret.
        source: SecretSource = SecretSource::Existing;
        /// Which key holds which password.
        keys: SecretKeys = SecretKeys::default();
        /// The store, where an ExternalSecret makes it.
        external: Option<ExternalStore> = None;
        /// The cipher text of each key, where a SealedSecret makes it.
        sealed: BTreeMap<String, String> = BTreeMap::new();
    }

    /// The keys of the Secret.
    pub struct SecretKeys {
        /// Password of the superuser.
        superuser: SecretKey = SecretKey::fixed("POSTGRES_PASSWORD");
        /// Password of the owner.
        owner: SecretKey = SecretKey::fixed("OWNER_PASSWORD");
        /// Password of the runtime role.
        runtime: SecretKey = SecretKey::fixed("RUNTIME_PASSWORD");
        /// Password of the search role.
        search: SecretKey = SecretKey::fixed("SEARCH_PASSWORD");
        /// Password of the replication role.
        replication: SecretKey = SecretKey::fixed("REPLICATION_PASSWORD");
        /// Password of the role that dumps.
        backup: SecretKey = SecretKey::fixed("BACKUP_PASSWORD");
        /// Password of the role that the exporter logs in as.
        monitor: SecretKey = SecretKey::fixed("MONITOR_PASSWORD");
        /// Password of the role that PgBouncer looks passwords up with.
        pooler: SecretKey = SecretKey::fixed("POOLER_PASSWORD");
    }

    /// The secret store of the External Secrets Operator.
    pub struct ExternalStore {
        /// Name of the ClusterSecretStore.
        store: DnsName;
        /// Path of the entry in the store.
        entry: String;
    }

    /// Certificates of the server; with them only encrypted connections are accepted.
    pub struct Tls {
        /// A Secret with `tls.crt` and `tls.key`, as cert-manager makes it.
        secret: DnsName;
    }

    /// PostgreSQL's settings. What is not here is computed from memory and cores.
    pub struct Postgresql {
        /// Most connections at once.
        max_connections: u32 = 100;
        /// Memory of one sort or hash; computed by ParadeDB's formula where left out.
        work_mem: Option<Bytes> = None;
        /// Libraries loaded at start, in order; the image's own list is lost with a config file.
        preload: Vec<Identifier> = ["pg_search", "pg_cron", "pg_stat_statements"]
            .map(Identifier::fixed).to_vec();
        /// Longest statement of the runtime role.
        statement_timeout: Seconds = Seconds(30);
        /// Longest wait for a lock of the runtime and the owner role.
        lock_timeout: Seconds = Seconds(5);
        /// Longest idle time inside a transaction.
        idle_in_transaction_timeout: Seconds = Seconds(60);
        /// Longest statement of the search role.
        search_timeout: Seconds = Seconds(5);
        /// Any other setting, by name.
        settings: BTreeMap<String, String> = BTreeMap::new();
    }

    /// How the pod is run.
    pub struct Pod {
        /// Labels of the pod: the contract with Services and policies. Never change them.
        labels: BTreeMap<String, String>;
        /// Labels of the node that the pod must run on. local-path data is on one node anyway.
        node: BTreeMap<String, String> = BTreeMap::new();
        /// Taints that the pod accepts, as key, value and effect.
        tolerations: Vec<Toleration> = Vec::new();
        /// Time for a clean shutdown with its checkpoint.
        grace: Seconds = Seconds(120);
        /// Time for crash recovery before the pod counts as failed.
        startup: Seconds = Seconds(3600);
        /// Whether a changed template restarts the pod by itself.
        update: UpdateStrategy = UpdateStrategy::OnDelete;
    }

    /// A taint that the pod accepts.
    pub struct Toleration {
        /// Key of the taint.
        key: String;
        /// Value of the taint.
        value: String;
        /// Effect of the taint.
        effect: super::choice::TaintEffect = super::choice::TaintEffect::NoSchedule;
    }
}

impl Default for SecretKeys {
    fn default() -> SecretKeys {
        SecretKeys {
            superuser: SecretKey::fixed("POSTGRES_PASSWORD"),
            owner: SecretKey::fixed("OWNER_PASSWORD"),
            runtime: SecretKey::fixed("RUNTIME_PASSWORD"),
            search: SecretKey::fixed("SEARCH_PASSWORD"),
            replication: SecretKey::fixed("REPLICATION_PASSWORD"),
            backup: SecretKey::fixed("BACKUP_PASSWORD"),
            monitor: SecretKey::fixed("MONITOR_PASSWORD"),
            pooler: SecretKey::fixed("POOLER_PASSWORD"),
        }
    }
}

impl Postgresql {
    /// The names of the free settings that are not setting names.
    pub fn misnamed(&self) -> Vec<&String> {
        self.settings.keys().filter(|name| Setting::try_from((*name).clone()).is_err()).collect()
    }
}
