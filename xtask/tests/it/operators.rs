//! Two people, one run: the second is told who the first is, and may take the run over.

use crate::support::eventually;
use crate::tool::{Tool, ask, long_transaction, sql};

#[tokio::test]
async fn the_second_is_refused_and_told_who_the_first_is() {
    let tool = Tool::following("two_operators").await;
    let client = long_transaction(&tool.source).await;
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
    let client = long_transaction(&tool.source).await;
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
    first.expect(3).naming(&["another operator has taken run", "cutover status"]);
    second.expect(0);
    assert_eq!(elsewhere.status().await["serves"], "target");
    // The first has undone nothing of what the second did, and its own journal is behind.
    assert_eq!(elsewhere.status().await["way_back"]["state"], "armed");
    let behind = tool.run(&["cutover", "status"]).await;
    assert!(behind.stdout.contains("the server is right"), "{}", behind.stdout);
    let rows = ask(&tool.target, "SELECT count(*) FROM public.item").await;
    assert_eq!(rows.as_deref(), Some("100"));
    sql(&tool.target, "INSERT INTO item (name) VALUES ('served')").await;
}
