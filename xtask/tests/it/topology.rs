//! OLTP on one server, search on the other: ParadeDB follows and answers searches.

use xtask::pg::endpoint::Endpoint;

use crate::support::{fresh_databases, pair};
use crate::tool::{EXAMPLE, Tool, ask, sql, until};

/// One chunk for the knowledge store, on whichever side takes it.
const CHUNK: &str = "INSERT INTO rag_knowledge_entries
    (source_type, source_id, repo, chunk_text, chunk_index)
    VALUES ('adr', 'docs/1.md', 'robson', 'the rollback is rehearsed', 0)
    ON CONFLICT DO NOTHING";
/// What a search finds of it.
const FOUND: &str = "SELECT count(*) FROM public.rag_search('rehearsed')";

/// A run that follows, with search on its target.
async fn following(name: &str) -> Tool {
    let (source, target) = fresh_databases(name).await;
    let engine = xtask::drill::engine(&target).await.expect("the target answers");
    sql(&source, EXAMPLE).await;
    sql(
        &source,
        "CREATE TABLE day (at date, PRIMARY KEY (at)) PARTITION BY RANGE (at);
         CREATE TABLE day_one PARTITION OF day FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')",
    )
    .await;
    let tool = Tool::new(pair().await, source, target);
    tool.run(&["cutover", "start", "--engine", engine]).await.expect(0);
    tool
}

/// What a client is told that writes.
async fn refusal(endpoint: &Endpoint, text: &str) -> String {
    let client = endpoint.connect_as_client("test").await.expect("the server answers");
    let error = client.batch_execute(text).await.expect_err("it must not write");
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_string())
}

async fn answers_searches_and_follows(tool: &Tool, name: &str) {
    sql(&tool.target, CHUNK).await;
    assert_eq!(ask(&tool.target, FOUND).await.as_deref(), Some("1"));
    for write in
        ["INSERT INTO item (name) VALUES ('x')", "UPDATE item SET name = 'x'", "TRUNCATE line"]
    {
        let told = refusal(&tool.target, write).await;
        assert!(told.contains("this table is fenced"), "{write}: {told}");
    }
    sql(&tool.source, &format!("INSERT INTO item (name) VALUES ('{name}')")).await;
    until(&tool.target, &format!("SELECT count(*) = 1 FROM public.item WHERE name = '{name}'"))
        .await;
    let status = tool.status().await;
    assert_eq!((&status["searchable"], &status["serves"]), (&true.into(), &"source".into()));
    assert!(status["lag_bytes"].is_i64(), "{status}");
}

#[tokio::test]
async fn paradedb_answers_searches_while_plain_postgres_serves() {
    let tool = following("topology").await;
    let told = refusal(&tool.target, CHUNK).await;
    assert!(told.contains("read-only"), "a follower is fenced as a whole: {told}");
    for _ in 0..2 {
        tool.run(&["cutover", "follow"]).await.expect(0);
    }
    answers_searches_and_follows(&tool, "first").await;
    let said = tool.run_as_text(&["cutover", "status"]).await.expect(0);
    assert!(said.stdout.contains("answers searches"), "{}", said.stdout);
    // From here to a switch, and back to the same.
    tool.run(&["cutover", "switch"]).await.expect(0);
    sql(&tool.target, "INSERT INTO item (name) VALUES ('served')").await;
    assert_eq!(tool.status().await["searchable"], false);
    tool.run(&["cutover", "follow"]).await.expect(1).naming(&["does not follow"]);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    tool.run(&["cutover", "follow"]).await.expect(0);
    answers_searches_and_follows(&tool, "second").await;
    let database = tool.source.database.clone();
    let finish = ["cutover", "finish", "--confirm", &database];
    tool.run(&finish).await.expect(1).naming(&["follow --leave"]);
    for _ in 0..2 {
        tool.run(&["cutover", "follow", "--leave"]).await.expect(0);
    }
    let told = refusal(&tool.target, CHUNK).await;
    assert!(told.contains("read-only"), "{told}");
    assert_eq!(tool.status().await["target_fenced"], true);
    tool.run(&finish).await.expect(0);
}

#[tokio::test]
async fn an_attempt_that_is_unwound_gives_the_searches_back() {
    let tool = following("topology_back").await;
    tool.run(&["cutover", "follow"]).await.expect(0);
    sql(&tool.source, "ALTER TABLE item ADD COLUMN colour text").await;
    tool.run(&["cutover", "switch"]).await.expect(3);
    sql(&tool.source, "ALTER TABLE item DROP COLUMN colour").await;
    answers_searches_and_follows(&tool, "unwound").await;
    // And from here to nothing.
    tool.run(&["rollback", "--yes"]).await.expect(0);
    let left = ask(&tool.target, "SELECT to_regclass('public.item') IS NULL").await;
    assert_eq!(left.as_deref(), Some("true"));
}
