//! Connection strings, and the only place that opens a connection.
//!
//! A password never leaves this file by `Debug` or `Display`; children get it by environment.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Config, NoTls};

use crate::config;
use crate::failure::tolerate;
use crate::pg::conninfo::{self, Login, Parameters};
use crate::pg::replication::{ReplicationSocket, ReplicationTls};
use crate::pg::tls::{Mode, Tls};

/// How long one attempt to connect may take.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Idle time before the first keepalive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Time between keepalive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered keepalive probes before the connection counts as dead.
const KEEPALIVE_RETRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);
/// What every session of the tool is called in `pg_stat_activity`; a purpose may follow.
pub const APPLICATION_NAME: &str = "xtask-cutover";

/// Settings of every session of the tool. It must write while its own fence stands, must not be
/// timed out by an application's defaults, and must print values the same way on both servers.
const SESSION_OPTIONS: &str = "-c default_transaction_read_only=off \
    -c idle_in_transaction_session_timeout=0 -c statement_timeout=0 -c lock_timeout=0 \
    -c search_path= -c extra_float_digits=1 -c DateStyle=ISO -c IntervalStyle=postgres \
    -c TimeZone=UTC -c bytea_output=hex -c lc_monetary=C -c xmlbinary=base64 \
    -c client_min_messages=warning -c client_connection_check_interval=1000";

/// Settings of the sessions that a child of ours opens: a fence or an impatient default must not
/// end `pg_dump`.
const PROGRAM_OPTIONS: &str = "-c default_transaction_read_only=off -c statement_timeout=0 \
    -c lock_timeout=0 -c idle_in_transaction_session_timeout=0";

/// One database on one server, and who to be there.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name, address, or the folder of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Role name.
    pub user: String,
    password: Option<String>,
    /// Further hosts, tried in order where the first does not answer or does not accept writes.
    more_hosts: Vec<(String, u16)>,
    tls: Tls,
}

impl Endpoint {
    /// An endpoint from its parts.
    pub fn new(host: &str, port: u16, database: &str, user: &str, password: &str) -> Endpoint {
        Endpoint {
            host: host.into(),
            port,
            database: database.into(),
            user: user.into(),
            password: Some(password.into()),
            more_hosts: Vec::new(),
            tls: Tls::local(),
        }
    }

    /// Reads a libpq URL or a key=value string, with its service. A missing password comes from
    /// `PGPASSWORD`, then from the password file (`passfile`, `PGPASSFILE`, `~/.pgpass`).
    ///
    /// # Errors
    /// A usage failure that says what is wrong, without the string itself: it may hold a password;
    /// also where another machine is named without `sslmode`.
    pub fn parse(text: &str) -> Result<Endpoint> {
        let mut parameters = Parameters::parse(text)?;
        let mut hosts = parameters.take_hosts()?;
        let tls = Tls::take(&mut parameters, &hosts)?;
        let (host, port) = hosts.remove(0);
        let user = parameters.take("user").unwrap_or_else(config::operator);
        let database = parameters.take("dbname").unwrap_or_else(|| user.clone());
        let mut password = parameters.take("password").or_else(|| config::text(config::PGPASSWORD));
        let file = conninfo::password_file(parameters.take("passfile"));
        if let (None, Some(file)) = (&password, file) {
            let login = Login { host: &host, port, database: &database, user: &user };
            password = conninfo::read_password_file(&file, &login)?;
        }
        Ok(Endpoint { host, port, database, user, password, more_hosts: hosts, tls })
    }

