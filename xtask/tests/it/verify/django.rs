//! `verify --django`: real tests of a real Django on both sides.

use std::path::Path;

use serde_json::json;
use tokio::sync::Mutex;

use crate::support::{fresh_databases, pair, skip};
use crate::tool::{Said, Tool, ask, sql};

/// A project whose tests know their side by its port.
const TESTS: &str = r#"
import os
import unittest


class Sides(unittest.TestCase):
    def test_works_on_both(self):
        self.assertTrue(os.environ["RBS_PG_PASSWORD"])

    def test_fails_on_one(self):
        with self.subTest(part=1):
            self.assertEqual(os.environ["RBS_PG_PORT"], os.environ["PORT_OF_SOURCE"])

    @unittest.skip("always")
    def test_is_skipped(self):
        pass
"#;

/// A server has one proof at a time, and refuses a second. The tests here share a pair, so each
/// waits for the others.
static ONE_PROOF: Mutex<()> = Mutex::const_new(());

/// The tool on two empty databases of the shared pair.
async fn tool(name: &str) -> Tool {
    let (source, target) = fresh_databases(name).await;
    Tool::new(pair().await, source, target)
}

/// Why Django cannot be had here, where it cannot.
fn lacking(said: &Said) -> Option<String> {
    let error = said.error();
    let is_lacking = ["install Django from PyPI", "python3"].iter().any(|why| error.contains(why));
    // What is pinned wrongly is ours, whatever the machine lacks.
    let is_ours = error.to_lowercase().contains("hash");
    (said.code == 2 && is_lacking && !is_ours).then_some(error)
}

#[tokio::test]
async fn django_works_alike_on_both_sides() {
    let _alone = ONE_PROOF.lock().await;
    let tool = tool("django").await;
    // What a killed proof left is in nobody's way.
    sql(&tool.target, "CREATE DATABASE xtask_django_test").await;
    let said = tool.run(&["verify", "--django"]).await;
    if let Some(why) = lacking(&said) {
        skip!("Django cannot be installed: {why}");
    }
    let proof = said.expect(0).lines().pop().unwrap();
    assert_eq!((&proof["new_failures"], &proof["differences"]), (&json!(0), &json!([])), "{proof}");
    for (side, version) in [("source", "PostgreSQL 16"), ("target", "PostgreSQL 18")] {
        let side = &proof[side];
        assert_eq!(side["counts"], json!({"passed": 26}), "{proof}");
        assert!(side["version"].as_str().unwrap().starts_with(version), "{proof}");
    }
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE '%django_test%'";
    for side in [&tool.source, &tool.target] {
        assert_eq!(ask(side, left).await.as_deref(), Some("0"));
    }
}

fn command(folder: &Path) -> String {
    std::fs::write(folder.join("test_sides.py"), TESTS).unwrap();
    format!("python -m unittest discover -s '{}'", folder.display())
}

#[tokio::test]
async fn a_test_that_fails_only_there_is_named() {
    let _alone = ONE_PROOF.lock().await;
    let tool = tool("django_command").await;
    let folder = tempfile::tempdir().unwrap();
    let port = tool.source.port;
    let tests = command(folder.path());
    let command = format!("PORT_OF_SOURCE={port} {tests}");
    let verify = ["verify", "--django", "--command", &command];
    let said = tool.run(&verify).await;
    if let Some(why) = lacking(&said) {
        skip!("Django cannot be installed: {why}");
    }
    let said = said.expect(1).naming(&["1 test fails on the target and not on the source"]);
    let proof = &said.lines()[said.lines().len() - 2];
    assert_eq!(proof["source"]["counts"], json!({"passed": 2, "skipped": 1}), "{proof}");
    let [difference] = proof["differences"].as_array().unwrap().as_slice() else {
        panic!("{proof}")
    };
    assert_eq!(difference["test"], json!("test_sides.Sides.test_fails_on_one"));
    assert_eq!(difference["target"], json!("failed"));
    assert!(difference["why"].as_str().unwrap().starts_with("AssertionError"), "{difference}");
    let shown = tool.run_as_text(&verify).await.expect(1);
    assert!(shown.stdout.contains("NEW FAILURE test_sides"), "{}", shown.stdout);

    for (command, wanted) in [("true", "no test ran"), ("echo bad >&2; exit 7", "bad")] {
        tool.run(&["verify", "--django", "--command", command]).await.expect(3).naming(&[wanted]);
    }
    let breaks_off = format!("PORT_OF_SOURCE=$RBS_PG_PORT {tests}; exit 9");
    tool.run(&["verify", "--django", "--command", &breaks_off]).await.expect(3).naming(&["broke"]);
}

#[tokio::test]
async fn who_may_make_no_database_and_what_would_be_dropped_is_said_before() {
    let _alone = ONE_PROOF.lock().await;
    let mut tool = tool("django_refused").await;
    sql(&tool.target, "CREATE DATABASE test_django_refused").await;
    let command = ["verify", "--django", "--command", "true"];
    let said = tool.run(&command).await;
    if let Some(why) = lacking(&said) {
        skip!("Django cannot be installed: {why}");
    }
    said.expect(1).naming(&["test_django_refused, which tests would drop"]);
    sql(&tool.target, "CREATE ROLE django_few LOGIN PASSWORD 'pw'").await;
    tool.target = tool.target.with_user("django_few", "pw");
    let said = tool.run(&["verify", "--django"]).await;
    said.expect(2).naming(&["django_few", "ALTER ROLE", "CREATEDB"]);
}

#[tokio::test]
async fn a_second_proof_on_a_server_is_refused() {
    let _alone = ONE_PROOF.lock().await;
    let tool = tool("django_twice").await;
    let other = tool.target.with_database("postgres").connect("test").await.unwrap();
    let lock = "SELECT pg_advisory_lock(hashtextextended('xtask verify --django', 0))";
    other.batch_execute(lock).await.unwrap();
    let said = tool.run(&["verify", "--django"]).await;
    if let Some(why) = lacking(&said) {
        skip!("Django cannot be installed: {why}");
    }
    said.expect(1).naming(&["another proof with Django is at work", "run this one after it"]);
}
