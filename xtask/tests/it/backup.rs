//! Backups: made while clients write, proved, damaged in every way, and brought back.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use xtask::pg::endpoint::Endpoint;

use crate::support::{fresh_database, fresh_databases, pair};
use crate::tool::{EXAMPLE, MARKS, Tool, ask, sql};

mod interrupted;
mod policy;

/// What a service has beyond tables: a grant, a computed column, a partition, a sequence that
/// belongs to nobody.
const MORE: &str = "
    CREATE TABLE half (id integer, day date, PRIMARY KEY (id, day),
        twice integer GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (day);
    CREATE TABLE half_1 PARTITION OF half FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO half SELECT g, '2026-05-05' FROM generate_series(1, 50) AS g;
    CREATE SEQUENCE loose START 7; SELECT nextval('loose');
    CREATE TABLE empty_one (id integer PRIMARY KEY);
    DELETE FROM line WHERE id > 90; ALTER TABLE line ADD COLUMN more text DEFAULT 'é € 漢';";

/// A database with an example, and a folder for its backups.
pub struct Place {
    tool: Tool,
    folder: TempDir,
}

impl Place {
    /// A new database on the shared pair.
    pub async fn new(name: &str) -> Place {
        let (source, target) = fresh_databases(name).await;
        sql(&source, EXAMPLE).await;
        sql(&source, MORE).await;
        let tool = Tool::new(pair().await, source, target);
        Place { tool, folder: tempfile::tempdir().unwrap() }
    }

    /// The folder of the backups, as an argument.
    pub fn folder(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// The other server of the pair, to prove on.
    pub async fn scratch(&self) -> String {
        pair().await.target.secret_url("postgres")
    }

    /// The folders in the folder.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut all: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }

    /// Makes a backup that is proved on the other server of the pair; returns its folder.
    async fn backup(&self) -> PathBuf {
        let scratch = self.scratch().await;
        let create = ["backup", "create", "--folder", self.folder(), "--scratch", &scratch];
        let said = self.tool.run(&create).await.expect(0);
        PathBuf::from(object(&said.lines(), "folder")["folder"].as_str().unwrap())
    }

    async fn verify(&self, folder: &Path, code: i32, wanted: &[&str]) {
        let scratch = self.scratch().await;
        let verify = ["backup", "verify", folder.to_str().unwrap(), "--scratch", &scratch];
        self.tool.run(&verify).await.expect(code).naming(wanted);
    }
}

/// The first printed object that has a field.
fn object(lines: &[Value], field: &str) -> Value {
    let found = lines.iter().find(|line| line.get("event").is_none() && !line[field].is_null());
    found.unwrap_or_else(|| panic!("no {field} in {lines:?}")).clone()
}

/// Where the manifest of a backup is.
fn manifest(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap()
}

/// The files of the dump with rows.
fn data_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("dump")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        paths.filter(|path| !path.to_str().unwrap().ends_with("toc.dat")).collect();
    all.sort();
    all
}

/// A new and empty database on the target's server.
async fn empty(name: &str) -> Endpoint {
    fresh_database(&pair().await.target.endpoint("postgres"), name).await
}

#[tokio::test]
async fn of_a_server_that_marks_its_columns() {
    let place = Place::new("backup_marked").await;
    sql(&place.tool.source, MARKS).await;
    // It is proved on a server that does not know the marks.
    place.backup().await;
}

#[tokio::test]
async fn made_proved_listed_and_brought_back() {
    let place = Place::new("backup_round").await;
    let folder = place.backup().await;
    let inside = manifest(&folder);
    let table = |name: &str| {
        let all = inside["tables"].as_array().unwrap();
        all.iter().find(|table| table["name"] == name).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(table("item")["rows"], 100);
    assert_eq!((&table("half_1")["rows"], &table("half")), (&Value::from(50), &Value::Null));
    assert_eq!(table("empty_one")["rows"], 0);
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&folder), 0o700);
    for file in data_files(&folder).iter().chain([&folder.join("manifest.json")]) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }

    let list = place.tool.run(&["backup", "list", "--folder", place.folder()]).await.expect(0);
    let list: Value = serde_json::from_str(list.stdout.trim()).unwrap();
    assert_eq!(list[0]["backup"]["proof"]["problems"], serde_json::json!([]), "{list}");
    assert_eq!(list[0]["backup"]["rows"], 240, "{list}");
    let shown = place.tool.run_as_text(&["backup", "list", "--folder", place.folder()]).await;
    assert!(shown.stdout.contains("backup_round") && !shown.stdout.contains("never"));

    let target = empty("backup_round_back").await;
    let (path, url) = (folder.to_str().unwrap(), target.secret_conninfo());
    let restore = ["backup", "restore", path, "--target", &url];
    place.tool.run(&[&restore[..], &["--dry-run"]].concat()).await.expect(0);
    assert_eq!(ask(&target, "SELECT to_regclass('public.item')").await, None);
    // Nobody can be asked, and nobody said yes.
    place.tool.run(&restore).await.expect(2).naming(&["pass --yes"]);
    place.tool.run(&[&restore[..], &["--yes", "--jobs", "1"]].concat()).await.expect(0);
    assert_eq!(ask(&target, "SELECT count(*) FROM public.item").await.as_deref(), Some("100"));
    assert_eq!(ask(&target, "SELECT nextval('public.loose')").await.as_deref(), Some("8"));
    let again = place.tool.run(&[&restore[..], &["--yes"]].concat()).await;
    again.expect(1).naming(&["is not empty", "table public.empty_one"]);
}

