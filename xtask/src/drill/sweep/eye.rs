//! The eye: it asks both servers, from a database that no fence closes, whether clients may write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio_postgres::Statement;

use crate::pg::endpoint::{Endpoint, Session};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until it is closed or dropped.
pub struct Eye {
    saw_two: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Eye {
    /// Opens it on two databases of which one is fenced.
    pub fn open(source: &Endpoint, target: &Endpoint) -> Eye {
        let saw_two = Arc::<AtomicBool>::default();
        let sides = [Side::of(source), Side::of(target)];
        let task = tokio::spawn(look(sides, saw_two.clone()));
        Eye { saw_two, task }
    }

    /// Ends the looking; whether both sides were open at once.
    pub fn close(self) -> bool {
        self.saw_two.load(Ordering::SeqCst)
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Two looks at each side, in turn: only if all four find an open side, both were open at once.
async fn look(mut sides: [Side; 2], saw_two: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut both = true;
        for turn in 0..4 {
            both = both && sides[turn % 2].is_open().await;
        }
        if both {
            saw_two.store(true, Ordering::SeqCst);
        }
    }
}

struct Side {
    maintenance: Endpoint,
    database: String,
    /// With the question, prepared once: it is asked hundreds of times a second.
    session: Option<(Session, Statement)>,
}

impl Side {
    fn of(endpoint: &Endpoint) -> Side {
        let maintenance = endpoint.with_database("postgres");
        Side { maintenance, database: endpoint.database.clone(), session: None }
    }

    /// Whether clients may write; a server that is down is closed.
    async fn is_open(&mut self) -> bool {
        if self.session.as_ref().is_none_or(|(session, _)| session.is_lost()) {
            self.session = self.connect().await.ok();
        }
        let Some((session, question)) = &self.session else { return false };
        session.query_one(question, &[&self.database]).await.is_ok_and(|row| row.get(0))
    }

    async fn connect(&self) -> Result<(Session, Statement)> {
        let session = self.maintenance.connect("eye").await?;
        let question = session
            .prepare(
                "SELECT datconnlimit <> 0 AND NOT EXISTS (
                     SELECT FROM pg_db_role_setting
                     WHERE setdatabase = d.oid AND setrole = 0
                       AND 'default_transaction_read_only=on' = ANY (setconfig))
                 FROM pg_database AS d WHERE datname = $1",
            )
            .await?;
        Ok((session, question))
    }
}
