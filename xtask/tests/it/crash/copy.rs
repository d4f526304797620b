//! Trouble in the middle of the copy. A lock on one small table of the target keeps the copy from
//! its end for as long as a test wants.

use xtask::failure::tolerate;

use super::*;

/// The table that is kept from being copied.
const KEPT: &str = "exchange_fee";
/// How long the copy may take to get stuck, and statements to be cancelled.
const STUCK_LIMIT: Duration = Duration::from_secs(60);
/// How long a statement may wait behind the holder before it is cancelled, on a busy machine.
const CANCEL_LIMIT: Duration = Duration::from_secs(4);

/// Locks the kept table on the target as soon as it is there. Dropping the session unlocks it.
async fn keep_table(night: &Night) -> Session {
    let began = Instant::now();
    loop {
        a_moment(began, STUCK_LIMIT, "the schema is there").await;
        // The fence of the target ends sessions that are older than it.
        let Ok(session) = night.target.connect("test").await else { continue };
        while !session.is_lost() {
            let sql = format!("BEGIN; LOCK TABLE public.{KEPT} IN ACCESS SHARE MODE");
            if session.batch_execute(&sql).await.is_ok() {
                return session;
            }
            tolerate(session.batch_execute("ROLLBACK").await, "it may just have been ended");
            a_moment(began, STUCK_LIMIT, "the schema is there").await;
        }
    }
}

/// Waits until only the kept table is missing and a worker of the copy waits for it.
async fn until_stuck(night: &Night) {
    let target = night.target.connect("test").await.expect("the target answers");
    let sql = "SELECT (SELECT count(*) FROM xtask_cutover.chunk WHERE rows_copied IS NULL) = 1
                  AND EXISTS (SELECT FROM pg_stat_activity
                              WHERE application_name LIKE 'xtask-cutover copy %'
                                AND datname = current_database() AND wait_event_type = 'Lock')";
    let began = Instant::now();
    loop {
        let row = target.query_one(sql, &[]).await;
        if row.is_ok_and(|row| row.get(0)) {
            return;
        }
        a_moment(began, STUCK_LIMIT, "the copy is stuck").await;
    }
}

/// Begins a copy that gets stuck.
async fn stuck(night: &Night) -> (Tool, Session) {
    let tool = night.spawn(START);
    let kept = keep_table(night).await;
    until_stuck(night).await;
    (tool, kept)
}

/// The batches of the newest run: number and tables.
fn batches(night: &Night) -> Vec<(u32, Vec<(String, String)>)> {
    let events = night.events().into_iter();
    let batch = |event| match event {
        Event::Batch { number, tables, .. } => Some((number, tables)),
        _ => None,
    };
    events.filter_map(batch).collect()
}

/// A change of schema waits for the holder; it is cancelled before readers behind it suffer.
async fn a_waiting_change_is_cancelled(night: &Night) {
    let changer = night.source.connect_as_client("changer").await.expect("the source answers");
    let reader = night.source.connect_as_client("reader").await.expect("the source answers");
    let began = Instant::now();
    let change = async {
        let sql = "ALTER TABLE public.api_order ADD COLUMN note text";
        let error = changer.batch_execute(sql).await.expect_err("the holder is in the way");
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error}");
    };
    let reading = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        reader.batch_execute("SELECT count(*) FROM public.api_order").await.expect("it reads");
    };
    tokio::join!(change, reading);
    assert!(began.elapsed() < CANCEL_LIMIT, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_the_copy() {
    let name = "killed_copying";
    let mut night = Night::begin(name).await;
    let (tool, kept) = stuck(&night).await;
    a_waiting_change_is_cancelled(&night).await;

    // Twice Ctrl-C kills; the holder goes on, and so does the next process.
    tool.signal(Signal::INT);
    tool.tells("once more to stop at once").await;
    tool.signal(Signal::INT);
    assert_eq!(tool.ended().await.code, None);
    night.traffic(Server::Plain).await;
    let tool = night.spawn(START);
    until_stuck(&night).await;
    assert_eq!(batches(&night).len(), 1);

    // With the holder dead as well the unfinished table starts anew, in a batch of its own.
    tool.kill().await;
    night.kill_holders().await;
    drop(kept);
    night.succeeds(START).await;
    night.watch();
    let batches = batches(&night);
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[1], (2, vec![("public".to_string(), KEPT.to_string())]));

    for (verb, server) in [(SWITCH, Server::Paradedb), (ROLLBACK, Server::Plain)] {
        night.succeeds(verb).await;
        night.turned_to(server).await;
        night.is_armed().await;
    }
    night.succeeds(&finish(name)).await;
    night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_run_leaves_nothing() {
    let night = Night::begin("removed").await;

    // The holder dies and the tool lives: its workers read on under the snapshot that they have.
    let (tool, kept) = stuck(&night).await;
    night.kill_holders().await;
    drop(kept);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.told);
    let mut remover = night.spawn(ROLLBACK);
    if !remover.writes("\"event\":\"undo_started\",\"step\":\"publish\"").await {
        panic!("the removal ended early: {}", remover.ended().await.told);
    }
    remover.kill().await;
    night.succeeds(ROLLBACK).await;
    night.nothing_is_left().await;

    // One Ctrl-C in the copy unwinds everything.
    let (tool, kept) = stuck(&night).await;
    tool.signal(Signal::INT);
    tool.tells("once more to stop at once").await;
    drop(kept);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(3), "{}", ended.told);
    night.nothing_is_left().await;
    night.traffic(Server::Plain).await;
    night.ends(Server::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_restarted_in_the_middle_of_the_copy() {
    let pair = own_pair().await;
    let mut night = Night::on(&pair, "restarted").await;
    let (tool, kept) = stuck(&night).await;
    pair.target.stop_immediate().await.expect("the target crashes");
    drop(kept);
    pair.target.start().await.expect("the target recovers");
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.told);
    assert_eq!(batches(&night).len(), 1);
    night.succeeds(ROLLBACK).await;
    night.nothing_is_left().await;

    // With the source the snapshot is lost: what is unfinished starts anew.
    let (tool, kept) = stuck(&night).await;
    pair.source.stop_immediate().await.expect("the source crashes");
    pair.source.start().await.expect("the source recovers");
    drop(kept);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.told);
    night.succeeds(SWITCH).await;
    night.watch();
    night.turned_to(Server::Paradedb).await;
    night.ends(Server::Paradedb).await;
    pair.down().await.expect("nothing is left");
}

/// With `--on-ddl yield` the copy gives way, and begins what is unfinished anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_copy_gives_way_where_asked_to() {
    let name = "gave_way";
    let mut night = Night::begin(name).await;
    let tool = night.spawn(&["cutover", "start", "--on-ddl", "yield"]);
    let kept = keep_table(&night).await;
    until_stuck(&night).await;
    let keeper = night.source.connect_as_client("keeper").await.expect("the source answers");
    let began = Instant::now();
    keeper.batch_execute("VACUUM FULL public.api_order").await.expect("it goes first");
    assert!(began.elapsed() < CANCEL_LIMIT, "{:?}", began.elapsed());
    drop(kept);
    let ended = tool.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.told);
    assert_eq!(batches(&night).len(), 2);
    night.watch();
    night.succeeds(SWITCH).await;
    night.turned_to(Server::Paradedb).await;
    night.succeeds(&finish(name)).await;
    night.ends(Server::Paradedb).await;
}
