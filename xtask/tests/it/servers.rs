//! Servers start, do not collide, keep their secrets, and leave nothing behind.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use xtask::config;
use xtask::cutover::event::Story;
use xtask::process::{Invocation, Output};
use xtask::servers::cluster::Cluster;
use xtask::servers::programs::find_programs;
use xtask::servers::{folder, kept, lock, wheel};

use crate::support::{CONDITION_LIMIT, eventually, fresh_databases, own_pair, pair, skip};

/// The tool.
const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
/// Where Debian keeps an older server.
const FIFTEEN: &str = "/usr/lib/postgresql/15/bin";
/// How often command lines are read while servers start.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);
/// The user and group `nobody`, on Debian and its kin.
const NOBODY: (u32, u32) = (65534, 65534);

#[tokio::test]
async fn both_answer_and_are_set_up_for_a_migration() {
    let (source, target) = fresh_databases("set_up").await;
    for endpoint in [source, target] {
        let session = endpoint.connect("test").await.unwrap();
        let sql = "SELECT current_setting('wal_level'), current_setting('data_checksums'),
            current_setting('fsync'), current_setting('listen_addresses'),
            current_setting('password_encryption'), current_setting('server_encoding'),
            (SELECT datcollate FROM pg_database WHERE datname = current_database())";
        let row = session.query_one(sql, &[]).await.unwrap();
        let found: Vec<String> = (0..row.len()).map(|column| row.get(column)).collect();
        assert_eq!(found, ["logical", "on", "on", "127.0.0.1", "scram-sha-256", "UTF8", "C.UTF-8"]);
        let stranger = endpoint.with_user("postgres", "guess").connect("test").await;
        assert!(stranger.is_err(), "a wrong password opens {endpoint}");
    }
}

#[tokio::test]
async fn the_pinned_servers_know_vectors() {
    let pair = pair().await;
    if [pair.source.major(), pair.target.major()] != [16, 18] {
        skip!("the environment chose other programs than the pinned ones");
    }
    let (source, target) = fresh_databases("vectors").await;
    for endpoint in [source, target] {
        let session = endpoint.connect("test").await.unwrap();
        session.batch_execute("CREATE EXTENSION vector SCHEMA public").await.unwrap();
    }
}

#[tokio::test]
async fn pg_dump_is_found_by_version() {
    let pair = pair().await;
    let bindirs = [pair.source.bindir().to_path_buf(), pair.target.bindir().to_path_buf()];
    let found =
        find_programs(pair.target.major(), false, &bindirs, &Story::silent()).await.unwrap();
    assert!(found.major >= pair.target.major(), "{found:?}");
    assert!(found.pg_dump.is_file() && found.pg_restore.is_file(), "{found:?}");
}

