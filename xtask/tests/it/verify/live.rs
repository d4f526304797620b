//! Comparing while clients write, and on pins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::{EXAMPLE, certificate, only_row, pin, quiet, request, run};
use crate::support::{CONDITION_LIMIT, fresh_databases};
use xtask::cutover::event::Story;
use xtask::cutover::verify::{Barrier, Mode, verify};
use xtask::pg::endpoint::{Endpoint, Session, literal};
use xtask::pg::sequences::SequenceRule;

/// How often the writer writes; much faster, and the follower would fall behind for good.
const WRITE_EVERY: Duration = Duration::from_millis(10);
/// Ways in which a writer changes the example over and over. No table grows: a row without a key is
/// found by a scan on the other side.
const WRITES: &str = "
    UPDATE item SET price = price + 1, name = name || '.' WHERE id % 50 = $1 % 50;
    DELETE FROM item WHERE id = 200 + $1 - 5;
    INSERT INTO item (id, name) VALUES (200 + $1, 'new');
    INSERT INTO line VALUES ('line', $1);
    UPDATE line SET line = 'older' WHERE line = 'line' AND number = $1 - 3;
    DELETE FROM line WHERE line = 'older' AND number = $1 - 6";

async fn wait_for(session: &Session, what: &str, sql: &str) {
    let began = Instant::now();
    loop {
        if session.query_one(sql, &[]).await.expect("the server answers").get(0) {
            return;
        }
        assert!(began.elapsed() < CONDITION_LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes the target follow the source, and a barrier over a marker table.
async fn follow(source: &Endpoint, target: &Endpoint, name: &str) -> Barrier {
    let marker = "CREATE SCHEMA xtask_cutover CREATE TABLE marker (id bigint PRIMARY KEY);
        ALTER TABLE line REPLICA IDENTITY FULL";
    run(source, &format!("{marker}; CREATE PUBLICATION p FOR ALL TABLES")).await;
    run(target, marker).await;
    let subscribe = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION {} PUBLICATION p WITH (copy_data = false)",
        literal(&source.secret_conninfo())
    );
    run(target, &subscribe).await;
    let session = target.connect("test").await.expect("the server answers");
    let following = "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel";
    wait_for(&session, "the subscription starts", following).await;
    let (source, target) = (source.clone(), target.clone());
    let last = Arc::new(AtomicI64::new(0));
    Barrier::new(move || {
        let (source, target) = (source.clone(), target.clone());
        let id = last.fetch_add(1, Ordering::Relaxed);
        async move {
            let write = source.connect("barrier").await?;
            write.execute("INSERT INTO xtask_cutover.marker VALUES ($1)", &[&id]).await?;
            let arrived = format!("SELECT count(*) > 0 FROM xtask_cutover.marker WHERE id = {id}");
            wait_for(&target.connect("barrier").await?, "the marker arrives", &arrived).await;
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_source_shows_no_false_differences() {
    let (source, target) = fresh_databases("verify_busy").await;
    run(&source, EXAMPLE).await;
    run(&target, EXAMPLE).await;
    let barrier = follow(&source, &target, "verify_busy").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (source, stop) = (source.clone(), Arc::clone(&stop));
        async move {
            let session = source.connect_as_client("writer").await.expect("the server answers");
            let mut round = 0;
            let mut pace = tokio::time::interval(WRITE_EVERY);
            while !stop.load(Ordering::Relaxed) {
                pace.tick().await;
                round += 1;
                let sql = WRITES.replace("$1", &round.to_string());
                session.batch_execute(&sql).await.expect("the writer writes");
            }
            round
        }
    });
    for _ in 0..5 {
        let mode = Mode::Live { barrier: Some(barrier.clone()) };
        let mut request = request(&source, &target, mode);
        request.sequences = SequenceRule::Outside;
        let found = verify(request, &Story::silent()).await.expect("both sides can be read");
        assert!(found.passes(), "{found:#?}");
    }
    stop.store(true, Ordering::Relaxed);
    let rounds = writer.await.expect("the writer ends well");
    assert!(rounds > 20, "the writer wrote {rounds} times only");
    run(&target, "DELETE FROM item WHERE id = 100").await;
    let found = certificate(&source, &target, Mode::Live { barrier: Some(barrier) }).await;
    let named: Vec<&str> = found
        .tables
        .iter()
        .flat_map(|table| &table.differences)
        .map(|row| row.key.as_str())
        .collect();
    assert_eq!(named, ["id=100"]);
    run(&target, "DROP SUBSCRIPTION verify_busy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_do_not_see_later_writes() {
    let (source, target) = fresh_databases("verify_pins").await;
    run(&source, EXAMPLE).await;
    run(&target, EXAMPLE).await;
    let (source_pin, _one) = pin(&source).await;
    let (target_pin, _other) = pin(&target).await;
    run(&target, "UPDATE item SET name = 'later'; DELETE FROM line").await;
    let mode = Mode::Pinned { source: source_pin, target: target_pin, barrier: None };
    let found = certificate(&source, &target, mode).await;
    assert!(found.passes(), "{found:#?}");
    assert!(found.mode.starts_with("pinned at "), "{}", found.mode);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_table_is_certified_live() {
    let (source, target) = fresh_databases("verify_truncated").await;
    run(&source, EXAMPLE).await;
    run(&target, EXAMPLE).await;
    let (source_pin, _one) = pin(&source).await;
    let (target_pin, _other) = pin(&target).await;
    run(&source, "TRUNCATE line").await;
    run(&target, "TRUNCATE line").await;
    let mode = Mode::Pinned { source: source_pin, target: target_pin, barrier: Some(quiet()) };
    let found = certificate(&source, &target, mode).await;
    assert!(found.passes(), "{found:#?}");
    let notes: Vec<Option<&str>> = found.tables.iter().map(|table| table.note.as_deref()).collect();
    assert_eq!(notes, [None, Some("rewritten, certified live")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_pins_are_told_and_rows_compared_live() {
    let (source, target) = fresh_databases("verify_lost").await;
    run(&source, EXAMPLE).await;
    run(&target, &format!("{EXAMPLE}; DELETE FROM item WHERE id = 9")).await;
    let (source_pin, _one) = pin(&source).await;
    let (target_pin, other) = pin(&target).await;
    drop(other);
    let session = target.connect("test").await.expect("the server answers");
    let gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() \
        AND application_name LIKE '%holder'";
    wait_for(&session, "the holder ends", gone).await;
    let mode = Mode::Pinned { source: source_pin, target: target_pin, barrier: Some(quiet()) };
    let found = certificate(&source, &target, mode).await;
    assert!(found.mode.starts_with("live, pins lost at "), "{}", found.mode);
    assert_eq!(only_row(&found).0, "id=9");
}
