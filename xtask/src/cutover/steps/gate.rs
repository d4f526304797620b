//! `gate`: the last checks and the catching up, while clients still write. It ends with the
//! dead-man armed and seen alive, and with everything opened that the pause will need.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::event::Story;
use crate::cutover::guardian::{self, Guardian};
use crate::cutover::holder::{self, Holder, Request};
use crate::cutover::steps::evidence;
use crate::cutover::{ddl, decision, fence, plan};
use crate::failure::{Failure, tolerate};
use crate::pg::endpoint::{Endpoint, Session, identifier};
use crate::pg::replication;
use crate::pg::sequences::SequenceReader;
use crate::route::Routes;

/// How long the tool may be silent before the dead-man un-fences the source.
pub const DEAD_MAN_PATIENCE: Duration = Duration::from_secs(3);
/// How often the tool shows that it is alive.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(300);
/// A transaction older than this would be cut off by the fence.
const OLD_TRANSACTION: Duration = Duration::from_secs(2);
/// How long to wait for such transactions to end.
const OLD_TRANSACTION_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether a slot that is waited for is there.
const SLOT_EVERY: Duration = Duration::from_secs(1);
/// The slot of the way back is caught up when one advance takes less than this.
const ADVANCE_GOAL: Duration = Duration::from_millis(50);
/// How often it is advanced in search of that.
const ADVANCE_ATTEMPTS: u32 = 200;

/// What watches over an attempt: the dead-man's backend, and the heartbeat that holds it back.
pub struct Guard {
    /// Backends of ours, which the fence spares.
    pub backends: Vec<i32>,
    dead_man: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.heartbeat.abort();
        self.dead_man.abort();
    }
}

/// Checks, catches up, opens what the pause needs, and arms the dead-man.
///
/// # Errors
/// The schema has changed, a transaction stays open, a subscription has stopped, or a server
/// refuses. Clients were not touched.
pub async fn act(engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    ddl::assert_none_open([&source, &target]).await?;
    // Before the triggers: behind an open transaction each try of theirs would hold up clients.
    assert_no_prepared_transactions(&source).await?;
    for (side, session) in [("source", &source), ("target", &target)] {
        assert_no_foreign_subscription(side, session).await?;
    }
    wait_for_old_transactions(&source).await?;
    close_for_searchers(engine, &target).await?;
    if !source.is_superuser {
        // Nothing else holds those who come in, so it is every table.
        fence::guard_tables(&source, &fence::unguarded_tables(&source).await?).await?;
    } else if !superusers(engine, &source).await?.is_empty() {
        fence::guard_tables(&source, &engine.plan.published).await?;
    }
    // The signature comes first: what changes while the facts are read changes it as well.
    engine.attempt.signature = Some(plan::signature(&source).await?);
    assert_schema(engine, &source).await?;
    let readers =
        (SequenceReader::prepare(&source).await?, SequenceReader::prepare(&target).await?);
    engine.attempt.sequences = Some(readers);
    holder::end(&source, &engine.header.run).await?;
    holder::end(&target, &engine.header.run).await?;
    let request = Request::Pins {
        run: engine.header.run.clone(),
        source: engine.source.endpoint.secret_conninfo(),
        target: engine.target.endpoint.secret_conninfo(),
        limit_seconds: engine.options.pin_limit.as_secs(),
    };
    let (holder, _) = Holder::start(&request, &engine.options.folder).await?;
    engine.attempt.holder = Some(holder);
    catch_up(engine, log).await?;
    if !engine.plan.without_way_back {
        catch_slot_up(&target, &engine.back()).await?;
    }
    rehearse(&engine.options.routes, &engine.source.endpoint).await?;
    let attempt = decision::begin_attempt(&source, &engine.header.run, engine.epoch).await?;
    engine.attempt.guard = Some(arm_dead_man(engine).await?);
    start_guardian(engine, attempt).await
}

/// Fences a follower as a whole that answers searches, before the proofs count on it.
async fn close_for_searchers(engine: &Engine, target: &Session) -> Result<()> {
    if fence::is_searchable(target).await? {
        engine.story.note("those who search on the follower are cut off until this is decided");
        fence::close(target, &engine.spared_on_target().await?).await?;
    }
    Ok(())
}

/// Points clients at where they are: what could not be done in the pause shows itself before it.
async fn rehearse(routes: &Routes, source: &Endpoint) -> Result<()> {
    let objections = routes.objections(source).await;
    if let Some(objection) = objections.into_iter().next() {
        return Err(Failure::failed(objection.problem).hint(objection.fix).into());
    }
    match routes.pooler() {
        Some(pooler) => pooler.point(source).await,
        None => Ok(()),
    }
}

/// Starts who lets the clients go, and leads back what was led elsewhere, should this process die.
async fn start_guardian(engine: &mut Engine, attempt: i64) -> Result<()> {
    if !engine.options.routes.needs_guardian() {
        return Ok(());
    }
    let sides = [&engine.source.endpoint, &engine.target.endpoint];
    let request = guardian::Request::new(&engine.header, attempt, sides, &engine.options.routes);
    engine.attempt.guardian = Some(Guardian::start(&request, &engine.options.folder).await?);
    Ok(())
}

