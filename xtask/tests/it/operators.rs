//! Two people, one run: the second is told who the first is, and may take the run over.

use rustix::process::{Pid, Signal, kill_process};
use xtask::cutover::fence;

use crate::support::eventually;
use crate::tool::{Tool, ask, long_transaction, sql, until};

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

#[tokio::test]
async fn who_stops_before_anything_began_is_told_so() {
    let tool = Tool::with_example("stopped_early").await;
    let holder = tool.source.connect("test").await.unwrap();
    // The survey asks for the size of the table, and waits.
    holder.batch_execute("BEGIN; LOCK TABLE public.item").await.unwrap();
    let start = tool.begin_as_text(&["cutover", "start"]);
    let waits = "SELECT true FROM pg_stat_activity WHERE datname = current_database()
                 AND application_name LIKE 'xtask-cutover %' AND wait_event_type = 'Lock'";
    until(&tool.source, waits).await;
    let process = i32::try_from(start.process()).unwrap();
    kill_process(Pid::from_raw(process).unwrap(), Signal::INT).unwrap();
    start.tells("asked to stop").await;
    drop(holder);
    let said = start.end().await.expect(130);
    assert!(said.stderr.contains("before anything had begun"), "{}", said.stderr);
    assert_eq!(ask(&tool.source, "SELECT to_regnamespace('xtask_cutover')").await, None);
}

#[tokio::test]
async fn a_command_that_was_frozen_moves_no_fence_when_it_wakes() {
    let tool = Tool::following("woken").await;
    let run = tool.status().await["run"].as_str().expect("a run").to_string();
    let source = tool.source.connect("test").await.unwrap();
    let other_epoch = fence::close_for(&source, &run, 1_000, &[]).await.unwrap_err();
    assert!(format!("{other_epoch:#}").contains("taken over"), "{other_epoch:#}");
    assert!(!fence::is_closed(&source).await.unwrap());
    drop(source);
    tool.run(&["cutover", "switch"]).await.expect(0);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    let target = tool.target.connect("test").await.unwrap();
    let too_late = fence::open_for(&target, &run).await.unwrap_err();
    assert!(format!("{too_late:#}").contains("a later run"), "{too_late:#}");
    assert!(fence::is_closed(&target).await.unwrap());
}
