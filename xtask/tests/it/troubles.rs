//! What can go wrong around a run: clients, schema changes, disks, servers.

use std::time::{Duration, Instant};

use xtask::pg::endpoint::Endpoint;
use xtask::process::Invocation;
use xtask::servers::pair::Pair;

use crate::support::{
    CONDITION_LIMIT, eventually, fresh_database, fresh_databases, own_pair, pair, skip,
};
use crate::tool::{EXAMPLE, MARKS, Tool, ask, long_transaction, sql, until};

#[tokio::test]
async fn a_source_that_marks_its_columns_is_moved() {
    let tool = Tool::with_example("marked").await;
    sql(&tool.source, MARKS).await;
    tool.run(&["cutover", "start"]).await.expect(0);
    let options = "SELECT string_agg(attname || array_to_string(attoptions, ' '), ' ')
                   FROM pg_attribute WHERE attoptions IS NOT NULL AND attrelid > 16383";
    assert_eq!(ask(&tool.target, options).await.as_deref(), Some("namen_distinct=7"));
    tool.run(&["cutover", "switch"]).await.expect(0);
    tool.run(&["rollback", "--yes"]).await.expect(0);
}

#[tokio::test]
async fn a_change_of_schema_stops_the_switch_and_undoing_it_helps() {
    let tool = Tool::following("ddl_before").await;
    sql(&tool.source, "ALTER TABLE item ADD COLUMN colour text").await;
    let said = tool.run(&["cutover", "switch"]).await.expect(3);
    said.naming(&["the schema of the source has changed", "the side that served goes on serving"]);
    assert_eq!(tool.status().await["phase"], "following");
    sql(&tool.source, "INSERT INTO line VALUES (1000, 1, 'clients go on')").await;
    sql(&tool.source, "ALTER TABLE item DROP COLUMN colour").await;
    tool.run(&["cutover", "switch"]).await.expect(0);
}

#[tokio::test]
async fn a_change_of_schema_after_the_switch_shows_in_the_way_back() {
    let tool = Tool::following("ddl_after").await;
    tool.run(&["cutover", "switch"]).await.expect(0);
    sql(&tool.target, "ALTER TABLE item ADD COLUMN colour text").await;
    let said = tool.run_as_text(&["cutover", "status"]).await.expect(1);
    assert!(said.stdout.contains("rollback: AT RISK"), "{}", said.stdout);
    assert!(said.stdout.contains("public.item"), "{}", said.stdout);
    // A row that the other side has no column for ends the way back.
    sql(&tool.target, "INSERT INTO item (name, colour) VALUES ('x', 'red')").await;
    let stopped = "SELECT bool_and(NOT subenabled) FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until(&tool.source, stopped).await;
    let said = tool.run_as_text(&["cutover", "status"]).await.expect(1);
    assert!(said.stdout.contains("rollback: LOST"), "{}", said.stdout);
    assert!(said.stdout.contains("public.item"), "{}", said.stdout);
    let said = tool.run(&["rollback", "--yes"]).await;
    assert_ne!(said.code, 0, "{}", said.stdout);
    sql(&tool.target, "INSERT INTO item (name) VALUES ('the target goes on serving')").await;
}

/// Found by a sweep: the turn that was stopped kept to its plan, and every further one was stopped.
#[tokio::test]
async fn a_turn_that_a_change_has_stopped_is_planned_anew() {
    let tool = Tool::following("planned_anew").await;
    tool.run(&["cutover", "switch"]).await.expect(0);
    let client = long_transaction(&tool.target).await;
    let rollback = tool.begin(&["rollback", "--yes"]);
    let gate = r#""step_started","step":"gate""#;
    eventually("the way back has come to its gate", || {
        tool.journal_files().len() == 2 && tool.journal().contains(gate)
    })
    .await;
    let change = "BEGIN READ WRITE; ALTER TABLE line ADD COLUMN colour text; COMMIT";
    for side in [&tool.source, &tool.target] {
        sql(side, change).await;
    }
    drop(client);
    rollback.end().await.expect(3).naming(&["the schema of the source has changed"]);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    tool.expect_source_writes().await;
}

