//! The plan of a run: what will be moved, in numbers that a person can approve.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cutover::search;
use crate::migrate::Choice;
use crate::pg::endpoint::Session;
use crate::pg::survey::{self, Generated, Relation, RelationKind};
use crate::pg::{facts, sequences};

/// One table whose rows are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Size of its rows with what is stored out of line, in bytes.
    pub bytes: i64,
    /// Pages of its main fork, for cutting it into chunks.
    pub pages: i64,
    /// Rows as the statistics estimate them.
    pub rows: i64,
    /// The columns that are written; computed ones are left to the target.
    pub columns: Vec<String>,
    /// Whether its values travel in the binary format.
    pub binary: bool,
}

impl PlannedTable {
    /// `schema.name`, for people.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// What a run moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The source's `server_version_num`.
    pub source_version: i32,
    /// The target's `server_version_num`.
    pub target_version: i32,
    /// The tables with rows, largest first.
    pub tables: Vec<PlannedTable>,
    /// What the publications name: ordinary tables, and partitioned tables by their root.
    pub published: Vec<(String, String)>,
    /// How many sequences there are.
    pub sequences: usize,
    /// SHA-256 over the schema's facts when the run was planned.
    pub fingerprint: String,
    /// Client roles that the settings of a fence do not hold; triggers do.
    pub superuser_clients: Vec<String>,
    /// What the target shall have of search; none where nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Choice>,
    /// The objects of search that the target had before: they are not ours to drop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// The objects of search that the serving side has and this run does not move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<String>,
    /// Whether the source never follows: then a switch cannot be turned back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_way_back: bool,
}

impl Plan {
    /// Surveys the serving side.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn survey(source: &Session, target: &Session) -> Result<Plan> {
        let relations = survey::tables(source).await?;
        let mut tables: Vec<PlannedTable> =
            relations.iter().filter(|relation| relation.has_rows()).map(planned).collect();
        tables.sort_by_key(|table| (-table.bytes, table.title()));
        let published = relations
            .iter()
            .filter(|relation| matches!(relation.kind, RelationKind::Table | RelationKind::Root))
            .map(|relation| (relation.schema.clone(), relation.name.clone()))
            .collect();
        Ok(Plan {
            source_version: source.version,
            target_version: target.version,
            tables,
            published,
            sequences: sequences::count(source).await?,
            fingerprint: fingerprint(source).await?,
            superuser_clients: superuser_clients(source).await?,
            search: None,
            kept: search::standing(target).await?,
            left_behind: Vec::new(),
            without_way_back: false,
        })
    }

    /// Keeps to what the run before it moved. What only the serving side has stays behind: of that
    /// the objects of search are named.
    pub fn keep_to(&mut self, moved: &Plan, mut search: Vec<String>) {
        let is_moved = |title: &String| moved.tables.iter().any(|table| table.title() == *title);
        search.retain(|title| !is_moved(title));
        self.left_behind = search;
        self.published.retain(|table| moved.published.contains(table));
        self.tables.retain(|table| is_moved(&table.title()));
    }

    /// Whether search is moved as everything else. Else each side has its own, or none.
    pub fn moves_search(&self) -> bool {
        self.tables.iter().any(|table| search::is_named(&table.name))
    }

    /// Size of all rows, in bytes.
    pub fn bytes(&self) -> i64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }

    /// SHA-256 of the plan, in hex.
    ///
    /// # Errors
    /// The plan cannot be written as JSON.
    pub fn digest(&self) -> Result<String> {
        Ok(hex(&Sha256::digest(serde_json::to_vec(self)?)))
    }
}

/// The fingerprint of a database's schema now.
///
/// # Errors
/// The catalog cannot be read.
pub async fn fingerprint(session: &Session) -> Result<String> {
    Ok(facts::fingerprint(&facts::facts(session).await?))
}

/// A quick signature of a database's catalog: equal only if no schema change was committed between.
/// It means nothing on another server, or after a restart from a dump.
///
/// # Errors
/// The catalog cannot be read.
pub async fn signature(session: &Session) -> Result<String> {
    let sql = include_str!("../pg/sql/catalog_signature.sql");
    Ok(session.query_typed_one(sql, &[]).await?.get(0))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn planned(relation: &Relation) -> PlannedTable {
    let columns = relation.columns.iter().filter(|column| column.generated == Generated::None);
    PlannedTable {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        bytes: relation.bytes,
        pages: relation.pages,
        rows: relation.rows,
        columns: columns.map(|column| column.name.clone()).collect(),
        binary: survey::binary_safe(relation),
    }
}

/// Superusers other than us that have sessions on this database now.
///
/// # Errors
/// The connection is lost.
pub async fn superuser_clients(session: &Session) -> Result<Vec<String>> {
    let rows = session
        .query(
            "SELECT DISTINCT usename::text FROM pg_stat_activity AS activity
             JOIN pg_roles ON rolname = usename
             WHERE datname = current_database() AND rolsuper
               AND backend_type = 'client backend' AND application_name NOT LIKE $1 || ' %'
             ORDER BY 1",
            &[&crate::pg::endpoint::APPLICATION_NAME],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// An estimate, in milliseconds: what the pause takes anyway, and its round trips at their present
/// speed. Rehearse on the same machines for a figure to rely on.
///
/// # Errors
/// A connection is lost.
pub async fn expected_pause(source: &Session, target: &Session) -> Result<f64> {
    /// The clients' sessions that end, and a subscription's worker that leaves.
    const ANYWAY_MS: f64 = 20.0;
    /// Statements that wait for their answer between fence and release, on each side.
    const ROUND_TRIPS: f64 = 20.0;
    let both = source.round_trip().await? + target.round_trip().await?;
    Ok(ANYWAY_MS + ROUND_TRIPS * both.as_secs_f64() * 1000.0)
}
