//! Connection strings as libpq reads them: both forms, the service file, the password file.
//!
//! tokio-postgres refuses half of what libpq takes (`sslmode=verify-full`, `sslrootcert`,
//! `service`, `passfile`), so the reading is ours. (PostgreSQL documentation, 32.1.1 Connection
//! Strings, 32.16 The Password File, 32.17 The Connection Service File.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use percent_encoding::percent_decode_str;

use crate::config;
use crate::failure::Failure;

/// What we act upon.
const KNOWN: [&str; 13] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "service",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "target_session_attrs",
];

/// What libpq knows and the tool sets by itself, or does not need.
const SET_BY_THE_TOOL: [&str; 12] = [
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "client_encoding",
    "channel_binding",
    "gssencmode",
    "options",
];

/// The names and values of a connection string, services resolved.
#[derive(Default)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads a URL or a key=value string, and adds what its service says.
    ///
    /// # Errors
    /// A usage failure that names the place without the string itself: it may hold a password.
    pub fn parse(text: &str) -> Result<Parameters> {
        let mut parameters = Parameters::read(text)?;
        if let Some(service) = parameters.take("service") {
            for (name, value) in read_service(&service)? {
                parameters.0.entry(name).or_insert(value);
            }
        }
        Ok(parameters)
    }

    /// Reads a URL or a key=value string by itself: no file is opened.
    ///
    /// # Errors
    /// As [`Parameters::parse`].
    pub fn read(text: &str) -> Result<Parameters> {
        let text = text.trim();
        let url = ["postgresql://", "postgres://"].iter().find_map(|it| text.strip_prefix(it));
        let parameters = match url {
            Some(rest) => from_url(rest)?,
            None => from_pairs(text)?,
        };
        for name in parameters.0.keys() {
            let name = name.as_str();
            if !KNOWN.contains(&name) && !SET_BY_THE_TOOL.contains(&name) {
                return Err(no(&format!("the parameter {name:?} is unknown")));
            }
        }
        Ok(parameters)
    }

    /// Takes a value out; an empty one counts as absent.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    /// The hosts with their ports, in the order in which they are tried.
    ///
    /// # Errors
    /// A port is no number, or there are more ports than hosts.
    pub fn take_hosts(&mut self) -> Result<Vec<(String, u16)>> {
        let named = self.take("host");
        let address = self.take("hostaddr");
        if named.is_some() && address.is_some() {
            return Err(no("host and hostaddr are both given; one of them is enough"));
        }
        let hosts = named.or(address).unwrap_or_else(|| "localhost".into());
        let hosts: Vec<&str> = hosts.split(',').collect();
        let ports = self.take("port").unwrap_or_else(|| "5432".into());
        let ports: Vec<&str> = ports.split(',').collect();
        if ports.len() != 1 && ports.len() != hosts.len() {
            return Err(no("there are not as many ports as hosts"));
        }
        let pair = |(number, host): (usize, &&str)| {
            let port = ports[if ports.len() == 1 { 0 } else { number }];
            let port = if port.is_empty() { "5432" } else { port };
            let host = if host.is_empty() { "localhost" } else { host };
            let port = port.parse().map_err(|_| no("a port is not a number up to 65535"))?;
            Ok((host.to_string(), port))
        };
        hosts.iter().enumerate().map(pair).collect()
    }
}

fn no(reason: &str) -> anyhow::Error {
    Failure::usage(format!("this is not a connection string: {reason}"))
        .hint("write postgresql://user@host:5432/database or host=… dbname=… user=…")
        .into()
}

/// `user:password@host:port,host:port/database?name=value`, each part percent-encoded.
fn from_url(rest: &str) -> Result<Parameters> {
    let mut all = BTreeMap::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (login, hosts),
        None => ("", authority),
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for place in hosts.split(',') {
        let (name, port) = host_and_port(place)?;
        names.push(decode(name)?);
        ports.push(port);
    }
    let hosts = names.join(",");
    for (name, value) in [
        ("user", decode(user)?),
        ("password", decode(password)?),
        ("host", if hosts.replace(',', "").is_empty() { String::new() } else { hosts }),
        ("dbname", decode(database)?),
    ] {
        if !value.is_empty() {
            all.insert(name.to_string(), value);
        }
    }
    if ports.iter().any(|port| !port.is_empty()) {
        all.insert("port".into(), ports.join(","));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| no("a parameter behind the ? has no ="))?;
        all.insert(decode(name)?, decode(value)?);
    }
    Ok(Parameters(all))
}

/// Splits `host:port`, `[::1]:port` or a bare host.
fn host_and_port(place: &str) -> Result<(&str, &str)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| no("a [ has no ]"))?;
        return Ok((address, rest.strip_prefix(':').unwrap_or("")));
    }
    Ok(place.split_once(':').unwrap_or((place, "")))
}

fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| no("what is percent-encoded is not UTF-8"))?.into_owned())
}