/// Found by a sweep: the gate waited for a follower that nothing feeds any more.
#[tokio::test]
async fn a_lost_slot_is_told_and_not_waited_for() {
    let tool = Tool::following("lost_slot").await;
    let slots = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()";
    let drop = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
         WHERE database = current_database() AND active;
         SELECT pg_drop_replication_slot(slot_name) FROM ({slots}) AS ours"
    );
    until_done(&tool.source, &drop).await;
    let status = tool.status().await;
    assert!(status["warnings"].to_string().contains("the target follows no more"), "{status}");
    let said = tool.run(&["cutover", "switch"]).await.expect(3);
    said.naming(&["is gone or invalid", "rollback --yes"]);
    tool.expect_source_writes().await;
    tool.run(&["rollback", "--yes"]).await.expect(0);
    tool.run(&["cutover", "start"]).await.expect(0);
}

/// Runs SQL until it succeeds: a worker that comes back at once keeps its slot busy.
async fn until_done(endpoint: &Endpoint, text: &str) {
    let session = endpoint.connect("test").await.unwrap();
    let began = Instant::now();
    while let Err(error) = session.batch_execute(text).await {
        assert!(began.elapsed() < CONDITION_LIMIT, "{text}: {error:?}");
    }
}

#[tokio::test]
async fn a_long_transaction_is_waited_for_and_named() {
    let tool = Tool::following("long_transaction").await;
    let client = long_transaction(&tool.source).await;
    let backend = client.backend().await.unwrap();
    let said = tool.run(&["cutover", "switch"]).await.expect(3);
    said.naming(&[
        &format!("backend {backend}"),
        "'reporting'",
        &format!("pg_terminate_backend({backend})"),
        "goes on serving",
    ]);
    client.batch_execute("COMMIT").await.expect("the client was not harmed");
    tool.expect_source_writes().await;
    tool.run(&["cutover", "switch"]).await.expect(0);
}

#[tokio::test]
async fn a_prepared_transaction_that_was_left_over_stops_the_switch() {
    let tool = Tool::following("left_over").await;
    let begin = "BEGIN; INSERT INTO item (name) VALUES ('p'); PREPARE TRANSACTION 'forgotten'";
    sql(&tool.source, begin).await;
    let said = tool.run(&["cutover", "switch"]).await.expect(3);
    said.naming(&["prepared transaction forgotten", "COMMIT PREPARED 'forgotten'"]);
    sql(&tool.source, "COMMIT PREPARED 'forgotten'").await;
    tool.run(&["cutover", "switch"]).await.expect(0);
    let rows = ask(&tool.target, "SELECT count(*) FROM public.item WHERE name = 'p'").await;
    assert_eq!(rows.as_deref(), Some("1"));
}

/// Makes one kind of barrier row do something on the target, also where it is applied there.
async fn on_barrier(target: &Endpoint, kind: &str, body: &str) {
    let trigger = format!(
        "CREATE FUNCTION public.on_barrier() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN {body}; RETURN NEW; END $$;
         CREATE TRIGGER on_barrier BEFORE INSERT ON xtask_cutover.marker_1 FOR EACH ROW
             WHEN (NEW.kind = '{kind}') EXECUTE FUNCTION public.on_barrier();
         ALTER TABLE xtask_cutover.marker_1 ENABLE ALWAYS TRIGGER on_barrier"
    );
    as_the_tool(target, &trigger).await;
}

/// Runs SQL past a fence.
async fn as_the_tool(endpoint: &Endpoint, text: &str) {
    let session = endpoint.connect("test").await.expect("the server answers");
    session.batch_execute(text).await.expect("it succeeds");
}

#[tokio::test]
async fn past_its_limit_the_pause_ends_by_itself() {
    let tool = Tool::following("pause_limit").await;
    // The gate's own barriers pass; the one of the pause takes longer than the pause may.
    on_barrier(&tool.target, "fence", "PERFORM pg_sleep(5)").await;
    let said = tool.run(&["cutover", "switch", "--pause-limit", "1.5"]).await;
    said.expect(3).naming(&["1.5s", "the side that served goes on serving"]);
    tool.expect_source_writes().await;
    let status = tool.status().await;
    assert_eq!((&status["phase"], &status["serves"]), (&"following".into(), &"source".into()));
    assert_eq!(status["source_fenced"], false);
    as_the_tool(&tool.target, "DROP FUNCTION public.on_barrier CASCADE").await;
    tool.run(&["cutover", "switch"]).await.expect(0);
}

