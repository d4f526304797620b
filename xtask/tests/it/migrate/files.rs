//! Files that are not as they were: changed, gone, misnamed, or of the other engine.

use std::path::Path;

use tempfile::TempDir;

use super::Store;
use crate::support::pair;
use crate::tool::sql;

/// A copy of the migrations, to change.
pub(super) struct Copy {
    folder: TempDir,
}

impl Copy {
    /// A new one.
    pub(super) fn new() -> Copy {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        for set in ["common", "paradedb", "postgres"] {
            std::fs::create_dir(folder.path().join(set)).unwrap();
            for entry in std::fs::read_dir(migrations.join(set)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap();
                std::fs::copy(&path, folder.path().join(set).join(name)).unwrap();
            }
        }
        Copy { folder }
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Adds or replaces a file.
    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the file can be written");
    }

    /// What `--migrations` takes.
    pub(super) fn argument(&self) -> String {
        self.folder.path().display().to_string()
    }
}

#[tokio::test]
async fn a_changed_a_missing_and_a_misnamed_file_are_refused_by_name() {
    let store = Store::new("migrate_files").await;
    let copy = Copy::new();
    let folder = copy.argument();
    let more = ["--migrations", folder.as_str()];
    store.migrate("up", &more).await.expect(0);

    let file = copy.path("common/V5__search_arguments.sql");
    let text = std::fs::read_to_string(&file).unwrap();
    // The same statements with the line ends of another system are another file.
    std::fs::write(&file, text.replace('\n', "\r\n")).unwrap();
    for verb in ["up", "status"] {
        let said = store.migrate(verb, &more).await.expect(1);
        said.naming(&["common/V5__search_arguments.sql was changed"]);
    }
    assert_eq!(store.states(&more).await[4], "drifted");

    std::fs::remove_file(&file).unwrap();
    for verb in ["up", "status"] {
        let said = store.migrate(verb, &more).await.expect(1);
        said.naming(&["common/V5__search_arguments.sql is applied, and its file is missing"]);
    }
    assert_eq!(store.states(&more).await[4], "missing");

    std::fs::write(copy.path("common/V7__add-index.sql"), "SELECT 1;\n").unwrap();
    for verb in ["up", "status"] {
        let said = store.migrate(verb, &more).await.expect(1);
        said.naming(&["common/V7__add-index.sql is misnamed"]);
    }
}

#[tokio::test]
async fn the_wrong_engine_is_refused() {
    let store = Store::new("migrate_engine").await;
    let (other, found) = match store.engine {
        "paradedb" => ("postgres", "this server is ParadeDB"),
        _ => ("paradedb", "this server is not ParadeDB"),
    };
    for verb in ["up", "status"] {
        let said = store.tool.run(&["migrate", verb, "--engine", other]).await.expect(1);
        said.naming(&[found, &format!("--engine {}", store.engine)]);
    }
    assert_eq!(store.ask("SELECT count(*) FROM pg_class WHERE relname LIKE 'rag%'").await, "0");
}

#[tokio::test]
async fn a_role_that_does_not_exist_is_refused_with_the_line_that_makes_it() {
    let store = Store::new("migrate_roles").await;
    let said = store.migrate("up", &["--search-role", "no \"such role"]).await.expect(1);
    said.naming(&["role no \"such role does not exist", "CREATE ROLE \\\"no \\\"\\\"such role"]);
}

#[tokio::test]
async fn a_login_that_may_not_make_search_is_told_so_with_the_grant() {
    let mut store = Store::new("migrate_maker").await;
    store
        .sql(
            "CREATE ROLE migrate_maker LOGIN PASSWORD 'maker'; CREATE ROLE migrate_stranger;
             REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        )
        .await;
    store.tool.target = store.tool.target.with_user("migrate_maker", "maker");
    let up = |more: &'static [&'static str]| store.migrate("up", more);
    for verb in ["up", "plan"] {
        let said = store.migrate(verb, &[]).await.expect(1);
        said.naming(&["only a superuser may make the extensions", "CREATE EXTENSION vector"]);
    }
    let extensions = match store.engine {
        "paradedb" => "CREATE EXTENSION vector; CREATE EXTENSION pg_search",
        _ => "CREATE EXTENSION vector",
    };
    sql(&pair().await.target.endpoint("migrate_maker"), extensions).await;
    let said = up(&["--owner-role", "migrate_stranger"]).await.expect(1);
    said.naming(&["may not become migrate_stranger", "GRANT migrate_stranger TO migrate_maker"]);
    let said = up(&[]).await.expect(1);
    said.naming(&["migrate_maker may not create", "GRANT CREATE ON SCHEMA public TO migrate_m"]);
    let said = up(&["--schema", "knowledge"]).await.expect(1);
    said.naming(&["migrate_maker may not create", "GRANT CREATE ON DATABASE migrate_maker TO"]);
}
