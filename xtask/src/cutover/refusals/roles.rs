//! Roles: whoever works with the service must find the same on the target. No dump of a database
//! carries roles, what they may do, or what is set for them.

use anyhow::Result;

use super::Refusal;
use crate::pg::endpoint::{Session, identifier, literal};
use crate::pg::facts;

/// Settings whose value is a list of names (`GUC_LIST_QUOTE` in PostgreSQL's source).
const LIST_SETTINGS: [&str; 4] =
    ["search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"];

/// Roles that own or are granted something on the source, and that the target lacks.
pub(super) async fn missing(source: &Session, target: &Session) -> Result<Vec<Refusal>> {
    let needed = source.query(include_str!("../../pg/sql/needed_roles.sql"), &[]).await?;
    let present = target.query("SELECT rolname::text FROM pg_roles", &[]).await?;
    let present: Vec<String> = present.iter().map(|row| row.get(0)).collect();
    let mut all = Vec::new();
    for row in needed {
        let (name, can_login): (String, bool) = (row.get(0), row.get(1));
        if !present.contains(&name) {
            let login = if can_login { "LOGIN PASSWORD '…'" } else { "NOLOGIN" };
            let fix = format!("on the target: CREATE ROLE {} {login}", identifier(&name));
            all.push(Refusal::new("role", format!("role {name} is missing on the target"), fix));
        }
    }
    Ok(all)
}

/// The roles that matter on the source, as SQL quotes them, and as they are called.
async fn names(source: &Session) -> Result<Vec<(String, String)>> {
    let all = facts::facts(source).await?.into_iter().filter(|fact| fact.kind == "role");
    let name = |root: &str| root.strip_prefix("role ").unwrap_or(root).to_string();
    Ok(all.map(|fact| (fact.object.clone(), name(&fact.root))).collect())
}

/// Attributes and memberships that differ: a runtime role would not do the same on both sides.
pub(super) async fn rights(source: &Session, target: &Session) -> Result<Vec<Refusal>> {
    let names: Vec<String> = names(source).await?.into_iter().map(|(_, name)| name).collect();
    let sql = include_str!("../../pg/sql/role_rights.sql");
    let read = |rows: Vec<tokio_postgres::Row>| -> Vec<[String; 4]> {
        rows.iter().map(|row| [0, 1, 2, 3].map(|column| row.get(column))).collect()
    };
    let ours = read(source.query(sql, &[&names]).await?);
    let theirs = read(target.query(sql, &[&names]).await?);
    let present = target.query("SELECT rolname::text FROM pg_roles", &[]).await?;
    let is_there = |role: &String| present.iter().any(|row| row.get::<_, String>(0) == *role);
    let lacks = |all: &[[String; 4]], one: &[String; 4]| {
        !all.iter().any(|other| other[0] == one[0] && other[1] == one[1])
    };
    let mut all = Vec::new();
    for one in ours.iter().filter(|one| lacks(&theirs, one) && is_there(&one[0])) {
        let problem = format!("role {} is `{}` on the source, not on the target", one[0], one[1]);
        all.push(Refusal::new("role-rights", problem, format!("on the target: {}", one[2])));
    }
    for one in theirs.iter().filter(|one| lacks(&ours, one)) {
        let problem = format!("role {} is `{}` on the target, not on the source", one[0], one[1]);
        all.push(Refusal::new("role-rights", problem, format!("on the target: {}", one[3])));
    }
    Ok(all)
}

/// What only the target gives to every new object by itself: restored objects would get it too.
pub(super) async fn default_privileges(source: &Session, target: &Session) -> Result<Vec<Refusal>> {
    let sql = "SELECT DISTINCT format('%I%s', r.rolname,
                          CASE WHEN d.defaclnamespace = 0 THEN ''
                               ELSE format(' IN SCHEMA %I', n.nspname) END),
                      CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
                           WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END,
                      CASE WHEN a.grantee = 0 THEN 'PUBLIC'
                           ELSE quote_ident(pg_get_userbyid(a.grantee)) END
               FROM pg_default_acl AS d
               JOIN pg_roles AS r ON r.oid = d.defaclrole
               LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
               CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
               WHERE a.grantee <> d.defaclrole
               ORDER BY 1, 2, 3";
    let read = |rows: Vec<tokio_postgres::Row>| -> Vec<[String; 3]> {
        rows.iter().map(|row| [0, 1, 2].map(|column| row.get(column))).collect()
    };
    let ours = read(source.query(sql, &[]).await?);
    let theirs = read(target.query(sql, &[]).await?);
    let refuse = |[place, kind, grantee]: &[String; 3]| {
        let problem = format!("new {kind} of {place} on the target would be granted to {grantee}");
        let whose = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {place}");
        let statement = format!("{whose} REVOKE ALL ON {kind} FROM {grantee}");
        Refusal::new("default-privileges", problem, format!("on the target: {statement}"))
    };
    Ok(theirs.iter().filter(|one| !ours.contains(one)).map(refuse).collect())
}

/// `ALTER ROLE … SET` and `ALTER DATABASE … SET`, which no schema dump carries; with `both` also
/// what only the target has, as the search path that an image sets.
pub(super) async fn settings(
    source: &Session,
    target: &Session,
    both: bool,
) -> Result<Vec<Refusal>> {
    let sql = include_str!("../../pg/sql/role_settings.sql");
    let read = |rows: Vec<tokio_postgres::Row>| -> Vec<(String, String)> {
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    // The database may have another name there, and it is there that the setting is missing.
    let database: String = target.query_one("SELECT current_database()::text", &[]).await?.get(0);
    let ours = read(source.query(sql, &[&true, &database]).await?);
    let theirs = read(target.query(sql, &[&false, &database]).await?);
    let missing = ours.iter().filter(|setting| !theirs.contains(setting));
    let refuse = |(owner, setting): &(String, String)| {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let problem = format!("{owner} has {setting} on the source and not on the target");
        // A list is stored with its elements quoted; as one literal it would be one element.
        let value = if LIST_SETTINGS.contains(&name) { value.into() } else { literal(value) };
        let fix = format!("on the target: ALTER {owner} SET {name} = {value}");
        Refusal::new("role-setting", problem, fix)
    };
    let mut all: Vec<Refusal> = missing.map(refuse).collect();
    if both {
        let names = names(source).await?;
        let extra = theirs.iter().filter(|one| !is_set(&ours, one) && concerns(one, &names));
        all.extend(extra.map(|(owner, setting)| {
            let name = setting.split('=').next().unwrap_or(setting);
            let problem = format!("{owner} has {setting} on the target and not on the source");
            Refusal::new(
                "role-setting",
                problem,
                format!("on the target: ALTER {owner} RESET {name}"),
            )
        }));
    }
    Ok(all)
}

/// Whether the same setting is set for the same owner, to whatever value.
fn is_set(all: &[(String, String)], (owner, setting): &(String, String)) -> bool {
    let name = setting.split('=').next();
    all.iter().any(|(other, one)| other == owner && one.split('=').next() == name)
}

/// Whether a setting is the database's or that of a role that matters.
fn concerns((owner, _): &(String, String), names: &[(String, String)]) -> bool {
    let role = owner.strip_prefix("ROLE ").map(|rest| {
        names.iter().any(|(quoted, _)| {
            rest == quoted || rest.strip_prefix(quoted.as_str()).is_some_and(in_database)
        })
    });
    role.unwrap_or(true)
}

fn in_database(rest: &str) -> bool {
    rest.starts_with(" IN DATABASE ")
}
