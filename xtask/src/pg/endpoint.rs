//! Connection strings, and the only place that opens a connection.
//!
//! A password never leaves this file by `Debug` or `Display`; children get it by environment.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

use crate::config;
use crate::failure::{Failure, tolerate};
use crate::pg::replication::ReplicationSocket;

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
        }
    }

    /// Reads a libpq URL or a key=value string. A missing password comes from `PGPASSWORD`, then
    /// from the password file (`PGPASSFILE`, `~/.pgpass`).
    ///
    /// # Errors
    /// A usage failure that says what is wrong, without the string itself: it may hold a password.
    pub fn parse(text: &str) -> Result<Endpoint> {
        let parsed: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
            Failure::usage(format!("this is not a connection string: {cause}"))
                .hint("write postgresql://user@host:5432/database or host=… dbname=… user=…")
        })?;
        let host = match parsed.get_hosts() {
            [] => "localhost".to_string(),
            [Host::Tcp(name)] => name.clone(),
            [Host::Unix(folder)] => folder.to_string_lossy().into_owned(),
            _ => {
                return Err(Failure::usage("a connection string names more than one host")
                    .hint("name the one server that accepts writes")
                    .into());
            }
        };
        if parsed.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
            return Err(Failure::usage("sslmode=require is not supported: connections are plain")
                .hint("run the tool on the server's own network, or through a TLS tunnel")
                .into());
        }
        let user = parsed.get_user().map_or_else(config::operator, str::to_string);
        let mut endpoint = Endpoint {
            host,
            port: parsed.get_ports().first().copied().unwrap_or(5432),
            database: parsed.get_dbname().unwrap_or(&user).to_string(),
            user,
            password: None,
        };
        endpoint.password = match parsed.get_password() {
            Some(password) => Some(String::from_utf8_lossy(password).into_owned()),
            None => match config::text(config::PGPASSWORD) {
                Some(password) => Some(password),
                None => endpoint.password_from_file()?,
            },
        };
        Ok(endpoint)
    }

    /// The same server and role, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Endpoint {
        Endpoint { database: database.into(), ..self.clone() }
    }

    /// The same server and database, another role.
    #[must_use]
    pub fn with_user(&self, user: &str, password: &str) -> Endpoint {
        Endpoint { user: user.into(), password: Some(password.into()), ..self.clone() }
    }

    /// The same role and database on another server: what a route writes for its clients.
    #[must_use]
    pub fn at_server_of(&self, other: &Endpoint) -> Endpoint {
        Endpoint {
            host: other.host.clone(),
            port: other.port,
            database: other.database.clone(),
            ..self.clone()
        }
    }

    /// The libpq key=value form **with the password**: for `CREATE SUBSCRIPTION` and for endpoint
    /// files, never for a message.
    pub fn secret_conninfo(&self) -> String {
        let mut text = format!(
            "host={} port={} dbname={} user={}",
            conninfo_value(&self.host),
            self.port,
            conninfo_value(&self.database),
            conninfo_value(&self.user)
        );
        if let Some(password) = &self.password {
            text.push_str(&format!(" password={}", conninfo_value(password)));
        }
        text
    }

    /// What a libpq child needs, by environment.
    pub fn libpq_environment(&self) -> Vec<(String, String)> {
        let mut all = vec![
            ("PGHOST".to_string(), self.host.clone()),
            ("PGPORT".to_string(), self.port.to_string()),
            ("PGDATABASE".to_string(), self.database.clone()),
            ("PGUSER".to_string(), self.user.clone()),
            ("PGOPTIONS".to_string(), PROGRAM_OPTIONS.to_string()),
            ("PGAPPNAME".to_string(), APPLICATION_NAME.to_string()),
            ("PGCONNECT_TIMEOUT".to_string(), CONNECT_LIMIT.as_secs().to_string()),
        ];
        if let Some(password) = &self.password {
            all.push(("PGPASSWORD".to_string(), password.clone()));
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
    #[expect(clippy::disallowed_methods, reason = "the one owner of connecting")]
    pub async fn connect_for_replication(&self, purpose: &str) -> Result<Session> {
        let mut config = self.config();
        config.application_name(format!("{APPLICATION_NAME} {purpose}"));
        let opening = async {
            let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
            socket.set_nodelay(true)?;
            let socket = ReplicationSocket::new(socket);
            anyhow::Ok(config.connect_raw(socket, NoTls).await?)
        };
        let (client, connection) = tokio::time::timeout(CONNECT_LIMIT, opening)
            .await
            .with_context(|| format!("connect to {self}: no answer within {CONNECT_LIMIT:?}"))?
            .with_context(|| format!("connect to {self} for replication"))?;
        let version = connection.parameter("server_version").map_or(0, version_number);
        let task = tokio::spawn(async move {
            tolerate(connection.await, "whoever waits for an answer on it gets the error");
        });
        Ok(Session { client, version, backend: Default::default(), task })
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .dbname(&self.database)
            .user(&self.user)
            .connect_timeout(CONNECT_LIMIT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }

    #[expect(clippy::disallowed_methods, reason = "the one owner of connecting")]
    async fn open(&self, config: &Config) -> Result<Session> {
        let attempt = tokio::time::timeout(CONNECT_LIMIT, config.connect(NoTls));
        let (client, connection) = attempt
            .await
            .with_context(|| format!("connect to {self}: no answer within {CONNECT_LIMIT:?}"))?
            .with_context(|| format!("connect to {self}"))?;
        let version = connection.parameter("server_version").map_or(0, version_number);
        let task = tokio::spawn(async move {
            tolerate(connection.await, "whoever waits for an answer on it gets the error");
        });
        Ok(Session { client, version, backend: Default::default(), task })
    }

    fn password_from_file(&self) -> Result<Option<String>> {
        let file = match config::path(config::PGPASSFILE) {
            Some(file) => file,
            None => match config::home() {
                Some(home) => home.join(".pgpass"),
                None => return Ok(None),
            },
        };
        read_password_file(&file, self)
    }
}

/// Looks a password up as libpq does: the first line whose host, port, database and user match.
fn read_password_file(file: &Path, endpoint: &Endpoint) -> Result<Option<String>> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(file) else { return Ok(None) };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Failure::usage(format!("password file {} is open to others", file.display()))
            .hint(format!("chmod 0600 {}", file.display()))
            .into());
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read password file {}", file.display()))?;
    let port = endpoint.port.to_string();
    let wanted = [&endpoint.host, &port, &endpoint.database, &endpoint.user];
    Ok(text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = password_fields(line);
        let [host, port, database, user, password] = fields.as_slice() else { return None };
        let matches = [host, port, database, user]
            .iter()
            .zip(wanted)
            .all(|(field, wanted)| *field == "*" || *field == wanted);
        matches.then(|| password.clone())
    }))
}

