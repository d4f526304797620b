//! How a cutover of one environment goes: the two servers, who dials whom, where clients go, and
//! the limits. A password never stands here, only where it is.

use serde::{Deserialize, Deserializer, Serialize};

use super::choice::{OnDdl, Topology};
use super::clients::{Led, Quiesce};
use super::explain::{Explain, Field, values};
use super::scalar::{AbsolutePath, Cidr, DnsName, Identifier, Seconds, SecretKey, Variable};
use crate::pg::conninfo::Parameters;

values! {
    /// What a cutover needs of this server, and how it goes.
    pub struct Cutover {
        /// Servers on the other side: each connects to the other.
        peers: Vec<Peer>;
        /// Replication slots, senders and origins to keep free for it.
        slots: u32 = 10;
        /// The cluster whose Secrets hold passwords, read by kubectl when a verb runs.
        cluster: Option<Cluster> = None;
        /// The plain server, as the tool reaches it.
        source: Option<Login> = None;
        /// The ParadeDB server, as the tool reaches it.
        target: Option<Login> = None;
        /// What the target's server dials to reach the source, where that differs.
        source_for_target: Option<Login> = None;
        /// What the source's server dials to reach the target, where that differs.
        target_for_source: Option<Login> = None;
        /// The file with one connection string that clients read.
        endpoint_file: Option<AbsolutePath> = None;
        /// The PgBouncer that clients connect to; left out where there is none.
        pgbouncer: Option<PgBouncer> = None;
        /// What else leads clients, in this order; before the endpoint file and PgBouncer, programs
        /// after them.
        routes: Vec<Led> = Vec::new();
        /// What a switch stops in the cluster; left out where PgBouncer can hold all clients.
        quiesce: Option<Quiesce> = None;
        /// What ParadeDB is for. Where it follows, `start` and `rollback` end with ParadeDB
        /// answering searches, and `switch` is refused.
        topology: Topology = Topology::Switch;
        /// Whether `drill --env` may switch the clients of this environment forth and back. Never
        /// where a moment without them costs money.
        rehearse: bool = false;
        /// What is done about a backup before a run; left out where the command line says so.
        backup: Option<RunBackup> = None;
        /// Brings search to the target in the run, as the engine of the environment has it; left
        /// out where the run brings none.
        search: Option<Search> = None;
        /// Sessions per side that copy, build and compare at once; as many as there are cores
        /// where left out.
        jobs: Option<Jobs> = None;
        /// How long things may take.
        limits: Limits = Limits::default();
        /// What a change of schema meets with that waits for the copy.
        on_ddl: OnDdl = OnDdl::Cancel;
        /// Whether slots may keep WAL without limit, where a server sets none.
        accept_unlimited_wal: bool = false;
    }

    /// A server on the other side of a cutover.
    pub struct Peer {
        /// Its addresses.
        addresses: Cidr;
        /// Its port.
        port: u16 = 5432;
    }

    /// A cluster that kubectl reaches. It is always named: never whichever is current.
    pub struct Cluster {
        /// The context of kubectl.
        context: String;
        /// The namespace of the Secrets; that of the environment where left out.
        namespace: Option<DnsName> = None;
    }

    /// One database on one server, and who to be there.
    pub struct Login {
        /// A libpq URL or key=value string, without password.
        url: Connection;
        /// Where the password is; where left out PGPASSWORD or the password file.
        password: Option<Password> = None;
    }

    /// Where a password is: one of the three.
    pub struct Reference {
        /// An environment variable that holds it.
        env: Option<Variable> = None;
        /// A file that holds it and nothing else, for its owner only.
        file: Option<AbsolutePath> = None;
        /// A key of a Secret in the cluster.
        secret: Option<SecretReference> = None;
    }

    /// A key of a Secret.
    pub struct SecretReference {
        /// Name of the Secret.
        name: DnsName;
        /// The key.
        key: SecretKey;
    }

    /// The PgBouncer that clients connect to.
    pub struct PgBouncer {
        /// The admin console of each process.
        consoles: Vec<Login>;
        /// The configuration files with the line of the clients' database, which are rewritten;
        /// none where it dials a Service.
        ini: Vec<AbsolutePath> = Vec::new();
        /// A second database of its own that dials the same Service and is never held, where it
        /// dials one: by it the tool sees where held clients will come out.
        probe: Option<Identifier> = None;
    }

    /// A backup before a run: a proved dump into a folder, else a program of yours.
    pub struct RunBackup {
        /// The folder that dumps have their folders in.
        folder: Option<AbsolutePath> = None;
        /// The server on which the dump is proved; a throw-away one where left out.
        scratch: Option<Login> = None;
        /// What a shell runs in the place of a dump.
        command: Option<String> = None;
    }

    /// What a run brings of search.
    pub struct Search {
        /// The schema of the knowledge store.
        schema: Identifier = Identifier::fixed("public");
    }

    /// How long things may take.
    pub struct Limits {
        /// The longest write pause before the decision; past it the attempt unwinds.
        pause: Span = Span::seconds(5);
        /// How long clients' transactions may take to end when PgBouncer holds them back.
        pause_clients: Span = Span::seconds(2);
        /// How long the snapshots of the certificate may be held.
        pin: Seconds = Seconds(6 * 3600);
        /// How long the snapshot of the copy may be held.
        snapshot: Seconds = Seconds(48 * 3600);
        /// How long the follower may take to catch up.
        catch_up: Seconds = Seconds(6 * 3600);
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pause: Span::seconds(5),
            pause_clients: Span::seconds(2),
            pin: Seconds(6 * 3600),
            snapshot: Seconds(48 * 3600),
            catch_up: Seconds(6 * 3600),
        }
    }
}

