//! A connection URL as applications read it: another server in its place, and everything else to
//! the letter as it was.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::route::places::Address;

/// The parts of `scheme://login@hosts/database?rest`; what is absent is empty.
struct Parts<'a> {
    scheme: &'a str,
    login: Option<&'a str>,
    rest: &'a str,
}

fn parts(url: &str) -> Option<Parts<'_>> {
    let (scheme, after) = url.split_once("://")?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, tail) = after.split_at(end);
    // A password that nobody encoded may hold an @; a host cannot.
    let (login, _) = authority.rsplit_once('@').map_or((None, authority), |(l, h)| (Some(l), h));
    let rest = tail.find(['?', '#']).map_or("", |at| &tail[at..]);
    Some(Parts { scheme, login, rest })
}

/// The URL that leads to another place, with the same login and options; nothing where it is no
/// URL.
pub fn pointed(url: &str, place: &Address) -> Option<String> {
    let Parts { scheme, login, rest } = parts(url)?;
    let login = login.map(|login| format!("{login}@")).unwrap_or_default();
    let host = match place.host.contains(':') {
        true => format!("[{}]", place.host),
        false => place.host.clone(),
    };
    let database = match url_database(url) {
        // Written as it was written: an encoding that differs means the same.
        Some(written) if decoded(written) == place.database => written.to_string(),
        _ => utf8_percent_encode(&place.database, NON_ALPHANUMERIC).to_string(),
    };
    Some(format!("{scheme}://{login}{host}:{}/{database}{rest}", place.port))
}

fn url_database(url: &str) -> Option<&str> {
    let (_, after) = url.split_once("://")?;
    let (_, path) = after.split_once('/')?;
    Some(path.split(['?', '#']).next().unwrap_or(path))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Role and password of a URL, where it has both.
pub fn login(url: &str) -> Option<(String, String)> {
    let (user, password) = parts(url)?.login?.split_once(':')?;
    Some((decoded(user), decoded(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Address {
        Address { host: "new.db".into(), port: 5433, database: "rbsdb".into() }
    }

    #[test]
    fn only_the_server_changes() {
        let url = "postgres://robson:p%40ss%2Fw@old:5432/rbsdb?sslmode=require&a=b@c/d";
        let now = pointed(url, &place()).unwrap();
        let wanted = "postgres://robson:p%40ss%2Fw@new.db:5433/rbsdb?sslmode=require&a=b@c/d";
        assert_eq!(now, wanted);
        assert_eq!(pointed(&now, &place()).unwrap(), now);
        assert_eq!(login(url).unwrap(), ("robson".into(), "p@ss/w".into()));
    }

    #[test]
    fn what_is_absent_stays_absent() {
        assert_eq!(
            pointed("postgresql://old", &place()).unwrap(),
            "postgresql://new.db:5433/rbsdb"
        );
        assert_eq!(pointed("host=old", &place()), None);
        assert_eq!(login("postgresql://old/rbsdb"), None);
    }
}
