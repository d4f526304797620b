//! Planted differences in the schema, and a schema that a dump must carry over whole.

use std::path::Path;
use std::time::Duration;

use super::{certificate, only_fact, planted, quiet, run};
use crate::support::{fresh_databases, pair, skip};
use xtask::cutover::verify::{Certificate, Mode};
use xtask::pg::endpoint::Endpoint;
use xtask::pg::facts;
use xtask::process::Invocation;

/// How long a dump or a restore of a small database may take.
const DUMP_LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_index() {
    let found = planted("verify_no_index", "DROP INDEX item_name").await;
    assert_eq!(only_fact(&found), ("index", "item_name on public.item"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_index() {
    let plant = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'item_name'::regclass";
    let found = planted("verify_invalid", plant).await;
    assert_eq!(only_fact(&found), ("index", "item_name on public.item"));
    assert!(found.schema[0].target.as_ref().is_some_and(|text| text.ends_with("invalid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_grant() {
    let roles = "CREATE ROLE verify_reader;";
    let grant = "GRANT SELECT, UPDATE ON item TO verify_reader";
    let (source, target) = fresh_databases("verify_grant").await;
    run(&source, &format!("{}; {roles}; {grant}", super::EXAMPLE)).await;
    run(&target, &format!("{}; {roles}; {grant}", super::EXAMPLE)).await;
    run(&target, "REVOKE UPDATE ON item FROM verify_reader").await;
    let found = certificate(&source, &target, Mode::Live { barrier: Some(quiet()) }).await;
    assert_eq!(only_fact(&found), ("grant", "public.item to verify_reader"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_default() {
    let plant = "ALTER TABLE item ALTER name SET DEFAULT 'y'";
    assert_eq!(only_fact(&planted("verify_default", plant).await), ("column", "public.item.name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_setting() {
    let (source, target) = fresh_databases("verify_setting").await;
    for side in [&source, &target] {
        let role = "CREATE ROLE verify_owner; ALTER TABLE item OWNER TO verify_owner";
        run(side, &format!("{}; {role}", super::EXAMPLE)).await;
    }
    run(&source, "ALTER ROLE verify_owner SET work_mem = '7MB'").await;
    let found = certificate(&source, &target, Mode::Live { barrier: Some(quiet()) }).await;
    assert_eq!(only_fact(&found), ("setting", "work_mem of verify_owner"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_column_order() {
    let (source, target) = fresh_databases("verify_order").await;
    run(&source, "CREATE TABLE t (a integer, b integer); INSERT INTO t VALUES (1, 2)").await;
    run(&target, "CREATE TABLE t (b integer, a integer); INSERT INTO t VALUES (2, 1)").await;
    let found = certificate(&source, &target, Mode::Live { barrier: Some(quiet()) }).await;
    let named: Vec<&str> = found.schema.iter().map(|one| one.object.as_str()).collect();
    assert_eq!(named, ["public.t.a", "public.t.b"]);
    assert!(found.tables[0].equal, "rows are compared by the name of their columns");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_trigger() {
    let found = planted("verify_no_trigger", "DROP TRIGGER touch ON item").await;
    assert_eq!(only_fact(&found), ("trigger", "touch on public.item"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_trigger() {
    let plant = "ALTER TABLE item DISABLE TRIGGER touch";
    let found = planted("verify_trigger_off", plant).await;
    assert_eq!(only_fact(&found), ("trigger", "touch on public.item"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table() {
    let found = planted("verify_no_table", "DROP TABLE line").await;
    assert!(!found.passes());
    let line = found.tables.iter().find(|table| table.name == "line").unwrap();
    assert_eq!(line.note.as_deref(), Some("missing on the target"));
    assert_eq!(line.difference_count, 202);
    assert!(found.schema.iter().any(|one| one.kind == "relation" && one.object == "public.line"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_target_has_is_outside() {
    let plant = "CREATE TABLE rag_chunk (id integer); CREATE TABLE more (id integer);
        CREATE FUNCTION rag_search() RETURNS integer LANGUAGE sql AS 'SELECT 1';
        CREATE TABLE refinery_schema_history (version integer);
        CREATE SCHEMA xtask_cutover CREATE TABLE marker (id integer)";
    let found = planted("verify_outside", plant).await;
    assert!(found.passes(), "{:#?}", found.schema);
    let named: Vec<&str> = found.outside.iter().map(|one| one.object.as_str()).collect();
    let expected =
        ["public.more", "public.rag_chunk", "public.rag_search", "public.refinery_schema_history"];
    assert_eq!(named, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fingerprint_changes_with_the_schema_and_not_with_the_rows() {
    let (source, _) = fresh_databases("verify_print").await;
    run(&source, super::EXAMPLE).await;
    let session = source.connect("test").await.unwrap();
    let first = facts::fingerprint(&facts::facts(&session).await.unwrap());
    run(&source, "INSERT INTO item DEFAULT VALUES; DELETE FROM line").await;
    assert_eq!(first, facts::fingerprint(&facts::facts(&session).await.unwrap()));
    run(&source, "ALTER TABLE line ADD more integer").await;
    assert_ne!(first, facts::fingerprint(&facts::facts(&session).await.unwrap()));
}

/// Dumps the source into the target with the target's own programs.
async fn move_schema(source: &Endpoint, target: &Endpoint) {
    let bindir = pair().await.target.bindir().to_path_buf();
    let folder = tempfile::tempdir().expect("a folder is made");
    let file = folder.path().join("dump");
    let program = |name: &str, endpoint: &Endpoint| {
        endpoint
            .libpq_environment()
            .into_iter()
            .fold(Invocation::new(bindir.join(name)), |all, (name, value)| {
                all.variable(name, value)
            })
            .deadline(DUMP_LIMIT)
    };
    let dump = program("pg_dump", source).arguments(["--format=custom", "--file"]).argument(&file);
    dump.run().await.expect("the dump ends well");
    let restore = program("pg_restore", target)
        .arguments(["--exit-on-error", "--dbname", &target.database])
        .argument(&file);
    restore.run().await.expect("the restore ends well");
}

async fn moved(name: &str, sql: &str, roles: &str) -> Certificate {
    let (source, target) = fresh_databases(name).await;
    run(&source, sql).await;
    run(&target, roles).await;
    move_schema(&source, &target).await;
    certificate(&source, &target, Mode::Live { barrier: Some(quiet()) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hurtful_schema_arrives_whole() {
    let roles = "CREATE ROLE hurtful_owner NOLOGIN;
        CREATE ROLE hurtful_app LOGIN IN ROLE hurtful_owner; CREATE ROLE hurtful_reader NOINHERIT;
        ALTER ROLE hurtful_app SET statement_timeout = '11s'";
    let found = moved("verify_hurtful", include_str!("../sql/hurtful.sql"), roles).await;
    assert!(found.passes(), "{:#?}", found.schema);
    assert_eq!((found.tables.len(), found.sequences_compared), (10, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn pagila_arrives_whole() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets/pagila/schema.sql");
    let Ok(schema) = std::fs::read_to_string(file) else {
        skip!("the pagila data set is not beside the workspace");
    };
    let schema: Vec<&str> =
        schema.lines().filter(|line| !line.contains("PROCEDURAL LANGUAGE")).collect();
    let found = moved("verify_pagila", &schema.join("\n"), "SELECT 1").await;
    assert!(found.passes(), "{:#?}", found.schema);
    assert_eq!(found.tables.len(), 21);
}
