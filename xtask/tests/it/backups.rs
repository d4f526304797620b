//! The scripts of the backup and of its proof, taken from the rendered ConfigMap and run for real.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use xtask::pg::endpoint::Endpoint;
use xtask::process::{Invocation, Output};
use xtask::render::template::Templates;
use xtask::render::values::Environment;
use xtask::servers::{account, folder};

use crate::support::{fresh_databases, pair};
use crate::tool::sql;

/// A dump or a whole restore of tiny data, on a busy machine.
const SCRIPT_LIMIT: Duration = Duration::from_secs(180);

/// The volumes of the two jobs in a folder, and the database that they back up.
struct Jobs {
    volumes: TempDir,
    bindir: PathBuf,
    database: Endpoint,
}

/// One script as production has it.
fn script(name: &str) -> String {
    let root = xtask::render::workspace(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let file = root.join("infra/values/production.yaml");
    let values = std::fs::read_to_string(&file).unwrap();
    let environment = Environment::read("production", &file, &values).unwrap();
    let templates = Templates::new(&root.join("templates")).unwrap();
    let one = xtask::render::one(environment, &templates).unwrap();
    let map =
        one.objects.iter().find(|object| object.key.short() == "configmap/rbs-paradedb-backup");
    map.unwrap().at("data")[name].as_str().unwrap().to_string()
}

impl Jobs {
    /// Jobs for a new database with one table.
    async fn new(name: &str) -> Jobs {
        let (_, database) = fresh_databases(name).await;
        sql(&database, "CREATE TABLE kept AS SELECT g FROM generate_series(1, 1000) AS g").await;
        let volumes = tempfile::tempdir().unwrap();
        let jobs = Jobs { volumes, bindir: pair().await.target.bindir().to_path_buf(), database };
        folder::give_to_servers(jobs.volumes.path()).unwrap();
        for volume in ["backups", "scratch", "secrets"] {
            std::fs::create_dir(jobs.path(volume)).unwrap();
            folder::give_to_servers(&jobs.path(volume)).unwrap();
        }
        let variables = jobs.database.libpq_environment();
        let password = variables.into_iter().find(|(name, _)| name == "PGPASSWORD").unwrap().1;
        std::fs::write(jobs.path("secrets/BACKUP_PASSWORD"), password).unwrap();
        folder::give_to_servers(&jobs.path("secrets/BACKUP_PASSWORD")).unwrap();
        jobs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volumes.path().join(name)
    }

    /// Runs one script with the paths of the volumes put in.
    async fn run(&self, name_of_script: &str) -> Output {
        let paths = [
            ("/run/secrets/paradedb", "secrets"),
            ("/backups", "backups"),
            ("/scratch", "scratch"),
        ];
        let text = paths.iter().fold(script(name_of_script), |text, (mount, volume)| {
            text.replace(mount, self.path(volume).to_str().unwrap())
        });
        let path = format!("{}:/usr/bin:/bin", self.bindir.display());
        let libpq = self.database.libpq_environment().into_iter();
        let mut invocation = Invocation::new("/bin/bash")
            .arguments(["-c", &text])
            .clear_environment()
            .variable("PATH", path)
            .variable("PASSWORD_KEY", "BACKUP_PASSWORD")
            .variable("KEEP_DAYS", "14")
            .variable("KEEP_AT_LEAST", "3")
            .variable("MAJOR", "18")
            .variable("PRELOAD", "")
            .deadline(SCRIPT_LIMIT)
            .user(account::server_account().unwrap());
        for (name, value) in libpq.filter(|(name, _)| name != "PGPASSWORD") {
            // The proof knows the name of the database, and nothing else of the server.
            if name == "PGDATABASE" || name_of_script != "verify.sh" {
                invocation = invocation.variable(name, value);
            }
        }
        invocation.output().await.unwrap()
    }

    /// The names on the volume of the dumps, in order.
    fn dumps(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("backups")).unwrap();
        let mut all: Vec<String> =
            entries.map(|one| one.unwrap().file_name().to_string_lossy().into_owned()).collect();
        all.sort();
        all
    }

    /// A script that must end well, and what it said.
    async fn succeed(&self, name: &str) -> String {
        let said = self.run(name).await;
        assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);
        said.stdout
    }

    /// The proof, which must fail and say this. The scratch volume is empty again afterwards.
    async fn refuse(&self, wanted: &str) {
        let said = self.run("verify.sh").await;
        let all = format!("{}\n{}", said.stdout, said.stderr);
        assert_ne!(said.code, Some(0), "{all}");
        assert!(all.contains(wanted), "`{wanted}` is not in:\n{all}");
        self.clear_scratch();
    }

    fn clear_scratch(&self) {
        let data = self.path("scratch/data");
        assert!(!data.join("postmaster.pid").exists(), "the scratch server still runs");
        if data.exists() {
            std::fs::remove_dir_all(data).unwrap();
        }
    }

    /// Makes the checksum fit whatever the dump is now.
    async fn seal(&self, dump: &str) {
        let sum = Invocation::new("sha256sum").argument(dump).folder(self.path("backups"));
        let sum = sum.run().await.unwrap();
        std::fs::write(self.path("backups").join(format!("{dump}.sha256")), sum).unwrap();
    }
}

