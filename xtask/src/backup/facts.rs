//! What a backup must know of a database beyond its rows: who it is, and what a copy of it needs.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cutover::header::Identity;
use crate::pg::endpoint::{Endpoint, Session, identifier, literal};
use crate::pg::state;

/// A database as it was dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Who it is.
    pub identity: Identity,
    /// Where it was, without password.
    pub endpoint: String,
    /// `server_version_num`, such as `160014`.
    pub server_version: i32,
    /// Size of the database on its server's disk, in bytes, indexes included.
    pub database_bytes: u64,
    /// Its encoding, such as `UTF8`.
    pub encoding: String,
    /// Who orders its texts: `c` for the C library, `i` for ICU, `b` for PostgreSQL itself.
    pub locale_provider: String,
    /// Its `LC_COLLATE`.
    pub collate: String,
    /// Its `LC_CTYPE`.
    pub ctype: String,
    /// Its locale where ICU or PostgreSQL itself orders texts.
    pub locale: Option<String>,
    /// The extensions that it uses, but for PL/pgSQL.
    pub extensions: Vec<String>,
    /// The roles that own something in it, or were granted something.
    pub roles: Vec<String>,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// The role may not look, or the connection is lost.
    pub async fn read(endpoint: &Endpoint, session: &Session) -> Result<Facts> {
        // The column of the locale was renamed between versions, so it is asked for by name.
        let row = session
            .query_one(
                "SELECT pg_encoding_to_char(encoding)::text, datlocprovider::text,
                        datcollate::text, datctype::text,
                        coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
                        pg_database_size(oid)
                 FROM pg_database AS d WHERE datname = current_database()",
                &[],
            )
            .await
            .context("read what the database is")?;
        let extensions = session
            .query(
                "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
                &[],
            )
            .await
            .context("list the extensions")?;
        let roles = session
            .query(include_str!("../pg/sql/needed_roles.sql"), &[])
            .await
            .context("list the roles")?;
        Ok(Facts {
            identity: state::identity(session).await?,
            endpoint: endpoint.to_string(),
            server_version: session.version,
            database_bytes: u64::try_from(row.get::<_, i64>(5))?,
            encoding: row.get(0),
            locale_provider: row.get(1),
            collate: row.get(2),
            ctype: row.get(3),
            locale: row.get(4),
            extensions: extensions.iter().map(|row| row.get(0)).collect(),
            roles: roles.iter().map(|row| row.get(0)).collect(),
        })
    }

    /// The server's major version.
    pub fn major(&self) -> i32 {
        self.server_version / 10_000
    }

    /// How a database is made that orders texts as this one: exactly so, then as near as any
    /// server can, the last for encodings that only the locale C takes.
    pub fn creations(&self, name: &str) -> [String; 3] {
        let (collate, ctype) = (literal(&self.collate), literal(&self.ctype));
        let locale = literal(self.locale.as_deref().unwrap_or_default());
        let exact = match self.locale_provider.as_str() {
            "i" => format!("LOCALE_PROVIDER icu ICU_LOCALE {locale}"),
            "b" => format!("LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale}"),
            _ => "LOCALE_PROVIDER libc".to_string(),
        };
        let begin = format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING {}",
            identifier(name),
            literal(&self.encoding)
        );
        [
            format!("{begin} {exact} LC_COLLATE {collate} LC_CTYPE {ctype}"),
            format!("{begin} LOCALE_PROVIDER libc LOCALE 'C.UTF-8'"),
            format!("{begin} LOCALE_PROVIDER libc LOCALE 'C'"),
        ]
    }
}

/// The extensions of a list that a server cannot make.
///
/// # Errors
/// The connection is lost.
pub async fn missing_extensions(session: &Session, wanted: &[String]) -> Result<Vec<String>> {
    let sql = "SELECT wanted.name FROM unnest($1::text[]) AS wanted (name)
               WHERE wanted.name NOT IN (SELECT name::text FROM pg_available_extensions)
               ORDER BY 1";
    let rows = session.query(sql, &[&wanted]).await.context("look for the extensions")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The roles of a list that a server lacks.
///
/// # Errors
/// The connection is lost.
pub async fn missing_roles(session: &Session, wanted: &[String]) -> Result<Vec<String>> {
    let sql = "SELECT wanted.name FROM unnest($1::text[]) AS wanted (name)
               WHERE wanted.name NOT IN (SELECT rolname::text FROM pg_roles) ORDER BY 1";
    let rows = session.query(sql, &[&wanted]).await.context("look for the roles")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
