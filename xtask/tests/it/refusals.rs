//! Every reason to say no is found, named with its object, and mended by the command that is
//! printed with it.

use serde_json::Value;
use xtask::cutover::refusals::Refusal;
use xtask::pg::endpoint::Endpoint;
use xtask::servers::pair::{self, PairOptions};

use crate::support::{fresh_database, fresh_databases, own_pair, pair};
use crate::tool::{EXAMPLE, Said, Tool, ask, sql};

mod connections;

/// What `cutover plan` says.
async fn plan(tool: &Tool, arguments: &[&str]) -> (Said, Vec<Refusal>) {
    let said = tool.run(&[&["cutover", "plan"], arguments].concat()).await;
    let lines = said.lines();
    let found = lines.first().map_or(Value::Null, |line| line["refusals"].clone());
    let refusals = serde_json::from_value(found).unwrap_or_default();
    (said, refusals)
}

/// The one refusal of a plan, which names its object in the output for people too.
async fn only_refusal(tool: &Tool, rule: &str, object: &str) -> Refusal {
    let (said, refusals) = plan(tool, &[]).await;
    let said = said.expect(1).naming(&[object, "nothing was changed"]);
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    let refusal = refusals[0].clone();
    assert_eq!(refusal.name, rule);
    assert!(refusal.problem.contains(object), "{refusal:?}");
    assert!(said.error().contains(&refusal.fix), "{}", said.error());
    refusal
}

/// Runs the SQL of a fix as printed: its side, and the first of the ways that it offers.
async fn mend(tool: &Tool, fix: &str) {
    let (side, rest) = fix.split_once(": ").expect("the fix names a side");
    let statement = [" or ROLLBACK", ", and ", ", the same", "; then"]
        .iter()
        .fold(rest, |text, end| text.split(end).next().unwrap_or(text));
    let endpoint = match side {
        "on the source" => &tool.source,
        "on the target" => &tool.target,
        other => panic!("`{other}` is no side"),
    };
    sql(endpoint, statement).await;
}

/// Plants something on the source, sees it refused, runs the printed fix, sees the plan pass.
async fn is_mended_by_its_fix(database: &str, planted: &str, rule: &str, object: &str) {
    let tool = Tool::with_example(database).await;
    sql(&tool.source, planted).await;
    let refusal = only_refusal(&tool, rule, object).await;
    mend(&tool, &refusal.fix).await;
    plan(&tool, &[]).await.0.expect(0);
}

/// The same, where the fix is not one statement.
async fn is_mended_by(database: &str, planted: &str, rule: &str, object: &str, mends: &str) {
    let tool = Tool::with_example(database).await;
    sql(&tool.source, planted).await;
    only_refusal(&tool, rule, object).await;
    sql(&tool.source, mends).await;
    plan(&tool, &[]).await.0.expect(0);
}

#[tokio::test]
async fn replica_identity() {
    let planted = "CREATE TABLE bare (id integer)";
    is_mended_by_its_fix("replica_identity", planted, "replica-identity", "public.bare").await;
}

#[tokio::test]
async fn identity_type() {
    let planted = "CREATE TABLE papers (id integer, body json); \
        ALTER TABLE papers REPLICA IDENTITY FULL";
    let mends = "ALTER TABLE papers ADD PRIMARY KEY (id), REPLICA IDENTITY DEFAULT";
    is_mended_by("identity_type", planted, "identity-type", "body has type json", mends).await;
}

#[tokio::test]
async fn unlogged_table() {
    let planted = "CREATE UNLOGGED TABLE scratch (id integer PRIMARY KEY)";
    is_mended_by_its_fix("unlogged", planted, "unlogged-table", "public.scratch").await;
}

#[tokio::test]
async fn foreign_table() {
    let planted = "CREATE FOREIGN DATA WRAPPER nowhere; \
        CREATE SERVER far FOREIGN DATA WRAPPER nowhere; \
        CREATE FOREIGN TABLE distant (id integer) SERVER far";
    is_mended_by_its_fix("foreign_table", planted, "foreign-table", "public.distant").await;
}

#[tokio::test]
async fn large_objects() {
    let planted = "SELECT lo_from_bytea(0, 'x')";
    let mends = "SELECT lo_unlink(oid) FROM pg_largeobject_metadata";
    is_mended_by("large_objects", planted, "large-objects", "1 large object", mends).await;
}

#[tokio::test]
async fn always_trigger() {
    let planted = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql \
        AS 'BEGIN RETURN NEW; END'; \
        CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch(); \
        ALTER TABLE item ENABLE ALWAYS TRIGGER touch";
    is_mended_by_its_fix("always_trigger", planted, "always-trigger", "touch on public.item").await;
}

#[tokio::test]
async fn prepared_transaction() {
    let planted = "BEGIN; INSERT INTO item (name) VALUES ('p'); PREPARE TRANSACTION 'left over'";
    let (rule, object) = ("prepared-transaction", "left over");
    is_mended_by_its_fix("prepared", planted, rule, object).await;
}

