//! PostgreSQL's own logical replication, as this tool uses it: slots with an exported snapshot,
//! publications with explicit lists, subscriptions on a slot that exists, barriers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::pg::endpoint::{Endpoint, Session, identifier, literal, qualified};

mod quiet;
mod slot;
mod socket;

pub use slot::{
    SLOT_LIMIT, SlotWithSnapshot, advance_slot, create_idle_slot, create_slot, drop_slot, lag,
    note_running, slot_danger, slot_exists, slot_is_usable, unread,
};
pub use socket::{ReplicationSocket, ReplicationTls};

/// How often a barrier looks whether its row has arrived.
const BARRIER_POLL: Duration = Duration::from_millis(1);
/// How long a worker may take to leave a disabled subscription.
const WORKER_LIMIT: Duration = Duration::from_secs(10);
/// How long a barrier row may wait for somebody's lock on its table. Only the tool writes there, so
/// whoever holds one does not mean to let go soon.
const MARK_LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Makes a publication of exactly these tables, anew where one of that name exists.
///
/// # Errors
/// A table is gone, or the role may not publish it.
pub async fn publish(session: &Session, name: &str, tables: &[(String, String)]) -> Result<()> {
    let list: Vec<String> = tables.iter().map(|(schema, table)| qualified(schema, table)).collect();
    let name = identifier(name);
    session
        .batch_execute(&format!(
            "BEGIN; DROP PUBLICATION IF EXISTS {name};
             CREATE PUBLICATION {name} FOR TABLE {}
                 WITH (publish_via_partition_root = true); COMMIT",
            list.join(", ")
        ))
        .await
        .with_context(|| format!("create publication {name}"))
}

/// Takes a table out of a publication. Its later changes are decoded for that publication only
/// where a subscriber still knows the table.
///
/// # Errors
/// The publication is gone.
pub async fn leave(session: &Session, name: &str, table: &(String, String)) -> Result<()> {
    let statement = format!(
        "ALTER PUBLICATION {} DROP TABLE {}",
        identifier(name),
        qualified(&table.0, &table.1)
    );
    match session.batch_execute(&statement).await {
        Ok(()) => Ok(()),
        // It has left already: the run was interrupted between this and the next batch.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("take a table out of {name}")),
    }
}

/// Drops a publication where it exists.
///
/// # Errors
/// The connection is lost.
pub async fn unpublish(session: &Session, name: &str) -> Result<()> {
    session
        .batch_execute(&format!("DROP PUBLICATION IF EXISTS {}", identifier(name)))
        .await
        .with_context(|| format!("drop publication {name}"))
}

/// Whether a publication exists.
///
/// # Errors
/// The connection is lost.
pub async fn is_published(session: &Session, name: &str) -> Result<bool> {
    let sql = "SELECT FROM pg_publication WHERE pubname = $1";
    Ok(session.query_opt(sql, &[&name]).await?.is_some())
}

/// Makes a role that subscriptions log in as, or gives it a new password. The server sees only
/// the SCRAM verifier, so that no log and no catalog holds the password.
///
/// # Errors
/// The session's role may not create roles.
pub async fn replication_role(session: &Session, name: &str, password: &str) -> Result<()> {
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    let role = identifier(name);
    let verb = if role_exists(session, name).await? { "ALTER" } else { "CREATE" };
    session
        .batch_execute(&format!(
            "{verb} ROLE {role} LOGIN REPLICATION PASSWORD {}",
            literal(&verifier)
        ))
        .await
        .with_context(|| format!("make the replication role {name}"))?;
    let database: String = session.query_one("SELECT current_database()::text", &[]).await?.get(0);
    session
        .batch_execute(&format!("GRANT CONNECT ON DATABASE {} TO {role}", identifier(&database)))
        .await?;
    Ok(())
}

