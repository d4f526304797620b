//! Nights in a cluster: clients behind a PgBouncer that dials a Service, workloads that are stopped
//! meanwhile, and a tool that is killed or frozen at each step that touches the cluster.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use xtask::cutover::event::Event;
use xtask::cutover::step::Step;
use xtask::failure::tolerate;
use xtask::servers::pooler;
use xtask::workload::{Outcome, Reason};

use super::routes::service;
use super::stand::{CONTEXT, NAMESPACE, Stand};
use super::{application, cronjob, deployment, written};
use crate::environments::{VALUES, apart};
use crate::night::{Night, PROBE, ROLLBACK, START, SWITCH, Server, log};
use crate::support::{REHEARSAL, eventually, pair, skip};

/// The kinds and names of what is stopped.
const STOPPED: [(&str, &str); 4] = [
    ("applications.argoproj.io", "robson-root"),
    ("applications.argoproj.io", "robson-prod"),
    ("cronjobs.batch", "stop-monitor"),
    ("deployments.apps", "backend"),
];
/// The slice that leads the Service.
const SLICE: &str = "endpointslices.discovery.k8s.io";
/// What stands for this machine in a slice, which may name no address of loopback.
const OUTSIDE: &str = "192.0.2.1";
/// Transactions per second of the whole run.
const RATE: f64 = 300.0;
/// The same where something is broken on purpose.
const SLOW: f64 = 50.0;

/// A night in the stand-in cluster.
struct Clustered {
    night: Night,
    stand: Arc<Stand>,
    before: Vec<Value>,
}

/// Plays kube-proxy: each connection to the Service goes where its slice leads at that moment.
async fn lead(stand: Arc<Stand>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let slice = stand.object(SLICE, "paradedb-outside");
            let address = &slice["endpoints"][0]["addresses"][0];
            assert_eq!(address, OUTSIDE, "the only address of these servers");
            let port = u16::try_from(slice["ports"][0]["port"].as_u64().expect("a port"));
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", port.expect("a port"))).await
                else {
                    return;
                };
                let ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                tolerate(ended, "both ends see it");
            });
        }
    });
    port
}

impl Clustered {
    /// A night that follows.
    async fn begin(name: &str, rate: f64) -> Clustered {
        let mut clustered = Clustered::prepare(name, rate, "").await;
        clustered.night.succeeds(START).await;
        clustered.night.watch();
        clustered.before = clustered.now();
        clustered
    }

    /// A night before its run; `more` are further lines of its values.
    async fn prepare(name: &str, rate: f64, more: &str) -> Clustered {
        let stand = Arc::new(Stand::begin().await);
        stand.settings(&json!({"controllers": true}));
        let ports = [&pair().await.source, &pair().await.target]
            .map(|server| server.endpoint("postgres").port);
        service(&stand, "paradedb", OUTSIDE, ports[0]);
        stand.put(STOPPED[0].0, &application("robson-root"));
        stand.put(STOPPED[1].0, &application("robson-prod"));
        stand.put(STOPPED[2].0, &cronjob("stop-monitor"));
        stand.put(STOPPED[3].0, &deployment("backend"));
        let mut night = Night::led(name, lead(stand.clone()).await, rate).await;
        let console = night.poolers[0].console();
        let cutover = format!(
            "cutover:\n  peers: []\n  cluster: {{context: {CONTEXT}, namespace: {NAMESPACE}}}\n  \
             pgbouncer: {{consoles: [{{url: '{console}'}}], probe: {PROBE}}}\n  routes:\n  \
             - service:\n      name: paradedb\n      source: {{host: {OUTSIDE}, port: {}}}\n      \
             target: {{host: {OUTSIDE}, port: {}}}\n  quiesce:\n    \
             argocd:\n      namespace: {NAMESPACE}\n      application: robson-prod\n      \
             parent: robson-root\n    \
             cronjobs: [stop-monitor]\n    deployments: [{{name: backend, migrates: true}}]\n  \
             endpoint_file: '{}'\n{more}",
            ports[0],
            ports[1],
            night.endpoint_file().display()
        );
        night.in_environment(&format!("{VALUES}{cutover}"), stand.programs());
        let mut clustered = Clustered { night, stand, before: Vec::new() };
        clustered.before = clustered.now();
        clustered
    }

