//! Who else is connected: clients that go around the route, and servers that follow.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;

use super::Finding;
use crate::cutover::event::Side;
use crate::cutover::header::Direction;
use crate::cutover::verbs::Operation;
use crate::pg::endpoint::{APPLICATION_NAME, Session, identifier};
use crate::route::Routes;

/// Clients that do not come by the route.
pub const AROUND: &str = "around-the-route";
/// Standbys, which do not follow the move.
pub const STANDBY: &str = "standby";

/// Sessions of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sessions {
    role: String,
    application: String,
    /// None for a Unix socket.
    address: Option<String>,
    count: i64,
}

impl Sessions {
    fn title(&self) -> String {
        let place = self.address.as_deref().unwrap_or("this machine");
        let program = match self.application.as_str() {
            "" => String::new(),
            name => format!(" ({name})"),
        };
        format!("{} of {} from {place}{program}", self.count, self.role)
    }
}

/// Clients of the side that serves which the route does not lead: the next turn cuts them off.
pub(super) async fn around_the_route(
    operation: &Operation,
    direction: Direction,
    serving: &Session,
) -> Result<Vec<Finding>> {
    let now = sessions(serving).await?;
    let routes = &operation.options.routes;
    if routes.is_empty() {
        return Ok(vec![without_route(&now)]);
    }
    let strangers: Vec<Sessions> = match routes.pooler() {
        Some(pooler) => {
            let poolers = addresses(&pooler.hosts()).await;
            now.into_iter().filter(|one| !comes_from(one, &poolers)).collect()
        }
        None => match routes.client(&operation.sides(direction)[0].0).await {
            Ok(Some(client)) => now.into_iter().filter(|one| one.role != client.user).collect(),
            // What is wrong with it is a finding of the plan.
            Ok(None) | Err(_) => Vec::new(),
        },
    };
    Ok(judge(routes, &strangers))
}

fn judge(routes: &Routes, strangers: &[Sessions]) -> Vec<Finding> {
    if strangers.is_empty() {
        return vec![Finding::ok(AROUND, "every client of now comes by the route")];
    }
    let lead = match routes.pooler() {
        Some(_) => "point it at PgBouncer",
        None => "let it read the route",
    };
    let tell = |one: &Sessions| {
        let found = format!("{}: not by the route, so a switch cuts them off", one.title());
        let command = format!(
            "{lead}, or end it before the switch: ALTER ROLE {} NOLOGIN",
            identifier(&one.role)
        );
        Finding::warn(AROUND, found, command)
    };
    strangers.iter().map(tell).collect()
}

fn without_route(now: &[Sessions]) -> Finding {
    let titles: Vec<String> = now.iter().map(Sessions::title).collect();
    let found = match titles.is_empty() {
        true => "no route is named; nobody is connected now".into(),
        false => format!("no route is named; connected now: {}", titles.join(", ")),
    };
    Finding::warn(AROUND, found, "name it: --endpoint-file PATH, or redirect clients yourself")
}

/// Whether sessions come from one of the poolers. A Unix socket is taken for one on this machine.
fn comes_from(sessions: &Sessions, poolers: &BTreeSet<IpAddr>) -> bool {
    let address = sessions.address.as_ref().and_then(|text| text.parse::<IpAddr>().ok());
    address.map_or(poolers.iter().any(IpAddr::is_loopback), |address| poolers.contains(&address))
}

async fn addresses(hosts: &[String]) -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    for host in hosts {
        // A name that nobody knows is a finding of the plan: the console does not answer.
        if let Ok(found) = tokio::net::lookup_host((host.as_str(), 0)).await {
            all.extend(found.map(|address| address.ip()));
        }
    }
    all
}

async fn sessions(source: &Session) -> Result<Vec<Sessions>> {
    let sql = "
        SELECT usename::text, application_name, host(client_addr), count(*)
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
          AND application_name NOT LIKE $1 || ' %'
        GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3";
    let rows = source.query(sql, &[&APPLICATION_NAME]).await?;
    let read = |row: &tokio_postgres::Row| Sessions {
        role: row.get::<_, Option<String>>(0).unwrap_or_default(),
        application: row.get(1),
        address: row.get(2),
        count: row.get(3),
    };
    Ok(rows.iter().map(read).collect())
}

/// Standbys of a side: they follow their own server, not the service.
pub(super) async fn standbys(side: Side, session: &Session) -> Result<Vec<Finding>> {
    let sql = "
        SELECT application_name, coalesce(host(client_addr), 'this machine')
        FROM pg_stat_replication AS sender
        WHERE NOT EXISTS (SELECT FROM pg_replication_slots AS slot
                          WHERE slot.active_pid = sender.pid AND slot.slot_type = 'logical')
        ORDER BY 1, 2";
    let rows = session.query(sql, &[]).await?;
    let side = side.name();
    if rows.is_empty() {
        return Ok(vec![Finding::ok(STANDBY, format!("no server streams from the {side}"))]);
    }
    let tell = |row: &tokio_postgres::Row| {
        let (name, place): (String, String) = (row.get(0), row.get(1));
        let found =
            format!("{name} at {place} streams from the {side}, and does not follow a move");
        Finding::warn(STANDBY, found, "plan a standby of the other side before you need one")
    };
    Ok(rows.iter().map(tell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutover::doctor::Level;

    fn some(role: &str, address: Option<&str>) -> Sessions {
        let address = address.map(String::from);
        Sessions { role: role.into(), application: "gunicorn".into(), address, count: 3 }
    }

    #[test]
    fn a_pooler_is_known_by_its_address() {
        let poolers = BTreeSet::from(["10.0.0.5".parse().unwrap()]);
        assert!(comes_from(&some("a", Some("10.0.0.5")), &poolers));
        assert!(!comes_from(&some("a", Some("10.0.0.6")), &poolers));
        assert!(!comes_from(&some("a", None), &poolers));
        let here = BTreeSet::from(["127.0.0.1".parse().unwrap()]);
        assert!(comes_from(&some("a", None), &here));
    }

    #[test]
    fn a_stranger_is_named() {
        let route = Routes::from(crate::route::Route::File("endpoint".into()));
        assert_eq!(judge(&route, &[])[0].level, Level::Ok);
        let found = judge(&route, &[some("reports", Some("10.0.0.6"))]);
        assert_eq!(found[0].level, Level::Warn);
        assert!(found[0].found.contains("3 of reports from 10.0.0.6 (gunicorn)"));
        assert!(without_route(&[]).found.contains("nobody"));
    }
}
