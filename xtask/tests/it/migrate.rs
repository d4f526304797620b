//! Migrations on real servers: applied once, held against their files, and made whole again.

use xtask::pg::endpoint::Session;
use xtask::servers::pair::Pair;

use crate::support::{fresh_databases, pair};
use crate::tool::{Said, Tool, ask, sql};

mod crashes;
mod files;
mod grants;
mod postconditions;
mod run;

/// The tool, and the engine that the shared target is.
struct Store {
    tool: Tool,
    engine: &'static str,
}

impl Store {
    /// A new database on the target.
    async fn new(name: &str) -> Store {
        let (source, target) = fresh_databases(name).await;
        let pair: &Pair = pair().await;
        let engine = xtask::drill::engine(&target).await.expect("the target answers");
        Store { tool: Tool::new(pair, source, target), engine }
    }

    /// The command line of a verb of `migrate` for the target's engine.
    fn command<'a>(&self, verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["migrate", verb, "--engine", self.engine], more].concat()
    }

    /// Runs a verb of `migrate`.
    async fn migrate(&self, verb: &str, more: &[&str]) -> Said {
        self.tool.run(&self.command(verb, more)).await
    }

    /// The states of all migrations, in order.
    async fn states(&self, more: &[&str]) -> Vec<String> {
        let said = self.migrate("status", more).await;
        let lines = said.lines();
        let entries = lines.first().and_then(|line| line["migrations"].as_array());
        let entries = entries.unwrap_or_else(|| panic!("no status: {}", said.stdout));
        entries.iter().map(|entry| entry["state"].as_str().unwrap().to_string()).collect()
    }

    async fn ask(&self, question: &str) -> String {
        ask(&self.tool.target, question).await.unwrap_or_default()
    }

    async fn sql(&self, text: &str) {
        sql(&self.tool.target, text).await;
    }

    /// A client in the middle of a transaction that has done this.
    async fn client_that(&self, text: &str) -> Session {
        let client = self.tool.target.connect_as_client("client").await.unwrap();
        client
            .batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {text}"))
            .await
            .unwrap();
        client
    }

    /// Whether anything of the store is there.
    async fn objects(&self) -> String {
        self.ask("SELECT count(*) FROM pg_class WHERE relname LIKE 'rag\\_%'").await
    }
}

#[tokio::test]
async fn what_is_applied_once_is_not_applied_again() {
    let store = Store::new("migrate_up").await;
    assert!(store.states(&[]).await.iter().all(|state| state == "pending"));
    let said = store.migrate("up", &[]).await.expect(0);
    let applied = said.lines().into_iter().find(|line| line["applied"].is_array());
    let count = applied.unwrap()["applied"].as_array().unwrap().len();
    let states = store.states(&[]).await;
    assert_eq!(states.len(), count);
    assert!(states.iter().all(|state| state == "applied"), "{states:?}");
    let said = store.migrate("up", &[]).await.expect(0);
    assert!(said.stdout.contains(r#""applied":[]"#), "{}", said.stdout);
}

#[tokio::test]
async fn a_plan_shows_statements_and_locks_and_leaves_nothing() {
    let store = Store::new("migrate_plan").await;
    let before = store.ask("SELECT count(*) FROM pg_class").await;
    let said = store.migrate("plan", &["--schema", "search"]).await.expect(0);
    let pending = said.lines()[0]["pending"].as_array().unwrap().clone();
    assert_eq!(pending.len(), store.states(&[]).await.len());
    let table = &pending[1];
    assert_eq!(table["file"], "common/V2__knowledge_entries.sql");
    assert!(table["statements"][1]["text"].as_str().unwrap().contains("CREATE TABLE"));
    assert!(table["statements"][1]["milliseconds"].as_f64().unwrap() > 0.0);
    let index = &pending[3];
    assert_eq!(
        (&index["outside"], index["locks"][0]["mode"].as_str().unwrap()),
        (&serde_json::json!(true), "ShareUpdateExclusiveLock")
    );
    assert_eq!(index["locks"][0]["relation"], "rag_knowledge_entries");
    assert_eq!(store.objects().await, "0");
    assert_eq!(store.ask("SELECT count(*) FROM pg_class").await, before);
    assert_eq!(store.ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'search'").await, "0");
}

#[tokio::test]
async fn a_plan_names_the_lock_on_a_table_in_use() {
    let store = Store::new("migrate_plan_locks").await;
    store.migrate("up", &[]).await.expect(0);
    let copy = files::Copy::new();
    copy.write("common/V7__note.sql", "ALTER TABLE rag_documents ADD COLUMN note text;\n");
    let folder = copy.argument();
    let said = store.migrate("plan", &["--migrations", &folder]).await.expect(0);
    let locks = said.lines()[0]["pending"][0]["locks"].as_array().unwrap().clone();
    let lock = locks.iter().find(|lock| lock["relation"] == "rag_documents").unwrap();
    assert_eq!(
        (lock["mode"].as_str(), &lock["new"]),
        (Some("AccessExclusiveLock"), &serde_json::json!(false))
    );
    let said = store.tool.run_as_text(&store.command("plan", &["--migrations", &folder])).await;
    let told = said.expect(0).stdout;
    assert!(told.contains("AccessExclusiveLock on rag_documents"), "{told}");
    let question = "SELECT count(*) FROM pg_attribute WHERE attname = 'note'
                    AND attrelid = 'public.rag_documents'::regclass";
    assert_eq!(store.ask(question).await, "0");
}

#[tokio::test]
async fn the_migrations_have_nothing_to_say_against_them() {
    let store = Store::new("migrate_lint").await;
    store.tool.run(&["migrate", "lint"]).await.expect(0);
    let copy = files::Copy::new();
    copy.write("common/V7__index.sql", "CREATE INDEX late ON rag_documents (source_id);\r\n");
    let folder = copy.argument();
    let said = store.tool.run(&["migrate", "lint", "--migrations", &folder]).await.expect(1);
    let rules: Vec<String> = said
        .lines()
        .iter()
        .filter(|line| line["file"] == "common/V7__index.sql")
        .map(|line| line["rule"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(rules, ["white-space", "require-concurrent-index-creation"]);

    // Where the table comes with the same `up` nobody waits for it; where it is there they do.
    copy.write("common/V7__index.sql", "CREATE INDEX late ON rag_documents (source_id);\n");
    let (target, more) = (store.tool.target.secret_conninfo(), ["--migrations", folder.as_str()]);
    let lint = store.command("lint", &[&["--target", target.as_str()][..], &more].concat());
    store.tool.run(&lint).await.expect(0);
    store.migrate("up", &[]).await.expect(0);
    let said = store.tool.run(&lint).await.expect(1);
    assert_eq!(said.lines()[0]["rule"], "require-concurrent-index-creation", "{}", said.stdout);
}
