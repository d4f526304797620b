//! The eye: it asks both servers, from a database that no fence closes, whether clients may write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use xtask::pg::endpoint::{Endpoint, Session};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until it is closed.
pub struct Eye {
    watches: Arc<AtomicBool>,
    saw_two: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Eye {
    /// Opens it on two databases; it judges only while it is told to.
    pub fn open(source: &Endpoint, target: &Endpoint) -> Eye {
        let (watches, saw_two) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let sides = [Side::of(source), Side::of(target)];
        let task = tokio::spawn(look(sides, watches.clone(), saw_two.clone()));
        Eye { watches, saw_two, task }
    }

    /// Whether two open sides are wrong at present.
    pub fn watch(&self, watches: bool) {
        self.watches.store(watches, Ordering::SeqCst);
    }

    /// Ends the looking, and tells what it saw.
    pub fn close(&self) {
        self.task.abort();
        assert!(!self.saw_two.load(Ordering::SeqCst), "both sides were open at the same time");
    }
}

/// Two looks at each side, in turn: only if all four find an open side, both were open at once.
async fn look(mut sides: [Side; 2], watches: Arc<AtomicBool>, saw_two: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !watches.load(Ordering::SeqCst) {
            continue;
        }
        let mut both = true;
        for turn in 0..4 {
            both = both && sides[turn % 2].is_open().await;
        }
        if both && watches.load(Ordering::SeqCst) {
            saw_two.store(true, Ordering::SeqCst);
        }
    }
}

struct Side {
    maintenance: Endpoint,
    database: String,
    session: Option<Session>,
}

impl Side {
    fn of(endpoint: &Endpoint) -> Side {
        let maintenance = endpoint.with_database("postgres");
        Side { maintenance, database: endpoint.database.clone(), session: None }
    }

    /// Whether clients may write; a server that is down is closed.
    async fn is_open(&mut self) -> bool {
        if self.session.as_ref().is_none_or(Session::is_lost) {
            self.session = self.maintenance.connect("eye").await.ok();
        }
        let Some(session) = &self.session else { return false };
        let sql = "SELECT datconnlimit <> 0 AND NOT EXISTS (
                       SELECT FROM pg_db_role_setting
                       WHERE setdatabase = d.oid AND setrole = 0
                         AND 'default_transaction_read_only=on' = ANY (setconfig))
                   FROM pg_database AS d WHERE datname = $1";
        match session.query_one(sql, &[&self.database]).await {
            Ok(row) => row.get(0),
            Err(_) => false,
        }
    }
}
