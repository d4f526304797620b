//! Every planted difference is found and named, and nothing is reported that is not there.

use xtask::cutover::event::{Side, Story};
use xtask::cutover::verify::{Barrier, Certificate, Mode, Pin, Request, verify};
use xtask::pg::endpoint::{Endpoint, Session};
use xtask::pg::sequences::SequenceRule;
use xtask::pg::survey::files;

use crate::support::fresh_databases;

mod django;
mod live;
mod rows;
mod schema;

/// A schema with a bit of everything that the plants below change.
const EXAMPLE: &str = "
    CREATE TABLE item (id bigserial PRIMARY KEY, name text DEFAULT 'x', price numeric, file bytea,
        facts jsonb, weight float8, CHECK (id > 0));
    CREATE INDEX item_name ON item (name);
    CREATE TABLE line (line text, number integer);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
    INSERT INTO item (name, price, file, facts, weight)
        SELECT 'name ' || g, g / 10.0, decode(md5(g::text), 'hex'), jsonb_build_object('a', g), g
          FROM generate_series(1, 200) AS g;
    INSERT INTO line SELECT 'line ' || g, g FROM generate_series(1, 200) AS g;
    INSERT INTO line VALUES ('twice', 1), ('twice', 1);";

/// Runs SQL as an application would.
async fn run(endpoint: &Endpoint, sql: &str) {
    let session = endpoint.connect_as_client("test").await.expect("the server answers");
    session.batch_execute(sql).await.expect("the test's SQL is right");
}

/// A barrier for sides that do not change.
fn quiet() -> Barrier {
    Barrier::new(|| async { Ok(()) })
}

fn request(source: &Endpoint, target: &Endpoint, mode: Mode) -> Request {
    Request {
        source: source.clone(),
        target: target.clone(),
        serving: Side::Source,
        mode,
        jobs: 2,
        only: Vec::new(),
        outside: Vec::new(),
        search: true,
        schema: true,
        sequences: SequenceRule::Equal,
    }
}

async fn certificate(source: &Endpoint, target: &Endpoint, mode: Mode) -> Certificate {
    verify(request(source, target, mode), &Story::silent()).await.expect("both sides can be read")
}

/// Both sides hold the example; the target gets something else besides.
async fn planted(name: &str, on_target: &str) -> Certificate {
    let (source, target) = fresh_databases(name).await;
    run(&source, EXAMPLE).await;
    run(&target, EXAMPLE).await;
    run(&target, on_target).await;
    certificate(&source, &target, Mode::Live { barrier: Some(quiet()) }).await
}

/// A pinned snapshot, and the session that holds it.
async fn pin(endpoint: &Endpoint) -> (Pin, Session) {
    let holder = endpoint.connect("holder").await.expect("the server answers");
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.expect("begins");
    let row = holder.query_one("SELECT pg_export_snapshot()", &[]).await.expect("exports");
    let files = files(&holder).await.expect("the catalog can be read");
    (Pin { snapshot: row.get(0), files }, holder)
}

/// The one difference in rows: key, column, source, target.
fn only_row(certificate: &Certificate) -> (String, Option<String>, Option<String>, Option<String>) {
    assert!(!certificate.passes());
    assert_eq!(certificate.difference_count(), 1, "{certificate:#?}");
    let row = certificate.tables.iter().flat_map(|table| &table.differences).next();
    let row = row.expect("a difference is shown").clone();
    (row.key, row.column, row.source, row.target)
}

/// The one difference in the schema: kind, object.
fn only_fact(certificate: &Certificate) -> (&str, &str) {
    assert!(!certificate.passes());
    assert_eq!(certificate.difference_count(), 1, "{certificate:#?}");
    let difference = &certificate.schema[0];
    (&difference.kind, &difference.object)
}
