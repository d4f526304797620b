//! Two at once, locks that are taken, and a build that is killed in the middle.

use super::Store;
use super::files::Copy;
use crate::tool::until;

/// Whether a session of the tool waits for a lock.
const WAITS: &str = "SELECT EXISTS (
    SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND datname = current_database()
      AND application_name = 'xtask-cutover migrate')";

#[tokio::test]
async fn a_taken_lock_is_tried_again_and_a_second_runner_is_told_who_the_first_is() {
    let store = Store::new("migrate_locks").await;
    store.migrate("up", &[]).await.expect(0);
    let copy = Copy::new();
    copy.write("common/V7__note.sql", "ALTER TABLE rag_documents ADD COLUMN note text;\n");
    let folder = copy.argument();
    let command = store.command("up", &["--migrations", &folder]);
    let client = store.client_that("SELECT FROM public.rag_documents").await;
    let first = store.tool.begin(&command);
    until(&store.tool.target, WAITS).await;
    let process = format!("migrate {}:{}", xtask::config::host(), first.process());
    let second = store.tool.run(&command).await.expect(1);
    second.naming(&["another operator", &process, "backend ", "from 127.0.0.1", " s"]);
    // The second has waited for longer than a lock is waited for.
    drop(client);
    let said = first.end().await.expect(0);
    let done = said.lines().into_iter().find(|line| line["applied"].is_array()).unwrap();
    assert_eq!(done["applied"][0]["file"], "common/V7__note.sql");
    assert!(done["applied"][0]["attempts"].as_u64().unwrap() > 1, "{done}");
}

/// Kills `up` while it builds the HNSW index, which waits for an older snapshot by then.
async fn killed_while_building(name: &str) -> Store {
    let store = Store::new(name).await;
    let client = store.client_that("SELECT count(*) FROM pg_class").await;
    let up = store.tool.begin(&store.command("up", &[]));
    let half = "SELECT EXISTS (
        SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relname = 'idx_rag_knowledge_embedding' AND NOT indisvalid)";
    until(&store.tool.target, half).await;
    up.kill().await;
    drop(client);
    let gone = "SELECT NOT EXISTS (
        SELECT FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'xtask-cutover migrate')";
    until(&store.tool.target, gone).await;
    store
}

#[tokio::test]
async fn a_build_that_was_killed_is_made_whole() {
    for (name, verb) in [("migrate_killed_up", "up"), ("migrate_killed_repair", "repair")] {
        let store = killed_while_building(name).await;
        let states = store.states(&[]).await;
        assert_eq!(states[3], "half-built", "{states:?}");
        store.migrate(verb, &[]).await.expect(0);
        let states = store.states(&[]).await;
        assert!(states.iter().all(|state| state == "applied"), "{verb}: {states:?}");
        let valid = "SELECT indisvalid FROM pg_index
                     WHERE indexrelid = 'public.idx_rag_knowledge_embedding'::regclass";
        assert_eq!(store.ask(valid).await, "true", "{verb}");
        assert_eq!(store.ask("SELECT count(*) FROM public.rag_history_intent").await, "0");
    }
}

#[tokio::test]
async fn an_index_that_went_bad_after_it_was_applied_is_found_and_built_anew() {
    let store = Store::new("migrate_bad_index").await;
    store.migrate("up", &[]).await.expect(0);
    store.sql("DROP INDEX idx_rag_knowledge_embedding").await;
    assert_eq!(store.states(&[]).await[3], "half-built");
    store.migrate("up", &[]).await.expect(3).naming(&["V4__embedding_index.sql", "migrate repair"]);
    store.migrate("repair", &[]).await.expect(0);
    assert!(store.states(&[]).await.iter().all(|state| state == "applied"));
}

#[tokio::test]
async fn a_file_that_fails_leaves_those_before_it_and_nothing_of_itself() {
    let store = Store::new("migrate_fails").await;
    let copy = Copy::new();
    copy.write("common/V7__bad.sql", "CREATE TABLE rag_half (a integer);\nSELECT 1 / 0;\n");
    let folder = copy.argument();
    let more = ["--migrations", folder.as_str()];
    let said = store.migrate("up", &more).await.expect(3);
    said.naming(&["common/V7__bad.sql", "division by zero", "6 were applied before it"]);
    assert_eq!(
        store.states(&more).await[..7],
        ["applied", "applied", "applied", "applied", "applied", "applied", "pending"]
    );
    assert_eq!(store.ask("SELECT to_regclass('public.rag_half') IS NULL").await, "true");
    copy.write("common/V7__bad.sql", "CREATE TABLE rag_half (a integer);\n");
    store.migrate("up", &more).await.expect(0);
}
