//! How far the follower is behind, told while a verb works. It changes nothing and stops nothing.

use std::time::Duration;

use crate::cutover::event::{Event, Story};
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::slots::{self, Slot};

/// How often the servers are asked.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long one answer may take before the question is dropped with its session.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The database that every server has. A fence leaves sessions there alone, and waits for none.
const MAINTENANCE: &str = "postgres";

/// Tells the lag of whatever slot of the run is being read, on either side, until it is dropped.
pub async fn tell(endpoints: [Endpoint; 2], prefix: String, story: Story) {
    let mut sessions: [Option<Session>; 2] = [None, None];
    loop {
        let mut behind = None;
        for (endpoint, session) in endpoints.iter().zip(&mut sessions) {
            let answer = tokio::time::timeout(ANSWER_LIMIT, ask(endpoint, session, &prefix)).await;
            let Ok(Some(slots)) = answer else {
                *session = None;
                continue;
            };
            let read = slots.iter().filter(|slot| slot.active).map(|slot| slot.lag_bytes);
            behind = behind.max(read.max());
        }
        if let Some(bytes) = behind {
            story.event(Event::Lag { bytes });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn ask(
    endpoint: &Endpoint,
    session: &mut Option<Session>,
    prefix: &str,
) -> Option<Vec<Slot>> {
    if session.as_ref().is_none_or(Session::is_lost) {
        *session = endpoint.with_database(MAINTENANCE).connect("lag").await.ok();
    }
    slots::beginning_with(session.as_ref()?, prefix).await.ok()
}
