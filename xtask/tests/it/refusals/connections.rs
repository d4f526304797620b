//! Addresses and logins: the operator's, the servers' to each other, the application's.

use xtask::pg::endpoint::Endpoint;

use super::{plan, role};
use crate::tool::{Tool, sql};

#[tokio::test]
async fn a_string_that_is_none() {
    let tool = Tool::with_example("no_string").await;
    let said = tool.run(&["cutover", "plan", "--source", "postgresql://u:hunter2@h:x/d"]).await;
    let said = said.expect(2).naming(&["not a connection string"]);
    assert!(!said.stdout.contains("hunter2") && !said.stderr.contains("hunter2"));
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_database() {
    let mut tool = Tool::with_example("wrong_login").await;
    let right = tool.source.clone();
    tool.source = right.with_user("postgres", "wrong");
    for verb in ["plan", "start"] {
        let said = tool.run(&["cutover", verb]).await.expect(2);
        said.naming(&["password authentication failed", "source", "PGPASSWORD"]);
    }
    tool.source = right.with_database("nobody_made_it");
    tool.run(&["cutover", "plan"]).await.expect(2).naming(&["nobody_made_it", "source"]);
    assert!(tool.journal_files().is_empty());
}

#[tokio::test]
async fn an_address_where_nobody_listens() {
    let mut tool = Tool::with_example("nobody_listens").await;
    tool.target = Endpoint::new("127.0.0.1", 1, "nobody_listens", "postgres", "x");
    for verb in ["plan", "start"] {
        let said = tool.run(&["cutover", verb]).await.expect(3);
        said.naming(&["127.0.0.1:1", "target", "nothing was changed"]);
    }
}

#[tokio::test]
async fn source_and_target_are_the_same() {
    let mut tool = Tool::with_example("the_same").await;
    tool.target = tool.source.clone();
    tool.target.host = "localhost".into();
    for verb in ["plan", "start"] {
        let said = tool.run(&["cutover", verb]).await.expect(1);
        said.naming(&["the same database on the same server", "name two different databases"]);
    }
}

#[tokio::test]
async fn a_peer_that_cannot_be_dialled() {
    let tool = Tool::with_example("no_peer").await;
    let nowhere = "postgresql://postgres:s3same@127.0.0.1:1/no_peer";
    for (option, side) in [("--target-for-source", "source"), ("--source-for-target", "target")] {
        let (said, refusals) = plan(&tool, &[option, nowhere]).await;
        let said = said.expect(1).naming(&[side, "127.0.0.1:1", option, "pg_hba.conf"]);
        assert_eq!(refusals.len(), 1, "{refusals:#?}");
        assert_eq!(refusals[0].name, "peer");
        assert!(!said.stdout.contains("s3same"), "{}", said.stdout);
    }
    plan(&tool, &[]).await.0.expect(0);
}

#[tokio::test]
async fn an_application_that_cannot_log_in_on_the_target() {
    let tool = Tool::with_example("no_login").await;
    let client = role(&tool.source, "shopkeeper").await;
    sql(&tool.target, "CREATE ROLE shopkeeper LOGIN PASSWORD 'another'").await;
    let file = tool.journals().with_file_name("endpoint");
    std::fs::write(&file, client.secret_conninfo()).unwrap();
    let option = ["--endpoint-file", file.to_str().unwrap()];
    let (said, refusals) = plan(&tool, &option).await;
    said.expect(1).naming(&["application", "shopkeeper", "ALTER ROLE \"shopkeeper\" LOGIN"]);
    assert_eq!(refusals[0].name, "client-login", "{refusals:#?}");
    sql(&tool.target, "ALTER ROLE shopkeeper LOGIN PASSWORD 'its own'").await;
    plan(&tool, &option).await.0.expect(0);
}
