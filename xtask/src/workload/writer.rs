//! One writer: one connection, one transaction after another, and no doubt about what it knows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{ToSql, Type};

use super::history::{Outcome, Reason};
use super::load::{Report, Shared};
use crate::pg::endpoint::{CONNECT_LIMIT, Endpoint, Session};

/// How long a writer waits for one answer before it gives the connection up.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The longest time in which a writer that was told to stop does so.
pub(super) const STOP_LIMIT: Duration =
    Duration::from_secs(CONNECT_LIMIT.as_secs() + 3 * ANSWER_LIMIT.as_secs());
/// The first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// The longest wait after failures in a row.
const BACKOFF_MOST: Duration = Duration::from_millis(50);
/// How far behind its schedule a writer may be and still catch up; what is older is left out.
const CATCH_UP: Duration = Duration::from_secs(1);

/// An attempt that was not acknowledged.
struct Miss {
    outcome: Outcome,
    reason: Reason,
    message: String,
    server: Option<i64>,
}

impl Miss {
    /// An attempt that certainly never happened.
    fn refused(reason: Reason, message: impl ToString) -> Miss {
        Miss { outcome: Outcome::Refused, reason, message: message.to_string(), server: None }
    }

    /// An error of the database before the commit was sent.
    fn before_commit(error: &tokio_postgres::Error) -> Miss {
        Miss::refused(reason(error), describe(error))
    }

    /// An error of the database to the commit. A server that goes on has rolled back; of one that
    /// goes down, or that says nothing, nobody knows.
    fn at_commit(error: &tokio_postgres::Error) -> Miss {
        let goes_on = error.as_db_error().is_some_and(|answer| {
            answer.parsed_severity() == Some(Severity::Error) && !ends_session(answer.code())
        });
        let outcome = if goes_on { Outcome::Refused } else { Outcome::Unknown };
        Miss { outcome, ..Miss::before_commit(error) }
    }
}

