//! `quiesce`: what writes to the database from a cluster is stopped, while the source still serves:
//! automation paused, CronJobs suspended, Deployments without replicas. It may take minutes, so it
//! comes before everything that is measured in milliseconds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::Event;
use crate::cutover::guardian::workloads::{Entry, Stopped};
use crate::cutover::guardian::{self, Guardian};
use crate::cutover::steps::evidence;
use crate::cutover::stopped;
use crate::failure::Failure;
use crate::kube::workloads::{Former, Kind, Workloads};
use crate::pg::endpoint::{APPLICATION_NAME, Session};

/// How long sessions may take to go once the pods are gone.
const SESSIONS_LIMIT: Duration = Duration::from_secs(10);
/// How often they are looked for.
const SESSIONS_EVERY: Duration = Duration::from_millis(250);

/// Stops the workloads and waits until nothing of them is left. What each had is journaled first.
///
/// # Errors
/// A right or an object is missing, or something goes on running for too long.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let Some(workloads) = engine.options.workloads.clone() else { return Ok(()) };
    let lacking = workloads.lacks().await?;
    if let Some(first) = lacking.first() {
        let context = workloads.cluster.context();
        let message = format!("in the cluster the tool may not: {}", lacking.join("; "));
        let hint = format!("a Role for it, then: kubectl --context {context} auth can-i {first}");
        return Err(Failure::failed(message).hint(hint).into());
    }
    let former = write_down(&workloads, log).await?;
    let stamp = stamp(engine);
    // One that is let go of in the middle would take this process for dead.
    if !engine.attempt.keeper.as_mut().is_some_and(Guardian::is_alive) {
        engine.attempt.keeper = Some(keeper(engine, &workloads, &former).await?);
    }
    let interrupt = engine.interrupt.clone();
    let stopped = workloads.stop(&former, &stamp, &|| interrupt.is_requested()).await?;
    for remark in &stopped.remarks {
        engine.story.warning(remark.clone());
    }
    let source = engine.source.session().await?;
    let addresses: Vec<String> = stopped.addresses.into_iter().collect();
    sessions_end(&source, &addresses, &workloads.roles).await
}

/// The stamp of this command on what it stops.
fn stamp(engine: &Engine) -> String {
    guardian::workloads::stamp(&engine.header.run, engine.epoch)
}

/// Starts who gives the workloads back should this process die, before the first is touched.
async fn keeper(engine: &Engine, workloads: &Workloads, former: &[Former]) -> Result<Guardian> {
    let stopped = Stopped {
        cluster: workloads.cluster.clone(),
        former: former.to_vec(),
        stamp: stamp(engine),
        are_led: guardian::workloads::leads_all(&engine.options.routes),
    };
    let target = &engine.target.endpoint;
    let client = engine.options.routes.client(target).await?.unwrap_or_else(|| target.clone());
    let entry =
        Entry { client: client.secret_conninfo(), system: engine.target.identity.system.clone() };
    let sides = [&engine.source.endpoint, &engine.target.endpoint];
    let request =
        guardian::Request::for_workloads(&engine.header, engine.epoch, sides, (stopped, entry));
    let keeper = Guardian::start(&request, &engine.options.folder).await;
    keeper.context("start who gives the workloads back should this process die")
}

/// Journals what each workload has. What an earlier process has written down counts more than what
/// can be read now: it may have stopped some.
async fn write_down(workloads: &Workloads, log: &mut dyn Log) -> Result<Vec<Former>> {
    let earlier = stopped::open(log.records()).map(|open| open.former).unwrap_or_default();
    let mut all = workloads.former().await?;
    for one in &mut all {
        let known = earlier.iter().find(|known| known.workload.title() == one.workload.title());
        // One that runs was given back by the guardian, and a person may have changed it since.
        if let (Some(known), true) = (known, one.is_of_a_stopped_one()) {
            one.former = known.former.clone();
        }
    }
    // What is not named any more is still to be given back.
    let is_named =
        |known: &&Former| all.iter().any(|one| one.workload.title() == known.workload.title());
    let unnamed: Vec<Former> = earlier.iter().filter(|known| !is_named(known)).cloned().collect();
    let noted: Vec<&Former> = unnamed.iter().chain(&all).collect();
    log.append(Event::Workloads {
        cluster: serde_json::to_value(&workloads.cluster)?,
        former: serde_json::to_value(noted)?,
    })?;
    Ok(all)
}

/// Waits until nobody of the workloads has a session: by the addresses of their pods, and by roles
/// that only they use.
async fn sessions_end(source: &Session, addresses: &[String], roles: &[String]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let row = source
            .query_opt(
                "SELECT format('backend %s (role %s, application ''%s'', from %s)', pid, usename,
                               application_name, coalesce(client_addr::text, 'this machine')), pid
                 FROM pg_stat_activity
                 WHERE datname = current_database() AND backend_type = 'client backend'
                   AND application_name NOT LIKE $1 || ' %'
                   AND (host(client_addr) = ANY ($2) OR usename::text = ANY ($3))
                 ORDER BY backend_start LIMIT 1",
                &[&APPLICATION_NAME, &addresses, &roles],
            )
            .await
            .context("look for sessions of the stopped workloads")?;
        let Some(row) = row else { return Ok(()) };
        if begun.elapsed() > SESSIONS_LIMIT {
            let (who, pid): (String, i32) = (row.get(0), row.get(1));
            let message = format!("the workloads are stopped, and {who} is still there");
            let hint = format!("find who it is, or: SELECT pg_terminate_backend({pid})");
            return Err(Failure::failed(message).hint(hint).into());
        }
        tokio::time::sleep(SESSIONS_EVERY).await;
    }
}

/// Done while every workload is stopped by the tool.
///
/// # Errors
/// The cluster cannot be asked.
pub async fn look(engine: &Engine) -> Result<Seen> {
    let Some(workloads) = &engine.options.workloads else { return Ok(Seen::Done(evidence! {})) };
    if !workloads.are_stopped(&stamp(engine)).await? {
        return Ok(Seen::NotDone);
    }
    let count = |kind: Kind| workloads.all.iter().filter(|one| one.kind == kind).count();
    Ok(Seen::Done(evidence! {
        "applications": count(Kind::Application),
        "cronjobs": count(Kind::CronJob),
        "deployments": count(Kind::Deployment),
    }))
}

/// Gives every workload back what it had: the source serves.
///
/// # Errors
/// Something could not be given back; the rest was.
pub async fn undo(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let cluster = engine.options.workloads.as_ref().map(|workloads| &workloads.cluster);
    stopped::restore(cluster, log, &engine.story, |_| true).await?;
    if let Some(keeper) = engine.attempt.keeper.take() {
        keeper.let_go().await;
    }
    Ok(())
}