/// A connection string without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Connection(String);

impl Connection {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Connection {
    type Error = String;

    /// Neither error repeats the text: it may hold a password.
    fn try_from(text: String) -> Result<Connection, String> {
        let mut parameters = Parameters::read(&text).map_err(|error| error.to_string())?;
        match parameters.take("password") {
            Some(_) => {
                Err("a connection string holds a password: take it out, and write where it \
                            is beside it, as `password: {env: NAME}`"
                    .into())
            }
            None => Ok(Connection(text)),
        }
    }
}

impl Explain for Connection {
    const UNIT: &'static str = "connection string without password";
}

/// Where a password is. Written as a group, so that nobody writes the password itself.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Password(Reference);

impl Password {
    /// Where it is.
    pub fn reference(&self) -> &Reference {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Password, D::Error> {
        use serde::de::Error;
        let value = serde_yaml::Value::deserialize(reader)?;
        // The reader's own message would repeat what was written.
        if !value.is_mapping() {
            let message = "a password never stands in values: write where it is, as `{env: NAME}`, \
                           `{file: PATH}` or `{secret: {name: …, key: …}}`";
            return Err(D::Error::custom(message));
        }
        let reference = Reference::deserialize(value).map_err(D::Error::custom)?;
        let Reference { env, file, secret } = &reference;
        match [env.is_some(), file.is_some(), secret.is_some()]
            .iter()
            .filter(|given| **given)
            .count()
        {
            1 => Ok(Password(reference)),
            _ => Err(D::Error::custom("a password is in one place: `env`, `file` or `secret`")),
        }
    }
}

impl Explain for Password {
    const UNIT: &'static str = "group";

    fn fields() -> Vec<Field> {
        Reference::fields()
    }
}

/// A time in seconds that may have a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Span(f64);

impl Span {
    /// The longest that may be written, in seconds.
    const LONGEST: f64 = 3600.0;

    /// So many whole seconds.
    pub const fn seconds(count: u32) -> Span {
        Span(count as f64)
    }