/// Drops a role of ours, where it exists.
///
/// # Errors
/// The role owns something, which would not be of our making.
pub async fn drop_role(session: &Session, name: &str) -> Result<()> {
    if !role_exists(session, name).await? {
        return Ok(());
    }
    let role = identifier(name);
    // Who made a role may drop it, and yet not what it owns: it has the one grant of ours.
    let grants = match session.is_superuser {
        true => format!("DROP OWNED BY {role}"),
        false => {
            let sql = "SELECT current_database()::text";
            let database: String = session.query_one(sql, &[]).await?.get(0);
            format!("REVOKE ALL ON DATABASE {} FROM {role}", identifier(&database))
        }
    };
    session
        .batch_execute(&format!("{grants}; DROP ROLE {role}"))
        .await
        .with_context(|| format!("drop the replication role {name}"))
}

/// Whether a role exists.
///
/// # Errors
/// The connection is lost.
pub async fn role_exists(session: &Session, name: &str) -> Result<bool> {
    let sql = "SELECT FROM pg_roles WHERE rolname = $1";
    Ok(session.query_opt(sql, &[&name]).await?.is_some())
}

/// What a subscription needs to be made.
pub struct Subscribe<'a> {
    /// Of the subscription, its publication and its slot alike.
    pub name: &'a str,
    /// How the subscriber's server reaches the publisher.
    pub publisher: &'a Endpoint,
    /// The publisher's `server_version_num`.
    pub publisher_version: i32,
}

/// Makes a disabled subscription on a slot that exists, without copying. Where one of that name
/// exists it stays, with a new connection string.
///
/// # Errors
/// The subscriber's server cannot reach the publisher, a table is missing here, or the role may
/// not subscribe.
pub async fn subscribe(session: &Session, wanted: &Subscribe<'_>) -> Result<()> {
    let name = identifier(wanted.name);
    let connection = literal(&wanted.publisher.secret_conninfo());
    quiet::silence(session).await?;
    if subscription(session, wanted.name).await?.is_some() {
        let statement = format!("ALTER SUBSCRIPTION {name} CONNECTION {connection}");
        quiet::execute(session, &statement)
            .await
            .map_err(|error| without_secret(&error, "point", wanted.name))?;
        return Ok(());
    }
    let mut options = vec![
        "create_slot = false".to_string(),
        format!("slot_name = {}", literal(wanted.name)),
        "enabled = false".into(),
        "copy_data = false".into(),
        "synchronous_commit = 'off'".into(),
        "streaming = on".into(),
        "disable_on_error = true".into(),
    ];
    if session.version >= 160_000 {
        options.push("run_as_owner = true".into());
        if wanted.publisher_version >= 160_000 {
            options.push("origin = none".into());
        }
    }
    let statement = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION {connection} PUBLICATION {name} WITH ({})",
        options.join(", ")
    );
    quiet::execute(session, &statement)
        .await
        .map_err(|error| without_secret(&error, "create", wanted.name))
}

/// Makes a subscription that copies every table by itself, as PostgreSQL does for who has no tool:
/// with a slot of its own. The publication is of the same name.
///
/// # Errors
/// As [`subscribe`]; also where a subscription or slot of that name exists.
pub async fn subscribe_and_copy(session: &Session, name: &str, publisher: &Endpoint) -> Result<()> {
    let connection = literal(&publisher.secret_conninfo());
    quiet::silence(session).await?;
    let quoted = identifier(name);
    session
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION {quoted} CONNECTION {connection} PUBLICATION {quoted}
             WITH (copy_data = true, synchronous_commit = 'off')"
        ))
        .await
        .map_err(|error| without_secret(&error, "create", name))
}

/// The server's message without the statement or connection string that may stand in its details.
fn without_secret(error: &tokio_postgres::Error, verb: &str, name: &str) -> anyhow::Error {
    let message = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().into());
    anyhow::anyhow!("{verb} subscription {name}: {message}")
}

/// Dials the publisher from the subscriber's server and leaves nothing behind.
///
/// # Errors
/// The server cannot reach its peer; the message is PostgreSQL's.
pub async fn dial(session: &Session, publisher: &Endpoint) -> Result<()> {
    quiet::silence(session).await?;
    let connection = literal(&publisher.secret_conninfo());
    session.batch_execute("BEGIN").await?;
    let statement = format!(
        "CREATE SUBSCRIPTION xtask_dial CONNECTION {connection} PUBLICATION xtask_dial
         WITH (create_slot = false, slot_name = NONE, enabled = false, copy_data = false)"
    );
    let dialled = quiet::execute(session, &statement)
        .await
        .map_err(|error| without_secret(&error, "try", "to the peer"));
    session.batch_execute("ROLLBACK").await.context("leave the transaction of the dial")?;
    dialled
}

