//! What is measured and what is predicted.

use std::time::Duration;

use xtask::bench::search::{Request, measure};
use xtask::cutover::event::Story;
use xtask::rag::sample::FILL_LIMIT;
use xtask::rag::size::{self, Plan, TOLERANCE};
use xtask::rag::store::Store;

use super::{empty, engine};
use crate::support::{own_pair, pair};

/// Small enough to be filled and indexed in seconds.
const CHUNKS: u64 = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_are_measured_beside_trades() {
    // A server of its own: the measurement gives the sample's role, which belongs to a whole
    // server, a password of its own.
    let pair = own_pair().await;
    let server = pair.target.endpoint("postgres");
    let scratch = tempfile::tempdir().unwrap();
    let request = Request {
        server: server.clone(),
        chunks: 600,
        time: Duration::from_secs(4),
        rate: 20.0,
        build_memory: 64,
        scratch: scratch.path().to_path_buf(),
    };
    let report = measure(&request, "postgres", &Story::silent()).await.unwrap();
    assert!(report.recall.mean >= 0.95, "{report:?}");
    assert_eq!(report.indexes.len(), 2, "{report:?}");
    assert!(report.alone.iter().chain(&report.beside).all(|kind| kind.count > 0), "{report:?}");
    assert!(report.trades_alone > 0.0 && report.trades_beside > 0.0, "{report:?}");
    let session = server.connect("test").await.unwrap();
    let left = "SELECT FROM pg_database WHERE datname LIKE 'xtask_bench%'";
    assert!(session.query_opt(left, &[]).await.unwrap().is_none());
    drop(session);
    pair.down().await.unwrap();
}

#[tokio::test]
async fn sizes_are_predicted_well_enough() {
    let has_bm25 = engine(&pair().await.target.endpoint("postgres")).await == "paradedb";
    for (name, dimensions, halves) in [("rag_size", 768, false), ("rag_size_half", 384, true)] {
        let (tool, _session, _folder) = empty(name).await;
        let store = Store::open(&tool.target, "test", FILL_LIMIT).await.unwrap();
        let plan = Plan { chunks: CHUNKS, dimensions, halves, has_bm25 };
        let all = size::measure(&store, &plan, &Story::silent()).await.unwrap();
        // WAL is the whole server's, and other tests write at the same time.
        for part in all.iter().filter(|part| !part.part.starts_with("WAL")) {
            assert!(part.error().abs() <= TOLERANCE, "{plan:?} {all:?}");
        }
        // What is not empty is not filled.
        size::measure(&store, &plan, &Story::silent()).await.unwrap_err();
    }
}
