//! The tool as an operator runs it: the real binary, its own journal folder, what it said.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use xtask::config;
use xtask::pg::endpoint::{Endpoint, Session};
use xtask::process::Invocation;
use xtask::servers::pair::Pair;

use crate::support::{
    CONDITION_LIMIT, LOOK_EVERY, about_backups, eventually, fresh_databases, pair,
};

/// The tool.
const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
/// No command on tiny data may take longer, however busy the machine is.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);

/// A little of what a service has.
pub const EXAMPLE: &str = "
    CREATE TABLE item (id bigserial PRIMARY KEY, name text NOT NULL);
    CREATE TABLE line (id integer PRIMARY KEY, item bigint REFERENCES item, note text);
    INSERT INTO item (name) SELECT 'name ' || g FROM generate_series(1, 100) AS g;
    INSERT INTO line SELECT g, g, 'note ' || g FROM generate_series(1, 100) AS g;";

/// Servers since November 2026 mark every column. An older `pg_dump` writes the marks out, and a
/// server that does not know them refuses them. Marks of our own stand for those of a newer server.
pub const MARKS: &str = "
    ALTER TABLE item ALTER COLUMN name SET (n_distinct = 7);
    SET allow_system_table_mods = on;
    UPDATE pg_attribute SET attoptions = array_prepend('pg_attver=22162256', attoptions)
        WHERE attrelid IN ('item'::regclass, 'line'::regclass) AND attnum > 0";

/// Two databases and a journal folder, as one operator sees them.
pub struct Tool {
    /// The plain database.
    pub source: Endpoint,
    /// The ParadeDB database.
    pub target: Endpoint,
    /// A workspace whose values say what the two databases are, in the place of variables.
    pub workspace: Option<PathBuf>,
    /// Further variables of the tool's environment.
    pub variables: Vec<(&'static str, String)>,
    bindir: PathBuf,
    folder: TempDir,
}

/// What one command said.
pub struct Said {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as JSON Lines.
    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Error and hint together, as a person would read them.
    pub fn error(&self) -> String {
        let lines = self.lines();
        let Some(error) = lines.iter().find(|line| line["event"] == "error") else {
            return String::new();
        };
        format!("{}\nhint: {}", error["error"].as_str().unwrap_or(""), error["hint"])
    }

    /// Fails the test unless the command ended so; shows what it said.
    #[track_caller]
    pub fn expect(self, code: i32) -> Said {
        let (stdout, stderr) = (&self.stdout, &self.stderr);
        assert_eq!(self.code, code, "standard output:\n{stdout}\nstandard error:\n{stderr}");
        self
    }

    /// Fails the test unless the error or its hint contains every one of these.
    #[track_caller]
    pub fn naming(self, wanted: &[&str]) -> Said {
        let error = self.error();
        for one in wanted {
            assert!(error.contains(one), "`{one}` is missing from:\n{error}");
        }
        self
    }
}

impl Tool {
    /// The tool for two databases of a pair.
    pub fn new(pair: &Pair, source: Endpoint, target: Endpoint) -> Tool {
        let bindir = pair.target.bindir().to_path_buf();
        let folder = tempfile::tempdir().expect("a folder can be made");
        Tool { source, target, workspace: None, variables: Vec::new(), bindir, folder }
    }

    /// Two new databases on the shared pair; the source has the example.
    pub async fn with_example(name: &str) -> Tool {
        let (source, target) = fresh_databases(name).await;
        sql(&source, EXAMPLE).await;
        Tool::new(pair().await, source, target)
    }

    /// The same, started: the target follows.
    pub async fn following(name: &str) -> Tool {
        let tool = Tool::with_example(name).await;
        tool.run(&["cutover", "start"]).await.expect(0);
        tool
    }

    /// The same databases on a machine that has no journal.
    pub fn elsewhere(&self) -> Tool {
        Tool {
            source: self.source.clone(),
            target: self.target.clone(),
            workspace: self.workspace.clone(),
            variables: self.variables.clone(),
            bindir: self.bindir.clone(),
            folder: tempfile::tempdir().expect("a folder can be made"),
        }
    }

    /// Where the journals are.
    pub fn journals(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// The journal files, in order.
    pub fn journal_files(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.journals()) else { return Vec::new() };
        let files = entries.map(|entry| entry.expect("the folder can be read").path());
        let mut all: Vec<PathBuf> =
            files.filter(|file| file.extension().is_some_and(|kind| kind == "jsonl")).collect();
        all.sort();
        all
    }

    /// The text of all journals, oldest first.
    pub fn all_journals(&self) -> String {
        let read = |file| std::fs::read_to_string(file).expect("the journal can be read");
        self.journal_files().into_iter().map(read).collect()
    }

    /// The newest journal's text.
    pub fn journal(&self) -> String {
        let files = self.journal_files();
        files.last().map_or(String::new(), |file| {
            std::fs::read_to_string(file).expect("the journal can be read")
        })
    }