async fn assert_schema(engine: &Engine, source: &Session) -> Result<()> {
    if plan::fingerprint(source).await? == engine.plan.fingerprint {
        return Ok(());
    }
    Err(Failure::failed("the schema of the source has changed since the run was planned")
        .hint("undo the change, and bring it to both sides: cargo xtask cutover ddl FILE")
        .into())
}

async fn assert_no_prepared_transactions(source: &Session) -> Result<()> {
    let row = source
        .query_opt(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() LIMIT 1",
            &[],
        )
        .await?;
    let Some(row) = row else { return Ok(()) };
    let name: String = row.get(0);
    Err(Failure::failed(format!("prepared transaction {name} is open on the source"))
        .hint(format!("COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}', then try again"))
        .into())
}

/// One that was made since the plan has looked.
async fn assert_no_foreign_subscription(side: &str, session: &Session) -> Result<()> {
    let Some(name) = replication::foreign(session).await?.into_iter().next() else { return Ok(()) };
    let message = format!(
        "subscription {name} of somebody else brings rows into the {side}, behind any fence, and \
         what it brings is not passed on"
    );
    let hint = format!(
        "on the {side}: DROP SUBSCRIPTION {}; then `cargo xtask verify` says whether both sides \
         are equal, and the same verb goes on",
        identifier(&name)
    );
    Err(Failure::failed(message).hint(hint).into())
}

