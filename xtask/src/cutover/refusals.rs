//! Every reason to say no before anything is touched, each with what mends it.
//!
//! All checks run, and all refusals are shown at once: nobody should mend one to meet the next.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::backup::policy::Objection as BackupObjection;
use crate::cutover::search;
use crate::failure;
use crate::migrate::{Choice, history, place};
use crate::pg::endpoint::{Endpoint, Session, identifier, literal};
use crate::pg::facts;
use crate::pg::replication;
use crate::pg::state;
use crate::route::Objection;

mod owners;
mod roles;
mod rules;
pub mod workloads;

pub use owners::{NOT_SUPERUSER, missed};
pub use rules::{RULES, Rule};

/// The oldest major version that this tool moves: older servers cannot stop a subscription at its
/// first error.
const OLDEST_MAJOR: i32 = 15;
/// Slots, senders and workers that a run needs free on each side: three batches and the way back.
const NEEDED_SLOTS: i64 = 4;

/// One reason to say no, or to take note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable name, for documents and scripts.
    pub name: String,
    /// What is wrong, naming the object.
    pub problem: String,
    /// The command or the change that mends it.
    pub fix: String,
    /// Whether the run may go on all the same.
    pub is_warning: bool,
}

impl Refusal {
    fn new(name: &str, problem: impl Into<String>, fix: impl Into<String>) -> Refusal {
        Refusal { name: name.into(), problem: problem.into(), fix: fix.into(), is_warning: false }
    }

    fn warning(name: &str, problem: impl Into<String>, fix: impl Into<String>) -> Refusal {
        Refusal { is_warning: true, ..Refusal::new(name, problem, fix) }
    }
}

impl From<Objection> for Refusal {
    fn from(objection: Objection) -> Refusal {
        Refusal::new(objection.name, objection.problem, objection.fix)
    }
}

/// What can be said against the policy of the backup.
pub fn of_backup(objections: impl IntoIterator<Item = BackupObjection>) -> Vec<Refusal> {
    let refuse = |one: BackupObjection| Refusal::new("backup", one.problem, one.fix);
    objections.into_iter().map(refuse).collect()
}

/// Both sides, as the checks see them.
pub struct Sides<'a> {
    /// Who serves.
    pub source: &'a Session,
    /// Who shall serve.
    pub target: &'a Session,
    /// What the target's server dials to reach the source.
    pub source_for_target: &'a Endpoint,
    /// What the source's server dials to reach the target.
    pub target_for_source: &'a Endpoint,
    /// The application's own endpoint, where a route names it.
    pub client: Option<&'a Endpoint>,
    /// Whether rows will be copied: then the target must be empty and not older.
    pub copies: bool,
    /// What the target shall have of search.
    pub search: Option<&'a Choice>,
    /// The folder of its migrations.
    pub migrations: &'a Path,
    /// Whether slots may keep WAL without limit.
    pub accepts_unlimited_wal: bool,
    /// Whether the run shall have no way back: then the source's server dials nobody.
    pub without_way_back: bool,
}

/// Runs every check; `may_look` where our roles have the privileges that the last ones need.
///
/// # Errors
/// A side cannot be read. A refusal is no error.
pub async fn find(sides: &Sides<'_>, may_look: bool) -> Result<Vec<Refusal>> {
    let mut all = Vec::new();
    let (source, target) = (sides.source, sides.target);
    if state::identity(source).await? == state::identity(target).await? {
        let problem = "source and target are the same database on the same server";
        all.push(Refusal::new("same-database", problem, "name two different databases"));
        return Ok(all);
    }
    all.extend(versions(source.major(), target.major(), sides.copies));
    all.extend(owners::superuser("source", source).await?);
    all.extend(owners::superuser("target", target).await?);
    if all.iter().any(|refusal| refusal.name == NOT_SUPERUSER) {
        // Without the right to look, the rest could only be guessed.
        return Ok(all);
    }
    all.extend(owners::owners(sides).await?);
    all.extend(owners::beyond_owners(sides).await?);
    for (side, session) in [("source", source), ("target", target)] {
        all.extend(settings(side, session).await?);
        all.extend(prepared_transactions(side, session).await?);
        if !sides.accepts_unlimited_wal {
            all.extend(wal_budget(side, session).await?);
        }
    }
    all.extend(encodings(source, target).await?);
    all.extend(objects(source).await?);
    if sides.copies {
        all.extend(extensions(source, target).await?);
        all.extend(roles::missing(source, target).await?);
        all.extend(roles::rights(source, target).await?);
        all.extend(roles::default_privileges(source, target).await?);
    }
    all.extend(roles::settings(source, target, sides.copies).await?);
    all.extend(database_rights(source, target).await?);
    all.extend(other_replication("source", source).await?);
    all.extend(other_replication("target", target).await?);
    if sides.copies {
        all.extend(target_is_empty(source, target).await?);
    }
    if let Some(choice) = sides.search {
        all.extend(migrations(target, choice, sides.migrations).await?);
    }
    if may_look && all.iter().all(|refusal| refusal.is_warning) {
        all.extend(peers(sides).await);
        all.extend(client_login(sides).await);
    }
    Ok(all)
}