/// A subscription as its server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its oid; its replication origin is called `pg_` and this.
    pub oid: u32,
    /// Whether it is enabled; an apply error disables it.
    pub enabled: bool,
    /// Whether any process works for it.
    pub running: bool,
    /// Errors of its apply worker so far.
    pub apply_errors: i64,
}

/// Looks a subscription up.
///
/// # Errors
/// The connection is lost.
pub async fn subscription(session: &Session, name: &str) -> Result<Option<Subscription>> {
    let row = session
        .query_typed_opt(
            "SELECT s.oid, s.subenabled,
                    EXISTS (SELECT FROM pg_stat_subscription AS w
                            WHERE w.subid = s.oid AND w.pid IS NOT NULL),
                    coalesce((SELECT apply_error_count FROM pg_stat_subscription_stats AS t
                              WHERE t.subid = s.oid), 0)
             FROM pg_subscription AS s
             WHERE s.subname = $1
               AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
            &[(&name, Type::NAME)],
        )
        .await?;
    Ok(row.map(|row| Subscription {
        oid: row.get(0),
        enabled: row.get(1),
        running: row.get(2),
        apply_errors: row.get(3),
    }))
}

/// Subscriptions of others that bring rows into this database. The fence does not hold them, and
/// what they bring counts as replicated, so that no subscription of ours passes it on.
///
/// # Errors
/// The connection is lost.
pub async fn foreign(session: &Session) -> Result<Vec<String>> {
    let rows = session.query(include_str!("sql/foreign_subscriptions.sql"), &[]).await;
    let rows = rows.context("look for subscriptions of others")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Lets a subscription that is on take up what is new in its publication, and copy what it holds.
///
/// # Errors
/// There is no such subscription, it is off, or its publisher does not answer.
pub async fn refresh(session: &Session, name: &str) -> Result<()> {
    let name = identifier(name);
    session
        .batch_execute(&format!(
            "ALTER SUBSCRIPTION {name} REFRESH PUBLICATION WITH (copy_data = true)"
        ))
        .await
        .with_context(|| format!("let subscription {name} take up new tables"))
}

/// How many tables of a subscription are not copied yet.
///
/// # Errors
/// The connection is lost.
pub async fn copying(session: &Session, name: &str) -> Result<i64> {
    let row = session
        .query_one(
            "SELECT count(*) FROM pg_subscription_rel AS r
             JOIN pg_subscription AS s ON s.oid = r.srsubid
             WHERE s.subname = $1 AND r.srsubstate <> 'r'",
            &[&name],
        )
        .await?;
    Ok(row.get(0))
}

/// Turns a subscription on.
///
/// # Errors
/// There is no such subscription.
pub async fn enable(session: &Session, name: &str) -> Result<()> {
    session
        .batch_execute(&format!("ALTER SUBSCRIPTION {} ENABLE", identifier(name)))
        .await
        .with_context(|| format!("enable subscription {name}"))
}

/// Turns a subscription off and waits until nothing applies any more.
///
/// # Errors
/// There is no such subscription, or its worker does not leave.
pub async fn disable(session: &Session, name: &str) -> Result<()> {
    session
        .batch_execute(&format!("ALTER SUBSCRIPTION {} DISABLE", identifier(name)))
        .await
        .with_context(|| format!("disable subscription {name}"))?;
    let begun = Instant::now();
    while subscription(session, name).await?.is_some_and(|state| state.running) {
        if begun.elapsed() > WORKER_LIMIT {
            bail!("the worker of subscription {name} did not leave within {WORKER_LIMIT:?}");
        }
        tokio::time::sleep(BARRIER_POLL).await;
    }
    Ok(())
}

/// Drops a subscription where it exists, without dialling its publisher: the slot is dropped
/// there by whoever can reach it.
///
/// # Errors
/// Its worker does not leave.
pub async fn unsubscribe(session: &Session, name: &str) -> Result<()> {
    if subscription(session, name).await?.is_none() {
        return Ok(());
    }
    disable(session, name).await?;
    let quoted = identifier(name);
    session.batch_execute(&format!("ALTER SUBSCRIPTION {quoted} SET (slot_name = NONE)")).await?;
    session
        .batch_execute(&format!("DROP SUBSCRIPTION {quoted}"))
        .await
        .with_context(|| format!("drop subscription {name}"))
}

/// Writes one barrier row to each marker table in one transaction. Returns its id.
///
/// # Errors
/// The side cannot be written, or a marker table stays locked. With synchronous commit, so a
/// success is durable.
pub async fn mark(session: &Session, markers: &[String], kind: &str) -> Result<i64> {
    let id = rand::random::<i64>().checked_abs().unwrap_or(1);
    let inserts: String = markers
        .iter()
        .map(|marker| {
            format!(
                "INSERT INTO {} (id, kind) VALUES ({id}, {});",
                qualified(crate::pg::state::SCHEMA, marker),
                literal(kind)
            )
        })
        .collect();
    let lock_limit = MARK_LOCK_LIMIT.as_millis();
    // Statements that are sent together are one transaction, and one that fails is over: with a
    // BEGIN the session would be left inside it.
    let settings =
        format!("SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = {lock_limit}");
    session
        .batch_execute(&format!("{settings}; {inserts}"))
        .await
        .context("write a barrier row")?;
    Ok(id)
}

/// Waits until a barrier row has arrived in every marker table. Apply keeps the order of commits,
/// so everything before it has arrived as well.
///
/// # Errors
/// It does not arrive in time, or a subscription has stopped with an error.
pub async fn await_mark(
    session: &Session,
    markers: &[String],
    subscriptions: &[String],
    id: i64,
    limit: Duration,
) -> Result<Duration> {
    let tables: Vec<String> = markers
        .iter()
        .map(|marker| {
            let table = qualified(crate::pg::state::SCHEMA, marker);
            format!("EXISTS (SELECT FROM {table} WHERE id = {id})")
        })
        .collect();
    let question = session.prepare(&format!("SELECT {}", tables.join(" AND "))).await?;
    let begun = Instant::now();
    let mut looked = Instant::now();
    loop {
        if session.query_one(&question, &[]).await?.get(0) {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > limit {
            bail!("the barrier did not arrive within {limit:?}");
        }
        if looked.elapsed() > Duration::from_millis(500) {
            looked = Instant::now();
            for name in subscriptions {
                if subscription(session, name).await?.is_some_and(|state| !state.enabled) {
                    bail!("subscription {name} was disabled by an error; see the server's log");
                }
            }
        }
        tokio::time::sleep(BARRIER_POLL).await;
    }
}

/// Whether a subscription takes nothing that its publisher got by replication itself.
///
/// # Errors
/// There is no such subscription, or it cannot be read.
pub async fn takes_no_echo(session: &Session, name: &str) -> Result<bool> {
    if session.version < 160_000 {
        return Ok(false);
    }
    let sql = "SELECT suborigin = 'none' FROM pg_subscription WHERE subname = $1";
    let row = session.query_opt(sql, &[&name]).await?;
    Ok(row.with_context(|| format!("subscription {name} does not exist"))?.get(0))
}

/// Tells a disabled subscription that it has applied everything up to a position. A slot's own
/// advance is not durable until the slot is next saved; this is.
///
/// # Errors
/// There is no such subscription, or it is in use.
pub async fn advance_origin(session: &Session, name: &str, position: &str) -> Result<()> {
    let Some(state) = subscription(session, name).await? else {
        bail!("subscription {name} does not exist")
    };
    session
        .query_typed(
            "SELECT pg_replication_origin_advance('pg_' || $1::text, $2::text::pg_lsn)",
            &[(&state.oid, Type::OID), (&position, Type::TEXT)],
        )
        .await
        .with_context(|| format!("advance the origin of subscription {name}"))?;
    Ok(())
}
