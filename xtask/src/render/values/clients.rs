//! Who uses the database from the cluster: what a switch stops, and what leads the rest.

use super::explain::values;
use super::scalar::{AbsolutePath, DnsName, Identifier, Seconds, SecretKey};

values! {
    /// What a switch stops, and gives back exactly what it had.
    pub struct Quiesce {
        /// What would start the rest again.
        argocd: Option<Automation> = None;
        /// CronJobs that write to the database.
        cronjobs: Vec<DnsName> = Vec::new();
        /// Deployments that write to the database.
        deployments: Vec<Stopped> = Vec::new();
        /// Database roles that nobody else uses: no session of theirs may be left.
        roles: Vec<Identifier> = Vec::new();
        /// How long running Jobs and pods may take to end, each.
        limit: Seconds = Seconds(300);
    }

    /// An Application of ArgoCD whose automation pauses.
    pub struct Automation {
        /// The namespace of ArgoCD's Applications.
        namespace: DnsName = DnsName::fixed("argocd");
        /// The Application.
        application: DnsName;
        /// The Application that manages it, and would set it back.
        parent: Option<DnsName> = None;
    }

    /// A Deployment that has no replicas meanwhile.
    pub struct Stopped {
        /// Its name.
        name: DnsName;
        /// Whether it runs migrations when it starts: it is started only once a client was seen on
        /// the right database.
        migrates: bool = false;
    }

    /// Something that leads clients: one of the three.
    pub struct Led {
        /// A Service without selector that clients, or PgBouncer, dial.
        service: Option<ServiceRoute> = None;
        /// A Secret that pods read when they start.
        secret: Option<SecretRoute> = None;
        /// A program; its contract stands in docs/route-command.md.
        command: Option<AbsolutePath> = None;
    }

    /// A Service without selector.
    pub struct ServiceRoute {
        /// Its name.
        name: DnsName;
        /// The plain server as the cluster reaches it; an address, or a name that resolves here.
        source: Dialled;
        /// The ParadeDB server as the cluster reaches it.
        target: Dialled;
        /// A file with a client's connection string that leads to the Service also from the tool's
        /// machine; only read.
        clients: Option<AbsolutePath> = None;
    }

    /// A Secret that pods read when they start.
    pub struct SecretRoute {
        /// Its name.
        name: DnsName;
        /// The keys that say where the database is.
        keys: Keys;
        /// The plain server as pods dial it.
        source: Dialled;
        /// The ParadeDB server as pods dial it.
        target: Dialled;
        /// Deployments that read it and are not stopped: their pods are started anew.
        restarts: Vec<DnsName> = Vec::new();
    }

    /// Keys of a Secret.
    pub struct Keys {
        /// The host.
        host: Option<SecretKey> = None;
        /// The port.
        port: Option<SecretKey> = None;
        /// The database.
        database: Option<SecretKey> = None;
        /// A URL with all of them.
        url: Option<SecretKey> = None;
        /// The role; only read.
        user: Option<SecretKey> = None;
        /// Its password; only read.
        password: Option<SecretKey> = None;
    }

    /// What is dialled to reach a server.
    pub struct Dialled {
        /// Host name or address.
        host: String;
        /// TCP port.
        port: u16 = 5432;
    }
}

impl Led {
    /// Whether it is one of the three and no more.
    pub(super) fn is_one(&self) -> bool {
        let named = [self.service.is_some(), self.secret.is_some(), self.command.is_some()];
        named.iter().filter(|is_named| **is_named).count() == 1
    }
}
