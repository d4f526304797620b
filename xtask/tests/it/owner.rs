//! The tool as the owner of a database, who is no superuser.

use serde_json::Value;
use xtask::cutover::refusals::Refusal;
use xtask::cutover::step::Step;
use xtask::pg::endpoint::Endpoint;
use xtask::workload::{APPLICATION, Reason};

use crate::ddl::file;
use crate::night::{Night, ROLLBACK, START, SWITCH, Server};
use crate::support::{fresh_databases, own_pair, pair};
use crate::tool::{EXAMPLE, Said, Tool, ask, sql, until};
use crate::workload;

/// The password of every owner here.
const PASSWORD: &str = "keeps it";

/// Makes a role that owns a database, as managed services give one out, and no superuser.
pub async fn keeper(admin: &Endpoint, name: &str) -> Endpoint {
    let database = &admin.database;
    sql(
        admin,
        &format!(
            "CREATE ROLE {name} LOGIN CREATEROLE REPLICATION PASSWORD '{PASSWORD}';
             GRANT pg_create_subscription, pg_signal_backend, pg_read_all_stats TO {name};
             ALTER DATABASE {database} OWNER TO {name}"
        ),
    )
    .await;
    admin.with_user(name, PASSWORD)
}

/// A write that leaves nothing.
const WRITE: &str = "DELETE FROM public.django_session WHERE false";

/// A client can connect to a fenced side, and write nothing there whatever it sets.
async fn is_fenced(client: &Endpoint, write: &str) {
    let session = client.connect_as_client("insisting").await.expect("it gets in");
    session.batch_execute("SET default_transaction_read_only = off").await.expect("it may");
    let error = session.batch_execute(write).await.expect_err("it may not write");
    assert!(format!("{error:?}").contains("is fenced"), "{error:?}");
}

#[tokio::test]
async fn a_night_of_an_owner_forth_and_back_and_forth() {
    // Who is a member of the sample's owner is a fact of every database of a server.
    let pair = own_pair().await;
    let mut night = Night::on(&pair, "owned").await;
    let mut keepers = Vec::new();
    for admin in [&night.source, &night.target] {
        keepers.push(keeper(admin, "keeper").await);
        sql(admin, "GRANT trading_owner TO keeper").await;
    }
    let [source, target] = keepers.try_into().expect("two");
    night.operated_by(source, target);
    night.succeeds(START).await;
    night.watch();
    for (verb, old, side, killed) in [
        (SWITCH, Server::Plain, Server::Paradedb, Some(Step::Drain)),
        (ROLLBACK, Server::Paradedb, Server::Plain, Some(Step::Sequences)),
        (SWITCH, Server::Plain, Server::Paradedb, None),
    ] {
        if let Some(step) = killed {
            night.kill_at(verb, step).await;
            night.serves_unless_decided(old).await;
        }
        night.succeeds(verb).await;
        night.turned_to(side).await;
        night.is_armed().await;
        let (fenced, open) = match side {
            Server::Plain => (&night.target, &night.source),
            Server::Paradedb => (&night.source, &night.target),
        };
        // A client who insists, and an administrator.
        for client in [fenced.with_user(APPLICATION, workload::PASSWORD), fenced.clone()] {
            is_fenced(&client, WRITE).await;
        }
        sql(&open.with_user(APPLICATION, workload::PASSWORD), WRITE).await;
    }
    night.succeeds(&["cutover", "finish", "--confirm", "owned"]).await;
    let history = night.ends_with(Server::Paradedb).await;
    // The triggers look into a schema that clients may not look into.
    let other = history.attempts.iter().filter(|attempt| attempt.reason == Reason::Other);
    assert_eq!(other.count(), 0, "{:?}", history.messages);
    pair.down().await.unwrap();
}

/// The tool on two databases that belong to a role of this name, and both as an administrator.
struct Owned {
    tool: Tool,
    admins: [Endpoint; 2],
    role: String,
}

impl Owned {
    async fn new(name: &str) -> Owned {
        let (source, target) = fresh_databases(name).await;
        let role = format!("{name}_keeper");
        let owners = [keeper(&source, &role).await, keeper(&target, &role).await];
        sql(&owners[0], EXAMPLE).await;
        let [on_source, on_target] = owners;
        let tool = Tool::new(pair().await, on_source, on_target);
        Owned { tool, admins: [source, target], role }
    }

