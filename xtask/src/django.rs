//! The proof that Django works on the other side as it does on this one: the same tests run on
//! both, one after the other, and every test's outcome is compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;

use crate::config;
use crate::cutover::event::Story;
use crate::django::outcome::{Difference, Outcomes};
use crate::failure::{Failure, tolerate};
use crate::pg::endpoint::{Endpoint, Session, identifier};
use crate::pg::lock;
use crate::process::Invocation;

pub mod outcome;
mod project;
mod python;

/// How long the tests of one side may take.
const TESTS_LIMIT: Duration = Duration::from_hours(2);
/// The databases that our own tests make, on each server. They hold nothing that anybody keeps.
const TEST_DATABASES: [&str; 2] = ["xtask_django_test", "xtask_django_test_other"];
/// The lock of a proof on a server. It holds within one database, so it is taken where all meet.
const LOCK: &str = "xtask verify --django";
/// Lines of what the tests said that an error shows.
const SHOWN_LINES: usize = 15;

/// Whose tests run.
#[derive(Debug, Clone)]
pub enum Tests {
    /// Those of a small project that comes with the tool.
    Bundled,
    /// Whatever this command runs, in a shell, in the working folder.
    Command(String),
    /// Django's own, by the labels of its test-suite.
    Suite(Vec<String>),
}

/// What to prove.
#[derive(Debug, Clone)]
pub struct Request {
    /// The plain side.
    pub source: Endpoint,
    /// The ParadeDB side.
    pub target: Endpoint,
    /// With which tests.
    pub tests: Tests,
}

/// What the tests of one side came to.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The server, without its password.
    pub server: String,
    /// Its version, as it says itself.
    pub version: String,
    /// How many tests have which outcome.
    pub counts: BTreeMap<String, u64>,
    /// Time, in seconds, with making the databases.
    pub seconds: f64,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// The version of Django in the environment.
    pub django: &'static str,
    /// The plain side.
    pub source: Side,
    /// The ParadeDB side.
    pub target: Side,
    /// Every test that ended otherwise there.
    pub differences: Vec<Difference>,
    /// Of these, tests that fail there and not here.
    pub new_failures: u64,
}

/// Runs the tests on both sides and compares what became of each.
///
/// # Errors
/// A side cannot be tested: no Python, no right to make databases, tests that do not begin or break
/// off. Tests that fail are no error, but part of the proof.
pub async fn prove(request: &Request, story: &Story) -> Result<Proof> {
    let python = python::environment(story).await?;
    let mut place = Place { python, suite: PathBuf::new(), project: project::unpack()? };
    if let Tests::Suite(_) = request.tests {
        place.suite = python::suite(&place.python, story).await?;
    }
    // Both are looked at before anything runs: an hour of tests is not thrown away.
    let admins = (ready(&request.source, request).await?, ready(&request.target, request).await?);
    let (source, here) = run(&request.source, &admins.0, &place, request, story).await?;
    let (target, there) = run(&request.target, &admins.1, &place, request, story).await?;
    let differences = here.against(&there);
    let new_failures = differences.iter().filter(|one| one.is_new_failure).count() as u64;
    Ok(Proof { django: python::DJANGO, source, target, differences, new_failures })
}

/// Where the tests are.
struct Place {
    python: PathBuf,
    suite: PathBuf,
    project: TempDir,
}

/// A session on a side where tests can be run, which keeps others from doing so.
async fn ready(endpoint: &Endpoint, request: &Request) -> Result<Session> {
    let session = endpoint.with_database("postgres").connect("django").await?;
    let may = "SELECT rolcreatedb OR rolsuper, rolname FROM pg_catalog.pg_roles
        WHERE rolname = current_user";
    let may = session.query_one(may, &[]).await.context("look at the role's rights")?;
    if !may.get::<_, bool>(0) {
        let role: String = may.get(1);
        let message = format!("{role} at {endpoint} may not create the databases of tests");
        let hint = format!("ALTER ROLE {} CREATEDB", identifier(&role));
        return Err(Failure::usage(message).hint(hint).into());
    }
    if !lock::take(&session, LOCK).await? {
        let message = format!("another proof with Django is at work at {endpoint}");
        return Err(Failure::refused(message).hint("run this one after it").into());
    }
    if let Tests::Command(_) = request.tests {
        // Django asks nobody before it drops what stands in its way.
        let name = format!("test_{}", endpoint.database);
        let there = "SELECT FROM pg_catalog.pg_database WHERE datname = $1";
        if session.query_opt(there, &[&name]).await.context("look for databases")?.is_some() {
            let message = format!("{endpoint} has a database {name}, which tests would drop");
            let hint = format!("if nobody needs it: DROP DATABASE {}", identifier(&name));
            return Err(Failure::refused(message).hint(hint).into());
        }
    } else {
        drop_databases(&session).await?;
    }
    Ok(session)
}