/// Found by the test above, when its lock came too late for the pause: the switch waited for ever,
/// at the first marker of the way back, and for the certificate once more.
#[tokio::test]
async fn a_lock_of_somebody_else_on_the_new_side_is_not_waited_for_for_ever() {
    let tool = Tool::following("marker_lock").await;
    as_the_tool(&tool.target, "CREATE TABLE public.in_the_way ()").await;
    on_barrier(&tool.target, "reverse", "LOCK TABLE public.in_the_way IN ROW EXCLUSIVE MODE").await;
    let other = tool.target.connect("blocker").await.unwrap();
    other
        .batch_execute("BEGIN; LOCK TABLE public.in_the_way IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let said = tool.run(&["cutover", "switch"]).await.expect(4);
    said.naming(&["write a barrier row", "lock timeout", "run the same command again"]);
    sql(&tool.target, "INSERT INTO item (name) VALUES ('the target serves')").await;
    other.batch_execute("ROLLBACK").await.unwrap();
    tool.run(&["cutover", "switch"]).await.expect(0);
    sql(&tool.target, "DROP FUNCTION public.on_barrier CASCADE; DROP TABLE public.in_the_way")
        .await;
    let status = tool.status().await;
    assert_eq!(status["way_back"]["state"], "armed", "{status}");
    tool.run(&["rollback", "--yes"]).await.expect(0);
}

/// Lets a database take what another one publishes, as somebody else would, into its table `item`.
async fn feed(follower: &Endpoint, publisher: &Endpoint) {
    let publish = "CREATE TABLE item (id bigserial PRIMARY KEY, name text NOT NULL);
        CREATE PUBLICATION news FOR TABLE item";
    sql(publisher, publish).await;
    let name = &publisher.database;
    let dials = publisher.secret_conninfo().replace('\'', "''");
    sql(publisher, &format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"))
        .await;
    let subscribe = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{dials}' PUBLICATION news
         WITH (create_slot = false, copy_data = false)"
    );
    sql(follower, &subscribe).await;
    sql(publisher, "INSERT INTO item VALUES (7000, 'from elsewhere')").await;
}

#[tokio::test]
async fn a_subscription_of_somebody_else_that_came_late_stops_each_turn() {
    let tool = Tool::following("fed").await;
    let maintenance = pair().await.target.endpoint("postgres");
    feed(&tool.source, &fresh_database(&maintenance, "feed_one").await).await;
    until(&tool.source, "SELECT EXISTS (SELECT FROM public.item WHERE id = 7000)").await;
    let status = tool.status().await;
    assert!(status["warnings"].to_string().contains("subscription feed_one"), "{status}");
    let said = tool.run(&["cutover", "switch"]).await.expect(3);
    said.naming(&[
        "subscription feed_one",
        "not passed on",
        "DROP SUBSCRIPTION",
        "goes on serving",
    ]);
    tool.expect_source_writes().await;
    sql(&tool.source, "DROP SUBSCRIPTION feed_one").await;
    // It has never come to the target, as the message says.
    tool.run(&["verify"]).await.expect(1);
    sql(&tool.source, "DELETE FROM item WHERE id = 7000").await;
    tool.run(&["cutover", "switch"]).await.expect(0);

    feed(&tool.target, &fresh_database(&maintenance, "feed_two").await).await;
    let status = tool.status().await;
    assert_eq!(status["way_back"]["state"], "at_risk", "{status}");
    assert!(status["way_back"].to_string().contains("subscription feed_two"), "{status}");
    tool.run(&["rollback", "--yes"]).await.expect(1).naming(&["subscription feed_two"]);
    until(&tool.target, "SELECT EXISTS (SELECT FROM public.item WHERE id = 7000)").await;
    sql(&tool.target, "DROP SUBSCRIPTION feed_two").await;
    sql(&tool.target, "DELETE FROM item WHERE id = 7000").await;
    tool.run(&["rollback", "--yes"]).await.expect(0);
    // No fence holds such a one, so none is proved where there is one.
    let session = tool.source.connect("test").await.unwrap();
    let planted = "CREATE SUBSCRIPTION late CONNECTION 'dbname=nowhere' PUBLICATION news
         WITH (connect = false, slot_name = late); ALTER SUBSCRIPTION late ENABLE";
    session.batch_execute(planted).await.unwrap();
    xtask::cutover::fence::close(&session, &[]).await.unwrap();
    let gap = xtask::cutover::fence::observe(&session, &[]).await.unwrap_err();
    assert!(format!("{gap:#}").contains("subscription late"), "{gap:#}");
    let gone = "ALTER SUBSCRIPTION late DISABLE; ALTER SUBSCRIPTION late SET (slot_name = NONE);
         DROP SUBSCRIPTION late";
    session.batch_execute(gone).await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_starting_when_the_fence_closed_writes_nothing_behind_its_proof() {
    let tool = Tool::following("starting").await;
    sql(&tool.source, "CREATE TABLE public.unguarded (id int)").await;
    // It has read its settings, and takes a second more to start, unseen by pg_stat_activity.
    let late = tokio::spawn(write_after_a_slow_start(tool.source.clone()));
    let starting = include_str!("../../src/pg/sql/starting_sessions.sql");
    let session = tool.source.connect("test").await.unwrap();
    let begun = Instant::now();
    while session.query(starting, &[]).await.unwrap().is_empty() {
        assert!(begun.elapsed() < CONDITION_LIMIT, "it never started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    xtask::cutover::fence::close(&session, &[]).await.unwrap();
    xtask::cutover::fence::observe(&session, &[]).await.unwrap();
    let proved = session.query_one("SELECT count(*) FROM public.unguarded", &[]).await.unwrap();
    assert_eq!(late.await.unwrap(), proved.get::<_, i64>(0));
}

/// Writes until it is stopped; says how many writes were acknowledged.
#[expect(clippy::disallowed_methods, reason = "only the startup packet can make a start slow")]
async fn write_after_a_slow_start(source: Endpoint) -> i64 {
    let mut config: tokio_postgres::Config = source.secret_conninfo().parse().unwrap();
    let (client, connection) =
        config.options("-c post_auth_delay=1").connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut acknowledged = 0;
    while client.batch_execute("INSERT INTO public.unguarded VALUES (1)").await.is_ok() {
        acknowledged += 1;
    }
    acknowledged
}

/// A run on a pair of its own, killed behind its fence; the source has crashed besides.
async fn left_fenced(own: &Pair, name: &str) -> Tool {
    let source = fresh_database(&own.source.endpoint("postgres"), name).await;
    let target = fresh_database(&own.target.endpoint("postgres"), name).await;
    sql(&source, EXAMPLE).await;
    let tool = Tool::new(own, source, target);
    tool.run(&["cutover", "start"]).await.expect(0);
    let blocker = tool.target.connect("blocker").await.unwrap();
    let switch = tool.begin(&["cutover", "switch", "--pause-limit", "60"]);
    tool.until_journaled(r#""step_started","step":"fence""#).await;
    blocker.batch_execute("BEGIN; LOCK TABLE xtask_cutover.marker_1 IN SHARE MODE").await.unwrap();
    tool.until_journaled(r#""step_started","step":"drain""#).await;
    switch.kill().await;
    own.source.stop_immediate().await.unwrap();
    own.source.start().await.unwrap();
    tool
}

#[tokio::test]
async fn a_source_that_crashed_in_the_pause_is_unfenced_by_hand() {
    let own = own_pair().await;
    let tool = left_fenced(&own, "unfence").await;
    let status = tool.status().await;
    assert_eq!((&status["source_fenced"], &status["phase"]), (&true.into(), &"switching".into()));
    tool.run(&["cutover", "unfence"]).await.expect(0);
    tool.expect_source_writes().await;
    assert_eq!(tool.status().await["source_fenced"], false);
    tool.run(&["cutover", "switch"]).await.expect(0);
    // Now the target serves, and the source must stay closed.
    let said = tool.run(&["cutover", "unfence"]).await.expect(1);
    said.naming(&["the other side serves", "rollback"]);
    assert_eq!(tool.status().await["source_fenced"], true);
    // Nor may the side that follows be opened by hand before a switch.
    tool.run(&["rollback", "--yes"]).await.expect(0);
    let mut other = tool.elsewhere();
    other.source = tool.target.clone();
    other.run(&["cutover", "unfence"]).await.expect(1).naming(&["this one stays fenced"]);
    assert_eq!(tool.status().await["target_fenced"], true);
    own.down().await.unwrap();
}

#[tokio::test]
async fn the_next_command_heals_a_source_that_crashed_in_the_pause() {
    let own = own_pair().await;
    let tool = left_fenced(&own, "healed").await;
    tool.run(&["rollback", "--yes"]).await.expect(0);
    tool.expect_source_writes().await;
    assert_eq!(tool.status().await["phase"], "absent");
    own.down().await.unwrap();
}

/// Found by a sweep: an attempt whose target was down could not be cleared away for that alone, and
/// asked for a human.
async fn unwinds_without_its_target(own: &Pair, tool: &Tool) {
    let blocker = tool.target.connect("blocker").await.unwrap();
    blocker.batch_execute("BEGIN; LOCK TABLE xtask_cutover.marker_1 IN SHARE MODE").await.unwrap();
    let switch = tool.begin(&["cutover", "switch"]);
    tool.until_journaled(r#""step_started","step":"gate""#).await;
    own.target.stop_immediate().await.unwrap();
    switch.end().await.expect(3).naming(&["the side that served goes on serving"]);
    tool.expect_source_writes().await;
    own.target.start().await.unwrap();
}

#[tokio::test]
async fn watch_asks_a_follower_to_go_on_that_a_crash_has_stopped() {
    let own = own_pair().await;
    let source = fresh_database(&own.source.endpoint("postgres"), "revived").await;
    let target = fresh_database(&own.target.endpoint("postgres"), "revived").await;
    sql(&source, EXAMPLE).await;
    let tool = Tool::new(&own, source, target);
    tool.run(&["cutover", "start"]).await.expect(0);
    unwinds_without_its_target(&own, &tool).await;
    tool.run(&["cutover", "switch"]).await.expect(0);
    own.target.stop_immediate().await.unwrap();
    own.target.start().await.unwrap();
    until(&tool.source, "SELECT NOT subenabled FROM pg_subscription").await;
    assert_eq!(tool.status().await["way_back"]["state"], "at_risk");
    let watched = tool.run(&["cutover", "watch", "--times", "1"]).await.expect(1);
    assert!(watched.stdout.contains("was asked to go on"), "{}", watched.stdout);
    until(
        &tool.source,
        "SELECT subenabled AND EXISTS (SELECT FROM pg_stat_subscription WHERE pid IS NOT NULL)
         FROM pg_subscription",
    )
    .await;
    assert_eq!(tool.status().await["way_back"]["state"], "armed");
    own.down().await.unwrap();
}

/// A file system of its own, small enough to fill.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where this user may not mount.
    pub async fn mount(megabytes: u32, owner: u32) -> Option<SmallDisk> {
        let place = tempfile::Builder::new().permissions(open_to_all()).tempdir().unwrap();
        let options = format!("size={megabytes}m,uid={owner},mode=0700");
        let mount = Invocation::new("mount").arguments(["-t", "tmpfs", "-o", &options, "none"]);
        mount.argument(place.path()).run().await.ok()?;
        Some(SmallDisk(place))
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    async fn grow(&self, megabytes: u32) {
        let options = format!("remount,size={megabytes}m");
        let mount = Invocation::new("mount").arguments(["-o", &options]).argument(self.0.path());
        mount.run().await.expect("the disk grows");
    }

    /// Lets it go.
    pub async fn unmount(self) {
        let unmount = Invocation::new("umount").argument("--lazy").argument(self.0.path());
        unmount.run().await.expect("the disk can be let go");
    }
}

fn open_to_all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

#[tokio::test]
async fn a_full_disk_on_the_target_leaves_nothing_half_done() {
    use std::os::unix::fs::MetadataExt;
    let pair = pair().await;
    let owner = std::fs::metadata(pair.target.data()).unwrap().uid();
    let Some(disk) = SmallDisk::mount(24, owner).await else {
        skip!("this user may not mount a file system");
    };
    let (source, maintenance) =
        (fresh_databases("full_disk").await.0, pair.target.endpoint("postgres"));
    let place = disk.0.path().display().to_string();
    sql(&maintenance, &format!("CREATE TABLESPACE small LOCATION '{place}'")).await;
    let create = "CREATE DATABASE on_small_disk TEMPLATE template0 TABLESPACE small";
    sql(&maintenance, create).await;
    sql(&source, EXAMPLE).await;
    let grow = "INSERT INTO item (name) SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
    sql(&source, grow).await;
    let tool = Tool::new(pair, source, maintenance.with_database("on_small_disk"));
    let said = tool.run(&["cutover", "start"]).await.expect(3);
    said.naming(&["No space left on device", "was removed; the source serves"]);
    tool.expect_source_writes().await;
    for endpoint in [&tool.source, &tool.target] {
        let schema = ask(endpoint, "SELECT to_regnamespace('xtask_cutover')").await;
        assert_eq!(schema, None, "nothing is left on {endpoint}");
    }
    assert_eq!(ask(&tool.target, "SELECT to_regclass('public.item')").await, None);
    disk.grow(200).await;
    tool.run(&["cutover", "start"]).await.expect(0);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    sql(&maintenance, "DROP DATABASE on_small_disk WITH (FORCE)").await;
    sql(&maintenance, "DROP TABLESPACE small").await;
    disk.unmount().await;
}