/// `name = value` and `name = 'it\'s a value'`, with white space between.
fn from_pairs(text: &str) -> Result<Parameters> {
    let mut all = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(|| no("a name has no ="))?;
        let (value, after) = pair_value(after.trim_start())?;
        all.insert(name.trim().to_string(), value);
        rest = after.trim_start();
    }
    Ok(Parameters(all))
}

/// The value at the start of a text, unquoted, and what is left.
fn pair_value(text: &str) -> Result<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[place + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &text[place..])),
            other => value.push(other),
        }
    }
    if quoted { Err(no("a quote is not closed")) } else { Ok((value, "")) }
}

/// What the service file says of a service: `PGSERVICEFILE`, else `~/.pg_service.conf`.
fn read_service(service: &str) -> Result<Vec<(String, String)>> {
    let file = config::path(config::PGSERVICEFILE)
        .or_else(|| config::home().map(|home| home.join(".pg_service.conf")))
        .ok_or_else(|| no("there is no home folder for a service file"))?;
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::usage(format!("service file {} cannot be read: {error}", file.display()))
            .hint("PGSERVICEFILE names another place")
    })?;
    service_section(&text, service).ok_or_else(|| {
        Failure::usage(format!("service {service:?} is not in {}", file.display())).into()
    })
}

/// The lines of a section; none where there is no such section.
fn service_section(text: &str, service: &str) -> Option<Vec<(String, String)>> {
    let header = format!("[{service}]");
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != header);
    lines.next()?;
    let own = lines.take_while(|line| !line.starts_with('['));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (!line.starts_with('#')).then(|| (name.trim().to_string(), value.trim().to_string()))
    };
    Some(own.filter_map(pair).collect())
}

/// Whose password is looked for.
pub struct Login<'a> {
    /// As the connection string has it.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: &'a str,
    /// Role name.
    pub user: &'a str,
}

/// The password file: `passfile` of the string, else `PGPASSFILE`, else `~/.pgpass`.
pub fn password_file(named: Option<String>) -> Option<PathBuf> {
    named
        .map(PathBuf::from)
        .or_else(|| config::path(config::PGPASSFILE))
        .or_else(|| config::home().map(|home| home.join(".pgpass")))
}

/// Looks a password up as libpq does: the first line whose host, port, database and user match.
///
/// # Errors
/// The file is open to others, or cannot be read.
pub fn read_password_file(file: &Path, login: &Login<'_>) -> Result<Option<String>> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(file) else { return Ok(None) };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Failure::usage(format!("password file {} is open to others", file.display()))
            .hint(format!("chmod 0600 {}", file.display()))
            .into());
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read password file {}", file.display()))?;
    let port = login.port.to_string();
    let wanted = [login.host, &port, login.database, login.user];
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
pub fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<(String, u16)> {
        Parameters::parse(text).unwrap().take_hosts().unwrap()
    }

    #[test]
    fn several_hosts_in_both_forms() {
        let both = vec![("a".to_string(), 1), ("b".to_string(), 5432)];
        assert_eq!(hosts("postgresql://u@a:1,b/d"), both);
        assert_eq!(hosts("host=a,b port=1,"), both);
        assert_eq!(hosts("host=a,b port=7"), vec![("a".into(), 7), ("b".into(), 7)]);
        assert_eq!(hosts("postgres://[::1]:6000/d"), vec![("::1".into(), 6000)]);
        assert_eq!(hosts("postgresql:///d"), vec![("localhost".into(), 5432)]);
    }

    #[test]
    fn what_libpq_does_not_know_is_refused_by_name() {
        let error = Parameters::parse("host=a slmode=require password=s3cret").err().unwrap();
        assert!(error.to_string().contains("slmode"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn quotes_and_escapes() {
        let mut all = Parameters::parse(r"user = 'it\'s' password=a\ b dbname='' ").unwrap();
        assert_eq!(all.take("user").as_deref(), Some("it's"));
        assert_eq!(all.take("password").as_deref(), Some("a b"));
        assert_eq!(all.take("dbname"), None);
        assert!(Parameters::parse("user='open").is_err());
    }

    #[test]
    fn a_url_is_decoded_everywhere() {
        let mut all =
            Parameters::parse("postgresql://%C3%A4:p%40w@h/d%2Fb?sslmode=verify-full").unwrap();
        assert_eq!(all.take("user").as_deref(), Some("ä"));
        assert_eq!(all.take("password").as_deref(), Some("p@w"));
        assert_eq!(all.take("dbname").as_deref(), Some("d/b"));
        assert_eq!(all.take("sslmode").as_deref(), Some("verify-full"));
    }

    #[test]
    fn a_service_is_its_section() {
        let text = "[other]\nhost=x\n\n[night]\n# old\nhost=db\nport = 6000\n[next]\nuser=n\n";
        let wanted = [("host", "db"), ("port", "6000")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(service_section(text, "night"), Some(wanted.to_vec()));
        assert_eq!(service_section(text, "day"), None);
    }

    #[test]
    fn password_file_escapes() {
        assert_eq!(
            password_fields(r"h\:1:5432:d\\b:*:se:cret"),
            [r"h:1", "5432", r"d\b", "*", "se:cret"]
        );
    }
}
