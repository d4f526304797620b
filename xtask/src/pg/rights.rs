//! What the tool's role may do on a server where it is no superuser.

use anyhow::{Context, Result};

use crate::pg::endpoint::Session;

/// Whether the role may change a setting for its session that is a superuser's by default.
///
/// # Errors
/// The connection is lost.
pub async fn may_set(session: &Session, setting: &str) -> Result<bool> {
    if session.is_superuser {
        return Ok(true);
    }
    let sql = "SELECT has_parameter_privilege($1, 'SET')";
    let row = session.query_one(sql, &[&setting]).await;
    Ok(row.with_context(|| format!("ask whether {setting} may be set"))?.get(0))
}

/// Whether the role may tell a subscription where it stands, and see it.
///
/// # Errors
/// The connection is lost.
pub async fn may_advance_origins(session: &Session) -> Result<bool> {
    if session.is_superuser {
        return Ok(true);
    }
    let sql = "SELECT has_function_privilege(
                          'pg_catalog.pg_replication_origin_advance(text, pg_lsn)', 'EXECUTE')
                  AND has_function_privilege(
                          'pg_catalog.pg_show_replication_origin_status()', 'EXECUTE')
                  AND has_table_privilege('pg_catalog.pg_replication_origin_status', 'SELECT')";
    let row = session.query_one(sql, &[]).await;
    Ok(row.context("ask whether origins may be advanced")?.get(0))
}

/// Something that the tool needs of its role, or makes use of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Its short name.
    pub name: String,
    /// Whether the role has it.
    pub held: bool,
    /// The statements that give it.
    pub grant: String,
}

/// Every right that is asked of a role that is no superuser, in the order of the table.
///
/// # Errors
/// The connection is lost, or the server is older than PostgreSQL 16.
pub async fn rights(session: &Session) -> Result<Vec<Right>> {
    let rows = session.query(include_str!("sql/rights.sql"), &[]).await;
    let right =
        |row: &tokio_postgres::Row| Right { name: row.get(0), held: row.get(1), grant: row.get(2) };
    Ok(rows.context("read what the role may do")?.iter().map(right).collect())
}

/// Something that belongs to a role whose rights ours has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, for people.
    pub title: String,
    /// Its owner.
    pub owner: String,
    /// The statement that mends it.
    pub grant: String,
}

/// What belongs to others in this database: a table, a view, a function, a type, a schema, or the
/// database itself.
///
/// # Errors
/// The connection is lost.
pub async fn foreign(session: &Session) -> Result<Vec<Foreign>> {
    let rows = session.query(include_str!("sql/foreign_owners.sql"), &[]).await;
    let foreign = |row: &tokio_postgres::Row| Foreign {
        title: row.get(0),
        owner: row.get(1),
        grant: row.get(2),
    };
    Ok(rows.context("read who owns what")?.iter().map(foreign).collect())
}
