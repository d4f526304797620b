//! Fills the sample with rows that depend on seed and scale alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session};

/// How many sessions insert at once.
const SESSIONS: usize = 3;

const RANDOM: &str = include_str!("random.sql");
const FILL: &str = include_str!("fill.sql");
const SETTLE: &str = include_str!("settle.sql");

/// What one session inserts in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    part: &'static str,
    sql: &'static str,
    number: usize,
    of: usize,
}

/// Fills the sample's tables: about 200 MB at scale 1. The same seed and scale give the same rows
/// on every server. Triggers and foreign keys are off meanwhile, so `admin` is a superuser.
///
/// # Errors
/// The scale is not a positive number, or the server refuses.
pub async fn fill(admin: &Endpoint, scale: f64, seed: u64, story: &Story) -> Result<()> {
    if !(scale.is_finite() && scale > 0.0) {
        let failure = Failure::usage(format!("{scale} is not a scale"));
        return Err(failure.hint("pass a number above 0; 1 is about 200 MB").into());
    }
    let pieces: Arc<Vec<Piece>> = Arc::new(pieces(FILL));
    let next = Arc::new(AtomicUsize::new(0));
    let finished = Arc::new(AtomicU64::new(0));
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS.min(pieces.len()) {
        let session = admin.connect("fill").await?;
        let (pieces, next) = (Arc::clone(&pieces), Arc::clone(&next));
        let (finished, story) = (Arc::clone(&finished), story.clone());
        sessions.spawn(async move {
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                insert(&session, *piece, scale, seed).await?;
                let finished = finished.fetch_add(1, Ordering::Relaxed) + 1;
                story.progress("fill", finished, pieces.len() as u64, "pieces");
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = sessions.join_next().await {
        ended.context("fill the sample")??;
    }
    let session = admin.connect("fill").await?;
    session.batch_execute(SETTLE).await.context("settle the sample's sequences and statistics")
}

async fn insert(session: &Session, piece: Piece, scale: f64, seed: u64) -> Result<()> {
    let random = RANDOM
        .replace("{seed}", &seed.cast_signed().to_string())
        .replace("{scale}", &scale.to_string())
        .replace("{pieces}", &piece.of.to_string())
        .replace("{piece}", &piece.number.to_string());
    let script = format!("SET session_replication_role = replica; {random} {}", piece.sql);
    session.batch_execute(&script).await.with_context(|| format!("fill {}", piece.part))
}

/// Reads `-- part <name> [<pieces>]` headers; parts of most pieces first, so that sessions end
/// together.
fn pieces(script: &'static str) -> Vec<Piece> {
    let mut all = Vec::new();
    for section in script.split("\n-- part ").skip(1) {
        let (header, sql) = section.split_once('\n').unwrap_or((section, ""));
        let (part, of) = match header.rsplit_once(' ').map(|(part, of)| (part, of.parse())) {
            Some((part, Ok(of))) => (part, of),
            _ => (header, 1),
        };
        all.extend((0..of).map(|number| Piece { part, sql, number, of }));
    }
    all.sort_by_key(|piece| std::cmp::Reverse(piece.of));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_pieces() {
        let all = pieces("head\n-- part a name\nSELECT 1;\n-- part b 2\nSELECT 2;\n");
        let seen: Vec<_> = all.iter().map(|piece| (piece.part, piece.number, piece.of)).collect();
        assert_eq!(seen, [("b", 0, 2), ("b", 1, 2), ("a name", 0, 1)]);
        assert_eq!(all[2].sql, "SELECT 1;");
    }

    #[test]
    fn the_script_is_read_whole() {
        let inserts = FILL.matches("\nINSERT INTO ").count();
        let parts = pieces(FILL).iter().filter(|piece| piece.number == 0).count();
        assert_eq!(parts, inserts);
    }
}
