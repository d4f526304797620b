//! Roles get exactly what they need.

use super::Store;

/// Tries statements as a role; each is taken back.
async fn tries(store: &Store, role: &str, may: &[&str], may_not: &[&str]) {
    let session = store.tool.target.connect("test").await.unwrap();
    let tried = [(may, true), (may_not, false)];
    for (statement, is_allowed) in
        tried.iter().flat_map(|(all, allowed)| all.iter().map(|one| (*one, *allowed)))
    {
        let begin = format!("BEGIN; SET LOCAL ROLE {role}; SET LOCAL search_path = public");
        session.batch_execute(&begin).await.unwrap();
        let done = session.batch_execute(statement).await;
        let message = done.err().and_then(|error| Some(error.as_db_error()?.message().to_string()));
        session.batch_execute("ROLLBACK").await.unwrap();
        match (&message, is_allowed) {
            (None, true) => {}
            (Some(message), false) => {
                let is_denied =
                    message.contains("permission denied") || message.contains("must be");
                assert!(is_denied, "{role}: {statement}: {message}");
            }
            _ => panic!("{role}: {statement}: {message:?}"),
        }
    }
}

#[tokio::test]
async fn each_role_may_do_what_it_must_and_nothing_else() {
    let store = Store::new("migrate_grants").await;
    store
        .sql(
            "CREATE ROLE migrate_owner; CREATE ROLE migrate_runtime; CREATE ROLE migrate_search;
             CREATE ROLE migrate_other; GRANT CREATE ON SCHEMA public TO migrate_owner",
        )
        .await;
    let roles = [
        "--owner-role",
        "migrate_owner",
        "--runtime-role",
        "migrate_runtime",
        "--search-role",
        "migrate_search",
    ];
    store.migrate("up", &roles).await.expect(0);
    let owners = "SELECT string_agg(DISTINCT relowner::regrole::text, ',') FROM pg_class
                  WHERE relname LIKE 'rag\\_%'";
    assert_eq!(store.ask(owners).await, "migrate_owner");

    let insert = "INSERT INTO rag_knowledge_entries
                  (source_type, source_id, repo, chunk_text, chunk_index)
                  VALUES ('adr', 'a', 'b', 'words', 0)";
    let read = "SELECT * FROM rag_knowledge_entries";
    let find = "SELECT * FROM rag_search('words')";
    let fail = "SELECT rag_fail_document('a', 'b', 'c', '{}', 'no')";
    let lag = "SELECT * FROM rag_ingestion_lag";
    let history = "SELECT * FROM rag_history_common";
    let forbidden = [
        "ALTER TABLE rag_documents ADD COLUMN x integer",
        "DROP TABLE rag_documents",
        "TRUNCATE rag_documents",
        "DELETE FROM rag_history_common",
        history,
        "SELECT rag_grant('migrate_other', '')",
        "CREATE TABLE mine (x integer)",
    ];
    let runtime = [insert, read, find, fail, lag, "DELETE FROM rag_documents"];
    tries(&store, "migrate_runtime", &runtime, &forbidden).await;
    let more = [&forbidden[..], &[insert, fail, "DELETE FROM rag_knowledge_entries"]].concat();
    tries(&store, "migrate_search", &[read, find, lag], &more).await;
    tries(&store, "migrate_other", &[], &[read, find, fail, lag, insert, history]).await;

    // The owner goes on later, by itself, where nothing is left that needs more.
    let owner = store
        .ask(
            "SELECT has_table_privilege('migrate_owner', 'public.rag_history_common',
                           'INSERT')",
        )
        .await;
    assert_eq!(owner, "true");
    let schema = store
        .ask(
            "SELECT nspacl::text LIKE '%migrate_runtime%' FROM pg_namespace
                            WHERE nspname = 'public'",
        )
        .await;
    assert_eq!(schema, "false", "everybody may use public: there is nothing to grant");
}
