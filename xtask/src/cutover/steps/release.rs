//! `release`: held clients go on, stopped workloads are given back what they had, and a client can
//! write on the target through the route: seen, not assumed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::steps::evidence;
use crate::cutover::stopped;
use crate::kube::workloads::{Former, Kind};
use crate::pg::endpoint::Endpoint;

/// How long to go on trying to get in as a client.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
/// How long pods that read a Secret may take to start and to connect.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// How often they are looked for.
const ARRIVAL_EVERY: Duration = Duration::from_millis(250);

/// Lets the clients go on that a pooler holds back, and gives workloads back what they had. Neither
/// waits for the other to succeed. Whether clients get in is for `look`.
///
/// # Errors
/// A process still holds its clients, or a workload is still stopped.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let released = engine.options.routes.release().await;
    if released.is_ok()
        && let Some(guardian) = engine.attempt.guardian.take()
    {
        guardian.let_go().await;
    }
    let started = start_workloads(engine, log).await;
    if started.is_ok()
        && let Some(keeper) = engine.attempt.keeper.take()
    {
        keeper.let_go().await;
    }
    released.and(started)
}

/// Starts what was stopped. Who runs migrations at its start is held back until a client was seen
/// on the target: elsewhere it would make tables. So is ArgoCD, which might start it.
async fn start_workloads(engine: &Engine, log: &mut dyn Log) -> Result<()> {
    let cluster = engine.options.workloads.as_ref().map(|workloads| &workloads.cluster);
    let harmless = stopped::restore(cluster, log, &engine.story, is_harmless).await;
    if stopped::open(log.records()).is_some() {
        enter(engine).await.context("workloads that migrate at their start are held back")?;
        stopped::restore(cluster, log, &engine.story, |_| true).await?;
    }
    harmless
}

/// Whether it may start before a client was seen: it makes no tables, and starts nobody who does.
pub fn is_harmless(one: &Former) -> bool {
    !one.workload.migrates && one.workload.kind != Kind::Application
}

/// Done when a client's session reaches the target and may write there, and nothing that the run
/// has stopped is stopped any more.
///
/// # Errors
/// No client gets in within [`RELEASE_LIMIT`].
pub async fn look(engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    let user = enter(engine).await?;
    if stopped::open(log.records()).is_some() {
        return Ok(Seen::NotDone);
    }
    Ok(Seen::Done(match arrivals(engine, &user).await? {
        Some(arrived) => evidence! { "as": user, "arrived": arrived },
        None => evidence! { "as": user },
    }))
}

/// Where a Secret leads clients: how many sessions of theirs are on the target. A Secret that is
/// written is no client that has read it.
///
/// # Errors
/// Pods run, and none of them has arrived within [`ARRIVAL_LIMIT`].
async fn arrivals(engine: &mut Engine, user: &str) -> Result<Option<i64>> {
    let secrets = engine.options.routes.secrets();
    if secrets.is_empty() {
        return Ok(None);
    }
    let target = engine.target.session().await?;
    let begun = Instant::now();
    while begun.elapsed() < ARRIVAL_LIMIT {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND backend_type = 'client backend'
                     AND usename = $1 AND application_name NOT LIKE 'xtask%'";
        let arrived: i64 = target.query_one(sql, &[&user]).await?.get(0);
        if arrived > 0 {
            return Ok(Some(arrived));
        }
        tokio::time::sleep(ARRIVAL_EVERY).await;
    }
    for secret in &secrets {
        let stopped = engine.options.workloads.iter().flat_map(|workloads| &workloads.all);
        let stopped = stopped.filter(|one| one.kind == Kind::Deployment).map(|one| &one.name);
        for name in secret.restarts.iter().chain(stopped) {
            if secret.runs(name).await? {
                bail!("pods of {name} run, and none has arrived within {ARRIVAL_LIMIT:?}");
            }
        }
    }
    engine.story.warning(format!(
        "nobody has arrived at the target within {ARRIVAL_LIMIT:?}, and no pod runs that could: \
         see whether kube-controller-manager is at work"
    ));
    Ok(Some(0))
}

/// Enters as a client, and says as whom.
async fn enter(engine: &Engine) -> Result<String> {
    let begun = Instant::now();
    loop {
        let server = &engine.target.endpoint;
        let client = engine.options.routes.client(server).await?;
        let client = client.unwrap_or_else(|| server.clone());
        match try_as_client(&client, &engine.target.identity.system).await {
            Ok(()) => return Ok(client.user),
            Err(error) if begun.elapsed() > RELEASE_LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Whether a client gets in to the server of a system identifier, and may write there.
///
/// # Errors
/// It does not, and why.
pub async fn try_as_client(client: &Endpoint, wanted: &str) -> Result<()> {
    let session = client.connect_as_client("xtask release").await.context("enter as a client")?;
    // Without a named statement: a pooler may put another server behind the connection.
    let sql = "SELECT current_setting('transaction_read_only'),
                      (SELECT system_identifier::text FROM pg_catalog.pg_control_system())";
    let rows = session.query_typed(sql, &[]).await.context("ask as a client")?;
    let row = rows.first().context("a client gets no answer")?;
    let (read_only, system): (String, String) = (row.get(0), row.get(1));
    if system != wanted {
        bail!("the route leads to another server");
    }
    if read_only != "off" {
        bail!("a client may only read on the target");
    }
    Ok(())
}