fn versions(source: i32, target: i32, copies: bool) -> Vec<Refusal> {
    let mut all = Vec::new();
    for (side, major) in [("source", source), ("target", target)] {
        if major < OLDEST_MAJOR {
            let problem = format!("the {side} runs PostgreSQL {major}");
            let fix = format!("upgrade it to {OLDEST_MAJOR} or later");
            all.push(Refusal::new("version", problem, fix));
        }
    }
    if copies && target < source {
        let problem =
            format!("the target runs PostgreSQL {target}, older than the source's {source}");
        all.push(Refusal::new(
            "target-older",
            problem,
            "use a target of the same or a later major",
        ));
    }
    all
}

async fn settings(side: &str, session: &Session) -> Result<Vec<Refusal>> {
    let mut all = Vec::new();
    let level: String = session.query_one("SHOW wal_level", &[]).await?.get(0);
    if level != "logical" {
        let problem = format!("wal_level is {level} on the {side}");
        let fix = format!("on the {side}: ALTER SYSTEM SET wal_level = logical; then restart it");
        all.push(Refusal::new("wal-level", problem, fix));
    }
    let rows = session
        .query(
            "SELECT name, setting::bigint - used FROM (
                 SELECT name, setting, CASE name
                     WHEN 'max_replication_slots' THEN (SELECT count(*) FROM pg_replication_slots)
                     WHEN 'max_wal_senders' THEN (SELECT count(*) FROM pg_stat_replication)
                     WHEN 'max_active_replication_origins'
                         THEN (SELECT count(*) FROM pg_replication_origin)
                     ELSE (SELECT count(*) FROM pg_subscription WHERE subenabled) END AS used
                 FROM pg_settings
                 WHERE name IN ('max_replication_slots', 'max_wal_senders',
                                'max_logical_replication_workers',
                                'max_active_replication_origins')) AS limits
             ORDER BY name",
            &[],
        )
        .await?;
    for row in rows {
        let (name, free): (String, i64) = (row.get(0), row.get(1));
        // The launcher takes one of the workers.
        let needed = if name.ends_with("workers") { NEEDED_SLOTS - 1 } else { NEEDED_SLOTS };
        if free < needed {
            let problem = format!("{name} leaves {free} free on the {side}, {needed} are needed");
            let fix = format!("on the {side}: ALTER SYSTEM SET {name} = 20; then restart it");
            all.push(Refusal::new("slots", problem, fix));
        }
    }
    Ok(all)
}

/// The server's own limit is the budget: it holds after the tool has died, and it costs the way
/// back, never the service.
async fn wal_budget(side: &str, session: &Session) -> Result<Vec<Refusal>> {
    let sql = "SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'";
    let megabytes: i64 = session.query_one(sql, &[]).await?.get(0);
    if megabytes >= 0 {
        return Ok(Vec::new());
    }
    let problem = format!("a slot on the {side} may keep WAL until the disk is full");
    let fix = format!(
        "on the {side}: ALTER SYSTEM SET max_slot_wal_keep_size = '…GB' to half its free disk, \
         then SELECT pg_reload_conf(); or accept it with --accept-unlimited-wal"
    );
    Ok(vec![Refusal::new("wal-retention", problem, fix)])
}

async fn prepared_transactions(side: &str, session: &Session) -> Result<Vec<Refusal>> {
    let rows = session
        .query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", &[])
        .await?;
    let refuse = |row: &tokio_postgres::Row| {
        let name: String = row.get(0);
        let fix =
            format!("on the {side}: COMMIT PREPARED {0} or ROLLBACK PREPARED {0}", literal(&name));
        Refusal::new("prepared-transaction", format!("prepared transaction {name} is open"), fix)
    };
    Ok(rows.iter().map(refuse).collect())
}

