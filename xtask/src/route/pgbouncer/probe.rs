//! Where a PgBouncer comes out that dials a Service: seen through a second database of its own,
//! which dials the same and is never held.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;

use super::{ANSWER_LIMIT, BETWEEN_TRIES, PgBouncer, Process};
use crate::pg::endpoint::{Endpoint, Session};
use crate::route::{Objection, objection};

/// What the sessions of probes are called.
const SESSION_NAME: &str = "xtask probe";
/// How long a change of the Service may take to reach every process.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// The longest time, in seconds, that a process may wait after a dial that failed: clients that are
/// let go wait as long.
const LONGEST_RETRY: f64 = 1.0;

impl PgBouncer {
    /// Waits until every process comes out at the server of `server`.
    ///
    /// # Errors
    /// One still comes out elsewhere, or nowhere.
    pub(super) async fn await_probes(&self, server: &Endpoint) -> Result<()> {
        let begun = Instant::now();
        loop {
            let found = self.probes_reach(server).await;
            if matches!(found, Ok(true)) {
                return Ok(());
            }
            if begun.elapsed() > PROBE_LIMIT {
                found?;
                bail!("PgBouncer does not come out at {server} within {PROBE_LIMIT:?}");
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Whether every process comes out at the server of `server`.
    ///
    /// # Errors
    /// A probe does not get in.
    pub(super) async fn probes_reach(&self, server: &Endpoint) -> Result<bool> {
        let session = server.connect("probe").await?;
        let wanted = system(&session).await?;
        let probes = self.processes.iter().map(|process| self.probe_through(process));
        Ok(try_join_all(probes).await?.into_iter().flatten().all(|system| system == wanted))
    }

    /// The system that a process comes out at; nothing where nobody listens.
    async fn probe_through(&self, process: &Process) -> Result<Option<String>> {
        let probe = self.probe().context("no database is there to probe with")?;
        let client = self.client()?.at_server_of(&process.console).with_database(probe);
        let asked = async {
            match client.connect_as_client(SESSION_NAME).await {
                Ok(session) => system(&session).await.map(Some),
                Err(error) if super::is_nobody_there(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let answered = tokio::time::timeout(ANSWER_LIMIT, asked).await;
        answered.with_context(|| format!("no answer from {client} within {ANSWER_LIMIT:?}"))?
    }

    /// What would stop a switch, seen by probes.
    pub(super) async fn probe_objections(&self, serving: &Endpoint) -> Vec<Objection> {
        let mut all = Vec::new();
        for process in &self.processes {
            let retry = process.setting("server_login_retry").await.unwrap_or_default();
            if retry.parse::<f64>().is_ok_and(|seconds| seconds > LONGEST_RETRY) {
                let problem = format!(
                    "PgBouncer at {} waits {retry} s after a dial that failed, and its clients too",
                    process.console
                );
                all.push(objection("pgbouncer-retry", problem, "server_login_retry = 1, RELOAD"));
            }
        }
        let fix = "give PgBouncer a second database that dials the same Service, and name it";
        match self.probes_reach(serving).await {
            Ok(true) => {}
            Ok(false) => {
                let problem = format!("PgBouncer does not come out at {serving}, which serves");
                all.push(objection("pgbouncer-elsewhere", problem, fix));
            }
            Err(error) => all.push(objection("pgbouncer-probe", format!("{error:#}"), fix)),
        }
        all
    }
}

async fn system(session: &Session) -> Result<String> {
    // Without a named statement: a pooler may put another server behind the connection.
    let sql = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
    let rows = session.query_typed(sql, &[]).await.context("ask which server this is")?;
    Ok(rows.first().context("a server gives no answer")?.get(0))
}