#[tokio::test]
async fn a_crashed_server_starts_again_where_it_was() {
    let pair = own_pair().await;
    let server = &pair.source;
    let (endpoint, port) = (server.endpoint("postgres"), server.port());
    let session = endpoint.connect("test").await.unwrap();
    session.batch_execute("CREATE TABLE public.kept AS SELECT 42 AS answer").await.unwrap();
    server.stop_immediate().await.unwrap();
    assert!(!server.is_running().await.unwrap());
    server.start().await.unwrap();
    assert_eq!(server.port(), port);
    let session = endpoint.connect("test").await.unwrap();
    let row = session.query_one("SELECT answer FROM public.kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    server.stop_fast().await.unwrap();
    server.start().await.unwrap();
    pair.down().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_starts_again() {
    let pair = own_pair().await;
    let process = Pid::from_raw(pair.target.process().unwrap().try_into().unwrap()).unwrap();
    let all = tenants(&pair.target.data());
    assert!(all.contains(&process) && all.len() > 1, "{all:?}");
    kill_process(process, Signal::KILL).unwrap();
    eventually("all its processes end", || !all.iter().any(|process| lives(*process))).await;
    assert!(!pair.target.is_running().await.unwrap());
    pair.target.start().await.unwrap();
    pair.target.endpoint("postgres").connect("test").await.unwrap();
    pair.down().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_leaves_no_shared_memory() {
    let pair = own_pair().await;
    let process = pair.target.process().unwrap();
    let Ok(map) = std::fs::read_to_string(format!("/proc/{process}/maps")) else {
        skip!("the memory map of a server may not be read");
    };
    let segments: BTreeSet<&str> =
        map.split_whitespace().filter(|word| word.starts_with("/dev/shm/")).collect();
    kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    pair.down().await.unwrap();
    let left: Vec<_> = segments.into_iter().filter(|name| Path::new(name).exists()).collect();
    assert_eq!(left, Vec::<&str>::new());
}

#[tokio::test]
async fn parallel_pairs_do_not_collide_and_leave_nothing() {
    let (one, other) = tokio::join!(own_pair(), own_pair());
    let clusters = [&one.source, &one.target, &other.source, &other.target];
    let ports: BTreeSet<u16> = clusters.iter().map(|cluster| cluster.port()).collect();
    assert_eq!(ports.len(), 4);
    for cluster in clusters {
        cluster.endpoint("postgres").connect("test").await.unwrap();
    }
    let folders = [&one, &other].map(|pair| run_folder(&pair.source.data()));
    one.down().await.unwrap();
    other.target.endpoint("postgres").connect("test").await.unwrap();
    drop(other);
    for folder in folders {
        assert!(!folder.exists(), "{} is left", folder.display());
        assert_eq!(tenants(&folder), Vec::<Pid>::new());
    }
    assert!(ports.into_iter().all(|port| TcpStream::connect(("127.0.0.1", port)).is_err()));
}

#[tokio::test]
async fn a_password_is_in_no_command_line_and_in_no_log() {
    let watching = AtomicBool::new(true);
    let (pair, seen) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while watching.load(Ordering::Relaxed) {
                seen.extend(command_lines());
                std::thread::sleep(SAMPLE_EVERY);
            }
            seen
        });
        let runtime = || tokio::runtime::Runtime::new().expect("a runtime starts");
        let starter = scope.spawn(move || runtime().block_on(own_pair()));
        let pair = starter.join();
        watching.store(false, Ordering::Relaxed);
        (pair.unwrap(), watcher.join().unwrap())
    });
    assert!(seen.iter().any(|line| line.contains("initdb")), "nothing was watched");
    for cluster in [&pair.source, &pair.target] {
        let password = password(cluster);
        let log = std::fs::read_to_string(cluster.log()).unwrap();
        assert!(!log.contains(&password), "the log tells the password");
        assert!(!seen.iter().any(|line| line.contains(&password)), "a command line tells it");
        let left = run_folder(&cluster.data()).join("source/password");
        assert!(!left.exists(), "{} is left", left.display());
    }
}

#[tokio::test]
async fn a_killed_tool_leaves_nothing() {
    let (mut tool, shown) = foreground(Invocation::new(XTASK)).await;
    let folder = run_folder(Path::new(shown["source"]["data"].as_str().unwrap()));
    assert!(folder.is_dir() && !tenants(&folder).is_empty());
    tool.kill().await.unwrap();
    gone(&folder).await;
}

#[tokio::test]
async fn a_tool_that_is_killed_while_it_starts_leaves_nothing() {
    let mut tool = spawn(Invocation::new(XTASK));
    let mut folder = None;
    eventually("the keeper", || {
        folder = keepers().into_iter().find(|it| it.parent == tool_id(&tool)).map(|it| it.folder);
        folder.as_ref().is_some_and(|folder| !tenants(folder).is_empty())
    })
    .await;
    tool.kill().await.unwrap();
    gone(&folder.unwrap()).await;
}

#[tokio::test]
async fn frozen_servers_end_with_the_tool() {
    let (mut tool, shown) = foreground(Invocation::new(XTASK)).await;
    let folder = run_folder(Path::new(shown["source"]["data"].as_str().unwrap()));
    for tenant in tenants(&folder) {
        kill_process(tenant, Signal::STOP).unwrap();
    }
    tool.kill().await.unwrap();
    gone(&folder).await;
}

