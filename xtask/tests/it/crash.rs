//! The program killed, frozen and interrupted at its steps, and the servers crashed under it: the
//! side that served accepts writes again, the same verb run again comes to the same end, and
//! nothing acknowledged is lost.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use xtask::cutover::event::{Event, Story};
use xtask::cutover::step::Step;
use xtask::pg::endpoint::Session;
use xtask::servers::pair::{self, PairOptions};

use crate::night::{Night, ROLLBACK, START, SWITCH, Server, Tool, a_moment, log};
use crate::support::{own_pair, skip};
use crate::tool::until;

mod copy;

/// How long a frozen tool may keep the clients waiting before the dead-man lets them in.
const FROZEN_LIMIT: Duration = Duration::from_secs(5);
/// How often a verb is run again after both servers have crashed under it.
const AGAIN: usize = 3;

/// The steps of a range.
fn steps(first: Step, last: Step) -> impl Iterator<Item = Step> {
    Step::ALL.into_iter().filter(move |step| (first..=last).contains(step))
}

/// The arguments that close a night in a database of this name.
fn finish(name: &str) -> [&str; 4] {
    ["cutover", "finish", "--confirm", name]
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_on_the_way_there() {
    let name = "killed_there";
    let mut night = Night::begin(name).await;
    let engine = xtask::drill::engine(&night.target).await.expect("the target answers");
    let start = [START, &["--engine", engine]].concat();
    for step in steps(Step::Publish, Step::Prove) {
        night.kill_at(&start, step).await;
        night.serves_unless_decided(Server::Plain).await;
    }
    night.succeeds(&start).await;
    night.watch();
    for step in steps(Step::Gate, Step::Certify) {
        night.kill_at(SWITCH, step).await;
        night.serves_unless_decided(Server::Plain).await;
    }
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    night.is_armed().await;
    night.kill_at(&finish(name), Step::Retire).await;
    night.succeeds(&finish(name)).await;
    night.traffic(Server::Paradedb).await;
    night.ends(Server::Paradedb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_on_the_way_back() {
    let mut night = Night::begin("killed_back").await;
    night.succeeds(START).await;
    night.watch();
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    night.kill_at(ROLLBACK, Step::Arm).await;
    night.serves_unless_decided(Server::Paradedb).await;
    for step in steps(Step::Gate, Step::Certify) {
        night.kill_at(ROLLBACK, step).await;
        night.serves_unless_decided(Server::Paradedb).await;
    }
    night.succeeds(ROLLBACK).await;
    night.turned_to(Server::Plain).await;
    night.is_armed().await;
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    night.ends(Server::Paradedb).await;
}

/// Brings the service back to the plain server, where a signal came too late to prevent a switch.
async fn back_to_plain(night: &mut Night) {
    night.turned_to(Server::Paradedb).await;
    night.succeeds(ROLLBACK).await;
    night.turned_to(Server::Plain).await;
}

/// Waits until the dead-man has unwound the attempt of a frozen tool and clients are served; or
/// until it is seen that the decision was faster.
async fn until_dead_man_or_decided(night: &Night) {
    let began = Instant::now();
    while night.is_open().await {
        a_moment(began, FROZEN_LIMIT, "the dead-man acts").await;
    }
    night.serves_unless_decided(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_in_the_pause() {
    let mut night = Night::begin("frozen").await;
    night.succeeds(START).await;
    night.watch();
    for step in steps(Step::Fence, Step::Decide) {
        let mut tool = night.spawn(SWITCH);
        if tool.reaches(step).await {
            tool.signal(Signal::STOP);
            until_dead_man_or_decided(&night).await;
            tool.signal(Signal::CONT);
        }
        let ended = tool.ended().await;
        log(&format!("frozen at {step}: {:?}", ended.code));
        match ended.code {
            Some(0) => back_to_plain(&mut night).await,
            Some(3) => night.traffic(Server::Plain).await,
            code => panic!("{code:?} after a freeze at {step}:\n{}", ended.told),
        }
    }
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    night.ends(Server::Paradedb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_in_the_pause() {
    let mut night = Night::begin("interrupted").await;
    night.succeeds(START).await;
    night.watch();
    for step in [Step::Gate, Step::Fence, Step::Drain, Step::Pin] {
        let mut tool = night.spawn(SWITCH);
        assert!(tool.reaches(step).await, "{step} is never reached");
        tool.signal(Signal::INT);
        let ended = tool.ended().await;
        log(&format!("interrupted at {step}: {:?}", ended.code));
        match ended.code {
            // Asked after the decision: clients are let go first.
            Some(0 | 4) if night.is_decided(Server::Plain).await => {
                night.succeeds(SWITCH).await;
                back_to_plain(&mut night).await;
            }
            Some(3) => night.traffic(Server::Plain).await,
            code => panic!("{code:?} after Ctrl-C at {step}:\n{}", ended.told),
        }
    }
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    night.ends(Server::Paradedb).await;
}

/// The second process dies before it has cleared away what the first one left: the fence.
#[tokio::test(flavor = "multi_thread")]
async fn killed_again_while_clearing_away() {
    let mut night = Night::begin("killed_twice").await;
    night.succeeds(START).await;
    night.watch();
    for verb in [SWITCH, ROLLBACK] {
        let (old, new) = match verb == SWITCH {
            true => (Server::Plain, Server::Paradedb),
            false => (Server::Paradedb, Server::Plain),
        };
        night.kill_at(verb, Step::Drain).await;
        let mut second = night.spawn(verb);
        assert!(second.writes("\"event\":\"verb\"").await);
        second.kill().await;
        night.serves_unless_decided(old).await;
        night.succeeds(verb).await;
        night.turned_to(new).await;
    }
    night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_crash_between_detach_and_armed() {
    let pair = own_pair().await;
    let mut night = Night::on(&pair, "crashed").await;
    night.succeeds(START).await;
    night.watch();
    let steps = [Step::Detach, Step::Pin, Step::Decide, Step::Open, Step::Release, Step::Reverse];
    for (turn, step) in steps.into_iter().enumerate() {
        let (verb, new) = match turn % 2 {
            0 => (SWITCH, Server::Paradedb),
            _ => (ROLLBACK, Server::Plain),
        };
        let mut tool = night.spawn(verb);
        assert!(tool.reaches(step).await, "{step} is never reached");
        tool.signal(Signal::STOP);
        let stops = tokio::join!(pair.source.stop_immediate(), pair.target.stop_immediate());
        (stops.0.and(stops.1)).expect("both crash");
        let starts = tokio::join!(pair.source.start(), pair.target.start());
        (starts.0.and(starts.1)).expect("both recover");
        tool.signal(Signal::CONT);
        let ended = tool.ended().await;
        log(&format!("crashed at {step}: {:?} {}", ended.code, ended.told));
        settles(&night, verb, ended.code).await;
        night.turned_to(new).await;
        night.is_armed().await;
    }
    night.ends(Server::Plain).await;
    pair.down().await.expect("nothing is left");
}

/// Found by a sweep: the crash turns the way back off, and the certificate waited for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_serving_side_crashes_while_it_is_certified() {
    let pair = own_pair().await;
    let mut night = Night::on(&pair, "certified").await;
    night.succeeds(START).await;
    night.watch();
    let mut tool = night.spawn(SWITCH);
    assert!(tool.reaches(Step::Certify).await, "it is never certified");
    tool.signal(Signal::STOP);
    pair.target.stop_immediate().await.expect("it crashes");
    let is_off = "SELECT bool_and(NOT subenabled) FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until(&night.source, is_off).await;
    pair.target.start().await.expect("it recovers");
    tool.signal(Signal::CONT);
    let ended = tool.ended().await;
    log(&format!("crashed at certify: {:?} {}", ended.code, ended.told));
    settles(&night, SWITCH, ended.code).await;
    night.turned_to(Server::Paradedb).await;
    night.is_armed().await;
    night.ends(Server::Paradedb).await;
    pair.down().await.expect("nothing is left");
}

/// What only the target can undo must not keep clients of the source waiting for the dead-man.
#[tokio::test(flavor = "multi_thread")]
async fn the_target_goes_away_before_the_decision() {
    let pair = own_pair().await;
    let mut night = Night::on(&pair, "gone").await;
    night.succeeds(START).await;
    night.watch();
    let mut tool = night.spawn(SWITCH);
    assert!(tool.reaches(Step::Detach).await, "detach is never reached");
    tool.signal(Signal::STOP);
    pair.target.stop_immediate().await.expect("it crashes");
    tool.signal(Signal::CONT);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(4), "{}", ended.told);
    assert!(ended.told.contains("the side that served goes on serving"), "{}", ended.told);
    let undone: Vec<Step> = night.events().iter().filter_map(undone_step).collect();
    assert!(undone.contains(&Step::Fence), "{undone:?}: left to the dead-man");
    assert!(!undone.contains(&Step::Detach), "{undone:?}");
    night.traffic(Server::Plain).await;
    pair.target.start().await.expect("it recovers");
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    night.ends(Server::Paradedb).await;
    pair.down().await.expect("nothing is left");
}

fn undone_step(event: &Event) -> Option<Step> {
    match event {
        Event::UndoDone { step, .. } => Some(*step),
        _ => None,
    }
}

/// Runs a verb again until it has come to its end, as the hints tell an operator to.
async fn settles(night: &Night, verb: &[&str], first: Option<i32>) {
    let mut code = first;
    for _ in 0..AGAIN {
        if code == Some(0) {
            return;
        }
        let ended = night.run(verb).await;
        log(&format!("again: {:?} {}", ended.code, ended.told));
        code = ended.code;
    }
    assert_eq!(code, Some(0), "{verb:?} never comes to its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_15_as_the_source() {
    let bindir = PathBuf::from("/usr/lib/postgresql/15/bin");
    if !bindir.join("initdb").is_file() {
        skip!("PostgreSQL 15 is not in {}", bindir.display());
    }
    let options = PairOptions { source_bindir: Some(bindir), ..PairOptions::default() };
    let pair = pair::up(&options, &Story::silent()).await.expect("a pair starts");
    let mut night = Night::on(&pair, "fifteen").await;
    night.succeeds(START).await;
    night.watch();
    night.kill_at(SWITCH, Step::Detach).await;
    night.serves_unless_decided(Server::Plain).await;
    for (verb, server) in
        [(SWITCH, Server::Paradedb), (ROLLBACK, Server::Plain), (SWITCH, Server::Paradedb)]
    {
        night.succeeds(verb).await;
        night.turned_to(server).await;
        night.is_armed().await;
    }
    night.succeeds(&finish("fifteen")).await;
    night.ends(Server::Paradedb).await;
    pair.down().await.expect("nothing is left");
}
