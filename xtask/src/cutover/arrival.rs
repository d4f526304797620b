//! How long it takes from leading a Service or a Secret to the target until the first client is
//! there. Nobody can know it beforehand: it is up to kube-proxy, to the pods, and to how clients
//! try again. So each switch measures it, and the next plan tells what the last one saw.

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::cutover::drive::Log;
use crate::cutover::engine::Engine;
use crate::cutover::event::{Event, Record};
use crate::cutover::lineage::Run;
use crate::cutover::step::Step;
use crate::failure::tolerate;
use crate::pg::endpoint::{APPLICATION_NAME, Session};
use crate::route::Routes;

/// What a plan tells about the way of clients through a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Expected {
    /// The Services and Secrets that lead clients.
    pub route: String,
    /// The run that measured it last between these servers, and milliseconds; nothing where none
    /// has.
    pub measured: Option<(String, f64)>,
}

/// What leads clients without a live target, as people call it; nothing where nothing does.
pub fn route(routes: &Routes) -> Option<String> {
    let aimed = routes.aimed_only();
    (!aimed.is_empty()).then(|| aimed.to_string())
}

/// What a run has measured for a route.
pub fn measured(run: &Run, wanted: &str) -> Option<f64> {
    run.records.iter().rev().find_map(|record| match &record.event {
        Event::Arrived { route, milliseconds, .. } if route == wanted => Some(*milliseconds),
        _ => None,
    })
}

/// Journals how long the first client took that is on the target now, once in an attempt. It is no
/// part of the move: whatever fails here is a warning.
pub async fn note(engine: &mut Engine, log: &mut dyn Log) {
    let (Some(route), Some(led_at)) = (route(&engine.options.routes), unmeasured(log.records()))
    else {
        return;
    };
    match first(engine, led_at).await {
        Ok(Some((milliseconds, sessions))) => {
            let told = log.append(Event::Arrived { route, milliseconds, sessions });
            tolerate(told, "the next plan only knows less");
        }
        Ok(None) => {}
        Err(error) => {
            let text = format!("it could not be seen when the first client came: {error:#}");
            engine.story.warning(text);
        }
    }
}

/// When this process has led clients to the target, where nobody has seen the first one yet. What
/// an earlier process did is too long ago: the first may have come and gone.
fn unmeasured(records: &[Record]) -> Option<Timestamp> {
    for record in records.iter().rev() {
        match &record.event {
            Event::StepStarted { step: Step::Aim } => return Some(record.at),
            Event::Verb { .. } | Event::Arrived { .. } => return None,
            _ => {}
        }
    }
    None
}

/// How long after a moment the first client came that is on the target now, and how many there are.
async fn first(engine: &mut Engine, led_at: Timestamp) -> Result<Option<(f64, i64)>> {
    let target = engine.target.session().await?;
    let client = engine.options.routes.client(&engine.target.endpoint).await?;
    let role = client.map(|client| client.user);
    let since = Timestamp::now().duration_since(led_at).as_secs_f64();
    let Some((age, sessions)) = oldest(&target, role.as_deref(), since).await? else {
        return Ok(None);
    };
    // The server tells an age and no moment, so its clock need not agree with this machine's.
    let after = Timestamp::now().duration_since(led_at).as_secs_f64() - age;
    Ok(Some((after.max(0.0) * 1000.0, sessions)))
}

/// The age in seconds of the oldest session of a client that is younger than a limit.
async fn oldest(target: &Session, role: Option<&str>, limit: f64) -> Result<Option<(f64, i64)>> {
    let sql = "
        SELECT extract(epoch FROM clock_timestamp() - min(backend_start))::float8, count(*)
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
          AND application_name NOT LIKE $1 || ' %'
          AND ($2::text IS NULL OR usename = $2)
          AND clock_timestamp() - backend_start < make_interval(secs => $3)";
    let row = target.query_one(sql, &[&APPLICATION_NAME, &role, &limit]).await?;
    let age: Option<f64> = row.get(0);
    Ok(age.map(|age| (age, row.get(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_process_led_is_measured_and_once() {
        let verb = || {
            Record::now(Event::Verb {
                verb: "switch".into(),
                epoch: 1,
                argv: Vec::new(),
                operator: String::new(),
            })
        };
        let led = || Record::now(Event::StepStarted { step: Step::Aim });
        let opened = || Record::now(Event::StepStarted { step: Step::Open });
        let arrived = || {
            let route = "Service paradedb".into();
            Record::now(Event::Arrived { route, milliseconds: 412.0, sessions: 3 })
        };
        assert_eq!(unmeasured(&[verb(), opened()]), None);
        let aim = led();
        assert_eq!(unmeasured(&[verb(), led(), aim.clone(), opened()]), Some(aim.at));
        assert_eq!(unmeasured(&[verb(), led(), arrived()]), None);
        assert_eq!(unmeasured(&[led(), verb(), opened()]), None);
    }
}
