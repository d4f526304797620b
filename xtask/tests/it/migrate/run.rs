//! Search comes with a run, stays out of its proof, and goes with it.

use super::Store;
use crate::tool::{EXAMPLE, ask, sql};

async fn with_example(name: &str) -> Store {
    let store = Store::new(name).await;
    sql(&store.tool.source, EXAMPLE).await;
    store
}

#[tokio::test]
async fn search_comes_with_the_run_and_goes_with_it() {
    let store = with_example("search_goes").await;
    let start = ["cutover", "start", "--engine", store.engine, "--schema", "search"];
    store.tool.run(&start).await.expect(0);
    assert!(store.tool.journal().contains(r#""step_done","step":"migrate""#));
    assert_eq!(store.ask("SELECT to_regclass('search.rag_documents') IS NOT NULL").await, "true");
    // Its schema changes only by the run.
    let said = store.migrate("up", &["--schema", "search"]).await.expect(1);
    said.naming(&["part of a cutover", "cutover start --engine"]);
    store.tool.run(&["rollback", "--yes"]).await.expect(0);
    assert_eq!(store.objects().await, "0");
    let left = "SELECT count(*) FROM pg_extension WHERE extname IN ('vector', 'pg_search')";
    assert_eq!(store.ask(left).await, "0");
    assert_eq!(store.ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'search'").await, "0");
}

#[tokio::test]
async fn search_stays_behind_at_a_rollback_and_is_there_at_the_next_switch() {
    let store = with_example("search_stays").await;
    let (source, target) = (&store.tool.source, &store.tool.target);
    store.tool.run(&["cutover", "start", "--engine", store.engine]).await.expect(0);
    store.tool.run(&["cutover", "switch"]).await.expect(0);
    assert_eq!(store.tool.status().await["way_back"]["state"], "armed");
    sql(
        target,
        "INSERT INTO rag_knowledge_entries (source_type, source_id, repo, chunk_text, chunk_index)
         VALUES ('adr', 'docs/1.md', 'robson', 'the rollback is rehearsed', 0);
         INSERT INTO item (name) VALUES ('on the target')",
    )
    .await;
    let said = store.tool.run(&["rollback", "--yes"]).await.expect(0);
    assert!(said.stdout.contains("stays behind"), "{}", said.stdout);
    assert_eq!(store.tool.status().await["way_back"]["state"], "armed");
    let rows = ask(source, "SELECT count(*) FROM public.item WHERE name = 'on the target'").await;
    assert_eq!(rows.as_deref(), Some("1"));
    let there = ask(source, "SELECT count(*) FROM pg_class WHERE relname LIKE 'rag\\_%'").await;
    assert_eq!(there.as_deref(), Some("0"));
    store.tool.run(&["cutover", "switch"]).await.expect(0);
    let found = "SELECT source_id FROM public.rag_search('rollback')";
    assert_eq!(ask(target, found).await.as_deref(), Some("docs/1.md"));
    let database = target.database.as_str();
    store.tool.run(&["cutover", "finish", "--confirm", database]).await.expect(0);
    // Now it is a server as any other.
    store.migrate("up", &[]).await.expect(0);
}

#[tokio::test]
async fn what_the_step_would_refuse_is_refused_before_anything_is_touched() {
    let store = with_example("search_refused").await;
    let other = if store.engine == "paradedb" { "postgres" } else { "paradedb" };
    for verb in ["plan", "start"] {
        let said = store.tool.run(&["cutover", verb, "--engine", other]).await.expect(1);
        said.naming(&["extension pg_search"]);
        let more = ["--engine", store.engine, "--runtime-role", "nobody_at_all"];
        let said = store.tool.run(&[&["cutover", verb], &more[..]].concat()).await.expect(1);
        said.naming(&["role nobody_at_all does not exist", "CREATE ROLE"]);
    }
    assert_eq!(store.ask("SELECT count(*) FROM pg_class WHERE relname = 'item'").await, "0");
    let slots = ask(&store.tool.source, "SELECT count(*) FROM pg_publication").await;
    assert_eq!(slots.as_deref(), Some("0"));
}

#[tokio::test]
async fn search_that_was_there_before_the_run_is_no_reason_to_refuse_and_stays() {
    let store = with_example("search_before").await;
    store.migrate("up", &[]).await.expect(0);
    store.tool.run(&["cutover", "start", "--engine", store.engine]).await.expect(0);
    assert!(store.states(&[]).await.iter().all(|state| state == "applied"));
    store.tool.run(&["rollback", "--yes"]).await.expect(0);
    assert_eq!(store.ask("SELECT count(*) FROM pg_class WHERE relname = 'item'").await, "0");
    assert!(store.states(&[]).await.iter().all(|state| state == "applied"));
}

#[tokio::test]
async fn an_invalid_index_of_search_is_a_difference_by_name() {
    let store = with_example("search_invalid").await;
    store.tool.run(&["cutover", "start", "--engine", store.engine]).await.expect(0);
    // The tool's own sessions pass the fence.
    let session = store.tool.target.connect("test").await.unwrap();
    let spoil = "UPDATE pg_index SET indisvalid = false
                 WHERE indexrelid = 'public.idx_rag_knowledge_embedding'::regclass";
    session.batch_execute(spoil).await.unwrap();
    let said = store.tool.run(&["verify"]).await.expect(1);
    let told = said.stdout;
    assert!(
        told.contains("index health") && told.contains("idx_rag_knowledge_embedding"),
        "{told}"
    );
}