#[tokio::test]
async fn what_even_the_keeper_could_not_remove_is_swept() {
    let (mut tool, shown) = foreground(Invocation::new(XTASK)).await;
    let folder = run_folder(Path::new(shown["source"]["data"].as_str().unwrap()));
    let keeper = keepers().into_iter().find(|keeper| keeper.folder == folder).unwrap();
    kill_process(keeper.process, Signal::KILL).unwrap();
    folder::sweep(&Story::silent()).await.unwrap();
    assert!(!tenants(&folder).is_empty(), "the sweep took a live run");
    tool.kill().await.unwrap();
    folder::sweep(&Story::silent()).await.unwrap();
    gone(&folder).await;
}

#[tokio::test]
async fn an_interrupted_tool_ends_in_order() {
    let (mut tool, shown) = foreground(Invocation::new(XTASK)).await;
    let folder = run_folder(Path::new(shown["source"]["data"].as_str().unwrap()));
    kill_process(tool_id(&tool), Signal::INT).unwrap();
    let end = tokio::time::timeout(CONDITION_LIMIT, tool.wait()).await.unwrap().unwrap();
    assert_eq!(end.code(), Some(0));
    assert!(!folder.exists());
}

#[tokio::test]
async fn an_older_source_works_where_its_programs_are_given() {
    if !Path::new(FIFTEEN).is_dir() {
        skip!("there is no PostgreSQL 15 in {FIFTEEN}");
    }
    let tool = Invocation::new(XTASK).variable(config::XTASK_SOURCE_BINDIR, FIFTEEN);
    let (mut tool, shown) = foreground(tool).await;
    assert_eq!(shown["source"]["major"], 15);
    assert_eq!(shown["source"]["running"], true);
    tool.kill().await.unwrap();
}

#[tokio::test]
async fn an_ordinary_user_can_do_it_too() {
    if !rustix::process::geteuid().is_root() {
        skip!("the tests run as an ordinary user anyway");
    }
    // The programs of the shared pair are used, so that nothing is installed for one test.
    let pair = pair().await;
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    std::os::unix::fs::chown(place.path(), Some(NOBODY.0), Some(NOBODY.1)).unwrap();
    let copy = place.path().join("xtask");
    std::fs::copy(XTASK, &copy).unwrap();
    let tool = Invocation::new(&copy)
        .user(Some(NOBODY))
        .folder("/")
        .variable("HOME", place.path())
        .variable(config::XDG_CACHE_HOME, place.path())
        .variable(config::XTASK_SOURCE_BINDIR, pair.source.bindir())
        .variable(config::XTASK_TARGET_BINDIR, pair.target.bindir());
    let (mut tool, shown) = foreground(tool).await;
    let folder = run_folder(Path::new(shown["source"]["data"].as_str().unwrap()));
    assert!(!tenants(&folder).is_empty());
    tool.kill().await.unwrap();
    gone(&folder).await;
}

#[tokio::test]
async fn a_kept_pair_outlives_its_command_until_it_is_taken_down() {
    let cache = wheel::cache().unwrap();
    let _one_test_at_a_time =
        lock::hold(&cache.join("servers-test.lock"), CONDITION_LIMIT).await.unwrap();
    if kept::find().unwrap().is_some() {
        skip!("a pair for hand work is up, and not ours to take down");
    }
    let tested = AssertUnwindSafe(keep_and_take_down()).catch_unwind().await;
    servers("down").await;
    tested.unwrap();
}

async fn keep_and_take_down() {
    assert_eq!(servers("status").await.code, Some(1));
    let first: Value = last_line(&servers("up").await);
    let again: Value = last_line(&servers("up").await);
    assert_eq!(first, again);
    folder::sweep(&Story::silent()).await.expect("the sweep leaves it alone");
    let kept = kept::find().expect("its marker is read").expect("it is there");
    kept.target.stop_fast().await.expect("one server stops");
    let status = servers("status").await;
    assert_eq!(status.code, Some(1), "one of the two is stopped");
    assert_eq!(last_line(&servers("up").await), first);
    assert_eq!(servers("status").await.code, Some(0));
    assert_eq!(servers("down").await.code, Some(0));
    assert!(!run_folder(&kept.source.data()).exists());
    assert_eq!(servers("down").await.code, Some(0));
}

