//! The ledger alone, as a guest in somebody's database: what writers fill where no row is made up.
//! Nothing else of the database is written.

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::pg::endpoint::{Session, identifier, literal};
use crate::pg::replication;

/// The ledger, with its schema, which holds nothing else.
pub const LEDGER: &str = "xtask_drill.workload_ledger";
/// What removes it by hand.
pub const REMOVAL: &str = "DROP TABLE IF EXISTS xtask_drill.workload_ledger; \
    DROP SCHEMA IF EXISTS xtask_drill";
/// What removes the role after it, by hand.
pub const ROLE_REMOVAL: &str = "DROP OWNED BY xtask_drill; DROP ROLE xtask_drill";
/// Who writes where nobody else's login can be used.
pub const ROLE: &str = "xtask_drill";

/// Refuses a server on which another rehearsal writes in this role, from whichever database: making
/// it would give it another password under that one's writers.
///
/// # Errors
/// There is one, or the connection is lost.
pub async fn assert_role_is_idle(admin: &Session) -> Result<()> {
    let sql = "SELECT datname::text FROM pg_stat_activity WHERE usename = $1 LIMIT 1";
    let Some(row) = admin.query_opt(sql, &[&ROLE]).await? else { return Ok(()) };
    let database: Option<String> = row.get(0);
    let message = format!(
        "another drill writes as role {ROLE} to database {} of this server",
        database.unwrap_or_default()
    );
    Err(Failure::refused(message).hint("wait for its end").into())
}

/// Makes the role, or gives it a new password, and lets it into this database. The server sees only
/// the verifier.
///
/// # Errors
/// The session's role may not create roles, or not grant what the database's owner may.
pub async fn create_role(admin: &Session, password: &str) -> Result<()> {
    let verb = if replication::role_exists(admin, ROLE).await? { "ALTER" } else { "CREATE" };
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    let database: String = admin.query_one("SELECT current_database()::text", &[]).await?.get(0);
    let (role, database) = (identifier(ROLE), identifier(&database));
    let statement = format!(
        "{verb} ROLE {role} LOGIN PASSWORD {}; GRANT CONNECT ON DATABASE {database} TO {role}",
        literal(&verifier)
    );
    admin.batch_execute(&statement).await.with_context(|| format!("make the role {ROLE}"))
}

/// Makes the ledger, unless it is there, and lets a role write it. There is no unique constraint,
/// so that a write which arrives twice is seen twice.
///
/// # Errors
/// The session's role may make no schema here.
pub async fn install(admin: &Session, role: &str) -> Result<()> {
    let role = identifier(role);
    let statement = format!(
        "BEGIN;
         CREATE SCHEMA IF NOT EXISTS xtask_drill;
         CREATE TABLE IF NOT EXISTS {LEDGER} (
             run bigint NOT NULL,
             writer integer NOT NULL,
             number bigint NOT NULL,
             server bigint NOT NULL
         );
         ALTER TABLE {LEDGER} REPLICA IDENTITY FULL;
         GRANT USAGE ON SCHEMA xtask_drill TO {role};
         GRANT SELECT, INSERT ON {LEDGER} TO {role};
         COMMIT"
    );
    admin.batch_execute(&statement).await.context("make the ledger of the drill")
}

/// Removes the ledger, where it is; somebody else's object in that schema stays and is an error.
///
/// # Errors
/// There is such an object, or the session's role may not drop them.
pub async fn remove(admin: &Session) -> Result<()> {
    admin.batch_execute(REMOVAL).await.context("drop the ledger of the drill")
}

/// Removes the role, where it is, after the ledger; what else it owns or was granted stays and is
/// an error.
///
/// # Errors
/// There is such a thing, or the session's role may not drop it.
pub async fn drop_role(admin: &Session) -> Result<()> {
    replication::drop_role(admin, ROLE).await
}