#[tokio::test]
async fn every_damage_is_found() {
    let place = Place::new("backup_damage").await;
    let folder = place.backup().await;
    let (manifest_file, target) = (folder.join("manifest.json"), empty("backup_damage_back").await);
    let sealed = std::fs::read(&manifest_file).unwrap();

    let file = data_files(&folder).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    std::fs::write(&file, &flipped).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    place.verify(&folder, 1, &[name, "was changed"]).await;
    // Neither does it come back.
    let url = target.secret_conninfo();
    let restore = ["backup", "restore", folder.to_str().unwrap(), "--target", &url, "--yes"];
    place.tool.run(&restore).await.expect(1).naming(&["is damaged", name]);
    let list = place.tool.run_as_text(&["backup", "list", "--folder", place.folder()]).await;
    assert!(list.stdout.contains("FAILED"), "{}", list.stdout);
    std::fs::remove_file(&file).unwrap();
    place.verify(&folder, 1, &[name, "is missing"]).await;
    std::fs::write(&file, &bytes).unwrap();

    let mut rows = manifest(&folder);
    let tables = rows["tables"].as_array().unwrap();
    let at = tables.iter().position(|table| table["name"] == "item").unwrap();
    rows["tables"][at]["rows"] = 99.into();
    std::fs::write(&manifest_file, rows.to_string()).unwrap();
    place.verify(&folder, 1, &["public.item has 100 rows restored, 99 in the manifest"]).await;
    let mut digest = manifest(&folder);
    digest["tables"][at]["rows"] = 100.into();
    digest["tables"][at]["digest"] = "00".into();
    std::fs::write(&manifest_file, digest.to_string()).unwrap();
    place.verify(&folder, 1, &["public.item has other rows"]).await;
    digest["tables"].as_array_mut().unwrap().remove(at);
    std::fs::write(&manifest_file, digest.to_string()).unwrap();
    place.verify(&folder, 1, &["public.item is not in the manifest"]).await;
    digest["files"][0]["path"] = "../../elsewhere".into();
    std::fs::write(&manifest_file, digest.to_string()).unwrap();
    place.verify(&folder, 1, &["outside the folder"]).await;

    std::fs::write(&manifest_file, &sealed).unwrap();
    place.verify(&folder, 0, &[]).await;
    std::fs::remove_file(&manifest_file).unwrap();
    place.verify(&folder, 2, &["is no backup"]).await;
    // No database of a proof is left behind.
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'xtask\\_backup\\_%'
        AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = pg_database.datname)
        AND pg_try_advisory_lock(hashtextextended(datname::text, 0))";
    let postgres = pair().await.target.endpoint("postgres");
    assert_eq!(ask(&postgres, left).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_throw_away_server_proves_and_the_dumped_one_never_does() {
    let place = Place::new("backup_scratch").await;
    let source = pair().await.source.secret_url("postgres");
    let create = ["backup", "create", "--folder", place.folder()];
    let said = place.tool.run(&[&create[..], &["--scratch", &source]].concat()).await;
    said.expect(1).naming(&["is the one that was dumped", "leave --scratch out"]);
    assert_eq!(place.names(), Vec::<String>::new(), "it is refused before anything is dumped");
    let said = place.tool.run(&create).await.expect(0);
    let proof = object(&said.lines(), "scratch");
    assert_eq!(proof["rows"], 240);
    assert!(proof["scratch"].as_str().unwrap().starts_with("a throw-away PostgreSQL"), "{proof}");
}

#[tokio::test]
async fn a_restore_that_fails_leaves_nothing() {
    let place = Place::new("backup_atomic").await;
    let folder = place.backup().await;
    let target = empty("backup_atomic_back").await;
    // Nothing that counts as an object, and yet a table of the dump meets it.
    sql(&target, "CREATE TYPE item AS ENUM ('in the way')").await;
    let url = target.secret_conninfo();
    let restore = ["backup", "restore", folder.to_str().unwrap(), "--target", &url, "--yes"];
    let said = place.tool.run(&[&restore[..], &["--jobs", "1"]].concat()).await;
    said.expect(3).naming(&["pg_restore", "nothing of it is there"]);
    let count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(ask(&target, count).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn no_password_is_in_a_backup() {
    let place = Place::new("backup_secrets").await;
    sql(
        &place.tool.source,
        "CREATE SUBSCRIPTION backup_secrets CONNECTION
        'host=127.0.0.1 port=1 dbname=x user=x password=hunter2hunter2' PUBLICATION x
        WITH (connect = false)",
    )
    .await;
    let folder = place.backup().await;
    sql(
        &place.tool.source,
        "ALTER SUBSCRIPTION backup_secrets SET (slot_name = NONE);
        DROP SUBSCRIPTION backup_secrets",
    )
    .await;
    let variables = place.tool.source.libpq_environment();
    let password = variables.into_iter().find(|(name, _)| name == "PGPASSWORD").unwrap().1;
    let roles = std::fs::read_to_string(folder.join("roles.sql")).unwrap();
    assert!(roles.contains("CREATE ROLE postgres"), "{roles}");
    let small = ["manifest.json", "proof.json", "roles.sql", "dump/toc.dat"];
    for file in small {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in [password.as_str(), "hunter2hunter2", "SCRAM-SHA-256"] {
            assert!(!text.contains(secret), "{file} holds {secret}");
        }
    }
}
