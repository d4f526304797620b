//! Journals that are stale, foreign, torn, damaged or missing.

use std::io::Write;

use crate::support::{fresh_database, pair};
use crate::tool::{Tool, ask, sql};

/// Appends to the newest journal what a crash or a bad disk would leave.
fn append(tool: &Tool, bytes: &str) {
    let file = tool.journal_files().pop().expect("there is a journal");
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(bytes.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_the_run_goes_on() {
    let tool = Tool::following("torn").await;
    append(&tool, r#"{"at":"2026-01-01T00:00:00Z","event":"step_sta"#);
    assert_eq!(tool.status().await["phase"], "following");
    let said = tool.run(&["cutover", "switch"]).await.expect(0);
    assert!(said.stdout.contains("torn by a crash"), "{}", said.stdout);
    assert_eq!(tool.status().await["serves"], "target");
}

#[tokio::test]
async fn a_damaged_line_is_refused_with_its_number_and_adopt_mends_it() {
    let tool = Tool::following("damaged").await;
    let whole = tool.journal();
    let lines: Vec<&str> = whole.lines().collect();
    let file = tool.journal_files().pop().unwrap();
    for (number, wanted) in [(1, "line 1"), (4, "line 4")] {
        let mut damaged = lines.clone();
        damaged[number - 1] = "{\"at\":";
        std::fs::write(&file, damaged.join("\n") + "\n").unwrap();
        for command in [&["cutover", "switch"][..], &["cutover", "status"], &["rollback", "--yes"]]
        {
            tool.run(command).await.expect(2).naming(&["damaged", wanted, "cutover adopt"]);
        }
    }
    tool.expect_source_writes().await;
    // What the hint says, done.
    std::fs::rename(&file, file.with_extension("damaged")).unwrap();
    tool.run(&["cutover", "adopt"]).await.expect(0);
    assert_eq!(tool.journal(), whole);
    tool.run(&["cutover", "switch"]).await.expect(0);
}

#[tokio::test]
async fn an_empty_journal_and_one_of_another_format() {
    let tool = Tool::following("format").await;
    let file = tool.journal_files().pop().unwrap();
    let whole = tool.journal();
    std::fs::write(&file, "").unwrap();
    tool.run(&["cutover", "switch"]).await.expect(2).naming(&["damaged at line 1"]);
    std::fs::write(&file, whole.replacen("\"format\":1", "\"format\":99", 1)).unwrap();
    let said = tool.run(&["cutover", "switch"]).await.expect(2);
    said.naming(&["format 99", "the version that wrote it"]);
    std::fs::write(&file, whole).unwrap();
    let said = tool.run(&["cutover", "switch", "--run", "nobody-0"]).await.expect(2);
    said.naming(&["no journal of run nobody-0", "adopt"]);
    tool.run(&["rollback", "--yes"]).await.expect(0);
}

#[tokio::test]
async fn a_stale_journal_is_caught_up_from_the_servers() {
    let tool = Tool::following("stale").await;
    let file = tool.journal_files().pop().unwrap();
    let stale = tool.journal();
    tool.run(&["cutover", "switch"]).await.expect(0);
    std::fs::write(&file, &stale).unwrap();
    let status = tool.status().await;
    assert_eq!(status["serves"], "target", "the row decides: {status}");
    assert!(status["disagreement"].as_str().unwrap().contains("the server is right"), "{status}");
    // The next switch sees what was decided, and removes nothing.
    tool.run(&["cutover", "switch"]).await.expect(0);
    let status = tool.status().await;
    assert_eq!((&status["phase"], &status["serves"]), (&"switched".into(), &"target".into()));
    tool.run(&["rollback", "--yes"]).await.expect(0);
}

#[tokio::test]
async fn rollback_with_a_stale_journal_destroys_nothing() {
    let tool = Tool::following("stale_rollback").await;
    let file = tool.journal_files().pop().unwrap();
    let stale = tool.journal();
    tool.run(&["cutover", "switch"]).await.expect(0);
    sql(&tool.target, "INSERT INTO item (name) VALUES ('since the switch')").await;
    std::fs::write(&file, &stale).unwrap();
    // By the file nothing was switched, and `rollback` would remove the copy, which serves by now.
    let said = tool.run(&["rollback", "--yes"]).await.expect(0);
    assert!(said.stdout.contains("another machine went on"), "{}", said.stdout);
    let question = "SELECT count(*) FROM public.item WHERE name = 'since the switch'";
    assert_eq!(ask(&tool.source, question).await.as_deref(), Some("1"));
    assert_eq!(tool.status().await["serves"], "source");
}

#[tokio::test]
async fn a_foreign_journal_is_refused_with_both_identities() {
    let tool = Tool::following("foreign_journal").await;
    let oid = ask(&tool.target, "SELECT oid FROM pg_database WHERE datname = current_database()");
    let oid = oid.await.unwrap();
    // Another database at the same address.
    let mut other = Tool::with_example("another").await;
    std::fs::create_dir(other.journals()).unwrap();
    let file = tool.journal_files().pop().unwrap();
    std::fs::copy(&file, other.journals().join(file.file_name().unwrap())).unwrap();
    other.source = tool.source.clone();
    let commands = [&["cutover", "switch"][..], &["rollback", "--yes"], &["cutover", "start"]];
    for command in commands {
        let said = other.run(command).await.expect(1);
        said.naming(&["not the server that this run knows", "foreign_journal", "another", &oid]);
    }
    // The same name, made anew.
    let maintenance = pair().await.target.endpoint("postgres");
    sql(&maintenance, "DROP DATABASE another").await;
    let again = fresh_database(&maintenance, "another").await;
    let oid_again = ask(&again, "SELECT oid FROM pg_database WHERE datname = current_database()")
        .await
        .unwrap();
    let said = other.run(&["cutover", "switch", "--take-over"]).await.expect(1);
    said.naming(&[&oid, &oid_again, "cutover status"]);
    // Source and target confused.
    let mut swapped = Tool::with_example("swapped").await;
    std::fs::create_dir(swapped.journals()).unwrap();
    std::fs::copy(&file, swapped.journals().join(file.file_name().unwrap())).unwrap();
    (swapped.source, swapped.target) = (tool.target.clone(), tool.source.clone());
    let said = swapped.run(&["rollback", "--yes"]).await.expect(1);
    said.naming(&["not the server that this run knows"]);
    tool.expect_source_writes().await;
    tool.run(&["cutover", "switch"]).await.expect(0);
}

#[tokio::test]
async fn another_machine_goes_on_from_the_servers_in_every_phase() {
    let mut tool = Tool::with_example("adopted").await;
    let start = tool.begin(&["cutover", "start"]);
    tool.until_journaled(r#""step_done","step":"publish""#).await;
    start.kill().await;
    let turns: [(&str, &[&str], &str); 6] = [
        ("copying", &["cutover", "start"], "source"),
        ("following", &["cutover", "switch"], "target"),
        ("switched", &["rollback", "--yes"], "source"),
        ("switched", &["cutover", "switch"], "target"),
        ("switched", &["rollback", "--yes"], "source"),
        ("switched", &["cutover", "finish", "--confirm", "adopted"], "source"),
    ];
    for (phase, command, serves) in turns {
        let elsewhere = tool.elsewhere();
        let said = elsewhere.run_as_text(&["cutover", "adopt"]).await.expect(0);
        assert!(said.stderr.contains("lines written"), "{}", said.stderr);
        assert_eq!(elsewhere.status().await["phase"], phase, "before {command:?}");
        let again = elsewhere.run_as_text(&["cutover", "adopt"]).await.expect(0);
        assert!(again.stderr.contains("here already"), "{}", again.stderr);
        elsewhere.run(command).await.expect(0);
        assert_eq!(elsewhere.status().await["serves"], serves, "after {command:?}");
        tool = elsewhere;
    }
    assert_eq!(tool.status().await["phase"], "finished");
}

#[tokio::test]
async fn nothing_to_adopt() {
    let tool = Tool::with_example("nothing_to_adopt").await;
    tool.run(&["cutover", "adopt"]).await.expect(1).naming(&["no server knows a run", "start"]);
    assert!(tool.journal_files().is_empty());
}
