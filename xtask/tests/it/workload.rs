//! The sample database, its writers, and the oracle over them, on real servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xtask::cutover::event::Story;
use xtask::ledger::{self, Verdict, sequences_behind};
use xtask::pg::endpoint::{Endpoint, Session, literal, qualified};
use xtask::workload::{self, APPLICATION, Load, Outcome, Reason, Workload, Writes};

use crate::support::{eventually, fresh_databases, pair};
use crate::tool::Tool;

/// The application's password; the same in all tests, because the role is the cluster's.
pub const PASSWORD: &str = "swordfish'\\";
/// Small enough to be filled in well under a second.
const SCALE: f64 = 0.01;
/// How long writers may take for what a test waits for.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(30);

/// A filled sample, and an administrator's session in it.
async fn sample(endpoint: &Endpoint, seed: u64) -> Session {
    let admin = endpoint.connect("test").await.expect("the server answers");
    workload::install(&admin, PASSWORD).await.expect("the schema loads");
    workload::fill(endpoint, SCALE, seed, &Story::silent()).await.expect("the sample fills");
    admin
}

/// Rows and digest of every table that has its own rows.
async fn digests(admin: &Session) -> Vec<(String, i64, String)> {
    let tables = "SELECT schema.nspname, class.relname
        FROM pg_catalog.pg_class AS class
        JOIN pg_catalog.pg_namespace AS schema ON schema.oid = class.relnamespace
        WHERE class.relkind = 'r' AND schema.nspname IN ('public', 'Märkte') ORDER BY 1, 2";
    let mut all = Vec::new();
    for table in admin.query(tables, &[]).await.expect("the catalog answers") {
        let name = qualified(table.get(0), table.get(1));
        let digest = "coalesce(sum(hashtextextended(ROW(t.*)::text, 0)), 0)::text";
        let query = format!("SELECT count(*), {digest} FROM {name} AS t");
        let row = admin.query_one(&query, &[]).await.expect("a table is read");
        all.push((name, row.get(0), row.get(1)));
    }
    all
}

/// An endpoint file for the application on this database.
fn endpoint_file(folder: &Path, database: &Endpoint) -> PathBuf {
    let file = folder.join("endpoint");
    let application = database.with_user(APPLICATION, PASSWORD);
    std::fs::write(&file, application.secret_conninfo()).expect("the file is written");
    file
}

fn load(endpoint_file: PathBuf, rate: Option<f64>) -> Load {
    let application_name = "trading".into();
    Load { writes: Writes::Sample, rate, writers: 6, seed: 11, endpoint_file, application_name }
}

async fn count(admin: &Session, query: &str) -> i64 {
    admin.query_one(query, &[]).await.expect("one row").get(0)
}

/// Ends the sessions of all writers in this database, and says how many there were.
async fn terminate_writers(admin: &Session) -> i64 {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'trading' AND datname = current_database()";
    count(admin, sql).await
}

#[tokio::test]
async fn the_same_seed_fills_the_same_on_both_servers() {
    let (source, target) = fresh_databases("sample_fill").await;
    let (source, target) = tokio::join!(sample(&source, 5), sample(&target, 5));
    let (left, right) = (digests(&source).await, digests(&target).await);
    assert_eq!(left, right);
    let empty: Vec<_> = left.iter().filter(|(_, rows, _)| *rows == 0).map(|one| &one.0).collect();
    let writers_months = empty.iter().filter(|name| name.contains("event_log_2")).count();
    assert!(empty.len() - writers_months <= 2, "{empty:?}");
    for session in [source, target] {
        assert_eq!(sequences_behind(&session).await.unwrap(), []);
    }
}

#[tokio::test]
async fn another_seed_fills_other_rows() {
    let (left, right) = fresh_databases("sample_seed").await;
    let (left, right) = tokio::join!(sample(&left, 1), sample(&right, 2));
    let (left, right) = (digests(&left).await, digests(&right).await);
    let trade = |all: &[(String, i64, String)]| {
        all.iter().find(|(name, ..)| name.contains("api_trade")).unwrap().clone()
    };
    assert_eq!(trade(&left).1, trade(&right).1);
    assert_ne!(trade(&left).2, trade(&right).2);
}