#[tokio::test]
async fn role_with_its_own_read_only_setting() {
    let planted = "CREATE ROLE stubborn; \
        ALTER ROLE stubborn IN DATABASE role_read_only SET default_transaction_read_only = off";
    let (rule, object) = ("role-read-only", "role stubborn");
    is_mended_by_its_fix("role_read_only", planted, rule, object).await;
}

#[tokio::test]
async fn missing_role() {
    let planted = "CREATE ROLE \"the owner\" LOGIN; ALTER TABLE line OWNER TO \"the owner\"";
    is_mended_by_its_fix("missing_role", planted, "role", "role the owner").await;
}

#[tokio::test]
async fn missing_settings_of_roles_and_of_the_database() {
    let tool = Tool::with_example("role_setting").await;
    sql(&tool.target, "CREATE ROLE careful").await;
    sql(
        &tool.source,
        "CREATE ROLE careful; GRANT SELECT ON item TO careful;
         ALTER ROLE careful SET statement_timeout = '5s';
         ALTER ROLE careful IN DATABASE role_setting SET search_path = app, \"$user\", public;
         ALTER DATABASE role_setting SET work_mem = '8MB'",
    )
    .await;
    let (said, refusals) = plan(&tool, &[]).await;
    said.expect(1).naming(&["ROLE careful has statement_timeout=5s", "DATABASE role_setting has"]);
    assert_eq!(refusals.len(), 3, "{refusals:#?}");
    for refusal in refusals {
        assert_eq!(refusal.name, "role-setting");
        mend(&tool, &refusal.fix).await;
    }
    plan(&tool, &[]).await.0.expect(0);
}

#[tokio::test]
async fn settings_of_a_database_that_has_another_name_on_the_target() {
    let (source, _) = fresh_databases("setting_here").await;
    let there = fresh_database(&pair().await.target.endpoint("postgres"), "setting_there").await;
    let tool = Tool::new(pair().await, source, there);
    sql(&tool.source, EXAMPLE).await;
    sql(&tool.source, "ALTER DATABASE setting_here SET work_mem = '8MB'").await;
    let refusal = only_refusal(&tool, "role-setting", "work_mem=8MB").await;
    mend(&tool, &refusal.fix).await;
    plan(&tool, &[]).await.0.expect(0);
}

#[tokio::test]
async fn extension_that_the_target_lacks() {
    // Every extension of the pinned source is on the target as well, so one is renamed.
    let planted = "CREATE EXTENSION vector; SET allow_system_table_mods = on; \
        UPDATE pg_extension SET extname = 'homemade' WHERE extname = 'vector'";
    let mends = "SET allow_system_table_mods = on; \
        UPDATE pg_extension SET extname = 'vector' WHERE extname = 'homemade'";
    is_mended_by("extension", planted, "extension", "extension homemade", mends).await;
}

#[tokio::test]
async fn foreign_subscription() {
    let planted = "CREATE SUBSCRIPTION feed CONNECTION 'dbname=elsewhere' PUBLICATION news \
        WITH (connect = false, slot_name = NONE)";
    let (rule, object) = ("foreign-subscription", "subscription feed");
    is_mended_by_its_fix("foreign_subscription", planted, rule, object).await;
}

#[tokio::test]
async fn a_foreign_slot_is_worth_a_note() {
    let tool = Tool::with_example("foreign_slot").await;
    sql(&tool.source, "SELECT pg_create_logical_replication_slot('elsewhere', 'pgoutput')").await;
    let (said, refusals) = plan(&tool, &[]).await;
    said.expect(0);
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert!(refusals[0].is_warning && refusals[0].problem.contains("slot elsewhere"));
    let said = tool.run_as_text(&["cutover", "plan"]).await.expect(0);
    assert!(said.stdout.contains("note: slot elsewhere"), "{}", said.stdout);
    sql(&tool.source, "SELECT pg_drop_replication_slot('elsewhere')").await;
}

#[tokio::test]
async fn a_target_that_is_not_empty() {
    let tool = Tool::with_example("not_empty").await;
    sql(&tool.target, "CREATE TABLE keepsake (id integer)").await;
    only_refusal(&tool, "target-not-empty", "table public.keepsake").await;
    sql(&tool.target, "DROP TABLE keepsake; CREATE EXTENSION vector").await;
    plan(&tool, &[]).await.0.expect(0);
}

#[tokio::test]
async fn a_target_in_another_encoding() {
    let (source, _) = fresh_databases("encoding").await;
    sql(&source, EXAMPLE).await;
    let maintenance = pair().await.target.endpoint("postgres");
    let create = "CREATE DATABASE encoding_c ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0";
    sql(&maintenance, create).await;
    let tool = Tool::new(pair().await, source, maintenance.with_database("encoding_c"));
    let (said, refusals) = plan(&tool, &[]).await;
    said.expect(1).naming(&["UTF8", "SQL_ASCII", "ENCODING 'UTF8'"]);
    assert_eq!(refusals[0].name, "encoding", "{refusals:#?}");
    sql(&maintenance, "DROP DATABASE encoding_c").await;
    let create = "CREATE DATABASE encoding_c ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0";
    sql(&maintenance, create).await;
    let (said, refusals) = plan(&tool, &[]).await;
    said.expect(0);
    assert!(refusals[0].is_warning && refusals[0].name == "collation", "{refusals:#?}");
}

