//! Changes of schema while a run is under way: on both sides, in the right order, whole, and the
//! way back stays open.

use std::path::PathBuf;

use crate::support::eventually;
use crate::tool::{Tool, ask, sql, until};

/// Writes a file with a change beside the journals.
pub fn file(tool: &Tool, name: &str, text: &str) -> String {
    let path: PathBuf = tool.journals().with_file_name(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

/// Brings a change to both sides.
async fn brought(tool: &Tool, name: &str, text: &str) {
    let path = file(tool, name, text);
    tool.run(&["cutover", "ddl", &path]).await.expect(0);
}

/// The last certificate says that both sides are equal.
fn is_certified_equal(tool: &Tool) {
    let journal = tool.journal();
    let certified = journal.lines().rfind(|line| line.contains(r#""step_done","step":"certify""#));
    let certified = certified.expect("the run is certified");
    assert!(certified.contains(r#""verdict":"equal""#), "{certified}");
}

async fn switches(tool: &Tool, command: &[&str], serves: &str) {
    tool.run(command).await.expect(0);
    is_certified_equal(tool);
    let status = tool.status().await;
    assert_eq!(status["serves"], serves, "{status}");
    assert_eq!(status["way_back"]["state"], "armed", "{status}");
}

#[tokio::test]
async fn changes_go_to_both_sides_and_the_way_back_stays_open() {
    let tool = Tool::following("ddl_there_and_back").await;
    let path = file(&tool, "column.sql", "ALTER TABLE item ADD COLUMN price numeric DEFAULT 1;\n");
    let said = tool.run(&["cutover", "ddl", &path, "--dry-run"]).await.expect(0);
    let preview = said.lines().into_iter().find(|line| line["order"].is_string()).unwrap();
    assert_eq!(preview["sides"], serde_json::json!(["target", "source"]), "{preview}");
    let has_price =
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.item'::regclass
        AND attname = 'price' AND NOT attisdropped)";
    assert_eq!(ask(&tool.target, has_price).await.unwrap(), "false");

    tool.run(&["cutover", "ddl", &path]).await.expect(0);
    tool.run(&["cutover", "ddl", &path]).await.expect(0);
    sql(&tool.source, "INSERT INTO item (name, price) VALUES ('priced', 7)").await;
    until(&tool.target, "SELECT EXISTS (SELECT FROM public.item WHERE price = 7)").await;

    let table = "CREATE TABLE parcel (id bigserial PRIMARY KEY, item bigint REFERENCES item,
        weight int NOT NULL);\nCREATE INDEX parcel_item ON parcel (item);\n";
    brought(&tool, "table.sql", table).await;
    sql(&tool.source, "INSERT INTO parcel (item, weight) SELECT id, 3 FROM item").await;
    until(&tool.target, "SELECT count(*) > 100 FROM public.parcel").await;

    switches(&tool, &["cutover", "switch"], "target").await;
    sql(&tool.target, "INSERT INTO parcel (item, weight) VALUES (1, 99)").await;
    until(&tool.source, "SELECT EXISTS (SELECT FROM public.parcel WHERE weight = 99)").await;

    // The same on the other side: what is new there comes back as well.
    brought(&tool, "drop.sql", "ALTER TABLE line DROP COLUMN note;\n").await;
    brought(&tool, "more.sql", "CREATE TABLE depot (id serial PRIMARY KEY, name text);\n").await;
    sql(
        &tool.target,
        "INSERT INTO depot (name) VALUES ('north'); INSERT INTO line VALUES (999, 1)",
    )
    .await;
    until(&tool.source, "SELECT EXISTS (SELECT FROM public.depot WHERE name = 'north')").await;
    switches(&tool, &["rollback", "--yes"], "source").await;

    brought(&tool, "name.sql", "ALTER TABLE depot RENAME COLUMN name TO title;\n").await;
    sql(&tool.source, "INSERT INTO depot (title) VALUES ('south')").await;
    until(&tool.target, "SELECT EXISTS (SELECT FROM public.depot WHERE title = 'south')").await;
    switches(&tool, &["cutover", "switch"], "target").await;
}

/// A column that every row needs leaves while clients write: rows that the follower cannot take yet
/// wait, and none is lost. Killed between the two sides, the same command goes on.
#[tokio::test]
async fn killed_between_the_sides_the_same_command_goes_on() {
    let tool = Tool::following("ddl_killed").await;
    let path = file(&tool, "drop.sql", "ALTER TABLE item DROP COLUMN name;\n");
    // Nothing arrives while somebody holds the table of barriers.
    let held = tool.target.connect("test").await.unwrap();
    held.batch_execute("BEGIN; LOCK TABLE xtask_cutover.marker_1").await.unwrap();
    let killed = tool.begin(&["cutover", "ddl", &path]);
    let applied = r#""event":"schema_change","file":"drop.sql""#;
    eventually("one side has it", || {
        tool.journal().lines().any(|line| line.contains(applied) && line.contains(r#""applied""#))
    })
    .await;
    killed.kill().await;
    held.batch_execute("COMMIT").await.unwrap();
    // The follower still wants a name in every row.
    sql(&tool.source, "INSERT INTO item SELECT FROM generate_series(1, 50)").await;
    let status = tool.status().await;
    assert!(status["warnings"].to_string().contains("drop.sql"), "{status}");
    tool.run(&["cutover", "switch"]).await.expect(3).naming(&["drop.sql", "cutover ddl"]);
    let other = file(&tool, "other.sql", "ALTER TABLE item ADD COLUMN more int;\n");
    tool.run(&["cutover", "ddl", &other]).await.expect(1).naming(&["drop.sql"]);

    tool.run(&["cutover", "ddl", &path]).await.expect(0);
    until(&tool.target, "SELECT count(*) = 150 FROM public.item").await;
    switches(&tool, &["cutover", "switch"], "target").await;
    switches(&tool, &["rollback", "--yes"], "source").await;
}

/// The state that a kill leaves between the two commits of what only adds.
#[tokio::test]
async fn a_follower_that_has_it_already_is_left_as_it_is() {
    let tool = Tool::following("ddl_follower_first").await;
    let text = "CREATE TABLE parcel (id bigint PRIMARY KEY);\n";
    let path = file(&tool, "table.sql", text);
    let said = tool.run(&["cutover", "ddl", &path, "--dry-run"]).await.expect(0);
    let preview = said.lines().into_iter().find(|line| line["digest"].is_string()).unwrap();
    let digest = preview["digest"].as_str().unwrap();
    assert_eq!(preview["tables"], serde_json::json!(["public.parcel"]), "{preview}");
    // An earlier command has made the table that the tool keeps its changes in.
    brought(&tool, "first.sql", "ALTER TABLE item ADD COLUMN size int;\n").await;
    let target = tool.target.connect("test").await.unwrap();
    let publication: String = target
        .query_one("SELECT pubname::text FROM pg_publication WHERE pubname LIKE 'xtask%'", &[])
        .await
        .unwrap()
        .get(0);
    target
        .batch_execute(&format!(
            "SET search_path = public; BEGIN; {text}
             ALTER PUBLICATION {publication} ADD TABLE parcel;
             INSERT INTO xtask_cutover.change (digest, file, new_schemas, new_tables, barrier)
             VALUES ('{digest}', 'table.sql', '{{public}}', '{{parcel}}', 1); COMMIT"
        ))
        .await
        .unwrap();
    tool.run(&["cutover", "switch"]).await.expect(3).naming(&["table.sql"]);
    tool.run(&["cutover", "ddl", &path]).await.expect(0);
    sql(&tool.source, "INSERT INTO parcel SELECT generate_series(1, 10)").await;
    until(&tool.target, "SELECT count(*) = 10 FROM public.parcel").await;
    switches(&tool, &["cutover", "switch"], "target").await;
    switches(&tool, &["rollback", "--yes"], "source").await;
}

#[tokio::test]
async fn what_would_hurt_is_refused_and_nothing_is_changed() {
    let tool = Tool::with_example("ddl_refused").await;
    let good = file(&tool, "good.sql", "ALTER TABLE item ADD COLUMN size int;\n");
    tool.run(&["cutover", "ddl", &good]).await.expect(1).naming(&["cutover start"]);
    tool.run(&["cutover", "start"]).await.expect(0);
    let before = tool.journal();
    for (text, code, names) in [
        ("ALTER TABLE item ALTER name TYPE bytea USING NULL;", 1, "changing-column-type"),
        ("CREATE INDEX CONCURRENTLY i ON item (name);", 1, "transaction"),
        ("UPDATE item SET name = 'x';", 1, "statement"),
        ("", 2, "no statement"),
    ] {
        let path = file(&tool, "bad.sql", text);
        tool.run(&["cutover", "ddl", &path]).await.expect(code).naming(&[names]);
    }
    assert_eq!(tool.journal(), before, "a bad file is refused before anything is opened");
    for (text, names) in [
        ("CREATE TABLE loose (a int);", "no primary key"),
        ("ALTER TABLE item ADD seen timestamptz DEFAULT now();", "values of its own"),
        ("ALTER TABLE gone ADD c int;", "does not exist"),
        (
            "ALTER TABLE item ADD CONSTRAINT short CHECK (name = '') NOT VALID; ALTER TABLE item
          VALIDATE CONSTRAINT short;",
            "short",
        ),
    ] {
        let path = file(&tool, "bad.sql", text);
        let accept = ["--accept", "constraint-missing-not-valid"];
        let command = [&["cutover", "ddl", &path][..], &accept].concat();
        tool.run(&command).await.expect(1).naming(&[names]);
    }
    let status = tool.status().await;
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    // In the middle of a switch nothing may change.
    let switch = tool.begin(&["cutover", "switch"]);
    tool.until_journaled(r#""step_started","step":"gate""#).await;
    switch.kill().await;
    let said = tool.run(&["cutover", "ddl", &good]).await;
    said.expect(1).naming(&["cutover switch"]);
    switches(&tool, &["cutover", "switch"], "target").await;
}
