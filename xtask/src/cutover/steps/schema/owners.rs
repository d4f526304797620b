//! The schema restored by who is no superuser. To give an object to its owner one must be able to
//! become that role, and it must have the right to create in the object's schema. A dump grants
//! that right after the objects only, so it is granted before, and what was too much is taken back.

use anyhow::{Context, Result};

use crate::cutover::engine::Engine;
use crate::cutover::steps::index::write_list;
use crate::cutover::steps::schema::{SCHEMA_LIMIT, restore};
use crate::pg::endpoint::{Session, identifier};

/// A schema, a role that owns something in it, and whether it may create there on the source.
type Place = (String, String, bool);

/// Restores what comes before the rows: schemas first, then the rest.
///
/// # Errors
/// The programs fail, or a server refuses.
pub async fn restore_before_rows(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    if missing_schemas(&source, &target).await? {
        let list = write_list(engine, "pre-data", |kind| kind == "SCHEMA").await?;
        let list = format!("--use-list={}", list.display());
        let arguments = ["--single-transaction", list.as_str()];
        restore(engine, &arguments, SCHEMA_LIMIT).await?;
    }
    for (schema, owner, _) in places(&source).await? {
        let (schema, owner) = (identifier(&schema), identifier(&owner));
        target
            .batch_execute(&format!("GRANT CREATE ON SCHEMA {schema} TO {owner}"))
            .await
            .with_context(|| format!("let {owner} have its objects in schema {schema}"))?;
    }
    // The list has the one section only. Where the section is named as well, `pg_restore` leaves
    // the grants out that the list begins with. The comment of an extension is its owner's to make.
    let is_wanted = |kind: &str| !["SCHEMA", "COMMENT - EXTENSION"].contains(&kind);
    let list = write_list(engine, "pre-data", is_wanted).await?;
    let list = format!("--use-list={}", list.display());
    let arguments = ["--single-transaction", list.as_str()];
    restore(engine, &arguments, SCHEMA_LIMIT).await
}

/// Takes back the rights to create that owners do not have on the source. Safe to run twice.
///
/// # Errors
/// A server refuses.
pub async fn settle(engine: &mut Engine) -> Result<()> {
    let (source, target) = engine.sessions().await?;
    for (schema, owner, _) in places(&source).await?.into_iter().filter(|place| !place.2) {
        let (schema, owner) = (identifier(&schema), identifier(&owner));
        target
            .batch_execute(&format!("REVOKE CREATE ON SCHEMA {schema} FROM {owner}"))
            .await
            .with_context(|| format!("take the right to create in {schema} back from {owner}"))?;
    }
    Ok(())
}

/// Whether the target lacks a schema of the source.
async fn missing_schemas(source: &Session, target: &Session) -> Result<bool> {
    let sql = "SELECT nspname::text FROM pg_namespace AS n
               WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'xtask_cutover')
                 AND NOT EXISTS (SELECT FROM pg_depend AS d
                                 WHERE d.classid = 'pg_namespace'::regclass
                                   AND d.objid = n.oid AND d.deptype = 'e')";
    let names = |rows: Vec<tokio_postgres::Row>| -> Vec<String> {
        rows.iter().map(|row| row.get(0)).collect()
    };
    let wanted = names(source.query(sql, &[]).await?);
    let present = names(target.query(sql, &[]).await?);
    Ok(wanted.iter().any(|name| !present.contains(name)))
}

/// Every schema with every role that owns something in it and not the schema.
async fn places(source: &Session) -> Result<Vec<Place>> {
    let sql = "WITH owned (space, owner) AS (
                   SELECT relnamespace, relowner FROM pg_class
                   UNION SELECT pronamespace, proowner FROM pg_proc
                   UNION SELECT typnamespace, typowner FROM pg_type
                   UNION SELECT collnamespace, collowner FROM pg_collation
                   UNION SELECT oprnamespace, oprowner FROM pg_operator
                   UNION SELECT cfgnamespace, cfgowner FROM pg_ts_config
                   UNION SELECT dictnamespace, dictowner FROM pg_ts_dict)
               SELECT n.nspname::text, r.rolname::text,
                      EXISTS (SELECT FROM aclexplode(n.nspacl) AS a
                              WHERE a.grantee = r.oid AND a.privilege_type = 'CREATE')
               FROM owned
               JOIN pg_namespace AS n ON n.oid = space
               JOIN pg_roles AS r ON r.oid = owner
               WHERE n.nspname !~ '^pg_' AND n.nspowner <> owner AND NOT r.rolsuper
                 AND n.nspname NOT IN ('information_schema', 'xtask_cutover')
               ORDER BY 1, 2";
    let rows = source.query(sql, &[]).await.context("read who owns what in which schema")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}