#[tokio::test]
async fn a_target_that_is_older() {
    let (source, target) = fresh_databases("older").await;
    sql(&target, EXAMPLE).await;
    let tool = Tool::new(pair().await, target, source);
    let refusal = only_refusal(&tool, "target-older", "PostgreSQL 16").await;
    assert!(refusal.problem.contains("18"), "{refusal:?}");
}

#[tokio::test]
async fn several_are_shown_at_once_and_nothing_is_touched() {
    let tool = Tool::with_example("several").await;
    sql(
        &tool.source,
        "CREATE TABLE bare (id integer); CREATE UNLOGGED TABLE scratch (id integer PRIMARY KEY);
         SELECT lo_from_bytea(0, 'x'); CREATE ROLE somebody; ALTER TABLE line OWNER TO somebody",
    )
    .await;
    sql(&tool.target, "CREATE TABLE keepsake (id integer)").await;
    let said = tool.run(&["cutover", "start"]).await.expect(1);
    said.naming(&[
        "refused for 5 reasons",
        "ALTER TABLE public.bare REPLICA IDENTITY FULL",
        "ALTER TABLE public.scratch SET LOGGED",
        "lo_unlink()",
        "CREATE ROLE \"somebody\" NOLOGIN",
        "the target is not empty",
    ]);
    assert!(tool.journal_files().is_empty(), "a refused plan leaves no journal");
    for endpoint in [&tool.source, &tool.target] {
        let schema = ask(endpoint, "SELECT to_regnamespace('xtask_cutover')").await;
        assert_eq!(schema, None, "a refused plan leaves nothing on {endpoint}");
    }
}

#[tokio::test]
async fn settings_that_replication_needs() {
    let named = |name: &str, value: &str| (name.to_string(), value.to_string());
    let options = PairOptions {
        source_settings: vec![named("wal_level", "replica")],
        target_settings: vec![named("max_replication_slots", "2")],
        ..PairOptions::default()
    };
    let own = pair::up(&options, &xtask::cutover::event::Story::silent()).await.unwrap();
    let source = fresh_database(&own.source.endpoint("postgres"), "settings").await;
    let target = fresh_database(&own.target.endpoint("postgres"), "settings").await;
    sql(&source, EXAMPLE).await;
    let tool = Tool::new(&own, source, target);
    let (said, refusals) = plan(&tool, &[]).await;
    said.expect(1).naming(&[
        "wal_level is replica on the source",
        "max_replication_slots leaves 2 free on the target, 4 are needed",
    ]);
    for refusal in &refusals {
        mend(&tool, &refusal.fix).await;
    }
    for server in [&own.source, &own.target] {
        server.stop_fast().await.unwrap();
        server.start().await.unwrap();
    }
    plan(&tool, &[]).await.0.expect(0);
    // A setting of a role everywhere concerns every database, so it is planted here.
    let planted =
        "CREATE ROLE obstinate; ALTER ROLE obstinate SET default_transaction_read_only = on";
    sql(&tool.source, planted).await;
    let refusal = only_refusal(&tool, "role-read-only", "role obstinate").await;
    mend(&tool, &refusal.fix).await;
    plan(&tool, &[]).await.0.expect(0);
    own.down().await.unwrap();
}

/// The endpoint of a role of its own that may log in.
async fn role(endpoint: &Endpoint, name: &str) -> Endpoint {
    sql(endpoint, &format!("CREATE ROLE {name} LOGIN PASSWORD 'its own'")).await;
    endpoint.with_user(name, "its own")
}

#[tokio::test]
async fn a_role_that_is_no_superuser() {
    let mut tool = Tool::with_example("no_superuser").await;
    let superuser = tool.source.clone();
    tool.source = role(&superuser, "humble").await;
    let said = plan(&tool, &[]).await.0.expect(1);
    let lacks = "role humble lacks `replication` on the source";
    said.naming(&[lacks, "ALTER ROLE humble REPLICATION"]);
    sql(&superuser, "ALTER ROLE humble SUPERUSER").await;
    plan(&tool, &[]).await.0.expect(0);
}

#[tokio::test]
async fn a_server_that_is_stopped() {
    let own = own_pair().await;
    let source = fresh_database(&own.source.endpoint("postgres"), "stopped").await;
    let target = fresh_database(&own.target.endpoint("postgres"), "stopped").await;
    let tool = Tool::new(&own, source, target);
    own.target.stop_immediate().await.unwrap();
    for verb in ["plan", "start"] {
        let said = tool.run(&["cutover", verb]).await.expect(3);
        said.naming(&[&tool.target.to_string(), "target", "nothing was changed"]);
    }
    assert!(tool.journal_files().is_empty());
    own.down().await.unwrap();
}
