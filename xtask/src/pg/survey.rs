//! What is in a database: the tables whose rows are moved and proved.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use crate::pg::endpoint::{Session, qualified};

/// Object ids below this one belong to PostgreSQL itself and are the same on every server.
const FIRST_USER_OID: u32 = 16_384;

/// What kind of table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// An ordinary table, possibly with old-style children.
    Table,
    /// The top of a partitioned table; it has no rows of its own.
    Root,
    /// A partition that is itself partitioned; it has no rows of its own.
    Branch,
    /// A partition with rows.
    Leaf,
}

/// Whether and how a column is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generated {
    /// An ordinary column.
    None,
    /// Computed when the row is written.
    Stored,
    /// Computed when the row is read.
    Virtual,
}

/// How changed rows are named in the replication stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaIdentity {
    /// The primary key, where there is one.
    Default,
    /// The whole row.
    Full,
    /// A unique index that was chosen.
    Index,
    /// Not at all: updates and deletes cannot be replicated.
    Nothing,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as SQL, with its modifier, such as `numeric(10,2)`.
    pub type_name: String,
    /// The id of its type on the surveyed server.
    pub type_oid: u32,
    /// Whether its values may travel in the binary format of COPY between two servers.
    pub binary_safe: bool,
    /// Whether it is computed.
    pub generated: Generated,
    /// Whether it is an identity column.
    pub identity: bool,
    /// Whether it refuses NULL.
    pub not_null: bool,
    /// Its collation, quoted, where its type has one.
    pub collation: Option<String>,
}

/// A table, a partition or a partitioned table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// What kind of table it is.
    pub kind: RelationKind,
    /// Its id on the surveyed server.
    pub oid: u32,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// The columns of the primary key, or else of the replica identity index.
    pub key: Option<Vec<String>>,
    /// How changed rows are named in the replication stream.
    pub replica_identity: ReplicaIdentity,
    /// Size of its rows, with what is stored out of line, without indexes.
    pub bytes: i64,
    /// Pages of its main fork now.
    pub pages: i64,
    /// Rows as the statistics estimate them; 0 where nothing is known.
    pub rows: i64,
    /// The file that holds its rows now; it changes when the table is rewritten or truncated.
    pub file: u32,
    /// Schema and name of the table directly above it.
    pub parent: Option<(String, String)>,
    /// Schema and name of the top of its partitioned table, where it is not the top itself.
    pub root: Option<(String, String)>,
    /// Whether old-style children inherit from it.
    pub has_children: bool,
    /// Whether it survives a crash; an unlogged table is not replicated.
    pub is_logged: bool,
    /// Whether row-level security is on.
    pub row_security: bool,
}

impl Relation {
    /// `"schema"."name"`, quoted for SQL.
    pub fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// `schema.name`, for people.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether it holds rows of its own.
    pub fn has_rows(&self) -> bool {
        matches!(self.kind, RelationKind::Table | RelationKind::Leaf)
    }

    /// The columns that are written and not computed, in their order.
    pub fn written_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.generated == Generated::None)
    }

    /// The columns of the key with their types; empty where the table has no key.
    pub fn key_columns(&self) -> Vec<&Column> {
        let names = self.key.as_deref().unwrap_or_default();
        let find = |name: &String| self.columns.iter().find(|column| column.name == *name);
        names.iter().filter_map(find).collect()
    }
}

/// Every table of the service, in order of name: what has rows to move, and the partitioned tables
/// above. Objects of extensions, of PostgreSQL and of this tool are left out.
///
/// # Errors
/// The catalog cannot be read.
pub async fn tables(session: &Session) -> Result<Vec<Relation>> {
    let rows =
        session.query(include_str!("sql/relations.sql"), &[]).await.context("list the tables")?;
    let types = types(session).await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get("oid")).collect();
    let mut columns: HashMap<u32, Vec<Column>> = HashMap::new();
    for row in session
        .query(include_str!("sql/columns.sql"), &[&oids])
        .await
        .context("list the columns")?
    {
        columns.entry(row.get("relation")).or_default().push(column(&row, &types));
    }
    let relation = |row: &Row| {
        let columns = columns.remove(&row.get("oid")).unwrap_or_default();
        relation(row, columns)
    };
    Ok(rows.iter().map(relation).collect())
}

/// The file of every table with rows, by `schema.name`. It changes when a table is rewritten or
/// truncated; one cheap query, fit for the pause.
///
/// # Errors
/// The catalog cannot be read.
pub async fn files(session: &Session) -> Result<BTreeMap<String, u32>> {
    let rows = session.query_typed(include_str!("sql/files.sql"), &[]).await;
    let rows = rows.context("list the tables' files")?;
    Ok(rows.iter().map(|row| (row.get("title"), row.get("file"))).collect())
}

/// How a database orders texts. Two databases that say the same here put keys in the same order.
///
/// # Errors
/// The catalog cannot be read.
pub async fn text_order(session: &Session) -> Result<String> {
    let row = session.query_one(include_str!("sql/text_order.sql"), &[]).await;
    Ok(row.context("read how texts are ordered")?.get(0))
}

/// Whether COPY may use the binary format for a table between two servers. It is faster, but some
/// types write object ids into it, which mean something else on the other server.
pub fn binary_safe(relation: &Relation) -> bool {
    relation.written_columns().all(|column| column.binary_safe)
}