async fn encodings(source: &Session, target: &Session) -> Result<Vec<Refusal>> {
    let sql = "SELECT pg_encoding_to_char(encoding)::text,
                      lower(replace(datcollate, '-', '')), datcollate::text
               FROM pg_database WHERE datname = current_database()";
    let ours = source.query_one(sql, &[]).await?;
    let theirs = target.query_one(sql, &[]).await?;
    let mut all = Vec::new();
    let (encoding, other): (String, String) = (ours.get(0), theirs.get(0));
    if encoding != other {
        let problem = format!("the source's encoding is {encoding}, the target's {other}");
        let fix = format!("create the target database with ENCODING {}", literal(&encoding));
        all.push(Refusal::new("encoding", problem, fix));
    }
    if ours.get::<_, String>(1) != theirs.get::<_, String>(1) {
        let (ours, theirs): (String, String) = (ours.get(2), theirs.get(2));
        let problem = format!("text sorts by {ours} on the source and by {theirs} on the target");
        let fix = format!(
            "create the target database with LC_COLLATE {} TEMPLATE template0",
            literal(&ours)
        );
        all.push(Refusal::warning("collation", problem, fix));
    }
    Ok(all)
}

/// Objects that logical replication does not carry, or would carry wrongly.
///
/// # Errors
/// The catalog cannot be read.
pub async fn objects(source: &Session) -> Result<Vec<Refusal>> {
    let rows = source.query(include_str!("../pg/sql/refused_objects.sql"), &[]).await?;
    let refuse = |row: &tokio_postgres::Row| {
        let (name, object, fix): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        Refusal::new(&name, object, fix)
    };
    Ok(rows.iter().map(refuse).collect())
}

async fn extensions(source: &Session, target: &Session) -> Result<Vec<Refusal>> {
    let sql = "SELECT extname::text FROM pg_extension ORDER BY 1";
    let available = target.query("SELECT name::text FROM pg_available_extensions", &[]).await?;
    let available: Vec<String> = available.iter().map(|row| row.get(0)).collect();
    let mut all = Vec::new();
    for row in source.query(sql, &[]).await? {
        let name: String = row.get(0);
        if !available.contains(&name) {
            let problem = format!("extension {name} is not available on the target");
            let fix = format!("install {name} on the target's machine, or drop it on the source");
            all.push(Refusal::new("extension", problem, fix));
        }
    }
    Ok(all)
}

/// Owner and grants of the database itself, which no dump of its contents carries.
async fn database_rights(source: &Session, target: &Session) -> Result<Vec<Refusal>> {
    let (ours, theirs) = tokio::try_join!(facts::facts(source), facts::facts(target))?;
    let differences = facts::compare(&ours, &theirs).into_iter().filter(|one| {
        one.object == "database" && one.kind == "owner"
            || one.kind == "grant" && one.object.starts_with("database to ")
    });
    let database: String = target.query_one("SELECT current_database()::text", &[]).await?.get(0);
    let database = identifier(&database);
    let refuse = |one: facts::Difference| {
        let side = |text: Option<String>| text.unwrap_or_else(|| "nothing".into());
        let (ours, theirs) = (side(one.source), side(one.target));
        let problem = format!(
            "{} of the {}: {ours} on the source, {theirs} on the target",
            one.kind, one.object
        );
        let fix = match one.kind.as_str() {
            "owner" => format!("on the target: ALTER DATABASE {database} OWNER TO {ours}"),
            _ => format!("on the target: GRANT or REVOKE … ON DATABASE {database}, to {ours}"),
        };
        Refusal::new("database-rights", problem, fix)
    };
    Ok(differences.map(refuse).collect())
}

async fn other_replication(side: &str, session: &Session) -> Result<Vec<Refusal>> {
    let mut all = Vec::new();
    let subscriptions = session
        .query(
            "SELECT subname::text FROM pg_subscription
             WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND subname NOT LIKE 'xtask\\_%'",
            &[],
        )
        .await?;
    for row in subscriptions {
        let name: String = row.get(0);
        let problem = format!("subscription {name} writes into the {side} behind the fence");
        let fix = format!("on the {side}: DROP SUBSCRIPTION {}", identifier(&name));
        all.push(Refusal::new("foreign-subscription", problem, fix));
    }
    let slots = session
        .query(
            "SELECT slot_name::text FROM pg_replication_slots
             WHERE database = current_database() AND slot_name NOT LIKE 'xtask\\_%'",
            &[],
        )
        .await?;
    for row in slots {
        let name: String = row.get(0);
        let problem =
            format!("slot {name} on the {side} feeds another subscriber, which does not follow");
        let fix = "plan where that subscriber reads from after the switch";
        all.push(Refusal::warning("foreign-slot", problem, fix));
    }
    Ok(all)
}

