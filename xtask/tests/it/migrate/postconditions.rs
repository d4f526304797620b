//! Each migration has a twin that says what holds once it is applied. All run after a first `up`,
//! after a second one, and in a schema of a name that wants quoting.

use std::path::{Path, PathBuf};

use xtask::pg::endpoint::identifier;

use super::Store;
use crate::support::skip;

/// A schema whose name has everything that a name can have.
const NASTY: &str = "Se\"arch $proof$ 'é";

fn folder(of: &str, set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of).join(set)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut all: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    // By number: ten comes after nine.
    all.sort_by_key(|name| {
        name[1..].split("__").next().and_then(|number| number.parse::<u32>().ok())
    });
    all
}

#[test]
fn every_migration_has_its_twin() {
    for set in ["common", "paradedb", "postgres"] {
        assert_eq!(names(&folder("../migrations", set)), names(&folder("tests/migrations", set)));
    }
}

/// Runs the twins of an engine in a schema.
async fn hold(store: &Store, schema: &str, extensions: &str) {
    let session = store.tool.target.connect("test").await.unwrap();
    let path = format!("SET search_path = {}, {extensions}", identifier(schema));
    session.batch_execute(&path).await.unwrap();
    for set in ["common", store.engine] {
        for name in names(&folder("tests/migrations", set)) {
            let text =
                std::fs::read_to_string(folder("tests/migrations", set).join(&name)).unwrap();
            if let Err(error) = session.batch_execute(&text).await {
                panic!("{set}/{name}: {:?}", error.as_db_error());
            }
        }
    }
}

async fn up_twice(store: &Store, schema: &str) {
    for _ in 0..2 {
        store.migrate("up", &["--schema", schema]).await.expect(0);
        hold(store, schema, "public").await;
    }
}

#[tokio::test]
async fn what_the_migrations_promise_holds_after_each_up() {
    let store = Store::new("migrate_twins").await;
    up_twice(&store, "public").await;
}

#[tokio::test]
async fn it_holds_in_a_schema_with_a_nasty_name() {
    let store = Store::new("migrate_nasty").await;
    up_twice(&store, NASTY).await;
    let elsewhere = "SELECT count(*) FROM pg_class WHERE relname LIKE 'rag\\_%'
                     AND relnamespace = 'public'::regnamespace";
    assert_eq!(store.ask(elsewhere).await, "0");
    // Extensions live outside it: who drops the schema keeps them.
    store.sql(&format!("DROP SCHEMA {} CASCADE", identifier(NASTY))).await;
    let left = "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'";
    assert_eq!(store.ask(left).await, "public");
}

#[tokio::test]
async fn it_holds_where_extensions_live_elsewhere() {
    let store = Store::new("migrate_extensions").await;
    store.sql("CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext").await;
    if store.engine == "paradedb" {
        // pg_search 0.25 asks for `public.vector`, whatever the path.
        let said = store.migrate("up", &["--schema", "search"]).await.expect(1);
        said.naming(&["not in the schema public", "ALTER EXTENSION vector SET SCHEMA public"]);
        store.sql("ALTER EXTENSION vector SET SCHEMA public").await;
        store.migrate("up", &["--schema", "search"]).await.expect(0);
        hold(&store, "search", "public").await;
        return;
    }
    store.migrate("up", &["--schema", "search"]).await.expect(0);
    hold(&store, "search", "ext").await;
}

#[tokio::test]
async fn bm25_is_exercised() {
    let store = Store::new("migrate_bm25").await;
    if store.engine != "paradedb" {
        skip!("the target has no pg_search; name ParadeDB's programs: XTASK_TARGET_BINDIR");
    }
    store.migrate("up", &[]).await.expect(0);
    hold(&store, "public", "public").await;
}
