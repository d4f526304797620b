//! No password is ever shown: not by the tool, not in what it writes, not by the servers' logs,
//! not in the command lines of its children.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::Config;
use xtask::pg::endpoint::Endpoint;

use crate::support::{fresh_database, own_pair};
use crate::tool::{EXAMPLE, Tool, ask, sql};

/// How often that is read which is there only while the tool works.
const SAMPLE_EVERY: Duration = Duration::from_millis(3);

/// The password in a connection string.
fn password(conninfo: &str) -> String {
    let config: Config = conninfo.parse().unwrap();
    String::from_utf8(config.get_password().expect("it has one").to_vec()).unwrap()
}

/// The passwords of the run's own subscriptions, from the only place that may hold them.
async fn subscription_passwords(endpoint: &Endpoint) -> Vec<String> {
    let question = "SELECT string_agg(subconninfo, chr(10)) FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let all = ask(endpoint, question).await.unwrap_or_default();
    all.lines().map(password).collect()
}

/// What is there only while the tool works, read over and over until told to stop: every command
/// line on this machine, and the dump of the schema.
fn sample(stop: Arc<AtomicBool>, folder: PathBuf) -> std::thread::JoinHandle<[String; 2]> {
    std::thread::spawn(move || {
        let (mut lines, mut dumps) = (BTreeSet::new(), BTreeSet::new());
        while !stop.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                if let Ok(line) = std::fs::read_to_string(entry.path().join("cmdline")) {
                    lines.insert(line);
                }
            }
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let is_dump = entry.path().extension().is_some_and(|kind| kind == "dump");
                if is_dump && let Ok(bytes) = std::fs::read(entry.path()) {
                    dumps.insert(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
            std::thread::sleep(SAMPLE_EVERY);
        }
        [lines, dumps].map(|seen| seen.into_iter().collect::<Vec<_>>().join("\n"))
    })
}

/// Every file below a folder, with its text.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    all
}

/// Makes a server log all that it can: the worst case.
async fn log_everything(maintenance: &Endpoint) {
    for setting in [
        "log_statement = 'all'",
        "log_min_duration_statement = 0",
        "log_connections = on",
        "log_min_error_statement = 'debug5'",
    ] {
        sql(maintenance, &format!("ALTER SYSTEM SET {setting}")).await;
    }
    sql(maintenance, "SELECT pg_reload_conf()").await;
}

/// Runs a whole evening. Returns what each command said, and the passwords that were in use.
async fn evening(tool: &Tool) -> (Vec<(String, String)>, BTreeSet<String>) {
    let mut said = Vec::new();
    let mut secrets: BTreeSet<String> =
        [&tool.source, &tool.target].map(|endpoint| password(&endpoint.secret_conninfo())).into();
    let commands: [&[&str]; 9] = [
        &["cutover", "plan"],
        &["cutover", "start"],
        &["cutover", "status"],
        &["cutover", "switch"],
        &["cutover", "watch", "--times", "1"],
        &["rollback", "--yes"],
        &["cutover", "adopt"],
        &["cutover", "switch"],
        &["cutover", "report"],
    ];
    for (number, command) in commands.into_iter().enumerate() {
        let output = match number % 2 {
            0 => tool.run(command).await.expect(0),
            _ => tool.run_as_text(command).await.expect(0),
        };
        said.push((format!("{command:?}"), output.stdout + &output.stderr));
        for endpoint in [&tool.source, &tool.target] {
            secrets.extend(subscription_passwords(endpoint).await);
        }
    }
    let mut refused = tool.elsewhere();
    refused.source = tool.source.with_user("postgres", "a wrong guess");
    secrets.insert("a wrong guess".into());
    let output = refused.run_as_text(&["cutover", "plan"]).await.expect(2);
    said.push(("a refused login".into(), output.stdout + &output.stderr));
    (said, secrets)
}

#[tokio::test]
async fn no_password_is_written_anywhere() {
    let own = own_pair().await;
    let servers = [&own.source, &own.target];
    for server in servers {
        log_everything(&server.endpoint("postgres")).await;
    }
    let source = fresh_database(&own.source.endpoint("postgres"), "secrets").await;
    let target = fresh_database(&own.target.endpoint("postgres"), "secrets").await;
    sql(&source, EXAMPLE).await;
    let tool = Tool::new(&own, source, target);
    let stop = Arc::new(AtomicBool::new(false));
    let sampler = sample(stop.clone(), tool.journals());
    let (mut said, secrets) = evening(&tool).await;
    stop.store(true, Ordering::Relaxed);
    let [lines, dumps] = sampler.join().unwrap();
    assert!(lines.contains("pg_dump") && dumps.contains("item"), "the samples were in time");
    said.extend([("command lines".into(), lines), ("dumps".into(), dumps)]);
    for server in servers {
        let log = std::fs::read(server.log()).unwrap();
        let name = format!("the log of PostgreSQL {}", server.major());
        said.push((name, String::from_utf8_lossy(&log).into_owned()));
    }
    said.extend(files(&tool.journals()));
    for endpoint in [&tool.source, &tool.target] {
        let mirrored = ask(endpoint, "SELECT string_agg(line, '') FROM xtask_cutover.journal");
        said.push((format!("the mirror on {endpoint}"), mirrored.await.unwrap()));
    }
    assert!(secrets.len() >= 5, "two of the operator, a guess, one of each direction");
    for wanted in ["holder.log", ".report.html", ".report.md", ".report.json", ".watched"] {
        assert!(said.iter().any(|(name, _)| name.ends_with(wanted)), "{wanted} was looked at");
    }
    for (name, text) in &said {
        let shown = secrets.iter().find(|secret| text.contains(secret.as_str()));
        assert!(shown.is_none(), "{name} holds a password");
    }
    own.down().await.unwrap();
}
