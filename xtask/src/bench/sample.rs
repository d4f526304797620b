//! Rows to measure with, made by the server itself: one table holds 80 of 100 rows, one has wide
//! rows, the others have narrow ones.

use anyhow::{Context, Result};

use crate::pg::endpoint::{Endpoint, identifier};

/// The tables, the largest first.
pub const TABLES: [&str; 3] = ["posting", "visit", "document"];

/// How many rows each table gets of so many: 80, 15 and 5 of 100.
fn shares(rows: i64) -> [i64; 3] {
    let (visits, documents) = (rows * 15 / 100, rows * 5 / 100);
    [rows - visits - documents, visits, documents]
}

/// What makes the rows of each table; the only parameter is how many.
const FILL: [&str; 3] = [
    "INSERT INTO public.posting
     SELECT g, hashint8(g) & 65535, (g % 1000000) / 100.0, timestamptz 'epoch' + g * interval '7 s'
     FROM generate_series(1, $1::bigint) AS g",
    "INSERT INTO public.visit SELECT g, hashint8(g) & 1048575, 'mark ' || g % 1000
     FROM generate_series(1, $1::bigint) AS g",
    "INSERT INTO public.document SELECT g, 'title ' || md5(g::text), repeat(md5(g::text), 32)
     FROM generate_series(1, $1::bigint) AS g",
];

/// Makes a database with so many rows, vacuumed and on disk.
///
/// # Errors
/// The server refuses; the database exists.
pub async fn fill(endpoint: &Endpoint, rows: u32) -> Result<()> {
    create(endpoint).await?;
    let session = endpoint.connect("bench").await?;
    session.batch_execute("SET synchronous_commit = off").await?;
    session.batch_execute(include_str!("sample.sql")).await.context("make the tables")?;
    for (sql, count) in FILL.into_iter().zip(shares(rows.into())) {
        session.execute(sql, &[&count]).await.context("make the rows")?;
    }
    // One statement at a time: VACUUM runs in no transaction.
    for statement in include_str!("sample_indexes.sql").split_inclusive(";\n") {
        session.batch_execute(statement).await.with_context(|| statement.to_string())?;
    }
    Ok(())
}

/// Makes an empty database.
///
/// # Errors
/// The server refuses; the database exists.
pub async fn create(endpoint: &Endpoint) -> Result<()> {
    let maintenance = endpoint.with_database("postgres").connect("bench").await?;
    let name = identifier(&endpoint.database);
    let sql = format!("CREATE DATABASE {name} TEMPLATE template0");
    maintenance.batch_execute(&sql).await.with_context(|| format!("create {endpoint}"))
}

/// Removes a database.
///
/// # Errors
/// The server refuses, as where a subscription is left in it.
pub async fn remove(endpoint: &Endpoint) -> Result<()> {
    let maintenance = endpoint.with_database("postgres").connect("bench").await?;
    let sql = format!("DROP DATABASE {} WITH (FORCE)", identifier(&endpoint.database));
    maintenance.batch_execute(&sql).await.with_context(|| format!("remove {endpoint}"))
}

/// What a database holds: rows of all tables, and indexes. Two of them that are equal hold the same
/// amount; it is no proof of more.
///
/// # Errors
/// A table is missing.
pub async fn contents(endpoint: &Endpoint) -> Result<(i64, i64)> {
    let session = endpoint.connect("bench").await?;
    let sql = "SELECT (SELECT count(*) FROM public.posting) + (SELECT count(*) FROM public.visit)
                          + (SELECT count(*) FROM public.document),
                      (SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
                       WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid)";
    let row = session.query_one(sql, &[]).await.with_context(|| format!("count in {endpoint}"))?;
    Ok((row.get(0), row.get(1)))
}

/// How large the rows are, in bytes, without indexes.
///
/// # Errors
/// A table is missing.
pub async fn bytes(endpoint: &Endpoint) -> Result<u64> {
    let session = endpoint.connect("bench").await?;
    let sql = "SELECT sum(pg_table_size(to_regclass('public.' || name)))::bigint
               FROM unnest($1::text[]) AS name";
    let row = session.query_one(sql, &[&TABLES.as_slice()]).await.context("measure the tables")?;
    Ok(u64::try_from(row.get::<_, i64>(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_has_four_fifths() {
        assert_eq!(shares(1000), [800, 150, 50]);
        assert_eq!(shares(7).iter().sum::<i64>(), 7);
    }
}
