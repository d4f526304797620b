//! A sample database of our own, and writers that keep it busy.
//!
//! The schema is a trading platform in the manner of a Django application, and beside it whatever
//! is known to hurt when a database is moved. Writers write as an application would, through the
//! connection string that stands in a file, and remember what became of every attempt; whether the
//! database agrees is for [`crate::ledger`] to say.

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::pg::endpoint::{Session, identifier, literal};

mod fill;
pub mod guest;
mod history;
mod load;
mod transactions;
mod writer;

pub use fill::fill;
pub use history::{Attempt, History, Outcome, Reason};
pub use load::{Counts, Load, Workload, Writes};

/// Owns every object of the sample; nobody logs in as it.
pub const OWNER: &str = "trading_owner";
/// The application's role: logs in, reads and writes rows, owns nothing.
pub const APPLICATION: &str = "trading_app";

const ROLES: &str = include_str!("workload/roles.sql");
const SCHEMA: &str = include_str!("workload/schema.sql");

/// Creates the sample's roles, unless they are there, with their settings in this database, and
/// gives the application its password. An operator does this on the target before a move, because
/// roles do not travel with a database. May run at the same time in several databases of one
/// cluster, which then have to agree on the password.
///
/// # Errors
/// The session is not a superuser's, or is lost.
pub async fn create_roles(admin: &Session, password: &str) -> Result<()> {
    let script = format!(
        "BEGIN; SET LOCAL log_statement = 'none'; SET LOCAL log_min_error_statement = 'panic'; \
         {ROLES} ALTER ROLE {} PASSWORD {}; COMMIT",
        identifier(APPLICATION),
        literal(password)
    );
    admin.batch_execute(&script).await.context("create the roles of the sample")
}

/// Refuses a server that has a role of the sample's names: it is somebody's, and would get another
/// password.
///
/// # Errors
/// There is such a role, or the connection is lost.
pub async fn assert_roles_are_new(admin: &Session) -> Result<()> {
    let sql = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname IN ($1, $2) LIMIT 1";
    let Some(row) = admin.query_opt(sql, &[&APPLICATION, &OWNER]).await? else { return Ok(()) };
    let role: String = row.get(0);
    let message = format!("the server has a role {role}, whose password the sample would change");
    Err(Failure::refused(message)
        .hint(format!(
            "let the tool start a server of its own; or, where nobody needs it: DROP ROLE {}",
            identifier(&role)
        ))
        .into())
}

/// Drops the sample's roles, once no database has anything of theirs.
///
/// # Errors
/// Something still depends on them, or the connection is lost.
pub async fn drop_roles(admin: &Session) -> Result<()> {
    let (owner, application) = (identifier(OWNER), identifier(APPLICATION));
    let statement = format!("DROP ROLE IF EXISTS {application}, {owner}");
    admin.batch_execute(&statement).await.context("drop the roles of the sample")
}

/// Creates roles and schema in a fresh database; tables are empty but for the months of the event
/// log.
///
/// # Errors
/// The session is not a superuser's, the database is not fresh, or PostgreSQL is older than 15.
pub async fn install(admin: &Session, password: &str) -> Result<()> {
    create_roles(admin, password).await?;
    let script = format!("BEGIN; {SCHEMA} COMMIT");
    admin.batch_execute(&script).await.context("create the schema of the sample")
}

/// The identity of the cluster behind a session, as ledger rows name it: its system identifier.
///
/// # Errors
/// The connection is lost.
pub async fn server_identity(session: &Session) -> Result<i64> {
    let row = session
        .query_one("SELECT system_identifier FROM pg_catalog.pg_control_system()", &[])
        .await
        .context("read the system identifier")?;
    Ok(row.get(0))
}
