//! Search comes with a run, stays out of its proof, and goes with it.

use serde_json::{Value, json};
use xtask::pg::endpoint::Endpoint;

use super::Store;
use crate::tool::{EXAMPLE, Tool, ask, sql};

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

/// Documents of one chunk each, whose meaning and words tell them apart.
fn documents(count: usize) -> String {
    let line = |number: usize| {
        let mut embedding = vec![0.0_f32; 768];
        (embedding[number], embedding[number + 1]) = (1.0, 0.25);
        let text = format!("The rollback is rehearsed; {}.", "once more ".repeat(number));
        let line = json!({"repo": "robson", "source_type": "adr", "author": "me",
            "source_id": format!("docs/{number:02}.md"),
            "source_updated_at": "2026-02-03T04:05:06Z",
            "chunks": [{"text": text, "embedding": embedding}]});
        format!("{line}\n")
    };
    (0..count).map(line).collect()
}

/// What a search finds in a store: the documents, best first.
async fn found(tool: &Tool, store: &Endpoint, question: &[&str]) -> Vec<Value> {
    let target = store.secret_conninfo();
    let search = [&["rag", "search", "--target", target.as_str(), "--k", "3"], question].concat();
    let hits = tool.run(&search).await.expect(0).lines();
    let keys = ["repo", "source_type", "source_id", "chunk_index", "vector_rank", "keyword_rank"];
    hits.iter().map(|hit| keys.map(|key| hit[key].clone()).into()).collect()
}

#[tokio::test]
async fn search_stays_at_a_rollback_goes_along_by_a_file_and_is_there_at_the_next_switch() {
    let store = with_example("search_stays").await;
    let (source, target) = (&store.tool.source, &store.tool.target);
    store.tool.run(&["cutover", "start", "--engine", store.engine]).await.expect(0);
    // Nothing of search comes to a source that a run has not left and come back to.
    let plain = source.secret_conninfo();
    let up = ["migrate", "up", "--target", &plain, "--engine", "postgres"];
    store.tool.run(&up).await.expect(1).naming(&["part of a cutover"]);
    store.tool.run(&["cutover", "switch"]).await.expect(0);
    assert_eq!(store.tool.status().await["way_back"]["state"], "armed");
    store.tool.run(&up).await.expect(1).naming(&["part of a cutover"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    std::fs::write(file("all.jsonl"), documents(20)).unwrap();
    store.tool.run(&["rag", "load", &file("all.jsonl")]).await.expect(0);
    // What is deleted does not go along, so that the keys of the two stores differ.
    sql(
        target,
        "SELECT rag_delete_document('robson', 'adr', 'docs/' || g || '.md')
         FROM generate_series(10, 19) AS g;
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
    goes_along(&store, &file("knowledge.jsonl")).await;

    // Each side keeps its own from now on, keys included, and the proof is about the rest.
    assert_eq!(store.tool.status().await["way_back"]["state"], "armed");
    store.tool.run(&["cutover", "switch"]).await.expect(0);
    assert_eq!(
        ask(target, "SELECT count(*) FROM public.rag_documents").await.as_deref(),
        Some("20")
    );
    std::fs::write(file("all.jsonl"), documents(30)).unwrap();
    store.tool.run(&["rag", "load", &file("all.jsonl")]).await.expect(0);
    assert_eq!(
        ask(source, "SELECT count(*) FROM public.rag_documents").await.as_deref(),
        Some("10")
    );
    let database = target.database.as_str();
    store.tool.run(&["cutover", "finish", "--confirm", database]).await.expect(0);
    // Now it is a server as any other.
    store.migrate("up", &[]).await.expect(0);
}

/// The knowledge store of a fenced target comes to the plain server that serves again, as
/// RUNBOOK.md says, and answers there as it did.
async fn goes_along(store: &Store, file: &str) {
    let (source, target) = (&store.tool.source, &store.tool.target);
    let plain = source.secret_conninfo();
    store.tool.run(&["rag", "export", "--to", "jsonl", "--out", file]).await.expect(0);
    let up = ["migrate", "up", "--target", &plain, "--engine", "postgres"];
    store.tool.run(&up).await.expect(0);
    let loaded = store.tool.run(&["rag", "load", file, "--target", &plain]).await.expect(0);
    assert_eq!(loaded.lines().pop().unwrap()["chunks_written"], json!(10));
    let mut embedding = vec![0.0_f32; 768];
    (embedding[4], embedding[5]) = (1.0, 0.5);
    let embedding = json!(embedding).to_string();
    for question in [
        &["--embedding", &embedding][..],
        &["rollback", "--embedding", &embedding, "--repo", "robson"],
        &["rehearsed rollback", "--author", "me"],
    ] {
        let there = found(&store.tool, source, question).await;
        assert_eq!(there.len(), 3, "{question:?}");
        // The engines rank words each in its own way.
        if question[0] == "--embedding" || store.engine == "postgres" {
            assert_eq!(there, found(&store.tool, target, question).await, "{question:?}");
        }
    }
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