    /// An administrator's statement on the source, the target or both; `ROLE` is the owner.
    async fn on(&self, sides: &[usize], statement: &str) {
        for side in sides {
            sql(&self.admins[*side], &statement.replace("ROLE_", &self.role)).await;
        }
    }

    async fn plan(&self, arguments: &[&str]) -> (Said, Vec<Refusal>) {
        let said = self.tool.run(&[&["cutover", "plan"], arguments].concat()).await;
        let found = said.lines().first().map_or(Value::Null, |line| line["refusals"].clone());
        (said, serde_json::from_value(found).unwrap_or_default())
    }

    /// The plan is refused by this rule for this object; the printed fixes, run by an
    /// administrator as they are, make it pass.
    async fn is_mended(&self, rule: &str, object: &str) {
        let (said, mut refusals) = self.plan(&[]).await;
        said.expect(1).naming(&[object, "nothing was changed"]);
        let found = refusals.iter().any(|one| one.name == rule && one.problem.contains(object));
        assert!(found, "{rule} for {object} is not among {refusals:#?}");
        for _ in 0..3 {
            for refusal in &refusals {
                let (side, statement) = refusal.fix.split_once(": ").expect("a side");
                let side = usize::from(side == "on the target");
                sql(&self.admins[side], statement).await;
            }
            let (said, left) = self.plan(&[]).await;
            if said.code == 0 {
                return;
            }
            refusals = left;
        }
        panic!("not mended: {refusals:#?}");
    }
}

/// Forth and back with a change of schema on each side, and searches on the follower meanwhile.
#[tokio::test]
async fn an_owner_follows_changes_and_turns() {
    let owned = Owned::new("owned_both").await;
    let tool = &owned.tool;
    // What a new table needs beyond all else.
    let reads = "GRANT pg_read_all_data TO ROLE_ WITH ADMIN OPTION; ALTER ROLE ROLE_ BYPASSRLS";
    owned.on(&[0, 1], reads).await;
    tool.run(&["cutover", "start"]).await.expect(0);
    tool.run(&["cutover", "follow"]).await.expect(0);
    assert_eq!(tool.status().await["searchable"], true);
    let insert = "INSERT INTO item (name) VALUES ('here')";
    is_fenced(&owned.admins[1], insert).await;
    let change = "ALTER TABLE item ADD COLUMN colour text;
        CREATE TABLE fresh (id integer PRIMARY KEY);";
    let before = file(tool, "before.sql", change);
    tool.run(&["cutover", "ddl", &before]).await.expect(0);
    let searching = file(tool, "searching.sql", "CREATE INDEX item_colour ON item (colour);\n");
    let accepted = ["--accept", "require-concurrent-index-creation"];
    tool.run(&[&["cutover", "ddl", &searching], &accepted[..]].concat()).await.expect(0);
    is_fenced(&owned.admins[1], "INSERT INTO fresh VALUES (1)").await;
    tool.run(&["cutover", "switch"]).await.expect(0);
    is_fenced(&owned.admins[0], insert).await;
    sql(&tool.target, "INSERT INTO item (name, colour) VALUES ('there', 'red')").await;
    let after = file(tool, "after.sql", "ALTER TABLE item ADD COLUMN size integer;\n");
    tool.run(&["cutover", "ddl", &after]).await.expect(0);
    until(&owned.admins[0], "SELECT EXISTS (SELECT FROM public.item WHERE colour = 'red')").await;
    assert_eq!(tool.status().await["way_back"]["state"], "armed");
    tool.run(&["rollback", "--yes"]).await.expect(0);
    is_fenced(&owned.admins[1], insert).await;
    assert_eq!(tool.status().await["way_back"]["state"], "armed");
    let red = "SELECT name FROM public.item WHERE colour = 'red' AND size IS NULL";
    assert_eq!(ask(&tool.source, red).await.as_deref(), Some("there"));
    tool.expect_source_writes().await;
}

/// A managed server gives out no superuser; the new one is one's own.
#[tokio::test]
async fn an_owner_on_one_side_and_a_superuser_on_the_other() {
    for (name, owners_side) in [("owned_source", 0), ("owned_target", 1)] {
        let mut owned = Owned::new(name).await;
        let asked_for = "REVOKE pg_create_subscription, pg_signal_backend, pg_read_all_stats
            FROM ROLE_";
        owned.on(&[1 - owners_side], asked_for).await;
        match owners_side {
            0 => owned.tool.target = owned.admins[1].clone(),
            _ => owned.tool.source = owned.admins[0].clone(),
        }
        let tool = &owned.tool;
        tool.run(&["cutover", "start"]).await.expect(0);
        tool.run(&["cutover", "switch"]).await.expect(0);
        assert_eq!(tool.status().await["way_back"]["state"], "armed", "{name}");
        tool.run(&["rollback", "--yes"]).await.expect(0);
        tool.expect_source_writes().await;
    }
}

