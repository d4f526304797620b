//! Two people, one run: the second is told who the first is, and may take the run over.

use crate::support::eventually;
use crate::tool::{Tool, ask, sql};

/// A switch that waits in its gate until the returned session ends: a client has had a
/// transaction open for long.
async fn gate_keeper(tool: &Tool) -> xtask::pg::endpoint::Session {
    let client = tool.source.connect_as_client("reporting").await.unwrap();
    client.batch_execute("BEGIN; SELECT count(*) FROM item").await.unwrap();
    let question = "SELECT clock_timestamp() - xact_start > interval '2.1 s'
        FROM pg_stat_activity WHERE pid = $1";
    let watcher = tool.source.connect("test").await.unwrap();
    let backend = client.backend().await.unwrap();
    loop {
        let row = watcher.query_one(question, &[&backend]).await.unwrap();
        if row.get(0) {
            return client;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_second_is_refused_and_told_who_the_first_is() {
    let tool = Tool::following("two_operators").await;
    let client = gate_keeper(&tool).await;
    let first = tool.begin(&["cutover", "switch"]);
    tool.until_journaled(r#""step_started","step":"gate""#).await;
    let process = format!("{}:{}", xtask::config::host(), first.process());
    let elsewhere = tool.elsewhere();
    elsewhere.run(&["cutover", "adopt"]).await.expect(0);
    for (second, verb) in [(&tool, "switch"), (&elsewhere, "switch"), (&elsewhere, "rollback")] {
        let yes: &[&str] =
            if verb == "rollback" { &["rollback", "--yes"] } else { &["cutover", verb] };
        let said = second.run(yes).await.expect(1);
        said.naming(&[
            "another operator",
            &process,
            "backend ",
            "from 127.0.0.1",
            " s",
            "--take-over",
        ]);
    }
    drop(client);
    first.end().await.expect(0);
    assert_eq!(tool.status().await["serves"], "target");
}

#[tokio::test]
async fn the_second_takes_the_run_over_and_the_first_stops() {
    let tool = Tool::following("take_over").await;
    let client = gate_keeper(&tool).await;
    let first = tool.begin(&["cutover", "switch"]);
    tool.until_journaled(r#""step_started","step":"gate""#).await;
    let elsewhere = tool.elsewhere();
    elsewhere.run(&["cutover", "adopt"]).await.expect(0);
    let second = elsewhere.begin(&["cutover", "switch", "--take-over"]);
    eventually("the second owns the run", || {
        elsewhere.journal().matches(r#""event":"verb""#).count() > 2
    })
    .await;
    drop(client);
    let (first, second) = (first.end().await, second.end().await);
    first.expect(3).naming(&["taken over by", "cutover status"]);
    second.expect(0);
    assert_eq!(elsewhere.status().await["serves"], "target");
    // The first has undone nothing of what the second did, and its own journal is behind.
    assert_eq!(elsewhere.status().await["way_back"]["state"], "armed");
    let behind = tool.run(&["cutover", "status"]).await;
    assert!(behind.stdout.contains("the server is right"), "{}", behind.stdout);
    let rows = ask(&tool.target, "SELECT count(*) FROM item").await;
    assert_eq!(rows.as_deref(), Some("100"));
    sql(&tool.target, "INSERT INTO item (name) VALUES ('served')").await;
}