fn relation(row: &Row, columns: Vec<Column>) -> Relation {
    let kind: String = row.get("kind");
    let kind = match (kind.as_str(), row.get("is_partition")) {
        ("p", false) => RelationKind::Root,
        ("p", true) => RelationKind::Branch,
        (_, true) => RelationKind::Leaf,
        (_, false) => RelationKind::Table,
    };
    let replica_identity = match row.get::<_, String>("replica_identity").as_str() {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    let pair = |schema: &str, name: &str| {
        row.get::<_, Option<String>>(schema).zip(row.get::<_, Option<String>>(name))
    };
    Relation {
        schema: row.get("schema"),
        name: row.get("name"),
        kind,
        oid: row.get("oid"),
        columns,
        key: row.get("key"),
        replica_identity,
        bytes: row.get("bytes"),
        pages: row.get("pages"),
        rows: row.get("rows"),
        file: row.get("file"),
        parent: pair("parent_schema", "parent_name"),
        root: pair("root_schema", "root_name"),
        has_children: row.get("has_children"),
        is_logged: row.get::<_, String>("persistence") == "p",
        row_security: row.get("row_security"),
    }
}

fn column(row: &Row, types: &HashMap<u32, Type>) -> Column {
    let generated = match row.get::<_, String>("generated").as_str() {
        "s" => Generated::Stored,
        "v" => Generated::Virtual,
        _ => Generated::None,
    };
    let type_oid = row.get("type_oid");
    Column {
        name: row.get("name"),
        type_name: row.get("type_name"),
        type_oid,
        binary_safe: travels_in_binary(type_oid, types),
        generated,
        identity: !row.get::<_, String>("identity").is_empty(),
        not_null: row.get("not_null"),
        collation: row.get("collation"),
    }
}

/// What the catalog says about a type.
#[derive(Debug, Clone)]
struct Type {
    name: String,
    kind: TypeKind,
    extension: Option<String>,
    /// Whether it has functions for the binary format at all.
    travels: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TypeKind {
    Scalar,
    Array(u32),
    Domain(u32),
    Enum,
    Range(u32),
    Other,
}

async fn types(session: &Session) -> Result<HashMap<u32, Type>> {
    let rows = session.query(include_str!("sql/types.sql"), &[]).await.context("list the types")?;
    let read = |row: &Row| {
        let element: u32 = row.get("element");
        let kind = match row.get::<_, String>("kind").as_str() {
            "b" if element != 0 => TypeKind::Array(element),
            "b" => TypeKind::Scalar,
            "d" => TypeKind::Domain(row.get("base")),
            "e" => TypeKind::Enum,
            "r" | "m" => TypeKind::Range(row.get("subtype")),
            _ => TypeKind::Other,
        };
        let of_type = Type {
            name: row.get("name"),
            kind,
            extension: row.get("extension"),
            travels: row.get("travels"),
        };
        (row.get("oid"), of_type)
    };
    Ok(rows.iter().map(read).collect())
}

/// A built-in type that holds object ids, or whose binary form depends on the server.
fn is_bound_to_its_server(name: &str) -> bool {
    name.starts_with("reg") || name.starts_with("pg_") || matches!(name, "xml" | "aclitem")
}

/// Whether a type's binary form means the same on every server. An array writes the object id of
/// its element type, so it does only where that type is PostgreSQL's own; an enum writes its label.
fn travels_in_binary(oid: u32, types: &HashMap<u32, Type>) -> bool {
    let Some(of_type) = types.get(&oid) else { return false };
    if !of_type.travels {
        return false;
    }
    let built_in = oid < FIRST_USER_OID;
    match of_type.kind {
        TypeKind::Scalar if built_in => !is_bound_to_its_server(&of_type.name),
        TypeKind::Scalar => {
            of_type.extension.as_deref() == Some("vector")
                && matches!(of_type.name.as_str(), "vector" | "halfvec")
        }
        TypeKind::Array(inner) | TypeKind::Range(inner) => {
            built_in && inner < FIRST_USER_OID && travels_in_binary(inner, types)
        }
        TypeKind::Domain(base) => travels_in_binary(base, types),
        TypeKind::Enum => true,
        TypeKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> HashMap<u32, Type> {
        let one = |oid, name: &str, kind, extension: Option<&str>, travels| {
            let extension = extension.map(str::to_string);
            (oid, Type { name: name.into(), kind, extension, travels })
        };
        HashMap::from([
            one(25, "text", TypeKind::Scalar, None, true),
            one(1009, "_text", TypeKind::Array(25), None, true),
            one(2205, "regclass", TypeKind::Scalar, None, true),
            one(2210, "_regclass", TypeKind::Array(2205), None, true),
            one(3904, "int4range", TypeKind::Range(23), None, true),
            one(23, "int4", TypeKind::Scalar, None, true),
            one(1033, "aclitem", TypeKind::Scalar, None, false),
            one(20_000, "mood", TypeKind::Enum, None, true),
            one(20_001, "_mood", TypeKind::Array(20_000), None, true),
            one(20_002, "email", TypeKind::Domain(25), None, true),
            one(20_003, "moods", TypeKind::Domain(20_001), None, true),
            one(20_004, "address", TypeKind::Other, None, true),
            one(20_005, "vector", TypeKind::Scalar, Some("vector"), true),
            one(20_006, "_vector", TypeKind::Array(20_005), Some("vector"), true),
            one(20_007, "citext", TypeKind::Scalar, Some("citext"), true),
            one(20_008, "shorts", TypeKind::Range(20_002), None, true),
            one(20_009, "_email", TypeKind::Array(20_002), None, true),
        ])
    }

    #[test]
    fn binary_is_refused_wherever_an_object_id_would_travel() {
        let types = example();
        let safe: Vec<u32> = {
            let mut all: Vec<u32> =
                types.keys().copied().filter(|oid| travels_in_binary(*oid, &types)).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(safe, [23, 25, 1009, 3904, 20_000, 20_002, 20_005]);
    }
}
