//! A few turns of a sweep, as the program makes them: faults on real servers, and the same rules.

use std::time::Duration;

use serde_json::Value;
use xtask::process::Invocation;

/// No handful of turns may take longer, however busy the machine is.
const SWEEP_LIMIT: Duration = Duration::from_secs(570);

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

#[tokio::test(flavor = "multi_thread")]
async fn a_few_turns_of_a_sweep_break_no_rule() {
    let faults = "kill,crash,cut,prepared,session";
    let (code, lines) = sweep(&["--seed", "5", "--cycles", "4", "--faults", faults]).await;
    let swept = lines.last().unwrap();
    assert_eq!(code, Some(0), "{swept:#}");
    let cycles = swept["cycles"].as_array().unwrap();
    assert_eq!(cycles.len(), 4);
    assert!(cycles.iter().any(|cycle| cycle["struck"] == true), "{swept:#}");
    for cycle in cycles {
        assert!(cycle["acknowledged"].as_u64().unwrap() > 0, "{cycle}");
        assert_eq!(cycle["lost"], 0, "{cycle}");
    }
}