#[tokio::test]
async fn every_row_is_within_its_constraints() {
    let (source, _) = fresh_databases("sample_constraints").await;
    let admin = sample(&source, 3).await;
    // Filled with foreign keys off: validating them again shows that every key has its row.
    let sql = "DO $$ DECLARE held record; BEGIN
        FOR held IN SELECT conrelid::regclass AS relation, conname, pg_get_constraintdef(oid) AS def
            FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', held.relation, held.conname);
            EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                held.relation, held.conname, held.def);
        END LOOP; END $$";
    admin.batch_execute(sql).await.unwrap();
    let keyless = "SELECT count(*) FROM pg_class AS class WHERE relkind = 'r'
        AND relnamespace IN ('public'::regnamespace, '\"Märkte\"'::regnamespace)
        AND relreplident = 'd'
        AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = class.oid AND indisprimary)";
    assert_eq!(count(&admin, keyless).await, 0, "a table has no replica identity");
}

#[tokio::test]
async fn a_terminated_writer_knows_what_it_wrote() {
    let (source, _) = fresh_databases("sample_terminate").await;
    let admin = sample(&source, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let load = load(endpoint_file(folder.path(), &source), None);
    let running = Workload::start(load).unwrap();
    let server = workload::server_identity(&admin).await.unwrap();
    for _ in 0..5 {
        running.wait_for(Some(server), 150, TRAFFIC_LIMIT).await.unwrap();
        assert!(terminate_writers(&admin).await > 0);
    }
    running.wait_for(Some(server), 150, TRAFFIC_LIMIT).await.unwrap();
    let history = running.stop().await.unwrap();
    let unforeseen = history.messages.get(&Reason::Other);
    assert_eq!(unforeseen, None);
    let verdict = ledger::check(&history, &source, &[server]).await.unwrap();
    assert!(verdict.is_clean(), "{:#?}", verdict.lines());
    let missed = history.attempts.iter().filter(|one| one.outcome != Outcome::Acknowledged).count();
    assert!(missed >= 5, "the writers noticed {missed} of 5 terminations");
    // The audit has one row for each operation: its trigger fired once, where the client wrote.
    let audited = "SELECT (SELECT count(*) FROM public.api_operation)
        - (SELECT count(*) FROM public.api_audit_transaction)";
    assert_eq!(count(&admin, audited).await, 0);
    let text = serde_json::to_string(&verdict).unwrap();
    assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
}

#[tokio::test]
async fn a_refusal_is_not_a_write_and_writers_come_back() {
    let (source, _) = fresh_databases("sample_refuse").await;
    let admin = sample(&source, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let running =
        Workload::start(load(endpoint_file(folder.path(), &source), Some(300.0))).unwrap();
    running.wait_for(None, 50, TRAFFIC_LIMIT).await.unwrap();
    let fence = "ALTER DATABASE sample_refuse SET default_transaction_read_only = on";
    admin.batch_execute(fence).await.unwrap();
    terminate_writers(&admin).await;
    eventually("writers are refused", || running.counts().refused >= 30).await;
    let unfence = "ALTER DATABASE sample_refuse RESET default_transaction_read_only";
    admin.batch_execute(unfence).await.unwrap();
    terminate_writers(&admin).await;
    running.wait_for(None, 50, TRAFFIC_LIMIT).await.unwrap();
    let history = running.stop().await.unwrap();
    assert!(history.messages.contains_key(&Reason::ReadOnly), "{:?}", history.messages);
    let server = workload::server_identity(&admin).await.unwrap();
    let verdict = ledger::check(&history, &source, &[server]).await.unwrap();
    assert!(verdict.is_clean(), "{:#?}", verdict.lines());
}

#[tokio::test]
async fn the_oracle_finds_what_is_wrong() {
    let (source, target) = fresh_databases("sample_oracle").await;
    let admin = sample(&source, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let running = Workload::start(load(endpoint_file(folder.path(), &source), None)).unwrap();
    running.wait_for(None, 100, TRAFFIC_LIMIT).await.unwrap();
    let history = running.stop().await.unwrap();
    let server = workload::server_identity(&admin).await.unwrap();
    let harm = "DELETE FROM public.workload_ledger WHERE writer = 0 AND number = 1;
        INSERT INTO public.workload_ledger
        SELECT * FROM public.workload_ledger WHERE writer = 1 AND number = 1;
        SELECT setval('public.api_trade_id_seq', 1);
        SELECT setval('\"Märkte\".\"Countdown\"', -1)";
    admin.batch_execute(harm).await.unwrap();
    let other = target.connect("test").await.unwrap();
    let other = workload::server_identity(&other).await.unwrap();
    let verdict = ledger::check(&history, &source, &[server, other]).await.unwrap();
    assert_eq!((verdict.rows.lost.count, verdict.rows.duplicated.count), (1, 1));
    assert_eq!(verdict.serving.unreached, [other]);
    let behind: Vec<_> = verdict.sequences.iter().map(|one| one.sequence.as_str()).collect();
    assert_eq!(behind, ["\"Märkte\".\"Countdown\"", "\"public\".\"api_trade_id_seq\""]);
    assert!(!verdict.is_clean());
    assert!(verdict.lines()[0].contains("LOST"), "{:?}", verdict.lines());
}

#[tokio::test]
async fn writers_follow_the_endpoint_file() {
    let (source, target) = fresh_databases("sample_follow").await;
    let (left, right) = tokio::join!(sample(&source, 1), sample(&target, 1));
    let folder = tempfile::tempdir().unwrap();
    let file = endpoint_file(folder.path(), &source);
    let running = Workload::start(load(file, Some(300.0))).unwrap();
    let from = workload::server_identity(&left).await.unwrap();
    let to = workload::server_identity(&right).await.unwrap();
    running.wait_for(Some(from), 50, TRAFFIC_LIMIT).await.unwrap();
    endpoint_file(folder.path(), &target);
    left.batch_execute("ALTER DATABASE sample_follow CONNECTION LIMIT 0").await.unwrap();
    terminate_writers(&left).await;
    running.wait_for(Some(to), 50, TRAFFIC_LIMIT).await.unwrap();
    let history = running.stop().await.unwrap();
    let verdict = ledger::check(&history, &target, &[from, to]).await.unwrap();
    assert_eq!(verdict.serving.switches.len(), 1);
    // Nothing was replicated, so what the first server acknowledged is lost on the second.
    assert!(verdict.rows.lost.count >= 50);
    assert_eq!(verdict.rows.duplicated.count + verdict.rows.forbidden.count, 0);
}

#[tokio::test]
async fn everything_that_writers_do_can_be_replicated() {
    let (source, target) = fresh_databases("sample_replicate").await;
    let admin = source.connect("test").await.unwrap();
    let other = target.connect("test").await.unwrap();
    workload::install(&admin, PASSWORD).await.unwrap();
    workload::install(&other, PASSWORD).await.unwrap();
    other.batch_execute("TRUNCATE public.event_log_month").await.unwrap();
    workload::fill(&source, SCALE, 1, &Story::silent()).await.unwrap();
    let publish = "CREATE PUBLICATION sample FOR ALL TABLES
        WITH (publish_via_partition_root = true)";
    admin.batch_execute(publish).await.unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION sample CONNECTION {} PUBLICATION sample",
        literal(&source.secret_conninfo())
    );
    other.batch_execute(&subscribe).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let running = Workload::start(load(endpoint_file(folder.path(), &source), None)).unwrap();
    running.wait_for(None, 1500, TRAFFIC_LIMIT).await.unwrap();
    let history = running.stop().await.unwrap();
    assert_eq!(history.messages, BTreeMap::new());
    let barrier = "INSERT INTO public.workload_ledger VALUES (0, 0, 0, 0)";
    admin.batch_execute(barrier).await.unwrap();
    let arrived = "SELECT count(*) FROM public.workload_ledger WHERE run = 0";
    let copied = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'";
    let deadline = Instant::now() + TRAFFIC_LIMIT;
    while count(&other, arrived).await == 0 || count(&other, copied).await > 0 {
        assert!(Instant::now() < deadline, "the target does not follow");
    }
    // Operations were audited once, although both sides have the trigger.
    assert_eq!(digests(&admin).await, digests(&other).await);
    let server = workload::server_identity(&admin).await.unwrap();
    let verdict = ledger::check(&history, &target, &[server]).await.unwrap();
    assert!(verdict.rows.is_clean() && verdict.serving.is_clean(), "{:#?}", verdict.lines());
    assert!(!verdict.sequences.is_empty(), "replication does not carry sequences");
    other.batch_execute("DROP SUBSCRIPTION sample").await.unwrap();
}

/// A role is a whole server's: somebody's application may log in as it.
#[tokio::test]
async fn a_named_server_that_has_the_role_keeps_its_password() {
    let (source, target) = fresh_databases("workload_role").await;
    for endpoint in [&source, &target] {
        let admin = endpoint.connect("test").await.unwrap();
        workload::create_roles(&admin, PASSWORD).await.unwrap();
    }
    let (tool, target) = (Tool::new(pair().await, source, target.clone()), target);
    let (ours, theirs) = (tool.source.secret_conninfo(), target.secret_conninfo());
    for command in [
        &["bench", "search", "--chunks", "100", "--seconds", "4", "--target", &theirs][..],
        &["drill", "--scale", "0.01", "--source", &ours, "--target", &theirs][..],
    ] {
        tool.run(command).await.expect(1).naming(&["role trading_", "DROP ROLE"]);
    }
    let client = target.with_user(APPLICATION, PASSWORD);
    client.connect_as_client("test").await.expect("the password is what it was");
}
