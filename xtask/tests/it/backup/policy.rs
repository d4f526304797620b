//! The step `backup` of a run, by each policy.

use serde_json::Value;

use super::Place;
use crate::tool::{Tool, ask};

/// The evidence that the newest journal has of the step.
fn evidence(tool: &Tool) -> Value {
    let journal = tool.journal();
    let lines = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut done = lines.filter(|line| line["event"] == "step_done" && line["step"] == "backup");
    done.next().expect("the step is done")["evidence"].clone()
}

#[tokio::test]
async fn nothing_is_moved_without_a_word() {
    let place = Place::new("backup_word").await;
    let tool = &place.tool;
    // As an operator types it, who forgot.
    for arguments in [
        &["cutover", "plan", "--backup", "none"][..],
        &["cutover", "start", "--backup", "none"],
        &["cutover", "start", "--backup", "dump"],
        &["cutover", "start", "--backup", "external"],
    ] {
        tool.run(arguments).await.expect(1).naming(&["plan is refused", "--"]);
    }
    let source = tool.source.secret_conninfo();
    let scratch = ["--backup-folder", place.folder(), "--backup-scratch", &source];
    let start = [&["cutover", "start", "--backup", "dump"][..], &scratch].concat();
    tool.run(&start).await.expect(1).naming(&["is the one that was dumped"]);
    assert_eq!(tool.journal_files().len(), 0, "nothing was begun");
}

#[tokio::test]
async fn a_dump_is_proved_before_anything_else_and_outlives_the_run() {
    let place = Place::new("backup_dump").await;
    let start = ["cutover", "start", "--backup", "dump", "--backup-folder", place.folder()];
    place.tool.run(&start).await.expect(0);
    let found = evidence(&place.tool);
    assert_eq!((&found["policy"], &found["rows"]), (&"dump".into(), &240.into()), "{found}");
    assert_eq!(place.names(), [found["backup"].as_str().unwrap()]);
    let said = place.tool.run_as_text(&["rollback", "--yes"]).await.expect(0);
    assert!(said.stderr.contains("the backup stays"), "{}", said.stderr);
    assert_eq!(place.names().len(), 1);
    for endpoint in [&place.tool.source, &place.tool.target] {
        let left = ask(endpoint, "SELECT to_regnamespace('xtask_cutover')").await;
        assert_eq!(left, None, "{endpoint}");
    }
}

#[tokio::test]
async fn a_run_killed_in_its_backup_makes_another() {
    let place = Place::new("backup_again").await;
    let start = ["cutover", "start", "--backup", "dump", "--backup-folder", place.folder()];
    let begun = place.tool.begin(&start);
    place.tool.until_journaled(r#""step_started","step":"backup""#).await;
    begun.kill().await;
    // Whoever goes on must say it again, and nothing is changed where nobody does.
    place.tool.run(&["cutover", "start", "--backup", "none"]).await.expect(1);
    place.tool.run(&start).await.expect(0);
    assert_eq!(evidence(&place.tool)["policy"], "dump");
    assert!(place.names().iter().all(|name| !name.ends_with(".part")), "{:?}", place.names());
}

#[tokio::test]
async fn a_command_is_believed_by_its_exit_code() {
    let place = Place::new("backup_command").await;
    let start = ["cutover", "start", "--backup", "external", "--backup-command"];
    let bad = [&start[..], &["echo half a backup of $XTASK_BACKUP_DATABASE; exit 5"]].concat();
    let said = place.tool.run(&bad).await.expect(3);
    assert!(said.stdout.contains("exit code 5: half a backup of backup_command"));
    assert_eq!(ask(&place.tool.source, "SELECT to_regnamespace('xtask_cutover')").await, None);
    let good = "echo took $XTASK_BACKUP_DATABASE for $XTASK_BACKUP_RUN with $PGPASSWORD";
    place.tool.run(&[&start[..], &[good]].concat()).await.expect(0);
    let said = evidence(&place.tool)["said"].as_str().unwrap().to_string();
    assert!(said.starts_with("took backup_command for 2"), "{said}");
    assert!(said.ends_with("with <hidden>"), "{said}");
    let journal = place.tool.all_journals();
    assert!(journal.contains("<command>") && !journal.contains("half a backup of $"), "{journal}");
}