    /// In seconds.
    pub fn as_seconds(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Span {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Span, String> {
        match seconds > 0.0 && seconds <= Span::LONGEST {
            true => Ok(Span(seconds)),
            false => Err(format!("{seconds} is not a time of at most {} seconds", Span::LONGEST)),
        }
    }
}

impl From<Span> for f64 {
    fn from(span: Span) -> f64 {
        span.0
    }
}

impl Explain for Span {
    const UNIT: &'static str = "seconds, with a fraction if wanted";
}

/// Sessions per side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct Jobs(pub u8);

impl TryFrom<u8> for Jobs {
    type Error = String;

    fn try_from(count: u8) -> Result<Jobs, String> {
        match (1..=64).contains(&count) {
            true => Ok(Jobs(count)),
            false => Err(format!("{count} is not a number of sessions from 1 to 64")),
        }
    }
}

impl Explain for Jobs {
    const UNIT: &'static str = "sessions, 1 to 64";
}

impl Cutover {
    /// Every login that may name a Secret.
    fn logins(&self) -> impl Iterator<Item = &Login> {
        let sides = [&self.source, &self.target, &self.source_for_target, &self.target_for_source];
        let consoles = self.pgbouncer.iter().flat_map(|pgbouncer| &pgbouncer.consoles);
        let scratch = self.backup.iter().filter_map(|backup| backup.scratch.as_ref());
        sides.into_iter().flatten().chain(consoles).chain(scratch)
    }

    /// What is missing beside what is written.
    pub(super) fn complete(&self) -> Result<(), String> {
        let in_cluster = |login: &Login| {
            login.password.as_ref().is_some_and(|password| password.0.secret.is_some())
        };
        let missing = [
            (self.logins().any(in_cluster) && self.cluster.is_none(), "a Secret", "cluster"),
            (
                self.pgbouncer.is_some() && self.endpoint_file.is_none(),
                "pgbouncer",
                "endpoint_file",
            ),
            (
                self.topology == Topology::Follow && self.search.is_none(),
                "topology: follow",
                "search",
            ),
            (self.quiesce.is_some() && self.cluster.is_none(), "quiesce", "cluster"),
            (
                self.routes.iter().any(|led| led.command.is_none()) && self.cluster.is_none(),
                "routes",
                "cluster",
            ),
            (
                self.pgbouncer.as_ref().is_some_and(|pgbouncer| pgbouncer.probe.is_some())
                    && !self.routes.iter().any(|led| led.service.is_some()),
                "pgbouncer.probe",
                "routes: service",
            ),
            (self.source.is_some() && self.target.is_none(), "source", "target"),
            (self.target.is_some() && self.source.is_none(), "target", "source"),
        ];
        if !self.routes.iter().all(Led::is_one) {
            return Err("cutover.routes: each is `service`, `secret` or `command`".into());
        }
        match missing.iter().find(|(is_missing, ..)| *is_missing) {
            Some((_, what, needed)) => Err(format!("cutover: {what} needs `cutover.{needed}`")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Login, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_is_never_written_nor_repeated() {
        for text in [
            "url: postgresql://u:s3cret@h/d",
            "url: host=h user=u password=s3cret",
            "url: postgresql://u@h/d?password=s3cret",
            "{url: postgresql://u@h/d, password: s3cret}",
            "{url: postgresql://u@h/d, password: [s3cret]}",
            "{url: postgresql://u@h/d, password: {value: s3cret}}",
        ] {
            let error = read(text).unwrap_err();
            assert!(!error.contains("s3cret"), "{text}: {error}");
        }
        assert!(read("{url: host=h, password: {env: A}}").is_ok());
    }

    #[test]
    fn a_password_is_in_one_place() {
        let error = read("{url: host=h, password: {env: A, file: /b}}").unwrap_err();
        assert!(error.contains("one place"), "{error}");
        assert!(read("{url: host=h, password: {}}").is_err());
        assert!(read("{url: host=h, password: {file: b}}").is_err());
    }

    #[test]
    fn a_limit_is_a_time() {
        assert_eq!(Span::try_from(0.5).unwrap().as_seconds(), 0.5);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 3601.0] {
            assert!(Span::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_choice_needs_is_named() {
        let wrong = |text: &str| {
            let cutover: Cutover = serde_yaml::from_str(text).unwrap();
            cutover.complete().unwrap_err()
        };
        let secret = "{url: host=h, password: {secret: {name: a, key: b}}}";
        let sides = format!("{{peers: [], source: {secret}, target: {secret}}}");
        assert!(wrong(&sides).contains("`cutover.cluster`"));
        let alone = "{peers: [], source: {url: host=h}}";
        assert!(wrong(alone).contains("`cutover.target`"));
        let pooled = "{peers: [], pgbouncer: {consoles: [], ini: []}}";
        assert!(wrong(pooled).contains("`cutover.endpoint_file`"));
        let scratch = format!("{{peers: [], backup: {{folder: /b, scratch: {secret}}}}}");
        assert!(wrong(&scratch).contains("`cutover.cluster`"));
        let without_search = "{peers: [], topology: follow}";
        assert!(wrong(without_search).contains("`cutover.search`"));
        let probed = "{peers: [], endpoint_file: /f, pgbouncer: {consoles: [], probe: seen}}";
        assert!(wrong(probed).contains("routes: service"));
        // A program of one's own needs no cluster.
        let program = "{peers: [], routes: [{command: {path: /bin/lead}}]}";
        let program: Cutover = serde_yaml::from_str(program)
            .or_else(|_| serde_yaml::from_str("{peers: [], routes: [{command: /bin/lead}]}"))
            .unwrap();
        program.complete().unwrap();
    }
}