    fn invocation(&self, arguments: &[&str]) -> Invocation {
        let invocation = match &self.workspace {
            Some(workspace) => Invocation::new(XTASK).folder(workspace),
            None => Invocation::new(XTASK)
                .variable(config::XTASK_SOURCE, self.source.secret_conninfo())
                .variable(config::XTASK_TARGET, self.target.secret_conninfo()),
        };
        let all = self.variables.iter();
        all.fold(invocation, |invocation, (name, value)| invocation.variable(*name, value))
            .variable(config::XTASK_JOURNAL_DIR, self.journals())
            .variable(config::XTASK_TARGET_BINDIR, &self.bindir)
            .arguments(arguments)
            .arguments(about_backups(arguments))
            .deadline(COMMAND_LIMIT)
    }

    /// Runs a command to its end, with JSON Lines as its output.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        let invocation = self.invocation(arguments).arguments(["--format", "json"]);
        let output = invocation.output().await.expect("the tool ends by itself");
        let code = output.code.unwrap_or(-1);
        Said { code, stdout: output.stdout, stderr: output.stderr }
    }

    /// Runs a command to its end, with text as its output.
    pub async fn run_as_text(&self, arguments: &[&str]) -> Said {
        let output = self.invocation(arguments).output().await.expect("the tool ends by itself");
        let code = output.code.unwrap_or(-1);
        Said { code, stdout: output.stdout, stderr: output.stderr }
    }

    /// Starts a command and leaves it running.
    pub fn begin(&self, arguments: &[&str]) -> Begun {
        self.spawn(self.invocation(arguments).arguments(["--format", "json"]))
    }

    /// The same, with its story for people.
    pub fn begin_as_text(&self, arguments: &[&str]) -> Begun {
        self.spawn(self.invocation(arguments))
    }

    fn spawn(&self, invocation: Invocation) -> Begun {
        let log = self.folder.path().join("begun.log");
        let child = invocation.spawn(&log, false).expect("the tool starts");
        Begun { child, log }
    }

    /// What `cutover status` says, whatever its exit code.
    pub async fn status(&self) -> Value {
        let said = self.run(&["cutover", "status"]).await;
        said.lines().into_iter().next().unwrap_or_else(|| panic!("no status: {}", said.stdout))
    }

    /// Waits until the newest journal contains a text.
    pub async fn until_journaled(&self, text: &str) {
        eventually(text, || self.journal().contains(text)).await;
    }

    /// Fails the test unless an application can write to the source.
    pub async fn expect_source_writes(&self) {
        sql(&self.source, "INSERT INTO item (name) VALUES ('after')").await;
    }
}

/// A command that is still running.
pub struct Begun {
    child: Child,
    log: PathBuf,
}

impl Begun {
    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits until its story has said something.
    pub async fn tells(&self, text: &str) {
        let told = || std::fs::read_to_string(&self.log).is_ok_and(|told| told.contains(text));
        eventually(text, told).await;
    }

    /// Ends it as a power cut would.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits for its end.
    pub async fn end(self) -> Said {
        let Begun { child, log } = self;
        let ending = tokio::time::timeout(COMMAND_LIMIT, child.wait_with_output());
        let output = ending.await.expect("it ends in time").expect("it can be waited for");
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: std::fs::read_to_string(log).unwrap_or_default(),
        }
    }
}

/// Runs SQL as an application would.
pub async fn sql(endpoint: &Endpoint, text: &str) {
    let session = endpoint.connect_as_client("test").await.expect("the server answers");
    if let Err(error) = session.batch_execute(text).await {
        panic!("{text}: {error:?}");
    }
}

/// Asks for one value as text.
pub async fn ask(endpoint: &Endpoint, question: &str) -> Option<String> {
    let session = endpoint.connect("test").await.expect("the server answers");
    let row = session.query_opt(&format!("SELECT ({question})::text"), &[]).await;
    row.expect("the question is right").and_then(|row| row.get(0))
}

/// Waits until a question is answered with true.
pub async fn until(endpoint: &Endpoint, question: &str) {
    let began = Instant::now();
    while ask(endpoint, question).await.as_deref() != Some("true") {
        assert!(began.elapsed() < CONDITION_LIMIT, "{question}: not within {CONDITION_LIMIT:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A client whose transaction has been open for longer than a gate lets pass.
pub async fn long_transaction(endpoint: &Endpoint) -> Session {
    let client = endpoint.connect_as_client("reporting").await.expect("the server answers");
    client.batch_execute("BEGIN; SELECT count(*) FROM item").await.expect("it can read");
    let backend = client.backend().await.expect("it is there");
    let question = format!(
        "SELECT clock_timestamp() - xact_start > interval '2.1 s'
         FROM pg_stat_activity WHERE pid = {backend}"
    );
    until(endpoint, &question).await;
    client
}
