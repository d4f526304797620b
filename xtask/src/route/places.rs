//! What clients dial to reach a server, where that is not what the tool dials: names and addresses
//! within a cluster are not those outside.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pg::endpoint::Endpoint;

/// The addresses of servers as clients know them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places(Vec<(Address, Address)>);

/// One database as clients dial it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub database: String,
}

impl Address {
    fn of(server: &Endpoint) -> Address {
        Address { host: server.host.clone(), port: server.port, database: server.database.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}/{}", self.host, self.port, self.database)
    }
}

impl Places {
    /// The same, and that clients dial `host` and `port` to reach `server`.
    #[must_use]
    pub fn with(mut self, server: &Endpoint, host: &str, port: u16) -> Places {
        let dialled = Address { host: host.into(), port, ..Address::of(server) };
        self.0.push((Address::of(server), dialled));
        self
    }

    /// What clients dial to reach a server; what the tool dials where nothing else is known.
    pub fn of(&self, server: &Endpoint) -> Address {
        let own = Address::of(server);
        let known = self.0.iter().find(|(address, _)| *address == own);
        known.map_or(own, |(_, dialled)| dialled.clone())
    }
}

impl Places {
    /// What clients dial to reach any of the servers; nothing of a server that they dial as the
    /// tool does.
    pub fn dialled(&self) -> impl Iterator<Item = &Address> {
        self.0.iter().map(|(_, dialled)| dialled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_the_address_that_clients_know_it_by() {
        let server = |port| Endpoint::new("127.0.0.1", port, "rbsdb", "postgres", "secret");
        let places = Places::default().with(&server(5432), "paradedb.robson", 5433);
        assert_eq!(places.of(&server(5432)).to_string(), "paradedb.robson:5433/rbsdb");
        assert_eq!(places.of(&server(6432)).to_string(), "127.0.0.1:6432/rbsdb");
    }
}