    /// What people have written of every workload.
    fn now(&self) -> Vec<Value> {
        let objects = STOPPED.map(|(resource, name)| written(&self.stand.object(resource, name)));
        objects.to_vec()
    }

    /// Every workload has what it had, and the Service leads to a side.
    fn is_as_it_was(&self) {
        assert_eq!(self.now(), self.before);
    }

    /// The guardian of a dead tool has given every workload back.
    async fn runs_again(&self) {
        eventually("the workloads run again", || self.now() == self.before).await;
    }

    fn is_stopped(&self) -> bool {
        self.stand.object("deployments.apps", "backend")["spec"]["replicas"] == 0
    }
}

/// Ends a test where this machine has no PgBouncer.
macro_rules! needs_pgbouncer {
    () => {
        if let Err(error) = pooler::program() {
            skip!("{error:#}");
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_behind_a_service_no_transaction_fails() {
    needs_pgbouncer!();
    let mut clustered = Clustered::begin("cluster_smooth", RATE).await;
    for (verb, server) in
        [(SWITCH, Server::Paradedb), (ROLLBACK, Server::Plain), (SWITCH, Server::Paradedb)]
    {
        clustered.night.succeeds(verb).await;
        clustered.is_as_it_was();
        let arrived = clustered.night.events().into_iter().find_map(|event| match event {
            Event::Arrived { milliseconds, sessions, .. } => Some((milliseconds, sessions)),
            _ => None,
        });
        let (milliseconds, sessions) = arrived.expect("it was seen when clients came");
        assert!(milliseconds > 0.0 && sessions > 0, "{milliseconds} ms, {sessions} sessions");
        clustered.night.turned_to(server).await;
        clustered.night.is_armed().await;
    }
    let stops = clustered.stand.calls();
    let stops = stops.iter().filter(|call| call.contains("patch deployments.apps backend")).count();
    assert_eq!(stops, 6, "each turn stops the backend and starts it again");
    let night = clustered.night;
    eventually("no guardian is left", || night.guardians().is_empty()).await;
    let history = night.ends_with(Server::Paradedb).await;
    let failed = history.attempts.iter().filter(|attempt| {
        attempt.outcome != Outcome::Acknowledged && attempt.reason != Reason::Conflict
    });
    assert_eq!(failed.count(), 0, "{:?}", history.messages);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_stops_the_cluster_and_gives_all_of_it_back() {
    needs_pgbouncer!();
    let _turn = REHEARSAL.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut more = String::from("  rehearse: true\n");
    for (side, server) in [("source", &pair().await.source), ("target", &pair().await.target)] {
        let (url, password) = apart(&server.endpoint("cluster_rehearsed"));
        let file = folder.path().join(side);
        std::fs::write(&file, password).expect("the folder is ours");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("the file is ours");
        let file = file.display();
        more.push_str(&format!("  {side}: {{url: '{url}', password: {{file: '{file}'}}}}\n"));
    }
    let mut clustered = Clustered::prepare("cluster_rehearsed", SLOW, &more).await;
    let drill = ["drill", "--cycles", "1", "--rate", "50", "--finish", "--i-have-no-backup"];
    clustered.night.succeeds(&drill).await;
    clustered.is_as_it_was();
    clustered.night.went_and_came_back();
    let stops = clustered.stand.calls();
    let stops = stops.iter().filter(|call| call.contains("patch deployments.apps backend")).count();
    assert_eq!(stops, 4, "each turn stops the backend and starts it again");
    clustered.night.traffic(Server::Plain).await;
    clustered.night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_that_touches_the_cluster() {
    needs_pgbouncer!();
    let mut clustered = Clustered::begin("cluster_killed", SLOW).await;
    for step in [Step::Quiesce, Step::Gate, Step::Aim, Step::Decide] {
        clustered.night.kill_at(SWITCH, step).await;
        if clustered.night.is_decided(Server::Plain).await {
            log(&format!("{step} was over before the signal"));
            clustered.night.succeeds(SWITCH).await;
            clustered.night.turned_to(Server::Paradedb).await;
            clustered.night.succeeds(ROLLBACK).await;
            clustered.night.turned_to(Server::Plain).await;
            continue;
        }
        // The Service leads back to the plain server without anybody's help, and the workloads run.
        clustered.night.is_let_in(Server::Plain).await;
        clustered.runs_again().await;
    }
    for step in [Step::Flip, Step::Release] {
        clustered.night.kill_at(SWITCH, step).await;
        clustered.night.is_let_in(Server::Paradedb).await;
        clustered.runs_again().await;
        clustered.night.succeeds(SWITCH).await;
        clustered.is_as_it_was();
        clustered.night.turned_to(Server::Paradedb).await;
        clustered.night.succeeds(ROLLBACK).await;
        clustered.is_as_it_was();
        clustered.night.turned_to(Server::Plain).await;
    }
    clustered.night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_where_the_service_leads_away() {
    needs_pgbouncer!();
    let mut clustered = Clustered::begin("cluster_frozen", SLOW).await;
    for step in [Step::Quiesce, Step::Aim] {
        let mut tool = clustered.night.spawn(SWITCH);
        assert!(tool.reaches(step).await, "{step} is never reached");
        tool.signal(Signal::STOP);
        let is_decided = clustered.night.is_decided(Server::Plain).await;
        let server = if is_decided { Server::Paradedb } else { Server::Plain };
        clustered.night.is_let_in(server).await;
        tool.signal(Signal::CONT);
        let ended = tool.ended().await;
        log(&format!("frozen at {step}: {:?}", ended.code));
        match ended.code {
            Some(0) => {
                clustered.night.turned_to(Server::Paradedb).await;
                clustered.is_as_it_was();
                clustered.night.succeeds(ROLLBACK).await;
                clustered.night.turned_to(Server::Plain).await;
            }
            Some(3) => clustered.night.traffic(Server::Plain).await,
            code => panic!("{code:?} after a freeze at {step}:\n{}", ended.told),
        }
        clustered.is_as_it_was();
    }
    clustered.night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_falls_silent_unwinds_before_the_decision_and_stops_nobody_after_it() {
    needs_pgbouncer!();
    let mut clustered = Clustered::begin("cluster_silent", SLOW).await;
    // Cut off from all of it: the source serves at once, and the workloads run again by themselves
    // as soon as the cluster can be reached.
    let mut tool = clustered.night.spawn(SWITCH);
    assert!(tool.reaches(Step::Hold).await);
    clustered.stand.fault("", "die", u32::MAX);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(4), "{}", ended.told);
    clustered.night.traffic(Server::Plain).await;
    assert!(clustered.is_stopped());
    clustered.stand.heal();
    clustered.runs_again().await;
    // Only one call hangs.
    let mut tool = clustered.night.spawn(SWITCH);
    assert!(tool.reaches(Step::Hold).await);
    clustered.stand.fault("patch endpointslices", "hang", 1);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(3), "{}", ended.told);
    clustered.is_as_it_was();
    clustered.night.traffic(Server::Plain).await;
    let mut tool = clustered.night.spawn(SWITCH);
    assert!(tool.reaches(Step::Hold).await);
    clustered.stand.fault("patch deployments.apps", "refuse", 1000);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(4), "{}", ended.told);
    assert!(clustered.is_stopped());
    clustered.night.traffic(Server::Paradedb).await;
    let status = clustered.night.status().await;
    let wanted = "deployment backend in namespace xtask-test of context stand-in is stopped";
    assert!(status.contains(wanted), "{status}");
    clustered.stand.heal();
    clustered.night.succeeds(SWITCH).await;
    clustered.is_as_it_was();
    clustered.night.turned_to(Server::Paradedb).await;
    clustered.night.ends(Server::Paradedb).await;
}
