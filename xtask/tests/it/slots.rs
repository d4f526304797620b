//! A slot that nobody reads, advanced now and then.

use xtask::pg::replication;

use crate::support::fresh_databases;

/// How often it is tried: whoever writes at the moment of a note keeps the slot where it was. Far
/// less time than the 15 seconds after which the server notes by itself.
const ATTEMPTS: u32 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_begins_to_read_at_the_last_note_of_what_is_at_work() {
    let (_, target) = fresh_databases("noted").await;
    let session = target.connect("test").await.unwrap();
    replication::create_idle_slot(&session, "noted").await.unwrap();
    let role = "CREATE ROLE noter LOGIN REPLICATION PASSWORD 'noter'";
    session.batch_execute(role).await.unwrap();
    for endpoint in [target.clone(), target.with_user("noter", "noter")] {
        let session = endpoint.connect("test").await.unwrap();
        let now = "SELECT pg_current_wal_insert_lsn()::text";
        let now: String = session.query_one(now, &[]).await.unwrap().get(0);
        let mut has_moved = false;
        for _ in 0..ATTEMPTS {
            replication::note_running(&session).await.unwrap();
            let flush = "SELECT pg_logical_emit_message(true, 'test', 'on disk')";
            session.query(flush, &[]).await.unwrap();
            replication::advance_slot(&session, "noted").await.unwrap();
            let moved = "SELECT restart_lsn >= $1::text::pg_lsn FROM pg_replication_slots
                         WHERE slot_name = 'noted'";
            has_moved = session.query_one(moved, &[&now]).await.unwrap().get(0);
            if has_moved {
                break;
            }
        }
        assert!(has_moved, "{endpoint}: it would read again what it has read");
        let unread = replication::unread(&session, "noted").await.unwrap();
        let all = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint";
        let all: i64 = session.query_one(all, &[]).await.unwrap().get(0);
        assert!(unread < u64::try_from(all).unwrap(), "{unread} of {all}");
        let left = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'xtask_note%'";
        assert_eq!(session.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
    replication::drop_slot(&session, "noted").await.unwrap();
}
