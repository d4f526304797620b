//! The way back, as observed on the servers: never a flag that somebody set.

use anyhow::Result;

use crate::cutover::event::WayBack;
use crate::cutover::header::Header;
use crate::cutover::search;
use crate::pg::endpoint::Session;
use crate::pg::facts;
use crate::pg::replication;

/// More WAL than this between the serving side and the other is worth a warning, in bytes.
const LAG_AT_RISK: i64 = 256 << 20;

/// Why there is none, where nobody wanted one.
pub const WITHOUT: &str = "the run was begun with --without-way-back";

/// What the way back rests on.
pub struct Observed {
    /// The verdict.
    pub state: WayBack,
    /// Bytes of WAL between the serving side and what the other has confirmed.
    pub lag: Option<i64>,
}

/// Looks at the way back of a decided run: its target serves, its source follows.
///
/// # Errors
/// The serving side cannot be asked.
pub async fn observe(header: &Header, source: &Session, target: &Session) -> Result<Observed> {
    let name = header.object(header.direction.opposite(), 1);
    let lost = |reason: String| Observed { state: WayBack::Lost(reason), lag: None };
    if !replication::slot_is_usable(target, &name).await? {
        return Ok(lost(format!("slot {name} on the serving side is gone or invalid")));
    }
    let lag = replication::lag(target, &name).await?;
    let feed = replication::foreign(target).await?.into_iter().next();
    let Some(subscription) = replication::subscription(source, &name).await? else {
        return Ok(lost(format!("subscription {name} on the other side is gone")));
    };
    let state = if !subscription.enabled && subscription.apply_errors > 0 {
        let stopped = format!("subscription {name} stopped at an error");
        match changed_object(source, target).await? {
            Some(object) => {
                WayBack::Lost(format!("{stopped}: {object} differs between the two sides"))
            }
            // So does a crash of the serving side; the next turn enables it again.
            None => WayBack::AtRisk(format!("{stopped}; see the log of the side that follows")),
        }
    } else if !subscription.enabled {
        WayBack::Arming
    } else if !subscription.running {
        WayBack::AtRisk(format!("nothing works for subscription {name} at the moment"))
    } else if let Some(danger) = replication::slot_danger(target, &name).await? {
        WayBack::AtRisk(danger)
    } else if let Some(feed) = feed {
        WayBack::AtRisk(format!(
            "subscription {feed} of somebody else brings rows into the serving side, which are not \
             passed on"
        ))
    } else if lag > LAG_AT_RISK {
        WayBack::AtRisk(format!("the other side is {} MB behind", lag >> 20))
    } else if let Some(object) = changed_object(source, target).await? {
        WayBack::AtRisk(format!("{object} differs between the two sides"))
    } else {
        WayBack::Armed
    };
    Ok(Observed { state, lag: Some(lag) })
}

/// The first object whose definition differs: a change of schema that only one side has seen.
/// Search is ParadeDB's own and says nothing about the way back.
async fn changed_object(source: &Session, target: &Session) -> Result<Option<String>> {
    let differences = search::without(facts::differences(source, target).await?);
    let difference = differences.into_iter().next();
    Ok(difference.map(|difference| format!("{} {}", difference.kind, difference.object)))
}