/// Runs a verb of `servers` to its end.
async fn servers(verb: &str) -> Output {
    let tool = Invocation::new(XTASK).arguments(["servers", verb, "--format", "json"]);
    tool.deadline(Duration::from_mins(5)).output().await.expect("the tool runs")
}

fn last_line(output: &Output) -> Value {
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(output.stdout.lines().last().unwrap_or_default()).expect("a line of JSON")
}

fn spawn(tool: Invocation) -> Child {
    tool.arguments(["servers", "up", "--foreground", "--format", "json"])
        .spawn(Path::new("/dev/null"), false)
        .expect("the tool starts")
}

/// The tool with a pair of its own, and what it printed about it.
async fn foreground(tool: Invocation) -> (Child, Value) {
    let mut tool = spawn(tool);
    let mut lines = BufReader::new(tool.stdout.take().expect("a pipe")).lines();
    let shown = async {
        while let Some(line) = lines.next_line().await.expect("the tool writes text") {
            let value: Value = serde_json::from_str(&line).expect("a line of JSON");
            if value.get("source").is_some() {
                return value;
            }
        }
        panic!("the tool ended before its servers were up");
    };
    let shown = tokio::time::timeout(CONDITION_LIMIT, shown).await.expect("the servers start");
    (tool, shown)
}

fn tool_id(tool: &Child) -> Pid {
    let raw = tool.id().expect("the tool runs");
    Pid::from_raw(raw.try_into().expect("a process id")).expect("a process id")
}

/// The folder of the run whose server has this data folder.
fn run_folder(data: &Path) -> PathBuf {
    data.ancestors().nth(2).expect("/var/tmp/RUN/source/data").to_path_buf()
}

fn password(cluster: &Cluster) -> String {
    let url = cluster.secret_url("postgres");
    let (_, rest) = url.split_once("postgres:").expect("a password in the address");
    rest.split('@').next().expect("a password in the address").to_string()
}

async fn gone(folder: &Path) {
    eventually("everything ends", || !folder.exists() && tenants(folder).is_empty()).await;
}

/// The living processes that name a folder in their command line, and their children: servers and
/// their backends, but not the keeper.
fn tenants(folder: &Path) -> Vec<Pid> {
    let folder = folder.to_string_lossy();
    let names_it = |process: Pid| {
        command_line(process).is_some_and(|arguments| {
            let keeper = arguments.iter().any(|argument| argument == "keeper");
            !keeper && arguments.iter().any(|argument| argument.contains(&*folder))
        })
    };
    let is_one = |process: &Pid| names_it(*process) || parent(*process).is_some_and(names_it);
    processes().into_iter().filter(|process| lives(*process)).filter(is_one).collect()
}

/// Whether a process runs; one that only waits to be asked for its exit code does not.
fn lives(process: Pid) -> bool {
    status(process, "State:").is_some_and(|state| !state.starts_with('Z'))
}

fn parent(process: Pid) -> Option<Pid> {
    Pid::from_raw(status(process, "PPid:")?.parse().ok()?)
}

/// One line of what the kernel tells everybody about a process.
fn status(process: Pid, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_string())
}

fn processes() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// Every command line on this machine, its arguments apart by a space.
fn command_lines() -> Vec<String> {
    let lines = processes().into_iter().filter_map(command_line);
    lines.map(|arguments| arguments.join(" ")).collect()
}

fn command_line(process: Pid) -> Option<Vec<String>> {
    let raw = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
    Some(raw.split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).into_owned()).collect())
}

/// A keeper at work: a shell that was started as `keeper FOLDER`.
struct RunningKeeper {
    process: Pid,
    parent: Pid,
    folder: PathBuf,
}

fn keepers() -> Vec<RunningKeeper> {
    let found = processes().into_iter().filter_map(|process| {
        let arguments = command_line(process)?;
        let place = arguments.iter().position(|argument| argument == "keeper")?;
        let folder = arguments.get(place + 1)?.into();
        Some(RunningKeeper { process, parent: parent(process)?, folder })
    });
    found.collect()
}
