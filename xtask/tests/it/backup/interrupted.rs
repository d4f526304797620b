//! A backup whose process dies, whose disk is full, or that stands in somebody's way.

use std::time::Duration;

use xtask::config;
use xtask::process::Invocation;

use super::{Place, manifest};
use crate::support::{eventually, skip};
use crate::tool::{ask, sql, until};
use crate::troubles::SmallDisk;

/// Many tables with enough rows that a dump of one session takes a moment.
const LARGE: &str = "DO $$ BEGIN
    FOR number IN 1..4 LOOP
        EXECUTE format('CREATE TABLE large_%s AS SELECT g AS id, repeat(md5(g::text), 9) AS text
                        FROM generate_series(1, 40000) AS g', number);
    END LOOP; END $$";

/// How long the program may take under a limit on the size of its files.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether a session of a backup is on the source.
const AT_WORK: &str = "SELECT count(*) > 2 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'xtask-cutover backup %'";

#[tokio::test]
async fn one_that_is_killed_is_no_backup_and_the_next_clears_it_away() {
    let place = Place::new("backup_killed").await;
    sql(&place.tool.source, LARGE).await;
    let create = ["backup", "create", "--folder", place.folder(), "--unproved", "--jobs", "1"];
    let begun = place.tool.begin(&create);
    until(&place.tool.source, AT_WORK).await;
    begun.kill().await;
    let half = place.names().remove(0);
    assert!(half.ends_with(".part"), "{half}");
    let list = ["backup", "list", "--folder", place.folder()];
    let shown = place.tool.run_as_text(&list).await.expect(0).stdout;
    assert!(shown.contains("not whole"), "{shown}");
    let verify = format!("{}/{half}", place.folder());
    place.tool.run(&["backup", "verify", &verify]).await.expect(2).naming(&["is no backup"]);
    place.tool.run(&create).await.expect(0);
    let names = place.names();
    assert_eq!((names.len(), names[0].ends_with(".part")), (1, false), "{names:?}");
    // Nor is anything of the dead one left on the source.
    until(&place.tool.source, &format!("SELECT NOT ({AT_WORK})")).await;
}

#[tokio::test]
async fn one_that_is_asked_to_stop_leaves_nothing() {
    let place = Place::new("backup_stopped").await;
    sql(&place.tool.source, LARGE).await;
    let create = ["backup", "create", "--folder", place.folder(), "--unproved", "--jobs", "1"];
    let begun = place.tool.begin(&create);
    until(&place.tool.source, AT_WORK).await;
    let process = rustix::process::Pid::from_raw(i32::try_from(begun.process()).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    begun.end().await.expect(130).naming(&["nothing is left"]);
    assert_eq!(place.names(), Vec::<String>::new());
    until(&place.tool.source, &format!("SELECT NOT ({AT_WORK})")).await;
}

#[tokio::test]
async fn a_disk_that_takes_no_more_leaves_nothing() {
    let place = Place::new("backup_full").await;
    sql(&place.tool.source, LARGE).await;
    let script = "ulimit -f 64; trap '' XFSZ; exec \"$@\"";
    let output = Invocation::new("bash")
        .arguments(["-c", script, "limited", env!("CARGO_BIN_EXE_xtask")])
        .arguments(["backup", "create", "--folder", place.folder(), "--unproved"])
        .variable(config::XTASK_SOURCE, place.tool.source.secret_conninfo())
        .deadline(LIMIT)
        .output()
        .await
        .unwrap();
    assert_eq!(output.code, Some(3), "{}", output.stderr);
    assert!(output.stderr.contains("dump the database"), "{}", output.stderr);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_change_of_schema_is_not_held_up_for_long_and_holds_nobody_up() {
    let place = Place::new("backup_waiters").await;
    // Longer at work than the patience with those who wait.
    sql(&place.tool.source, &LARGE.replace("40000", "120000")).await;
    let create = ["backup", "create", "--folder", place.folder(), "--unproved", "--jobs", "1"];
    let begun = place.tool.begin(&create);
    until(&place.tool.source, AT_WORK).await;
    let client = place.tool.source.connect_as_client("deploy").await.unwrap();
    let changed = client.batch_execute("ALTER TABLE item ADD COLUMN late text").await;
    let error = changed.unwrap_err();
    assert!(error.to_string().contains("db error"), "{error}");
    assert_eq!(error.code().unwrap().code(), "57014", "it is cancelled, not left waiting");
    begun.end().await.expect(0);
}

#[tokio::test]
async fn rows_that_are_written_meanwhile_are_in_neither() {
    let place = Place::new("backup_live").await;
    sql(&place.tool.source, LARGE).await;
    let scratch = place.scratch().await;
    let create = ["backup", "create", "--folder", place.folder(), "--scratch", &scratch];
    let begun = place.tool.begin(&create);
    until(&place.tool.source, AT_WORK).await;
    for _ in 0..20 {
        sql(
            &place.tool.source,
            "INSERT INTO item (name) VALUES ('late'); DELETE FROM large_1
            WHERE id = (SELECT max(id) FROM large_1)",
        )
        .await;
    }
    eventually("it is made", || place.names().iter().all(|name| !name.ends_with(".part"))).await;
    begun.end().await.expect(0);
    let folder = place.folder.path().join(place.names().remove(0));
    let inside = manifest(&folder);
    let tables = inside["tables"].as_array().unwrap();
    let rows =
        |name: &str| tables.iter().find(|table| table["name"] == name).unwrap()["rows"].clone();
    assert_eq!((rows("item"), rows("large_1")), (100.into(), 40_000.into()));
    let now = ask(&place.tool.source, "SELECT count(*) FROM public.item").await;
    assert_eq!(now.as_deref(), Some("120"));
}

#[tokio::test]
async fn a_disk_that_fills_meanwhile_leaves_no_backup_and_no_half() {
    let owner = rustix::process::geteuid().as_raw();
    let Some(disk) = SmallDisk::mount(64, owner).await else {
        skip!("this user may not mount a file system");
    };
    let place = Place::new("backup_filled").await;
    let folder = disk.path().join("backups");
    let name = folder.to_str().unwrap();
    // The room is looked at before the tables are locked: there it waits for this session.
    let session = place.tool.source.connect("test").await.unwrap();
    session.batch_execute("BEGIN; LOCK TABLE public.item IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let create = ["backup", "create", "--folder", name, "--unproved", "--jobs", "1"];
    let begun = place.tool.begin(&create);
    let folders = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    eventually("a backup that is being made", || folders() == 1).await;
    let filler = disk.path().join("filler");
    let full = std::fs::write(&filler, vec![7_u8; 70 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    session.batch_execute("COMMIT").await.unwrap();
    begun.end().await.expect(3).naming(&["No space left on device"]);
    assert_eq!(folders(), 0, "nothing of it is left");
    let list = place.tool.run_as_text(&["backup", "list", "--folder", name]).await.expect(0);
    assert!(!list.stdout.contains("backup_filled"), "{}", list.stdout);
    // A disk that is full to begin with is refused.
    place.tool.run(&create).await.expect(1).naming(&["there is no room for a backup"]);
    std::fs::remove_file(&filler).unwrap();
    let said = place.tool.run(&create).await.expect(0);
    let told = said.lines().into_iter().rfind(|line| line["event"] == "progress").unwrap();
    assert_eq!((&told["what"], &told["done"]), (&"backup".into(), &told["total"]));
    disk.unmount().await;
}