fn cut_off(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() - 200]).unwrap();
}

#[tokio::test]
async fn a_dump_is_proved_and_a_damaged_one_is_not() {
    let jobs = Jobs::new("backup_proof").await;
    jobs.refuse("there is no dump to prove").await;
    assert!(jobs.succeed("dump.sh").await.contains("dumped backup_proof-"));
    let names = jobs.dumps();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[1], format!("{}.sha256", names[0]));
    let dump = jobs.path("backups").join(&names[0]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&dump.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let said = jobs.succeed("verify.sh").await;
    assert!(said.contains(&format!("proved {}: 1 tables", names[0])), "{said}");
    jobs.clear_scratch();

    cut_off(&dump);
    jobs.refuse("did NOT match").await;
    // As if it had been cut off before its checksum was taken: only a restore can tell.
    jobs.seal(&names[0]).await;
    jobs.refuse("pg_restore: error").await;
}

#[tokio::test]
async fn a_dump_that_fails_leaves_none_that_counts() {
    let jobs = Jobs::new("backup_failure").await;
    std::fs::write(jobs.path("secrets/BACKUP_PASSWORD"), "wrong").unwrap();
    let said = jobs.run("dump.sh").await;
    assert_ne!(said.code, Some(0), "{}", said.stdout);
    assert!(said.stderr.contains("password authentication failed"), "{}", said.stderr);
    std::fs::remove_file(jobs.path("secrets/BACKUP_PASSWORD")).unwrap();
    let said = jobs.run("dump.sh").await;
    assert!(said.stderr.contains("No such file"), "{}", said.stderr);
    assert!(!said.stderr.contains("pg_dump"), "it went on without a password: {}", said.stderr);
    let names = jobs.dumps();
    assert!(!names.iter().any(|name| name.ends_with(".dump")), "{names:?}");
    jobs.refuse("there is no dump to prove").await;
}

#[tokio::test]
async fn a_dump_without_any_table_is_not_proved() {
    let jobs = Jobs::new("backup_empty").await;
    sql(&jobs.database, "DROP TABLE kept").await;
    jobs.succeed("dump.sh").await;
    jobs.refuse("restores to no table at all").await;
}

#[tokio::test]
async fn old_dumps_go_and_the_newest_stay() {
    let jobs = Jobs::new("backup_retention").await;
    let old = |day: u32| format!("backup_retention-202001{day:02}T000000Z.dump");
    let stranger = "other-20200101T000000Z.dump".to_string();
    let mut files: Vec<String> = (1..=5).map(old).collect();
    files.extend((1..=5).map(|day| format!("{}.sha256", old(day))));
    files.extend([stranger.clone(), "left.part".into()]);
    let touch = Invocation::new("touch").arguments(["--date", "2020-01-06"]);
    for name in &files {
        std::fs::write(jobs.path("backups").join(name), "").unwrap();
        folder::give_to_servers(&jobs.path("backups").join(name)).unwrap();
    }
    touch.arguments(&files).folder(jobs.path("backups")).run().await.unwrap();
    // One that is young stays, however many are newer.
    let young = "backup_retention-20191231T000000Z.dump".to_string();
    std::fs::write(jobs.path("backups").join(&young), "").unwrap();
    let said = jobs.succeed("dump.sh").await;
    for day in 1..=3 {
        assert!(said.contains(&format!("removed {}", old(day))), "{said}");
    }
    let left = jobs.dumps();
    let dumps = left.iter().filter(|name| name.ends_with(".dump"));
    let dumps: Vec<&String> = dumps.filter(|name| !name.contains(&today(&left))).collect();
    assert_eq!(dumps, [&young, &old(4), &old(5), &stranger]);
    assert_eq!(left.iter().filter(|name| name.ends_with(".sha256")).count(), 3, "{left:?}");
    assert!(!left.contains(&"left.part".to_string()));
}

/// The time in the name of the newest dump.
fn today(names: &[String]) -> String {
    let newest = names.iter().rfind(|name| name.starts_with("backup_retention-"));
    newest.unwrap().trim_end_matches(".sha256").to_string()
}
