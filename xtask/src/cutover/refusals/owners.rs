//! What a role that is no superuser lacks: rights, the ownership of objects, and what nobody but a
//! superuser can restore.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Refusal, Sides};
use crate::cutover::privileges::{OLDEST_FOR_OWNERS, Privilege};
use crate::pg::endpoint::Session;
use crate::pg::rights::{self, Foreign};

/// The rule that all other checks rest on.
pub const NOT_SUPERUSER: &str = "not-superuser";

/// The refusal for a privilege that is missed; none where the run goes without.
pub fn missed(privilege: &Privilege) -> Option<Refusal> {
    let Privilege { side, role, name, about, fix, .. } = privilege;
    let problem = format!("role {role} lacks `{name}` on the {side}, which {about}");
    privilege.is_missed().then(|| Refusal::new("privilege", problem, fix))
}

/// Before this version nobody but a superuser may subscribe, or make a role that replicates.
pub(super) async fn superuser(side: &str, session: &Session) -> Result<Vec<Refusal>> {
    let major = session.major();
    if session.is_superuser || major >= OLDEST_FOR_OWNERS {
        return Ok(Vec::new());
    }
    let role: String = session.query_one("SELECT current_user::text", &[]).await?.get(0);
    let problem = format!(
        "role {role} is not a superuser on the {side}, as PostgreSQL {major} asks of who subscribes"
    );
    Ok(vec![Refusal::new(NOT_SUPERUSER, problem, "connect as a superuser for the run")])
}

/// What belongs to roles whose rights ours has not: the fence, the publication and the restored
/// schema need the owner's.
pub(super) async fn owners(sides: &Sides<'_>) -> Result<Vec<Refusal>> {
    let mut all = Vec::new();
    for (side, session) in [("source", sides.source), ("target", sides.target)] {
        if !session.is_superuser {
            all.extend(by_statement(side, rights::foreign(session).await?));
        }
    }
    if sides.copies && !sides.target.is_superuser {
        all.extend(strangers(sides).await?);
    }
    Ok(all)
}

/// One refusal for each statement that mends something, however much it mends.
fn by_statement(side: &str, foreign: Vec<Foreign>) -> Vec<Refusal> {
    let mut all: BTreeMap<String, (Foreign, usize)> = BTreeMap::new();
    for one in foreign {
        all.entry(one.grant.clone()).or_insert((one, 0)).1 += 1;
    }
    let refuse = |(statement, (first, count)): (String, (Foreign, usize))| {
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        let Foreign { title, owner, .. } = first;
        let problem = format!(
            "{title}{more} on the {side} belongs to {owner}, whose rights our role has not"
        );
        Refusal::new("not-owner", problem, format!("on the {side}: {statement}"))
    };
    all.into_iter().map(refuse).collect()
}

/// Owners on the source that our role cannot become on the target, where it shall restore what
/// they own.
async fn strangers(sides: &Sides<'_>) -> Result<Vec<Refusal>> {
    let rows = sides.source.query(include_str!("../../pg/sql/needed_roles.sql"), &[]).await?;
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let sql = "SELECT rolname::text, format('GRANT %I TO %I', rolname, current_user)
               FROM pg_roles
               WHERE rolname = ANY ($1) AND NOT rolsuper
                 AND EXISTS (SELECT FROM unnest($2::text[]) AS owner WHERE owner = rolname)
                 AND NOT (pg_has_role(oid, 'USAGE') AND pg_has_role(oid, 'SET'))
               ORDER BY 1";
    let owners = owning(sides.source).await?;
    let rows = sides.target.query(sql, &[&names, &owners]).await?;
    let refuse = |row: &tokio_postgres::Row| {
        let (owner, statement): (String, String) = (row.get(0), row.get(1));
        let problem = format!("our role cannot give {owner} on the target what it owns");
        Refusal::new("not-owner", problem, format!("on the target: {statement}"))
    };
    Ok(rows.iter().map(refuse).collect())
}

/// The roles that own something in this database.
async fn owning(source: &Session) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT r.rolname::text FROM pg_shdepend AS d
               JOIN pg_roles AS r ON r.oid = d.refobjid
               WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
                 AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    Ok(source.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// What only a superuser can restore, where the target's role is none.
pub(super) async fn beyond_owners(sides: &Sides<'_>) -> Result<Vec<Refusal>> {
    if sides.target.is_superuser || !sides.copies {
        return Ok(Vec::new());
    }
    let sql = "SELECT extname::text FROM pg_extension
               UNION SELECT name::text FROM pg_available_extension_versions
               WHERE trusted OR NOT superuser";
    let rows = sides.target.query(sql, &[]).await?;
    let makeable: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let sql = include_str!("../../pg/sql/superuser_objects.sql");
    let rows = sides.source.query(sql, &[&makeable]).await?;
    let refuse = |row: &tokio_postgres::Row| {
        let (title, fix): (String, String) = (row.get(0), row.get(1));
        let problem = format!("{title}: only a superuser can make it on the target");
        Refusal::new("needs-superuser", problem, fix)
    };
    Ok(rows.iter().map(refuse).collect())
}
