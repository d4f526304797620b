//! A few turns of a sweep, as the program makes them: faults on real servers, and the same rules.

use std::time::Duration;

use serde_json::Value;
use xtask::drill::faults::Fault;
use xtask::drill::sweep::draw::draw;
use xtask::process::Invocation;
use xtask::servers::disk;

use crate::support::tell_skipped;

/// No handful of turns may take longer, however busy the machine is.
const SWEEP_LIMIT: Duration = Duration::from_secs(570);

/// How many turns it makes.
const CYCLES: u32 = 4;

/// Sweeps on servers of its own. Returns its exit code and what it printed as JSON.
async fn sweep(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = Invocation::new(env!("CARGO_BIN_EXE_xtask"))
        .arguments(["drill", "--sweep", "--format", "json", "--rate", "30", "--writers", "2"])
        .arguments(arguments)
        .deadline(SWEEP_LIMIT)
        .output()
        .await
        .unwrap();
    let lines = output.stdout.lines().filter_map(|line| serde_json::from_str(line).ok());
    (output.code, lines.collect())
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
async fn a_few_turns_of_a_sweep_break_no_rule() {
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
    let arguments =
        ["--seed", &seed, "--cycles", &CYCLES.to_string(), "--faults", &names.join(",")];
    let (code, lines) = sweep(&arguments).await;
    let swept = lines.last().unwrap();
    assert_eq!(code, Some(0), "{swept:#}");
    let cycles = swept["cycles"].as_array().unwrap();
    assert_eq!(cycles.len(), CYCLES as usize);
    assert!(cycles.iter().any(|cycle| cycle["struck"] == true), "{swept:#}");
    for cycle in cycles {
        assert!(cycle["acknowledged"].as_u64().unwrap() > 0, "{cycle}");
        assert_eq!(cycle["lost"], 0, "{cycle}");
    }
}
