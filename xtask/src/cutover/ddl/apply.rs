//! A change of schema on one side: tried and taken back, or applied in one transaction with what
//! goes along with it and a row that says so.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_postgres::error::SqlState;

use crate::cutover::ddl::change::Change;
use crate::cutover::{fence, refusals};
use crate::failure::tolerate;
use crate::pg::endpoint::{Session, identifier, literal, qualified};
use crate::pg::state::SCHEMA;
use crate::pg::survey::{self, RelationKind};

/// How long a statement may wait for a lock. Whoever comes after it waits behind it.
const LOCK_LIMIT: Duration = Duration::from_millis(200);
/// How often a change tries to get its locks.
const ATTEMPTS: u32 = 50;
/// How long to wait between two tries, so that those who waited behind us get on.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
/// How long one statement may take: it holds its locks meanwhile.
const STATEMENT_LIMIT: Duration = Duration::from_secs(60);

/// A table, as schema and name.
pub type Table = (String, String);

/// What a side knows of a change.
#[derive(Debug, Clone)]
pub struct Row {
    /// The tables that are new with it.
    pub tables: Vec<Table>,
    /// The barrier row that went with it on the side that serves.
    pub barrier: i64,
    /// Whether both sides have it, and what is new is followed.
    pub is_complete: bool,
}

/// Who applies a change, and where names without a schema lead.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The role that owns what is new; the login where none is named.
    pub role: Option<String>,
    /// The schema of names that have none.
    pub schema: String,
}

/// What goes into the transaction of a change beside its own statements.
pub struct Along {
    /// The tables that are new with it.
    pub tables: Vec<Table>,
    /// The publication that they join; none where there is none on this side.
    pub publication: Option<String>,
    /// The role of the subscription that reads them, where it shall copy them.
    pub reader: Option<String>,
    /// Whether the new tables take no writes here but those that follow.
    pub is_guarded: bool,
    /// The barrier row, and the marker tables that it is written to on this side.
    pub barrier: (i64, Vec<String>),
}

/// What trying a change has shown.
pub struct Rehearsal {
    /// The tables that it makes and that are followed by name.
    pub tables: Vec<Table>,
    /// What stands against it, each with what mends it.
    pub objections: Vec<String>,
}

/// What a side knows of a change; none where it was not applied here.
///
/// # Errors
/// The connection is lost.
pub async fn row(session: &Session, digest: &str) -> Result<Option<Row>> {
    let sql = "SELECT new_schemas, new_tables, barrier, complete FROM xtask_cutover.change
               WHERE digest = $1";
    let row = session.query_opt(sql, &[&digest]).await.context("look for the change")?;
    Ok(row.map(|row| {
        let (schemas, names): (Vec<String>, Vec<String>) = (row.get(0), row.get(1));
        let tables = schemas.into_iter().zip(names).collect();
        Row { tables, barrier: row.get(2), is_complete: row.get(3) }
    }))
}

