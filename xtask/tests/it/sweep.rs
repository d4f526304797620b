//! A few turns of a sweep, as the program makes them: faults on real servers, and the same rules.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use xtask::drill::faults::Fault;
use xtask::drill::sweep::draw::draw;
use xtask::process::Invocation;
use xtask::servers::disk;

use crate::support::tell_skipped;

/// No handful of turns may take longer, however busy the machine is.
const SWEEP_LIMIT: Duration = Duration::from_secs(570);

/// After how many turns it is asked to stop.
const CYCLES: u32 = 4;

/// Sweeps on servers of its own, and asks it to stop after so many turns. Returns its exit code and
/// what it printed as JSON.
async fn sweep(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut child = Invocation::new(env!("CARGO_BIN_EXE_xtask"))
        .arguments(["drill", "--sweep", "--format", "json", "--rate", "30", "--writers", "2"])
        .arguments(arguments)
        .spawn(log.path(), false)
        .unwrap();
    let process = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines: Vec<Value> = Vec::new();
    while let Some(line) = output.next_line().await.unwrap() {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if line["cycle"] == CYCLES {
            kill_process(process, Signal::INT).unwrap();
        }
        lines.push(line);
    }
    (child.wait().await.unwrap().code(), lines)
}

/// The first seed that draws each of these faults in so few turns.
fn seed_with(wanted: &[Fault], faults: &[Fault]) -> u64 {
    let draws = |seed: &u64| {
        let drawn: Vec<Fault> =
            (1..=CYCLES).map(|cycle| draw(*seed, cycle, faults).fault).collect();
        wanted.iter().all(|fault| drawn.contains(fault))
    };
    (1..).find(draws).expect("one of them does")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_turns_of_a_sweep_break_no_rule_and_it_stops_when_asked() {
    let mut faults = vec![Fault::Kill, Fault::Crash, Fault::Cut, Fault::Prepared, Fault::Session];
    let mut wanted = vec![Fault::Kill, Fault::Crash, Fault::Cut];
    match disk::impossible().unwrap() {
        Some(reason) => tell_skipped(&format!("no disk can be full here: {reason}")),
        None => {
            faults.push(Fault::Disk);
            wanted.push(Fault::Disk);
        }
    }
    let seed = seed_with(&wanted, &faults).to_string();
    let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    let arguments = ["--seed", &seed, "--cycles", "99", "--faults", &names.join(",")];
    let swept = tokio::time::timeout(SWEEP_LIMIT, sweep(&arguments)).await;
    let (code, lines) = swept.expect("it stops");
    let [.., swept, error] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(code, Some(130), "{error}\n{swept:#}");
    assert_eq!(swept["unfinished"], "asked", "{swept:#}");
    let cycles = swept["cycles"].as_array().unwrap();
    let made = cycles.len();
    assert_eq!(error["error"], format!("asked to stop after {made} of 99 turns"));
    // The next one may have begun before the signal came; it is ended, and none after it begun.
    assert!([CYCLES, CYCLES + 1].contains(&u32::try_from(made).unwrap()), "{swept:#}");
    assert!(cycles.iter().any(|cycle| cycle["struck"] == true), "{swept:#}");
    for cycle in cycles {
        assert!(cycle["acknowledged"].as_u64().unwrap() > 0, "{cycle}");
        assert_eq!(cycle["lost"], 0, "{cycle}");
    }
}