/// One writer of a load.
pub(super) struct Writer {
    shared: Arc<Shared>,
    writer: u16,
    number: u32,
    random: StdRng,
    session: Option<Session>,
    backoff: Duration,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, writer: u16) -> Writer {
        let seed = shared.load.seed ^ (u64::from(writer) << 48);
        Writer {
            shared,
            writer,
            number: 0,
            random: StdRng::seed_from_u64(seed),
            session: None,
            backoff: BACKOFF_FIRST,
        }
    }

    /// Writes until the load is stopped. The schedule is open: it does not wait for slow answers.
    pub(super) async fn run(mut self) {
        let mut stop = self.shared.stop.subscribe();
        let writers = f64::from(self.shared.load.writers);
        let interval = self.shared.load.rate.map(|rate| Duration::from_secs_f64(writers / rate));
        let mut due = Instant::now() + interval.unwrap_or_default().mul_f64(self.random.random());
        loop {
            let stopped = timeout_at(due, stop.wait_for(|stop| *stop)).await.is_ok();
            if stopped {
                return;
            }
            self.attempt().await;
            let now = Instant::now();
            due = interval.map_or(now, |interval| (due + interval).max(now - CATCH_UP));
        }
    }

    /// Makes one attempt and records it. After a miss the connection is given up.
    async fn attempt(&mut self) {
        let began = self.shared.now();
        let number = self.number;
        self.number += 1;
        let result = self.transaction(number).await;
        let (outcome, reason, server, message) = match result {
            Ok(server) => (Outcome::Acknowledged, Reason::None, Some(server), None),
            Err(miss) => (miss.outcome, miss.reason, miss.server, Some(miss.message)),
        };
        let writer = self.writer;
        self.shared.record(Report { writer, number, began, server, outcome, reason, message });
        if outcome == Outcome::Acknowledged {
            self.backoff = BACKOFF_FIRST;
        } else {
            self.session = None;
            sleep(self.backoff.mul_f64(self.random.random_range(0.5..1.0))).await;
            self.backoff = (self.backoff * 2).min(BACKOFF_MOST);
        }
    }

    /// One transaction, from BEGIN to COMMIT; returns the identity of the server that has it.
    async fn transaction(&mut self, number: u32) -> Result<i64, Miss> {
        let statements = self.shared.mix.draw(&mut self.random);
        let draw = self.random.random_range(0..i64::from(i32::MAX));
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect().await?,
        };
        let values = [
            self.shared.run,
            i64::from(self.writer),
            i64::from(number),
            draw,
            i64::from(self.shared.load.writers),
        ];
        let late = |_| Miss::refused(Reason::TimedOut, "no answer before the commit");
        let body = timeout(ANSWER_LIMIT, body(&session, &statements, &values));
        let server = body.await.map_err(late)??;
        if session.is_lost() {
            return Err(Miss::refused(Reason::ConnectionLost, "lost before the commit was sent"));
        }
        let committed = timeout(ANSWER_LIMIT, session.batch_execute("COMMIT")).await;
        let miss = match committed {
            Ok(Ok(())) => {
                self.session = Some(session);
                return Ok(server);
            }
            Ok(Err(error)) => Miss::at_commit(&error),
            Err(_) => Miss {
                outcome: Outcome::Unknown,
                ..Miss::refused(Reason::TimedOut, "no answer to the commit")
            },
        };
        Err(Miss { server: Some(server), ..miss })
    }

    /// Connects to whatever the endpoint file names now.
    async fn connect(&self) -> Result<Session, Miss> {
        let load = &self.shared.load;
        let text = tokio::fs::read_to_string(&load.endpoint_file)
            .await
            .map_err(|error| Miss::refused(Reason::EndpointFile, error))?;
        let endpoint = Endpoint::parse(text.trim())
            .map_err(|error| Miss::refused(Reason::EndpointFile, error))?;
        endpoint.connect_as_client(&load.application_name).await.map_err(|error| {
            let answer = error.chain().find_map(|cause| cause.downcast_ref());
            let answer = answer.and_then(tokio_postgres::Error::as_db_error);
            let reason = answer.map_or(Reason::Unreachable, |_| Reason::LoginRefused);
            Miss::refused(reason, format!("{error:#}"))
        })
    }
}

/// Everything but the COMMIT. BEGIN is answered before anything else is sent: if it failed on a
/// session that lives, what follows would commit by itself. The rest travels in one go, and without
/// named statements: a pooler may put another server behind the connection at any time.
async fn body(session: &Session, statements: &[&str], values: &[i64; 5]) -> Result<i64, Miss> {
    session.batch_execute("BEGIN").await.map_err(|error| Miss::before_commit(&error))?;
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().map(|value| (value as &(dyn ToSql + Sync), Type::INT8)).collect();
    let answers = statements.iter().map(|statement| session.query_typed(statement, &parameters));
    let answers = try_join_all(answers).await.map_err(|error| Miss::before_commit(&error))?;
    let row = answers.last().and_then(|rows| rows.first());
    let server = row.and_then(|row| row.try_get(0).ok());
    server.ok_or_else(|| Miss::refused(Reason::Other, "the ledger row was not inserted"))
}

/// Whether the server ends the session with this: shutdown, crash, an administrator.
fn ends_session(code: &SqlState) -> bool {
    code.code().starts_with("57P") || code.code().starts_with("08")
}

fn reason(error: &tokio_postgres::Error) -> Reason {
    let Some(code) = error.code() else { return Reason::ConnectionLost };
    match code {
        code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Reason::ReadOnly,
        code if *code == SqlState::QUERY_CANCELED => Reason::TimedOut,
        code if *code == SqlState::LOCK_NOT_AVAILABLE => Reason::TimedOut,
        code if ends_session(code) => Reason::Terminated,
        code if code.code().starts_with("40") => Reason::Conflict,
        _ => Reason::Other,
    }
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => format!("{answer} ({})", answer.code().code()),
        None => error.to_string(),
    }
}