#[tokio::test]
async fn each_privilege_that_is_missing_is_refused_with_its_grant() {
    let owned = Owned::new("missing").await;
    owned.plan(&[]).await.0.expect(0);
    let planted = [
        ("ALTER ROLE ROLE_ NOREPLICATION", "replication"),
        ("ALTER ROLE ROLE_ NOCREATEROLE", "create role"),
        ("REVOKE pg_create_subscription FROM ROLE_", "pg_create_subscription"),
        ("REVOKE pg_signal_backend FROM ROLE_", "pg_signal_backend"),
        ("REVOKE pg_read_all_stats FROM ROLE_", "pg_read_all_stats"),
    ];
    for side in [0, 1] {
        for (statement, _) in planted {
            owned.on(&[side], statement).await;
        }
        let (said, refusals) = owned.plan(&[]).await;
        said.expect(1);
        let side = ["on the source", "on the target"][side];
        for (_, name) in planted {
            let of = |one: &&Refusal| one.problem.contains(&format!("`{name}` {side}"));
            assert_eq!(refusals.iter().filter(of).count(), 1, "{name}: {refusals:#?}");
        }
        owned.is_mended("privilege", "`replication`").await;
    }
    owned.on(&[1], "ALTER DATABASE missing SET log_statement = 'all'").await;
    owned.is_mended("privilege", "`silence the log` on the target").await;
    let forced = "ALTER TABLE item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY";
    sql(&owned.tool.source, forced).await;
    owned.is_mended("privilege", "`bypass row security` on the source").await;
}

#[tokio::test]
async fn what_belongs_to_others_is_named_with_what_mends_it() {
    let owned = Owned::new("others").await;
    owned.on(&[0, 1], "ALTER DATABASE others OWNER TO postgres").await;
    owned.is_mended("not-owner", "database others on the source").await;
    owned.on(&[0], "ALTER TABLE item OWNER TO postgres").await;
    owned.is_mended("not-owner", "table public.item on the source belongs to postgres").await;
    owned.on(&[0], "CREATE ROLE ROLE_2; ALTER TABLE line OWNER TO ROLE_2").await;
    owned.is_mended("not-owner", "table public.line on the source").await;
    // What nobody but a superuser can make there has no statement that would mend it.
    let planted = "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()";
    owned.on(&[0], planted).await;
    let (said, refusals) = owned.plan(&[]).await;
    said.expect(1).naming(&["event trigger note", "connect to the target as a superuser"]);
    assert!(refusals.iter().any(|one| one.name == "needs-superuser"), "{refusals:#?}");
}

#[tokio::test]
async fn without_the_right_to_subscribe_there_is_no_way_back_if_asked_so() {
    let owned = Owned::new("one_way").await;
    let tool = &owned.tool;
    owned.on(&[0], "REVOKE pg_create_subscription FROM ROLE_").await;
    let (said, _) = owned.plan(&[]).await;
    said.expect(1).naming(&["pg_create_subscription", "--without-way-back"]);
    let (said, _) = owned.plan(&["--without-way-back"]).await;
    let said = said.expect(0);
    let privileges = said.lines()[0]["privileges"].clone();
    let lost = privileges
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["side"] == "source" && one["name"] == "pg_create_subscription");
    let lost = lost.expect("it is in the table");
    assert_eq!((&lost["held"], &lost["is_necessary"]), (&false.into(), &false.into()));
    let text = tool.run_as_text(&["cutover", "plan", "--without-way-back"]).await.expect(0).stdout;
    // A name may be broken to fit its column.
    assert!(text.contains("pg_create_") && text.contains("lost"), "{text}");

    // Before the decision there is nothing to turn back, and a run is removed as any other.
    tool.run(&["cutover", "start", "--without-way-back"]).await.expect(0);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    tool.run(&["cutover", "start", "--without-way-back"]).await.expect(0);
    let status = tool.status().await;
    assert_eq!(status["way_back"]["state"], "not_needed");
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    // A change of schema brings no way back either.
    let column = file(tool, "column.sql", "ALTER TABLE item ADD COLUMN colour text;\n");
    tool.run(&["cutover", "ddl", &column]).await.expect(0);
    let table = file(tool, "table.sql", "CREATE TABLE fresh (id integer PRIMARY KEY);\n");
    tool.run(&["cutover", "ddl", &table]).await.expect(1).naming(&["GRANT pg_read_all_data"]);
    tool.run(&["cutover", "switch"]).await.expect(0);
    tool.run(&["cutover", "ddl", &table]).await.expect(1).naming(&["nobody follows any more"]);
    let status = tool.status().await;
    assert_eq!(status["way_back"]["state"], "lost", "{status}");
    assert!(status["way_back"].to_string().contains("--without-way-back"), "{status}");
    tool.run(&["rollback", "--yes"]).await.expect(1).naming(&["there is no way back"]);
    sql(&tool.target, "INSERT INTO item (name) VALUES ('after')").await;
    tool.run(&["cutover", "finish", "--confirm", "one_way"]).await.expect(0);
}

