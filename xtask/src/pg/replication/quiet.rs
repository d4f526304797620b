//! Statements that hold a password, kept out of the server's log.
//!
//! A superuser turns the log off for its session. Anybody else cannot, so the statement travels as
//! a parameter to a function of the session's own: the log shows parameters only where it shows
//! every statement with them, and the plan refuses such a server.

use anyhow::{Context, Result};

use crate::pg::endpoint::{Session, literal};
use crate::pg::rights;

/// What a statement could be seen by, and the value that hides it.
const HIDING: [(&str, &str); 9] = [
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_duration_sample", "-1"),
    ("log_transaction_sample_rate", "0"),
    ("log_min_error_statement", "panic"),
    ("log_parameter_max_length", "0"),
    ("log_parameter_max_length_on_error", "0"),
    ("track_activities", "off"),
    ("pg_stat_statements.track_utility", "off"),
];
/// What everybody may set.
const EVERYBODYS: &str = "log_parameter_max_length_on_error";

/// Runs the statement that is its argument. An error is raised anew, without the statement that
/// PostgreSQL would tell as its context.
const FUNCTION: &str = "CREATE OR REPLACE FUNCTION pg_temp.xtask_quietly(statement text)
    RETURNS void LANGUAGE plpgsql AS $function$
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN OTHERS THEN
        RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE;
    END
    $function$";

/// Keeps the session's statements out of log, statistics and activity, as far as its role may.
///
/// # Errors
/// The connection is lost, or the role may make no temporary function.
pub async fn silence(session: &Session) -> Result<()> {
    let mut statements = Vec::new();
    for (setting, value) in HIDING {
        if setting == EVERYBODYS || rights::may_set(session, setting).await? {
            statements.push(format!("SET {setting} = {}", literal(value)));
        }
    }
    if !session.is_superuser {
        statements.push(FUNCTION.into());
    }
    session.batch_execute(&statements.join("; ")).await.context("keep a statement out of the log")
}

/// Runs a statement that holds a password, in a session that was silenced.
///
/// # Errors
/// The statement's own.
pub async fn execute(session: &Session, statement: &str) -> Result<(), tokio_postgres::Error> {
    if session.is_superuser {
        return session.batch_execute(statement).await;
    }
    session.execute("SELECT pg_temp.xtask_quietly($1)", &[&statement]).await.map(drop)
}
