//! One server reads what another printed, and prints it in its own words.
//!
//! Versions differ in how they print a query (16 stopped naming the table before every column of a
//! single-table view), so equal views look different. Nothing is guessed here: the newer server
//! parses the older one's text and prints it again, in a transaction that is rolled back.

use std::collections::HashMap;

use anyhow::{Context, Result};

use crate::failure::tolerate;
use crate::pg::endpoint::Session;
use crate::pg::facts::Fact;

/// Prints a routine that is known by the name its fact has.
const ROUTINE: &str = "SELECT pg_get_functiondef(p.oid)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.oid >= 16384 AND p.prokind <> 'a' AND format('%I.%I(%s)', n.nspname, p.proname,
          pg_get_function_identity_arguments(p.oid)) = $1::text";

/// Puts the newer server's words into those of the older one's facts that differ only in wording.
pub(super) async fn reread(
    newer: &Session,
    older: &mut [Fact],
    newer_facts: &[Fact],
) -> Result<()> {
    let printed: HashMap<(&str, &str), &str> = newer_facts
        .iter()
        .filter(|fact| is_query(fact))
        .map(|fact| ((fact.kind.as_str(), fact.object.as_str()), fact.definition.as_str()))
        .collect();
    for fact in older.iter_mut().filter(|fact| is_query(fact)) {
        let name = (fact.kind.as_str(), fact.object.as_str());
        let differs = printed.get(&name).is_some_and(|text| *text != fact.definition);
        if differs && let Some(text) = in_words_of(newer, fact).await? {
            fact.definition = text;
        }
    }
    Ok(())
}

fn is_query(fact: &Fact) -> bool {
    fact.kind == "view" || (fact.kind == "routine" && fact.definition.contains("BEGIN ATOMIC"))
}

/// The definition as this server prints it; none where it cannot read it, which is a difference.
async fn in_words_of(session: &Session, fact: &Fact) -> Result<Option<String>> {
    session.batch_execute("BEGIN").await.context("read a definition again")?;
    let text = printed_again(session, fact).await;
    session.batch_execute("ROLLBACK").await.context("read a definition again")?;
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.as_db_error().is_some() => {
            tolerate(Err::<(), _>(error), "a text that the server refuses stays a difference");
            Ok(None)
        }
        Err(error) => Err(error).context("read a definition again"),
    }
}

async fn printed_again(session: &Session, fact: &Fact) -> Result<String, tokio_postgres::Error> {
    let row = if fact.kind == "view" {
        let query = fact.definition.trim_end().trim_end_matches(';');
        session.batch_execute(&format!("CREATE TEMPORARY VIEW reading AS {query}")).await?;
        session.query_one("SELECT pg_get_viewdef('pg_temp.reading'::regclass)", &[]).await?
    } else {
        session.batch_execute(&fact.definition).await?;
        session.query_one(ROUTINE, &[&fact.object]).await?
    };
    row.try_get(0)
}