    /// The same server and role, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Endpoint {
        Endpoint { database: database.into(), ..self.clone() }
    }

    /// The same; where no password was found for it, with that of another endpoint.
    #[must_use]
    pub fn or_password_of(&self, other: &Endpoint) -> Endpoint {
        let password = self.password.as_ref().or(other.password.as_ref()).cloned();
        Endpoint { password, ..self.clone() }
    }

    /// The same server and database, another role.
    #[must_use]
    pub fn with_user(&self, user: &str, password: &str) -> Endpoint {
        Endpoint { user: user.into(), password: Some(password.into()), ..self.clone() }
    }

    /// The same role on another server, in its database: what a route writes for its clients, with
    /// the TLS settings that they had.
    #[must_use]
    pub fn at_server_of(&self, other: &Endpoint) -> Endpoint {
        Endpoint {
            host: other.host.clone(),
            port: other.port,
            more_hosts: other.more_hosts.clone(),
            database: other.database.clone(),
            ..self.clone()
        }
    }

    /// Every host and port that is tried.
    pub fn places(&self) -> Vec<(String, u16)> {
        let first = (self.host.clone(), self.port);
        std::iter::once(first).chain(self.more_hosts.iter().cloned()).collect()
    }

    /// Whether a plain connection is out of the question, for programs that may lack TLS.
    pub fn wants_tls(&self) -> bool {
        self.tls.mode.wants_tls()
    }

    /// The hosts and the ports, each with commas between, as libpq takes them.
    fn host_lists(&self) -> (String, String) {
        let all = || {
            std::iter::once((&self.host, self.port))
                .chain(self.more_hosts.iter().map(|(host, port)| (host, *port)))
        };
        let hosts: Vec<&str> = all().map(|(host, _)| host.as_str()).collect();
        let ports: Vec<String> = all().map(|(_, port)| port.to_string()).collect();
        (hosts.join(","), ports.join(","))
    }

    /// The libpq key=value form **with the password**: for `CREATE SUBSCRIPTION` and for endpoint
    /// files, never for a message.
    pub fn secret_conninfo(&self) -> String {
        let (hosts, ports) = self.host_lists();
        let mut text = format!(
            "host={} port={ports} dbname={} user={}",
            conninfo::quoted(&hosts),
            conninfo::quoted(&self.database),
            conninfo::quoted(&self.user)
        );
        if let Some(password) = &self.password {
            text.push_str(&format!(" password={}", conninfo::quoted(password)));
        }
        if !self.more_hosts.is_empty() {
            text.push_str(" target_session_attrs=read-write");
        }
        for (name, _, value) in self.tls.parameters() {
            text.push_str(&format!(" {name}={}", conninfo::quoted(&value)));
        }
        text
    }

    /// What a libpq child needs, by environment.
    pub fn libpq_environment(&self) -> Vec<(String, String)> {
        let (hosts, ports) = self.host_lists();
        let mut all = vec![
            ("PGHOST".to_string(), hosts),
            ("PGPORT".to_string(), ports),
            ("PGDATABASE".to_string(), self.database.clone()),
            ("PGUSER".to_string(), self.user.clone()),
            ("PGOPTIONS".to_string(), PROGRAM_OPTIONS.to_string()),
            ("PGAPPNAME".to_string(), APPLICATION_NAME.to_string()),
            ("PGCONNECT_TIMEOUT".to_string(), CONNECT_LIMIT.as_secs().to_string()),
        ];
        if let Some(password) = &self.password {
            all.push(("PGPASSWORD".to_string(), password.clone()));
        }
        if !self.more_hosts.is_empty() {
            all.push(("PGTARGETSESSIONATTRS".to_string(), "read-write".to_string()));
        }
        for (_, variable, value) in self.tls.parameters() {
            all.push((variable.to_string(), value));
        }
        all
    }

    /// Opens a session of the tool: settings pinned, keepalives on, named by its purpose.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the login; the message names it without password.
    pub async fn connect(&self, purpose: &str) -> Result<Session> {
        let mut config = self.config();
        config.application_name(format!("{APPLICATION_NAME} {purpose}")).options(SESSION_OPTIONS);
        let session = self.open(&config).await?;
        if session.version >= 170_000 {
            session.batch_execute("SET transaction_timeout = 0").await?;
        }
        Ok(session)
    }

    /// Opens a session as an application would: no settings of ours, the fence applies.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub async fn connect_as_client(&self, application_name: &str) -> Result<Session> {
        let mut config = self.config();
        config.application_name(application_name);
        self.open(&config).await
    }

    /// Opens a replication session: only simple queries and replication commands work on it.
    ///
    /// # Errors
    /// As [`Endpoint::connect`]; also where the role has no right to replicate.
    pub async fn connect_for_replication(&self, purpose: &str) -> Result<Session> {
        let mut config = self.config();
        config.application_name(format!("{APPLICATION_NAME} {purpose}"));
        let mut last = None;
        let first = (self.host.clone(), self.port);
        for (host, port) in std::iter::once(&first).chain(&self.more_hosts) {
            let attempt = self.replicate_from(&config, host, *port);
            match tokio::time::timeout(CONNECT_LIMIT, attempt).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(anyhow::anyhow!("no answer within {CONNECT_LIMIT:?}")),
            }
        }
        let error = last.unwrap_or_else(|| anyhow::anyhow!("no host is named"));
        Err(error.context(format!("connect to {self} for replication")))
    }

    async fn replicate_from(&self, config: &Config, host: &str, port: u16) -> Result<Session> {
        if host.starts_with('/') {
            let socket = UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await?;
            return self.replicate_over(config, host, socket).await;
        }
        let socket = TcpStream::connect((host, port)).await?;
        socket.set_nodelay(true)?;
        self.replicate_over(config, host, socket).await
    }

    #[expect(clippy::disallowed_methods, reason = "the one owner of connecting")]
    async fn replicate_over<S>(&self, config: &Config, host: &str, socket: S) -> Result<Session>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let socket = ReplicationSocket::new(socket);
        if self.tls.mode == Mode::Disable || host.starts_with('/') {
            let mut config = config.clone();
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            let (client, connection) = config.connect_raw(socket, NoTls).await?;
            return Ok(Session::new(client, connection));
        }
        let mut connector = self.tls.connector()?;
        let handshake =
            MakeTlsConnect::<ReplicationSocket<S>>::make_tls_connect(&mut connector, host)?;
        let (client, connection) = config.connect_raw(socket, ReplicationTls(handshake)).await?;
        Ok(Session::new(client, connection))
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .ssl_mode(self.tls.negotiation())
            .dbname(&self.database)
            .user(&self.user)
            .connect_timeout(CONNECT_LIMIT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        for (host, port) in &self.more_hosts {
            config.host(host).port(*port);
        }
        if !self.more_hosts.is_empty() {
            // A standby among them must not be taken for the server that serves.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }

    #[expect(clippy::disallowed_methods, reason = "the one owner of connecting")]
    async fn open(&self, config: &Config) -> Result<Session> {
        let opening = async {
            if self.tls.mode == Mode::Disable {
                let (client, connection) = config.connect(NoTls).await?;
                return anyhow::Ok(Session::new(client, connection));
            }
            let (client, connection) = config.connect(self.tls.connector()?).await?;
            Ok(Session::new(client, connection))
        };
        // Each host has its time.
        let limit = CONNECT_LIMIT * (1 + u32::try_from(self.more_hosts.len()).unwrap_or(0));
        tokio::time::timeout(limit, opening)
            .await
            .with_context(|| format!("connect to {self}: no answer within {limit:?}"))?
            .with_context(|| format!("connect to {self}"))
    }
}

/// `18.4 (Debian …)` as `180004`, the form of `server_version_num`.
fn version_number(text: &str) -> i32 {
    let mut parts = text.split(|character: char| !character.is_ascii_digit());
    let major: i32 = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let minor: i32 = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    major * 10_000 + minor
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "postgresql://{}@{}:{}", self.user, self.host, self.port)?;
        for (host, port) in &self.more_hosts {
            write!(formatter, ",{host}:{port}")?;
        }
        write!(formatter, "/{}", self.database)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An open session; it ends when it is dropped.
pub struct Session {
    client: tokio_postgres::Client,
    /// `server_version_num`, such as `160014`.
    pub version: i32,
    /// Whether its role is a superuser.
    pub is_superuser: bool,
    backend: tokio::sync::OnceCell<i32>,
    task: tokio::task::JoinHandle<()>,
}

impl Session {
    fn new<S, T>(
        client: tokio_postgres::Client,
        connection: tokio_postgres::Connection<S, T>,
    ) -> Session
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let version = connection.parameter("server_version").map_or(0, version_number);
        let is_superuser = connection.parameter("is_superuser") == Some("on");
        let task = tokio::spawn(async move {
            tolerate(connection.await, "whoever waits for an answer on it gets the error");
        });
        Session { client, version, is_superuser, backend: Default::default(), task }
    }

    /// The server's major version.
    pub fn major(&self) -> i32 {
        self.version / 10_000
    }

    /// The process id of the session's backend.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn backend(&self) -> Result<i32> {
        let ask = || async {
            let row = self.query_one("SELECT pg_backend_pid()", &[]).await?;
            anyhow::Ok(row.get(0))
        };
        self.backend.get_or_try_init(ask).await.copied()
    }

    /// The time of one round trip to the server: the least of a few.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn round_trip(&self) -> Result<Duration> {
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            self.simple_query("SELECT 1").await?;
            least = least.min(begun.elapsed());
        }
        Ok(least)
    }

    /// Whether the server or the network has ended the session.
    pub fn is_lost(&self) -> bool {
        self.client.is_closed()
    }
}

