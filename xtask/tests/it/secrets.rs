//! No password is ever shown: not by the tool, not in what it writes, not by the servers' logs,
//! not in the command lines of its children.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::Config;
use xtask::pg::endpoint::Endpoint;

use crate::support::{fresh_database, own_pair};
use crate::tool::{EXAMPLE, Tool, ask, sql};

/// How often command lines are read while the tool works.
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

/// Every command line on this machine, over and over, until told to stop.
fn sample_command_lines(stop: Arc<AtomicBool>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut seen = std::collections::BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                if let Ok(line) = std::fs::read_to_string(entry.path().join("cmdline")) {
                    seen.insert(line);
                }
            }
            std::thread::sleep(SAMPLE_EVERY);
        }
        seen.into_iter().collect::<Vec<_>>().join("\n")
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

#[tokio::test]
async fn no_password_is_written_anywhere() {
    let own = own_pair().await;
    // A server that logs all it can is the worst case.
    for server in [&own.source, &own.target] {
        let maintenance = server.endpoint("postgres");
        for setting in [
            "log_statement = 'all'",
            "log_min_duration_statement = 0",
            "log_connections = on",
            "log_min_error_statement = 'debug5'",
        ] {
            sql(&maintenance, &format!("ALTER SYSTEM SET {setting}")).await;
        }
        sql(&maintenance, "SELECT pg_reload_conf()").await;
    }
    let source = fresh_database(&own.source.endpoint("postgres"), "secrets").await;
    let target = fresh_database(&own.target.endpoint("postgres"), "secrets").await;
    sql(&source, EXAMPLE).await;
    let tool = Tool::new(&own, source, target);
    let mut secrets =
        vec![password(&tool.source.secret_conninfo()), password(&tool.target.secret_conninfo())];
    let stop = Arc::new(AtomicBool::new(false));
    let sampler = sample_command_lines(stop.clone());
    let mut said = Vec::new();
    let commands: [&[&str]; 7] = [
        &["cutover", "plan"],
        &["cutover", "start"],
        &["cutover", "status"],
        &["cutover", "switch"],
        &["cutover", "watch", "--times", "1"],
        &["rollback", "--yes"],
        &["cutover", "adopt"],
    ];
    for command in commands {
        let output = tool.run(command).await.expect(0);
        said.push((format!("{command:?}"), output.stdout + &output.stderr));
        for endpoint in [&tool.source, &tool.target] {
            secrets.extend(subscription_passwords(endpoint).await);
        }
    }
    let switched = tool.run_as_text(&["cutover", "switch"]).await.expect(0);
    said.push(("switch in text".into(), switched.stdout + &switched.stderr));
    let wrong = tool.source.with_user("postgres", "a wrong guess");
    let mut refused = tool.elsewhere();
    refused.source = wrong;
    secrets.push("a wrong guess".into());
    let output = refused.run_as_text(&["cutover", "plan"]).await;
    said.push(("a refused login".into(), output.stdout + &output.stderr));
    stop.store(true, Ordering::Relaxed);
    said.push(("command lines".into(), sampler.join().unwrap()));
    for server in [&own.source, &own.target] {
        let name = format!("the log of PostgreSQL {}", server.major());
        let log = std::fs::read(server.log()).unwrap();
        said.push((name, String::from_utf8_lossy(&log).into_owned()));
    }
    said.extend(files(&tool.journals()));
    for endpoint in [&tool.source, &tool.target] {
        let mirrored = ask(endpoint, "SELECT string_agg(line, '') FROM xtask_cutover.journal");
        said.push((format!("the mirror on {endpoint}"), mirrored.await.unwrap()));
    }
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() >= 5, "two of the operator, a guess, one of each direction");
    assert!(said.iter().any(|(name, _)| name.ends_with(".dump")), "the dump was looked at");
    assert!(said.iter().any(|(name, _)| name.ends_with("holder.log")), "the holder's log too");
    for (name, text) in &said {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{name} holds a password");
        }
    }
    // The roles of the run are gone with it.
    own.down().await.unwrap();
}
