//! Clients behind PgBouncer: held back between two transactions, let go on the other side, and let
//! go as well when the tool, a transaction or a process of PgBouncer gets in the way.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use xtask::cutover::step::Step;
use xtask::pg::endpoint::{Endpoint, Session};
use xtask::servers::pooler;
use xtask::workload::{APPLICATION, Outcome, Reason};

use crate::night::{Night, ROLLBACK, START, SWITCH, Server, log};
use crate::support::{eventually, skip};
use crate::workload::PASSWORD;

/// Ends a test where this machine has no PgBouncer.
macro_rules! needs_pgbouncer {
    () => {
        if let Err(error) = pooler::program() {
            skip!("{error:#}");
        }
    };
}

/// A night that follows, with so many processes of PgBouncer.
async fn following(name: &str, processes: usize) -> Night {
    let night = Night::pooled(name, processes).await;
    night.succeeds(START).await;
    night.watch();
    night
}

/// A client of one process.
fn client_of(night: &Night, process: usize) -> Endpoint {
    night.poolers[process].through(&night.source.with_user(APPLICATION, PASSWORD))
}

/// The system identifier of the server that a client of one process reaches.
async fn reaches(night: &Night, process: usize) -> String {
    let client = client_of(night, process).connect_as_client("test").await.expect("it gets in");
    let sql = "SELECT system_identifier::text FROM pg_control_system()";
    client.query_typed(sql, &[]).await.expect("it is served")[0].get(0)
}