/// The file of a change that is not complete here; none where all are.
///
/// # Errors
/// The connection is lost.
pub async fn open(session: &Session) -> Result<Option<(String, String)>> {
    let known = "SELECT to_regclass('xtask_cutover.change') IS NOT NULL";
    if !session.query_one(known, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let sql =
        "SELECT file, digest FROM xtask_cutover.change WHERE NOT complete ORDER BY at LIMIT 1";
    let row = session.query_opt(sql, &[]).await.context("look for a change that is open")?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}

/// Notes that both sides have it.
///
/// # Errors
/// The connection is lost.
pub async fn complete(session: &Session, digest: &str) -> Result<()> {
    let sql = "UPDATE xtask_cutover.change SET complete = true WHERE digest = $1";
    session.execute(sql, &[&digest]).await.context("note that the change is complete")?;
    Ok(())
}

/// Tries a change and takes it back.
///
/// # Errors
/// A statement fails, or does not get its locks in time.
pub async fn rehearse(session: &Session, change: &Change, maker: &Maker) -> Result<Rehearsal> {
    let known = tables(session).await?;
    let columns = columns(session).await?;
    let before = refusals::objects(session).await?;
    run(session, change, maker).await?;
    let found = async {
        let after = tables(session).await?;
        let mut objections: Vec<String> = refusals::objects(session)
            .await?
            .into_iter()
            .filter(|one| !before.contains(one))
            .map(|one| format!("{}: {}", one.problem, one.fix))
            .collect();
        objections.extend(unequal_columns(session, &known, &columns).await?);
        let is_new = |(oid, _): &(u32, Table)| !known.iter().any(|(old, _)| old == oid);
        let tables = after.into_iter().filter(is_new).map(|(_, table)| table).collect();
        anyhow::Ok(Rehearsal { tables, objections })
    };
    let found = found.await;
    session.batch_execute("ROLLBACK").await.context("take the rehearsal back")?;
    found
}

/// Applies a change, with what goes along with it, as a whole.
///
/// # Errors
/// A statement fails, or does not get its locks in time; then nothing was changed. Where the answer
/// to COMMIT is lost, [`row`] tells.
pub async fn apply(session: &Session, change: &Change, maker: &Maker, along: &Along) -> Result<()> {
    run(session, change, maker).await?;
    let rest = async {
        session.batch_execute(&accompanying(along)).await.context("publish what is new")?;
        let (schemas, names): (Vec<&str>, Vec<&str>) =
            along.tables.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
        let sql =
            "INSERT INTO xtask_cutover.change (digest, file, new_schemas, new_tables, barrier)
                   VALUES ($1, $2, $3, $4, $5)";
        let barrier = along.barrier.0;
        session
            .execute(sql, &[&change.digest, &change.name, &schemas, &names, &barrier])
            .await
            .context("note the change")?;
        session.batch_execute("COMMIT").await.context("commit the change")
    };
    let done = rest.await;
    if done.is_err() {
        tolerate(session.batch_execute("ROLLBACK").await, "a lost session rolls back by itself");
    }
    done
}

/// The statements that go along, after the file's own.
fn accompanying(along: &Along) -> String {
    let names = along.tables.iter().map(|(schema, name)| qualified(schema, name));
    let list = names.collect::<Vec<_>>().join(", ");
    let mut all = String::new();
    if let (false, Some(publication)) = (list.is_empty(), &along.publication) {
        let publication = identifier(publication);
        all.push_str(&format!("ALTER PUBLICATION {publication} ADD TABLE {list};"));
    }
    if let (false, Some(reader)) = (list.is_empty(), &along.reader) {
        // Its subscription copies what is new. Who may replicate may read everything anyway, by a
        // base backup.
        let reader = identifier(reader);
        all.push_str(&format!(
            "GRANT pg_read_all_data TO {reader}; ALTER ROLE {reader} BYPASSRLS;"
        ));
    }
    for (schema, name) in along.tables.iter().filter(|_| along.is_guarded) {
        all.push_str(&format!("{};", fence::guard(schema, name)));
    }
    let (id, markers) = &along.barrier;
    for marker in markers {
        let table = qualified(SCHEMA, marker);
        let kind = literal("change");
        all.push_str(&format!("INSERT INTO {table} (id, kind) VALUES ({id}, {kind});"));
    }
    all
}

/// Begins a transaction and runs the file's statements in it, over and over while others hold the
/// locks. On success the transaction is open.
async fn run(session: &Session, change: &Change, maker: &Maker) -> Result<()> {
    let become_role = maker
        .role
        .as_ref()
        .map_or(String::new(), |role| format!("SET LOCAL ROLE {};", identifier(role)));
    let beginning = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {};
         SET LOCAL synchronous_commit = on; SET LOCAL search_path = {}; {become_role}",
        LOCK_LIMIT.as_millis(),
        STATEMENT_LIMIT.as_millis(),
        identifier(&maker.schema),
    );
    let mut attempt = 1;
    loop {
        let tried = async {
            session.batch_execute(&beginning).await.context("begin the change")?;
            statements(session, change).await?;
            // What is looked at from here on is named in full, as before.
            let ourselves = "RESET ROLE; SET LOCAL search_path = ''";
            session.batch_execute(ourselves).await.context("be oneself again")
        };
        let Err(error) = tried.await else { return Ok(()) };
        session.batch_execute("ROLLBACK").await.context("take the attempt back")?;
        if !is_busy(&error) || attempt == ATTEMPTS {
            return Err(error);
        }
        attempt += 1;
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

async fn statements(session: &Session, change: &Change) -> Result<()> {
    for statement in &change.statements {
        let place = || format!("{}, line {}", change.name, statement.line);
        session.batch_execute(&statement.text).await.with_context(place)?;
    }
    Ok(())
}

/// Whether somebody else was in the way.
pub fn is_busy(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>());
    let mut codes = causes.filter_map(tokio_postgres::Error::code);
    codes.any(|code| [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(code))
}

/// The tables that a publication names, with their oids.
async fn tables(session: &Session) -> Result<Vec<(u32, Table)>> {
    let all = survey::tables(session).await?.into_iter();
    Ok(all
        .filter(|one| matches!(one.kind, RelationKind::Table | RelationKind::Root))
        .map(|one| (one.oid, (one.schema, one.name)))
        .collect())
}

/// Every column that is there, by its table's oid and its number.
async fn columns(session: &Session) -> Result<BTreeSet<(u32, i16)>> {
    let sql = "SELECT attrelid, attnum FROM pg_attribute WHERE attnum > 0 AND attrelid >= 16384";
    let rows = session.query(sql, &[]).await.context("list the columns")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// New columns of tables with rows whose values each side would make up for itself.
async fn unequal_columns(
    session: &Session,
    known: &[(u32, Table)],
    columns: &BTreeSet<(u32, i16)>,
) -> Result<Vec<String>> {
    let known: Vec<u32> = known.iter().map(|(oid, _)| *oid).collect();
    let rows = session
        .query(
            "SELECT a.attrelid, a.attnum, format('%s.%I', a.attrelid::regclass, a.attname)
             FROM pg_attribute AS a
             LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
               AND a.attgenerated = '' AND (a.attidentity <> ''
                   OR pg_get_expr(d.adbin, d.adrelid)
                       !~ ('^(NULL|true|false|-?[0-9.]+|'
                           || '''([^'']|'''')*'')(::[a-z0-9_ .,()\"\\[\\]]+)?$'))",
            &[&known],
        )
        .await
        .context("look at the new columns")?;
    let new = rows.iter().filter(|row| !columns.contains(&(row.get(0), row.get(1))));
    Ok(new
        .map(|row| {
            let name: String = row.get(2);
            format!(
                "column {name}: each side would give the rows that are there values of its own: \
                 add it without a default, give it one by a second file, and fill it on the side \
                 that serves"
            )
        })
        .collect())
}