/// Removes the databases of our own tests, which may be there from a run that was killed.
async fn drop_databases(session: &Session) -> Result<()> {
    for name in TEST_DATABASES {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
        session.batch_execute(&sql).await.with_context(|| format!("drop the database {name}"))?;
    }
    Ok(())
}

/// Runs the tests of one side.
async fn run(
    endpoint: &Endpoint,
    admin: &Session,
    place: &Place,
    request: &Request,
    story: &Story,
) -> Result<(Side, Outcomes)> {
    let version = admin.query_one("SELECT version()", &[]).await.context("ask for the version")?;
    story.note(format!("Django's tests at {endpoint}"));
    let begun = Instant::now();
    let record = tempfile::NamedTempFile::new().context("make a file for the outcomes")?;
    let said = invocation(endpoint, place, request, record.path()).output().await;
    // What a killed test leaves would be in the way of the next.
    if !matches!(request.tests, Tests::Command(_)) {
        tolerate(drop_databases(admin).await, "the next proof drops them before it begins");
    }
    let said = said.with_context(|| format!("run the tests at {endpoint}"))?;
    let outcomes = Outcomes::read(record.path())?;
    let end = || {
        let all = format!("{}\n{}", said.stdout.trim(), said.stderr.trim());
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    };
    if outcomes.is_empty() {
        let message = format!("no test ran at {endpoint}:\n{}", end());
        return Err(Failure::failed(message).hint("does the command work by itself?").into());
    }
    let has_ended = match said.code {
        Some(0) => true,
        // A shell tells a signal by a code from 128 on.
        Some(1..128) => outcomes.has_failures(),
        _ => false,
    };
    if !has_ended {
        let message = format!("the tests at {endpoint} broke off:\n{}", end());
        return Err(Failure::failed(message).into());
    }
    let side = Side {
        server: endpoint.to_string(),
        version: version.get(0),
        counts: outcomes.counts(),
        seconds: begun.elapsed().as_secs_f64(),
    };
    Ok((side, outcomes))
}

/// The tests as a child: what is secret goes by its environment.
fn invocation(endpoint: &Endpoint, place: &Place, request: &Request, record: &Path) -> Invocation {
    let project = place.project.path();
    let recorder = project.join("recorder");
    let mut search = vec![recorder.clone()];
    let mut invocation = match &request.tests {
        Tests::Bundled => Invocation::new(&place.python)
            .arguments(["manage.py", "test", "--noinput"])
            .folder(project)
            .clear_environment(),
        Tests::Command(command) => {
            let bin = place.python.parent().unwrap_or(Path::new("/"));
            let path = config::variable("PATH").unwrap_or_default();
            // Who works in an environment of a project's own has there what the project needs.
            let path = match config::variable(config::VIRTUAL_ENV) {
                Some(_) => [path.as_os_str(), bin.as_os_str()].join(":".as_ref()),
                None => [bin.as_os_str(), path.as_os_str()].join(":".as_ref()),
            };
            search.extend(config::path("PYTHONPATH"));
            Invocation::new("sh").argument("-c").argument(command).variable("PATH", path)
        }
        Tests::Suite(labels) => {
            search.extend([project.to_path_buf(), place.suite.join("..")]);
            Invocation::new(&place.python)
                .arguments(["runtests.py", "--settings=suite_settings", "--noinput"])
                .argument("--parallel=1")
                .arguments(labels)
                .folder(&place.suite)
                .clear_environment()
        }
    };
    let environment = endpoint.libpq_environment();
    for ours in FIVE {
        let theirs = environment.iter().find(|(name, _)| *name == format!("PG{ours}"));
        // A side without a password has an empty one: a service reads all five.
        let value = theirs.map_or("", |(_, value)| value.as_str());
        invocation = invocation.variable(format!("RBS_PG_{ours}"), value);
    }
    for (name, value) in environment {
        invocation = invocation.variable(name, value);
    }
    let search: Vec<_> = search.iter().map(|folder| folder.as_os_str()).collect();
    invocation
        .variable("PYTHONPATH", search.join(":".as_ref()))
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .variable("PYTEST_PLUGINS", "xtask_pytest")
        .variable("XTASK_OUTCOMES", record)
        .variable("XTASK_TEST_DATABASE", TEST_DATABASES[0])
        .variable(config::XTASK_SOURCE, "")
        .variable(config::XTASK_TARGET, "")
        .deadline(TESTS_LIMIT)
}

/// What a service of the first kind knows its database by, behind `RBS_PG_` as behind `PG`.
const FIVE: [&str; 5] = ["HOST", "PORT", "USER", "PASSWORD", "DATABASE"];