/// The system identifier of a server.
async fn identifier(endpoint: &Endpoint) -> String {
    let session = endpoint.connect("test").await.expect("the server answers");
    let identity = xtask::pg::state::identity(&session).await.expect("it has one");
    identity.system
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_no_transaction_fails() {
    needs_pgbouncer!();
    let mut night = following("pooled_smooth", 2).await;
    for (verb, server) in
        [(SWITCH, Server::Paradedb), (ROLLBACK, Server::Plain), (SWITCH, Server::Paradedb)]
    {
        night.succeeds(verb).await;
        night.turned_to(server).await;
        night.is_armed().await;
    }
    assert_eq!(reaches(&night, 1).await, identifier(&night.target).await);
    eventually("no guardian is left", || night.guardians().is_empty()).await;
    let history = night.ends_with(Server::Paradedb).await;
    let failed = history.attempts.iter().filter(|attempt| {
        attempt.outcome != Outcome::Acknowledged && attempt.reason != Reason::Conflict
    });
    assert_eq!(failed.count(), 0, "{:?}", history.messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_clients_are_held() {
    needs_pgbouncer!();
    let mut night = following("pooled_killed", 1).await;
    for step in [Step::Hold, Step::Fence, Step::Detach, Step::Pin] {
        night.kill_at(SWITCH, step).await;
        if night.is_decided(Server::Plain).await {
            log(&format!("{step} was over before the signal"));
            night.succeeds(SWITCH).await;
            night.turned_to(Server::Paradedb).await;
            night.succeeds(ROLLBACK).await;
            night.turned_to(Server::Plain).await;
            continue;
        }
        night.is_let_in(Server::Plain).await;
    }
    // The target is open by now: nobody needs to come and run the verb again.
    night.kill_at(SWITCH, Step::Flip).await;
    night.is_let_in(Server::Paradedb).await;
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    // Between the decision and the opening only the next verb can.
    night.kill_at(ROLLBACK, Step::Open).await;
    night.succeeds(ROLLBACK).await;
    night.turned_to(Server::Plain).await;
    eventually("no guardian is left", || night.guardians().is_empty()).await;
    night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_while_clients_are_held() {
    needs_pgbouncer!();
    let mut night = following("pooled_frozen", 1).await;
    for step in [Step::Fence, Step::Flip] {
        let mut tool = night.spawn(SWITCH);
        assert!(tool.reaches(step).await, "{step} is never reached");
        tool.signal(Signal::STOP);
        let is_decided = night.is_decided(Server::Plain).await;
        let server = if is_decided { Server::Paradedb } else { Server::Plain };
        night.is_let_in(server).await;
        tool.signal(Signal::CONT);
        let ended = tool.ended().await;
        log(&format!("frozen at {step}: {:?}", ended.code));
        let wanted = if is_decided { 0 } else { 3 };
        assert_eq!(ended.code, Some(wanted), "{}", ended.told);
        night.traffic(server).await;
    }
    night.turned_to(Server::Paradedb).await;
    night.ends(Server::Paradedb).await;
}

/// A transaction that is open behind PgBouncer, young enough for the gate.
async fn stuck(night: &Night) -> Session {
    let client = client_of(night, 0).connect_as_client("reporting").await.expect("it gets in");
    client.batch_execute("BEGIN; SELECT 1").await.expect("it is served");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_transaction_stops_the_switch_and_nothing_has_changed() {
    needs_pgbouncer!();
    let mut night = following("pooled_stuck", 2).await;
    let before = std::fs::read_to_string(night.poolers[0].ini()).unwrap();
    let mut tool = night.spawn(&[SWITCH, &["--pause-clients-limit", "1.5"]].concat());
    assert!(tool.reaches(Step::Gate).await);
    let client = stuck(&night).await;
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(3), "{}", ended.told);
    for wanted in ["hold the clients of PgBouncer", "within 1.5s", "pg_terminate_backend("] {
        assert!(ended.told.contains(wanted), "{wanted}: {}", ended.told);
    }
    night.traffic(Server::Plain).await;
    client.batch_execute("COMMIT").await.expect("the client was not harmed");
    assert_eq!(std::fs::read_to_string(night.poolers[0].ini()).unwrap(), before);
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    let history = night.ends_with(Server::Paradedb).await;
    let failed = history.attempts.iter().filter(|attempt| {
        attempt.outcome != Outcome::Acknowledged && attempt.reason != Reason::Conflict
    });
    assert_eq!(failed.count(), 0, "{:?}", history.messages);
}

/// Who may read the configuration of one process.
fn permit(night: &Night, process: usize, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(night.poolers[process].ini(), permissions).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_be_pointed_does_not_hold_up_the_others() {
    needs_pgbouncer!();
    let mut night = following("pooled_reload", 2).await;
    let mut tool = night.spawn(SWITCH);
    assert!(tool.reaches(Step::Hold).await);
    permit(&night, 1, 0o000);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(4), "{}", ended.told);
    night.is_let_in(Server::Paradedb).await;
    permit(&night, 1, 0o600);
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    assert_eq!(reaches(&night, 1).await, identifier(&night.target).await);
    night.ends(Server::Paradedb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_gone_stops_a_switch_only_before_it_begins() {
    needs_pgbouncer!();
    let mut night = following("pooled_gone", 3).await;
    let mut tool = night.spawn(SWITCH);
    assert!(tool.reaches(Step::Fence).await);
    night.poolers[2].kill().expect("it is ours");
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.told);
    night.turned_to(Server::Paradedb).await;
    night.poolers.truncate(2);
    night.poolers[1].kill().expect("it is ours");
    let ended = night.run(ROLLBACK).await;
    assert_eq!(ended.code, Some(1), "{}", ended.told);
    assert!(ended.told.contains("nobody listens at PgBouncer's console"), "{}", ended.told);
    night.traffic(Server::Paradedb).await;
    night.poolers.truncate(1);
    night.succeeds(ROLLBACK).await;
    night.turned_to(Server::Plain).await;
    night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_refuses_a_pooler_that_would_stop_the_switch() {
    needs_pgbouncer!();
    let night = Night::pooled("pooled_plan", 1).await;
    let ini = night.poolers[0].ini();
    let text = std::fs::read_to_string(&ini).unwrap();
    let other = text.replace("pool_mode = transaction", "pool_mode = session");
    let other = other.replace("host=127.0.0.1", "host=127.0.0.2");
    // Written in place: the file keeps its owner.
    std::fs::write(&ini, other).unwrap();
    let console = night.poolers[0].console().connect_as_client("test").await.unwrap();
    console.simple_query("RELOAD").await.unwrap();
    let ended = night.run(&["cutover", "plan"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.told);
    for wanted in ["leads database pooled_plan to 127.0.0.2", "by session"] {
        assert!(ended.told.contains(wanted), "{wanted}: {}", ended.told);
    }
    night.ends(Server::Plain).await;
}