async fn target_is_empty(source: &Session, target: &Session) -> Result<Vec<Refusal>> {
    // Search may have been brought there before, by `migrate up`; unless the source brings its own.
    let has_own = !search::standing(source).await?.is_empty();
    let rows = target.query(include_str!("../pg/sql/foreign_objects.sql"), &[&has_own]).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // What a run has brought there may serve by now: nobody should be told to drop it.
    if state::is_installed(source).await? {
        let sql = "SELECT id, finished_at IS NOT NULL FROM xtask_cutover.run
                   ORDER BY begun_at DESC LIMIT 1";
        if let Some(row) = source.query_opt(sql, &[]).await? {
            return Ok(vec![present_run(row.get(0), row.get(1))]);
        }
    }
    let names: Vec<String> = rows.iter().take(5).map(|row| row.get(0)).collect();
    let more = if rows.len() > 5 { format!(" and {} more", rows.len() - 5) } else { String::new() };
    let problem = format!("the target is not empty: it has {}{more}", names.join(", "));
    let fix = "drop them, or create an empty database and name that";
    Ok(vec![Refusal::new("target-not-empty", problem, fix)])
}

/// Everything that the step `migrate` would say no to, before anything is touched.
async fn migrations(target: &Session, choice: &Choice, folder: &Path) -> Result<Vec<Refusal>> {
    let files = history::all_files(folder, choice);
    let looked = async {
        place::assert_fits(target, choice).await?;
        place::assert_may_act(target, choice).await?;
        history::assert_agreement(&history::read(target, choice, &files?).await?)
    };
    let Err(error) = looked.await else { return Ok(Vec::new()) };
    let Some(refusal) = failure::find(&error) else { return Err(error) };
    let fix = refusal.hint.clone().unwrap_or_else(|| "see `cargo xtask migrate status`".into());
    Ok(vec![Refusal::new("migrations", refusal.message.clone(), fix)])
}

fn present_run(run: &str, is_finished: bool) -> Refusal {
    if is_finished {
        let problem = format!("run {run} has moved this source for good: the target serves");
        return Refusal::new("run-finished", problem, "name another source, or an empty target");
    }
    let problem = format!("run {run} is under way between these servers");
    let fix = "cargo xtask cutover status says what is next; without its journal, cutover adopt";
    Refusal::new("run-under-way", problem, fix)
}

/// Each server dials the other, in a transaction that is rolled back.
async fn peers(sides: &Sides<'_>) -> Vec<Refusal> {
    let mut all = Vec::new();
    let dials = [
        ("source", sides.source, "--target-for-source", sides.target_for_source),
        ("target", sides.target, "--source-for-target", sides.source_for_target),
    ];
    for (side, session, option, peer) in dials {
        if side == "source" && sides.without_way_back {
            continue;
        }
        if let Err(error) = replication::dial(session, peer).await {
            let problem = format!("the {side}'s server cannot reach {peer}: {error:#}");
            let fix = format!("name an address that it can reach: {option} URL; check pg_hba.conf");
            all.push(Refusal::new("peer", problem, fix));
        }
    }
    all
}

/// The application's role logs in on the target's server, so that the flip meets no surprise.
async fn client_login(sides: &Sides<'_>) -> Vec<Refusal> {
    let Some(client) = sides.client else { return Vec::new() };
    // The maintenance database, because the target itself may be fenced already.
    let there = client.at_server_of(sides.target_for_source).with_database("postgres");
    match there.connect_as_client("xtask plan").await {
        Ok(_) => Vec::new(),
        Err(error) => {
            let problem = format!("the application cannot log in on the target: {error:#}");
            let fix = format!(
                "on the target: ALTER ROLE {} LOGIN PASSWORD '…', the same as on the source",
                identifier(&client.user)
            );
            vec![Refusal::new("client-login", problem, fix)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_cannot_be_moved() {
        let names = |source, target, copies| -> Vec<String> {
            versions(source, target, copies).into_iter().map(|refusal| refusal.problem).collect()
        };
        assert_eq!(names(15, 18, true), Vec::<String>::new());
        assert_eq!(names(14, 18, true), ["the source runs PostgreSQL 14"]);
        assert_eq!(
            names(18, 16, true),
            ["the target runs PostgreSQL 16, older than the source's 18"]
        );
        // The way back goes to the older server, and copies nothing.
        assert_eq!(names(18, 16, false), Vec::<String>::new());
    }
}
