//! What a run leaves for those who were not there: report, metrics, and a status anywhere.

use std::path::Path;

use serde_json::Value;

use crate::tool::{Said, Tool};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The three files of a report: page, Markdown, JSON.
fn files(said: &Said) -> [String; 3] {
    let written = said.lines().pop().expect("the report says where it is");
    ["html", "markdown", "json"].map(|kind| read(Path::new(written[kind].as_str().unwrap())))
}

#[tokio::test]
async fn a_night_leaves_a_report_and_metrics() {
    let tool = Tool::following("reported").await;
    let metrics = tool.journals().join("cutover.prom");
    let metrics_file = metrics.to_str().unwrap();
    let [page, ..] = files(&tool.run(&["cutover", "report"]).await.expect(0));
    assert!(page.contains("READY") && !page.contains("fence"), "{page}");
    tool.run(&["cutover", "switch", "--metrics-file", metrics_file]).await.expect(0);
    let after_switch = read(&metrics);
    for line in [
        "xtask_cutover_serves{side=\"target\"} 1",
        "xtask_cutover_way_back{state=\"armed\"} 1",
        "xtask_cutover_phase{phase=\"switched\"} 1",
        "xtask_cutover_server_fenced{side=\"source\"} 1",
        "xtask_cutover_certificate_equal 1",
    ] {
        assert!(after_switch.contains(line), "`{line}` is missing from\n{after_switch}");
    }
    for name in ["slot_wal_kept_bytes{side=\"target\"", "last_pause_seconds ", "lag_seconds "] {
        assert!(after_switch.contains(name), "`{name}` is missing from\n{after_switch}");
    }
    std::fs::remove_file(&metrics).unwrap();
    let watch = ["cutover", "watch", "--times", "1", "--metrics-file", metrics_file];
    tool.run(&watch).await.expect(0);
    assert!(read(&metrics).contains("xtask_cutover_way_back{state=\"armed\"} 1"));
    let said = tool.run(&["cutover", "report"]).await.expect(0);
    let [page, markdown, json] = files(&said);
    for word in ["SWITCHED", "fence", "certify", "public.item", "ARMED", "not in the journal"] {
        assert!(page.contains(word) && markdown.contains(word), "{word}");
    }
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["certificate_passes"], true);
    let verbs: Vec<_> = json["acts"].as_array().unwrap().iter().map(|act| &act["verb"]).collect();
    assert_eq!(verbs, ["start", "switch"]);
    assert!(json["acts"][1]["pause"]["database_ms"].as_f64().unwrap() > 0.0);
    assert!(!json["lag"].as_array().unwrap().is_empty(), "the lag was kept");
    let server = |one: &Value| (one["server"].clone(), one["restored"].is_null());
    let changes: Vec<_> = json["changes"].as_array().unwrap().iter().map(server).collect();
    assert_eq!(changes, [("ParadeDB".into(), false), ("plain PostgreSQL".into(), true)]);
}

#[tokio::test]
async fn a_second_person_sees_the_same_without_a_journal() {
    let tool = Tool::following("second_person").await;
    tool.run(&["cutover", "switch"]).await.expect(0);
    let mine = tool.status().await;
    let second = tool.elsewhere();
    let theirs = second.status().await;
    for field in ["run", "phase", "serves", "way_back", "certificate", "changed", "next"] {
        assert_eq!(theirs[field], mine[field], "{field} of {theirs}");
    }
    assert_eq!(theirs["phase"], "switched");
    assert!(second.journal_files().is_empty(), "who only looks leaves nothing behind");
    let run = mine["run"].as_str().unwrap();
    second.run(&["cutover", "status", "--run", run]).await.expect(0);
    second.run(&["cutover", "status", "--run", "nobody-0"]).await.expect(2).naming(&["adopt"]);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    assert_eq!(second.status().await["serves"], "source");
}

#[tokio::test]
async fn a_run_that_failed_has_a_report_that_says_why() {
    let tool = Tool::following("failed_report").await;
    crate::tool::sql(&tool.source, "CREATE TABLE surprise (id int PRIMARY KEY)").await;
    tool.run(&["cutover", "switch"]).await.expect(3);
    let [page, markdown, json] = files(&tool.run(&["cutover", "report"]).await.expect(0));
    for text in [&page, &markdown] {
        assert!(text.contains("schema of the source has changed"), "{text}");
        assert!(text.contains("unwound"), "{text}");
    }
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["serves"], "plain PostgreSQL");
    let steps = json["acts"][1]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["name"] == "gate" && step["state"] == "undone"));
    tool.run(&["cutover", "report", "nobody-0"]).await.expect(2).naming(&["nobody-0"]);
}
