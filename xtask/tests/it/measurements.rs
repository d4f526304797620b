//! The measurements on a few rows: what they say, not how fast it is.

use std::time::Duration;

use serde_json::Value;
use xtask::process::{Invocation, Output};

/// No measurement of a few rows may take longer, however busy the machine is.
const MEASUREMENT_LIMIT: Duration = Duration::from_secs(180);

/// Runs a measurement, which starts servers of its own, and gives its line of JSON.
async fn measure(arguments: &[&str]) -> (Output, Value) {
    let output = Invocation::new(env!("CARGO_BIN_EXE_xtask"))
        .arguments(["bench", "--format", "json"])
        .arguments(arguments)
        .deadline(MEASUREMENT_LIMIT)
        .output()
        .await
        .unwrap();
    let lines = output.stdout.lines().filter_map(|line| serde_json::from_str(line).ok());
    let measured = lines.into_iter().find(|line: &Value| line.get("rounds").is_some());
    let measured = measured.unwrap_or_else(|| panic!("{}\n{}", output.stdout, output.stderr));
    (output, measured)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_contender_copies_the_same() {
    let wide = ["--limit", "1000", "--pgcopydb-limit", "1000", "--memory-limit", "1000"];
    let few = ["copy", "--rows", "2000", "--rounds", "1"];
    let (output, measured) = measure(&[few.as_slice(), &wide].concat()).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(measured["rows"], 2000);
    let contenders = measured["contenders"].as_array().unwrap();
    assert_eq!(contenders.len(), 5);
    for contender in contenders {
        let is_absent = contender["absent"].is_string();
        assert!(!is_absent || contender["kind"] == "pgcopydb", "{contender}");
        assert!(is_absent || contender["seconds"].as_f64().unwrap() > 0.0, "{contender}");
    }
    let own = &contenders[0];
    assert_eq!(own["kind"], "xtask");
    assert!(own["peak_bytes"].as_u64().unwrap() > 1 << 20, "{own}");
    assert!(own["copy_seconds"].as_f64().unwrap() > 0.0, "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_over_its_limit_is_refused() {
    let few = ["verify", "--rows", "2000", "--rounds", "1"];
    let held = ["--hold", "1", "--scale", "0.01", "--writers", "2", "--limit", "0.001"];
    let (output, measured) = measure(&[few.as_slice(), &held].concat()).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert_eq!(measured["total"]["rows"], 2000);
    assert_eq!(measured["tables"].as_array().unwrap().len(), 3);
    assert!(measured["total"]["against_hashtext"].as_f64().unwrap() > 0.0, "{measured}");
    let horizon = &measured["horizon"];
    let age = |stretch: &str| horizon[stretch]["horizon_age"].as_i64().unwrap();
    assert!(age("held") > age("free"), "{horizon}");
    assert!(horizon["certify_seconds"].as_f64().unwrap() > 0.0, "{horizon}");
}