async fn wait_for_old_transactions(source: &Session) -> Result<()> {
    let begun = Instant::now();
    while let Some((who, fix)) = oldest_transaction(source, OLD_TRANSACTION).await? {
        if begun.elapsed() > OLD_TRANSACTION_LIMIT {
            let message = format!("{who}; the fence would cut it off");
            return Err(Failure::failed(message).hint(fix).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The client's transaction that has been open longest, of those over an age: whose it is, and what
/// can be done about it.
///
/// # Errors
/// The connection is lost.
pub async fn oldest_transaction(
    source: &Session,
    age: Duration,
) -> Result<Option<(String, String)>> {
    let row = source
        .query_opt(
            "SELECT pid, coalesce(usename::text, '?'), coalesce(application_name, ''),
                    extract(epoch FROM clock_timestamp() - xact_start)::bigint
             FROM pg_stat_activity
             WHERE datname = current_database() AND backend_type = 'client backend'
               AND application_name NOT LIKE $1 || ' %'
               AND clock_timestamp() - xact_start > make_interval(secs => $2)
             ORDER BY xact_start LIMIT 1",
            &[&crate::pg::endpoint::APPLICATION_NAME, &age.as_secs_f64()],
        )
        .await?;
    Ok(row.map(|row| {
        let (pid, user, name, age): (i32, String, String, i64) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let who = format!(
            "backend {pid} (role {user}, application '{name}') has had a transaction open for \
             {age} s"
        );
        (who, format!("wait for it, or: SELECT pg_terminate_backend({pid})"))
    }))
}

/// A barrier outside the pause: afterwards the one inside has little to wait for.
async fn catch_up(engine: &mut Engine, log: &dyn Log) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    let (markers, names) = (engine.markers(log), engine.subscriptions(log));
    let limit = engine.options.catch_up_limit;
    try_again(&target, &names, &engine.story).await?;
    for _ in 0..2 {
        let id = replication::mark(&source, &markers, "gate").await?;
        // A worker whose slot is lost tries again for ever, and nothing is disabled.
        tokio::select! {
            arrived = replication::await_mark(&target, &markers, &names, id, limit) => arrived?,
            lost = lost_slot(&source, &names) => return Err(lost),
        };
    }
    Ok(())
}

/// Enables the subscriptions of a follower that are disabled. A crash of the other server disables
/// one just as a bad row does; only trying again tells the two apart.
///
/// # Errors
/// The follower cannot be asked.
pub async fn try_again(follower: &Session, names: &[String], story: &Story) -> Result<()> {
    for name in names {
        if replication::subscription(follower, name).await?.is_some_and(|state| !state.enabled) {
            story.warning(format!("subscription {name} was disabled; it is tried again"));
            replication::enable(follower, name).await?;
        }
    }
    Ok(())
}

/// Looks until a slot is found that can feed nobody any more.
async fn lost_slot(source: &Session, names: &[String]) -> anyhow::Error {
    loop {
        for name in names {
            match replication::slot_is_usable(source, name).await {
                Ok(true) => {}
                Ok(false) => {
                    let message = format!("slot {name} is gone or invalid: nothing follows it");
                    let hint = "before a switch: `cargo xtask rollback --yes`, then start again; \
                                after one the way back is lost, and service goes on";
                    return Failure::failed(message).hint(hint).into();
                }
                Err(error) => return error,
            }
        }
        tokio::time::sleep(SLOT_EVERY).await;
    }
}

/// An advance reads all WAL since the last, so the last must have been a moment ago.
pub async fn catch_slot_up(target: &Session, slot: &str) -> Result<()> {
    for _ in 0..ADVANCE_ATTEMPTS {
        let begun = Instant::now();
        replication::advance_slot(target, slot).await?;
        if begun.elapsed() < ADVANCE_GOAL {
            return Ok(());
        }
    }
    bail!("the slot of the way back does not catch up: each advance takes over {ADVANCE_GOAL:?}")
}

/// Superusers among the clients, at the plan or now: settings alone would not hold them.
async fn superusers(engine: &Engine, source: &Session) -> Result<Vec<String>> {
    let now = plan::superuser_clients(source).await?;
    Ok(if now.is_empty() { engine.plan.superuser_clients.clone() } else { now })
}

async fn arm_dead_man(engine: &Engine) -> Result<Guard> {
    let (run, epoch) = (engine.header.run.clone(), engine.epoch);
    let session = engine.source.endpoint.connect(&format!("dead-man {run}")).await?;
    // It must outlive its client, so it must not look whether the client is there.
    session.batch_execute("SET client_connection_check_interval = 0").await?;
    let dead_man_backend = session.backend().await?;
    let patience = DEAD_MAN_PATIENCE.as_millis();
    let call = format!(
        "CALL xtask_cutover.dead_man({}, interval '{patience} milliseconds')",
        crate::pg::endpoint::literal(&run)
    );
    let dead_man = tokio::spawn(async move {
        tolerate(session.batch_execute(&call).await, "the gate looks whether it is alive");
    });
    let (heartbeat, heartbeat_backend) =
        start_heartbeat(&engine.source.endpoint, run, epoch).await?;
    Ok(Guard { backends: vec![dead_man_backend, heartbeat_backend], dead_man, heartbeat })
}

async fn start_heartbeat(
    endpoint: &Endpoint,
    run: String,
    epoch: i64,
) -> Result<(JoinHandle<()>, i32)> {
    let session = endpoint.connect("heartbeat").await?;
    session.batch_execute("SET synchronous_commit = off").await?;
    let backend = session.backend().await?;
    let statement = session
        .prepare(
            "UPDATE xtask_cutover.run SET heartbeat = clock_timestamp()
             WHERE id = $1 AND epoch = $2 AND decision IS NULL",
        )
        .await
        .context("prepare the heartbeat")?;
    let task = tokio::spawn(async move {
        // When it cannot beat any more the dead-man is right to act.
        while session.execute(&statement, &[&run, &epoch]).await.is_ok() {
            tokio::time::sleep(HEARTBEAT_EVERY).await;
        }
    });
    Ok((task, backend))
}

/// Done while the dead-man is at work and the heartbeat is fresh.
///
/// # Errors
/// The source cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let source = engine.source.session().await?;
    if engine.options.routes.needs_guardian() && !engine.attempt.guardian_is_alive() {
        return Ok(Seen::NotDone);
    }
    let Some(guard) = &engine.attempt.guard else { return Ok(Seen::NotDone) };
    let begun = Instant::now();
    loop {
        let is_alive: bool = source
            .query_one(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1
                                AND query LIKE 'CALL xtask_cutover.dead_man%'
                                AND state = 'active')",
                &[&guard.backends[0]],
            )
            .await?
            .get(0);
        if is_alive {
            return Ok(Seen::Done(evidence! { "dead_man": "armed" }));
        }
        if begun.elapsed() > Duration::from_secs(2) {
            return Ok(Seen::NotDone);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends the dead-man home and lets go of what the pause would have needed. A target that does not
/// answer leaves nothing undone that clients could notice.
///
/// # Errors
/// The source or a cluster cannot be reached.
pub async fn undo(engine: &mut Engine) -> Result<()> {
    let guardian = engine.attempt.guardian.take();
    engine.attempt = Default::default();
    let source = engine.source.session().await?;
    source
        .execute(
            "UPDATE xtask_cutover.run SET guarded = false WHERE id = $1",
            &[&engine.header.run],
        )
        .await?;
    if let Some(guardian) = guardian {
        // Before another attempt: its last look must not come upon that one's held clients.
        guardian.dismiss().await;
    }
    // The source is open by now, so clients may be led back; before, they could not wait for that.
    engine.options.routes.aim(&engine.source.endpoint).await?;
    holder::end(&source, &engine.header.run).await?;
    if let Err(error) = let_target_go(engine).await {
        let later = "the next attempt clears away what was prepared there";
        engine.story.warning(format!("the target does not answer; {later}: {error:#}"));
    }
    if let Err(error) = fence::unguard_tables(&source).await {
        engine.story.warning(format!("{error:#}; it does nothing, and goes with the run"));
    }
    Ok(())
}

/// Ends what holds snapshots on the target, and lets those in again who search there.
async fn let_target_go(engine: &mut Engine) -> Result<()> {
    let target = engine.target.session().await?;
    holder::end(&target, &engine.header.run).await?;
    if fence::is_searchable(&target).await? {
        fence::open_for_search(&target).await?;
    }
    Ok(())
}