impl Deref for Session {
    type Target = tokio_postgres::Client;
    fn deref(&self) -> &tokio_postgres::Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Ends the socket at once, so that the backend does not linger behind a fence.
        self.task.abort();
    }
}

/// Quotes an SQL identifier. The only function that does.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name`, both quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// Quotes an SQL string literal, safe under either setting of `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Endpoint {
        Endpoint::new("db.example", 5433, "rbsdb", "robson", "p'a\\ss word")
    }

    #[test]
    fn a_password_is_never_printed() {
        let shown = format!("{} {:?}", example(), example());
        assert!(!shown.contains("word"), "{shown}");
        assert!(shown.contains("postgresql://robson@db.example:5433/rbsdb"), "{shown}");
    }

    #[test]
    fn a_bad_string_is_not_echoed() {
        let error = Endpoint::parse("postgresql://u:s3cret@localhost:notaport/db").unwrap_err();
        assert!(!format!("{error:#}").contains("s3cret"), "{error:#}");
    }

    #[test]
    fn versions() {
        assert_eq!(version_number("18.4"), 180_004);
        assert_eq!(version_number("15.18 (Debian 15.18-0+deb12u1)"), 150_018);
        assert_eq!(version_number("19beta1"), 190_000);
    }

    proptest! {
        #[test]
        fn conninfo_round_trip(
            host in "127\\.0\\.0\\.[1-9]", port in 1u16.., database in "\\PC{1,12}",
            user in "\\PC{1,12}", password in "\\PC{1,16}",
        ) {
            let endpoint = Endpoint::new(&host, port, &database, &user, &password);
            prop_assert_eq!(Endpoint::parse(&endpoint.secret_conninfo()).unwrap(), endpoint);
        }

        #[test]
        fn an_identifier_has_no_way_out(name in "\\PC{0,20}") {
            let quoted = identifier(&name);
            let inner = &quoted[1..quoted.len() - 1];
            prop_assert_eq!(inner.replace("\"\"", "").matches('"').count(), 0);
        }
    }
}
