//! Where migrations go: a session of the tool in the right schema, on a server of the right
//! engine, with the roles that are to be given rights.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::migrate::{Choice, Engine};
use crate::pg::endpoint::{Endpoint, Session, identifier, literal};
use crate::pg::state;

/// The extension that makes a server ParadeDB.
pub const SEARCH_EXTENSION: &str = "pg_search";
/// How long a statement may wait for a lock. Whoever comes after it waits behind it.
pub const LOCK_LIMIT: Duration = Duration::from_secs(2);
/// How long one statement inside a transaction may take. Such files are meant for tables that are
/// new or small.
pub const STATEMENT_LIMIT: Duration = Duration::from_secs(600);

/// Refuses a server that is not of the engine that a person named.
///
/// # Errors
/// It is of the other one, or the connection is lost.
pub async fn assert_engine(session: &Session, engine: Engine) -> Result<()> {
    let sql = "SELECT FROM pg_available_extensions WHERE name = $1";
    let has_search = session.query_opt(sql, &[&SEARCH_EXTENSION]).await?.is_some();
    match (engine, has_search) {
        (Engine::Paradedb, true) | (Engine::Postgres, false) => Ok(()),
        (Engine::Paradedb, false) => {
            Err(Failure::refused("this server is not ParadeDB: it has no extension pg_search")
                .hint("name ParadeDB's server, or say that it is plain: --engine postgres")
                .into())
        }
        (Engine::Postgres, true) => {
            Err(Failure::refused("this server is ParadeDB: it has the extension pg_search")
                .hint("name the plain server, or say what it is: --engine paradedb")
                .into())
        }
    }
}

/// Refuses roles that the server does not have.
///
/// # Errors
/// A role is missing, or the connection is lost.
pub async fn assert_roles(session: &Session, choice: &Choice) -> Result<()> {
    let roles = &choice.roles;
    for role in [&roles.owner, &roles.runtime, &roles.search].into_iter().flatten() {
        let found = session.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[role]).await?;
        if found.is_none() {
            let line = format!("CREATE ROLE {} LOGIN", identifier(role));
            return Err(Failure::refused(format!("role {role} does not exist on this server"))
                .hint(format!("make it first: {line};"))
                .into());
        }
    }
    Ok(())
}

/// Refuses a login that may not make what the migrations make, before any has begun.
///
/// # Errors
/// A right is missing, which the hint gives; or the connection is lost.
pub async fn assert_may_make(session: &Session, choice: &Choice) -> Result<()> {
    assert_may_act(session, choice).await?;
    assert_may_create(session, choice).await
}

/// The same without the right to create, which a copy may bring along.
///
/// # Errors
/// As [`assert_may_make`].
pub async fn assert_may_act(session: &Session, choice: &Choice) -> Result<()> {
    assert_may_extend(session, choice).await?;
    assert_may_become_owner(session, choice).await
}

/// Refuses a login that may not act as the role whose search it will be.
///
/// # Errors
/// It may not become the owner, or the connection is lost.
async fn assert_may_become_owner(session: &Session, choice: &Choice) -> Result<()> {
    let Some(owner) = &choice.roles.owner else { return Ok(()) };
    let sql = "SELECT pg_has_role($1::text::name, CASE WHEN $2 THEN 'SET' ELSE 'MEMBER' END),
                      format('GRANT %I TO %I', $1, current_user)";
    let row = session.query_one(sql, &[owner, &(session.version >= 160_000)]).await?;
    let (may_become, grant): (bool, String) = (row.get(0), row.get(1));
    if may_become {
        return Ok(());
    }
    let message = format!("this login may not become {owner}, who is to own the search");
    Err(Failure::refused(message).hint(format!("{grant}; or name another owner")).into())
}

/// Refuses a login that may not make the extensions of search, where they are missing.
///
/// # Errors
/// One is missing that only a superuser may make, or the connection is lost.
async fn assert_may_extend(session: &Session, choice: &Choice) -> Result<()> {
    if session.is_superuser {
        return Ok(());
    }
    let mut wanted = vec!["vector"];
    if choice.engine == Engine::Paradedb {
        wanted.push(SEARCH_EXTENSION);
    }
    let sql = "SELECT string_agg(format('CREATE EXTENSION %I', name), '; ')
               FROM unnest($1::text[]) AS wanted (name)
               WHERE name NOT IN (SELECT extname FROM pg_extension)
                 AND name IN (SELECT available.name FROM pg_available_extensions AS available)
                 AND NOT EXISTS (SELECT FROM pg_available_extension_versions AS version
                                 WHERE version.name = wanted.name AND (trusted OR NOT superuser))";
    let missing: Option<String> = session.query_one(sql, &[&wanted]).await?.get(0);
    let Some(statements) = missing else { return Ok(()) };
    let message = "only a superuser may make the extensions of search, which are not there yet";
    Err(Failure::refused(message).hint(format!("as one: {statements};")).into())
}