/// Splits a line of a password file at its colons; `\:` and `\\` stand for themselves.
fn password_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let field = fields.len() - 1;
        match character {
            '\\' => fields[field].extend(characters.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            other => fields[field].push(other),
        }
    }
    fields
}

/// Quotes a value for a libpq key=value string.
fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
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
        write!(
            formatter,
            "postgresql://{}@{}:{}/{}",
            self.user, self.host, self.port, self.database
        )
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
    backend: tokio::sync::OnceCell<i32>,
    task: tokio::task::JoinHandle<()>,
}

impl Session {
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

/// The folder in which a journal, a dump or a log of a run may be written, made 0700.
///
/// # Errors
/// The folder cannot be made.
pub fn private_folder(folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("make {}", folder.display()))?;
    Ok(folder.to_path_buf())
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
        let error = Endpoint::parse("postgresql://u:s3cret@h:notaport/db").unwrap_err();
        assert!(!format!("{error:#}").contains("s3cret"), "{error:#}");
    }

    #[test]
    fn versions() {
        assert_eq!(version_number("18.4"), 180_004);
        assert_eq!(version_number("15.18 (Debian 15.18-0+deb12u1)"), 150_018);
        assert_eq!(version_number("19beta1"), 190_000);
    }

    #[test]
    fn password_file_escapes() {
        assert_eq!(
            password_fields(r"h\:1:5432:d\\b:*:se:cret"),
            [r"h:1", "5432", r"d\b", "*", "se:cret"]
        );
    }

    proptest! {
        #[test]
        fn conninfo_round_trip(
            host in "[a-z]{1,8}", port in 1u16.., database in "\\PC{1,12}", user in "\\PC{1,12}",
            password in "\\PC{1,16}",
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
