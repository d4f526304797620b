//! What every test with servers needs: a pair, fresh databases, a way to say that it cannot run.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use xtask::cutover::event::Story;
use xtask::failure::tolerate;
use xtask::pg::endpoint::{Endpoint, identifier};
use xtask::servers::pair::{self, Pair, PairOptions};

/// How long a condition may take to come true on a busy machine.
pub const CONDITION_LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

static PAIR: OnceCell<Pair> = OnceCell::const_new();
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// The pair that all tests of this process share. Nobody drops it: its keeper ends it with the
/// process. A test that stops a server starts a pair of its own.
pub async fn pair() -> &'static Pair {
    PAIR.get_or_init(own_pair).await
}

/// A pair for one test, as the environment chooses its programs.
pub async fn own_pair() -> Pair {
    pair::up(&PairOptions::default(), &Story::silent()).await.expect("a pair starts")
}

/// A new and empty database of this name on each server of the shared pair: source, target.
pub async fn fresh_databases(name: &str) -> (Endpoint, Endpoint) {
    let pair = pair().await;
    let source = fresh_database(&pair.source.endpoint("postgres"), name).await;
    (source, fresh_database(&pair.target.endpoint("postgres"), name).await)
}

/// A new and empty database on one server.
pub async fn fresh_database(maintenance: &Endpoint, name: &str) -> Endpoint {
    let session = maintenance.connect("test").await.expect("the server answers");
    let sql = format!("CREATE DATABASE {} TEMPLATE template0", identifier(name));
    session.batch_execute(&sql).await.expect("the name is free");
    maintenance.with_database(name)
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < CONDITION_LIMIT, "{what}: not within {CONDITION_LIMIT:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells by name that a test cannot run here, past the capture of its output; see [`skip!`].
pub fn tell_skipped(reason: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    let told = writeln!(std::io::stderr(), "SKIPPED {name}: {reason} ({count} so far)");
    tolerate(told, "a closed terminal does not fail a test");
}

/// What a verb that begins a run must be told besides: the data of tests is made up, so nobody
/// needs a backup of it. Nothing where the test speaks of backups itself.
pub fn about_backups(arguments: &[&str]) -> Option<&'static str> {
    let begins = matches!(arguments, ["cutover", "start" | "plan", ..] | ["doctor", ..]);
    let speaks = arguments.iter().any(|argument| argument.contains("backup"));
    (begins && !speaks).then_some("--i-have-no-backup")
}

/// Whose turn it is to rehearse with a role of the drill's own: a server has one of that name.
pub static REHEARSAL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Ends a test that this machine lacks something for, by name and counted.
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::support::tell_skipped(&format!($($reason)*));
        return;
    }};
}
pub(crate) use skip;