/// Refuses a schema in which the owner of search may not make it, or that the login may not make.
///
/// # Errors
/// That right is missing, or the connection is lost.
async fn assert_may_create(session: &Session, choice: &Choice) -> Result<()> {
    let sql = "SELECT CASE WHEN is_there THEN has_schema_privilege(owner, $1, 'CREATE')
                           ELSE has_database_privilege(current_database(), 'CREATE') END,
                      CASE WHEN is_there THEN format('GRANT CREATE ON SCHEMA %I TO %I', $1, owner)
                           ELSE format('GRANT CREATE ON DATABASE %I TO %I', current_database(),
                                       current_user) END,
                      CASE WHEN is_there THEN owner ELSE current_user END::text
               FROM (SELECT coalesce($2, current_user::text)::name,
                            EXISTS (SELECT FROM pg_namespace WHERE nspname = $1))
                    AS asked (owner, is_there)";
    let row = session.query_one(sql, &[&choice.schema, &choice.roles.owner]).await?;
    let (may_create, grant, maker): (bool, String, String) = (row.get(0), row.get(1), row.get(2));
    if may_create {
        return Ok(());
    }
    let message = format!("{maker} may not create what schema {} shall hold", choice.schema);
    Err(Failure::refused(message).hint(format!("{grant};")).into())
}

/// Refuses a database that is part of a run: its schema may change only where the run knows of it,
/// and never in a pause. A plain server to which the service has come back takes its own search:
/// nothing of that is moved or proved. The caller holds the lock, so no verb of a run is at work.
///
/// # Errors
/// A run is under way here or has retired this server, or the connection is lost.
pub async fn assert_no_run(session: &Session, engine: Engine) -> Result<()> {
    if !state::is_installed(session).await?
        || (engine == Engine::Postgres && state::has_turned_back(session).await?)
    {
        return Ok(());
    }
    Err(Failure::refused("this database is part of a cutover, so no migration runs on it by hand")
        .hint(
            "`cargo xtask cutover start --engine …` migrates the target itself; after `cutover \
             finish` the serving side is free again, and after a rollback plain PostgreSQL takes \
             --engine postgres",
        )
        .into())
}

/// Opens a session for migrations and looks whether the server is what the person says.
///
/// # Errors
/// The server cannot be reached, is of the other engine, or lacks a role.
pub async fn open(endpoint: &Endpoint, choice: &Choice) -> Result<Session> {
    let session = endpoint.connect("migrate").await?;
    assert_fits(&session, choice).await?;
    Ok(session)
}

/// Refuses a server that is not what the person says.
///
/// # Errors
/// It is of the other engine, or lacks a role, or has pgvector where pg_search does not look.
pub async fn assert_fits(session: &Session, choice: &Choice) -> Result<()> {
    assert_engine(session, choice.engine).await?;
    if choice.engine == Engine::Paradedb {
        assert_vector_is_public(session).await?;
    }
    assert_roles(session, choice).await
}

/// pg_search 0.25 asks for the type `public.vector`, whatever the path.
async fn assert_vector_is_public(session: &Session) -> Result<()> {
    let sql = "SELECT FROM pg_extension
               WHERE extname = 'vector' AND extnamespace::regnamespace::text <> 'public'";
    let is_elsewhere = session.query_opt(sql, &[]).await.context("look for pgvector")?.is_some();
    if !is_elsewhere {
        return Ok(());
    }
    let message = "the extension vector is not in the schema public, where pg_search looks for it";
    Err(Failure::refused(message).hint("ALTER EXTENSION vector SET SCHEMA public").into())
}

/// Statements that make the schema where it is missing and point the session at it. Extensions
/// stay where they are, and new ones go to the last schema of the path: a schema of ours that is
/// dropped one day must not take an extension with it.
///
/// # Errors
/// The connection is lost.
pub async fn entering(session: &Session, choice: &Choice) -> Result<String> {
    let row = session
        .query_one(
            "SELECT coalesce(
                 (SELECT nspname::text FROM pg_extension
                  JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'vector'),
                 (SELECT nspname::text FROM pg_namespace WHERE nspname = 'public'))",
            &[],
        )
        .await
        .context("look for the schema of extensions")?;
    let mut path = vec![identifier(&choice.schema)];
    path.extend(row.get::<_, Option<String>>(0).map(|name| identifier(&name)));
    path.dedup();
    let made = session
        .query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&choice.schema])
        .await?
        .is_none();
    let make = match (made, &choice.roles.owner) {
        (false, _) => String::new(),
        (true, None) => format!("CREATE SCHEMA IF NOT EXISTS {};", identifier(&choice.schema)),
        (true, Some(owner)) => format!(
            "CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {};",
            identifier(&choice.schema),
            identifier(owner)
        ),
    };
    let role = |role: &Option<String>| literal(role.as_deref().unwrap_or_default());
    Ok(format!(
        "{make}
         SET search_path = {};
         SET xtask.runtime_role = {};
         SET xtask.search_role = {};
         SET lock_timeout = {};
         SET statement_timeout = {};",
        path.join(", "),
        role(&choice.roles.runtime),
        role(&choice.roles.search),
        LOCK_LIMIT.as_millis(),
        STATEMENT_LIMIT.as_millis(),
    ))
}

/// The statement that gives the session the role in which a file is applied.
pub fn becoming(choice: &Choice, is_of_login: bool) -> String {
    match choice.roles.owner.as_deref().filter(|_| !is_of_login) {
        Some(owner) => format!("SET ROLE {}", identifier(owner)),
        None => "RESET ROLE".into(),
    }
}