/// What a runtime role may do and meets, as it finds out itself.
async fn found_by(client: &Endpoint) -> Vec<String> {
    let session = client.connect_as_client("runtime").await.expect("it gets in");
    let sql = "SELECT 'search path ' || current_setting('search_path')
               UNION ALL SELECT 'timeout ' || current_setting('statement_timeout')
               UNION ALL
               SELECT format('%s %s %s', c.oid::regclass, privilege,
                             CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, privilege)
                                  ELSE has_table_privilege(c.oid, privilege) END)
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
                    unnest(ARRAY['SELECT', 'UPDATE']) AS privilege
               WHERE n.nspname IN ('public', 'shop') AND c.relkind IN ('r', 'v', 'S')
               ORDER BY 1";
    let rows = session.query(sql, &[]).await.expect("it may ask");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_runtime_role_does_the_same_on_both_sides() {
    let owned = Owned::new("runtime").await;
    // On the target what an image and a template bring, and an administrator who was there before.
    let planted = "CREATE ROLE ROLE_owner NOLOGIN; GRANT ROLE_owner TO ROLE_;
        CREATE ROLE ROLE_app LOGIN PASSWORD 'works'; CREATE ROLE ROLE_readers";
    owned.on(&[0, 1], planted).await;
    owned
        .on(
            &[0],
            "CREATE SCHEMA shop AUTHORIZATION ROLE_owner; GRANT USAGE ON SCHEMA shop TO ROLE_app;
             GRANT CREATE ON SCHEMA public TO ROLE_owner; SET ROLE ROLE_owner;
             ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE ON TABLES TO ROLE_app;
             ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT USAGE ON SEQUENCES TO ROLE_app;
             CREATE TABLE shop.sale (id bigserial PRIMARY KEY, what text);
             CREATE TABLE public.note (id integer PRIMARY KEY, what text);
             CREATE VIEW shop.sales AS SELECT count(*) FROM shop.sale;
             REVOKE UPDATE ON public.note FROM ROLE_app; RESET ROLE;
             ALTER ROLE ROLE_app SET search_path = shop, public;
             ALTER ROLE ROLE_app IN DATABASE runtime SET statement_timeout = '7s';
             GRANT ROLE_readers TO ROLE_app",
        )
        .await;
    owned
        .on(
            &[1],
            "ALTER DATABASE runtime SET search_path = public, paradedb; CREATE EXTENSION vector;
             ALTER ROLE ROLE_app NOINHERIT CONNECTION LIMIT 3;
             ALTER DEFAULT PRIVILEGES FOR ROLE ROLE_ GRANT SELECT ON TABLES TO ROLE_readers",
        )
        .await;
    let (said, refusals) = owned.plan(&[]).await;
    let said = said.expect(1);
    said.naming(&["search_path", "statement_timeout", "connection limit 3", "inherit"]);
    for rule in ["role-setting", "role-rights", "default-privileges"] {
        assert!(refusals.iter().any(|one| one.name == rule), "{rule}: {refusals:#?}");
    }
    owned.is_mended("role-rights", "connection limit 3").await;
    owned.tool.run(&["cutover", "start"]).await.expect(0);
    let [source, target] = &owned.admins;
    let app = |side: &Endpoint| side.with_user("runtime_keeperapp", "works");
    let before = found_by(&app(source)).await;
    assert!(before.iter().any(|line| line == "sale SELECT t"), "{before:#?}");
    owned.tool.run(&["cutover", "switch"]).await.expect(0);
    assert_eq!(found_by(&app(target)).await, before);
    sql(&app(target), "INSERT INTO sale (what) VALUES ('after')").await;
}
