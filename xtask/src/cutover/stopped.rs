//! What the run has stopped in the cluster, as its journal tells it, and giving it back.
//!
//! What each workload had is journaled before the first is touched. So whoever goes on, here or on
//! another machine, knows what is to be given back, also where the tool died in between.

use anyhow::{Context, Result};

use crate::cutover::drive::Log;
use crate::cutover::event::{Event, Record, Story};
use crate::kube::Cluster;
use crate::kube::workloads::{self, Former};

/// What is stopped, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Where it was stopped, as the tool was told then.
    pub cluster: Cluster,
    /// What has not been given back, in the order of stopping.
    pub former: Vec<Former>,
}

/// What these records leave stopped; nothing where everything was given back.
pub fn open<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<Open> {
    let mut open: Option<Open> = None;
    for record in records {
        match &record.event {
            Event::Workloads { cluster, former } => {
                let read = serde_json::from_value(cluster.clone());
                if let (Ok(cluster), Ok(former)) = (read, serde_json::from_value(former.clone())) {
                    open = Some(Open { cluster, former });
                }
            }
            Event::WorkloadsRestored { names } => {
                if let Some(open) = &mut open {
                    open.former.retain(|one| !names.contains(&one.workload.title()));
                }
            }
            _ => {}
        }
    }
    open.filter(|open| !open.former.is_empty())
}

/// Gives back what is stopped and may be started, the last stopped first. Each is tried, whatever
/// happens to the others.
///
/// # Errors
/// Something could not be given back; the rest was.
pub async fn restore(
    cluster: Option<&Cluster>,
    log: &mut dyn Log,
    story: &Story,
    may_start: impl Fn(&Former) -> bool,
) -> Result<()> {
    let Some(open) = open(log.records()) else { return Ok(()) };
    // A person may reach the same cluster another way today.
    let cluster = cluster.unwrap_or(&open.cluster);
    let mut failed = None;
    let mut names = Vec::new();
    for one in open.former.iter().rev().filter(|one| may_start(one)) {
        match workloads::restore(cluster, one).await {
            Ok(remark) => {
                remark.into_iter().for_each(|remark| story.warning(remark));
                names.push(one.workload.title());
            }
            Err(error) => {
                let context = format!("give {} back what it had", one.workload.title());
                failed = Some(error.context(context));
            }
        }
    }
    if !names.is_empty() {
        let noted = log.append(Event::WorkloadsRestored { names });
        crate::failure::tolerate(noted, "they run again; to give back twice changes nothing");
    }
    failed.map_or(Ok(()), |error| Err(error).context("some workloads are still stopped"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::workloads::{Kind, Workload};
    use serde_json::json;

    fn former(name: &str) -> Former {
        let workload = Workload {
            kind: Kind::Deployment,
            namespace: "robson".into(),
            name: name.into(),
            migrates: false,
        };
        Former { workload, former: json!(3) }
    }

    #[test]
    fn what_was_stopped_stays_open_until_it_is_given_back() {
        let cluster = Cluster::new("kubectl", None, "k3s", "robson");
        let stopped = Record::now(Event::Workloads {
            cluster: serde_json::to_value(&cluster).unwrap(),
            former: serde_json::to_value([former("web"), former("api")]).unwrap(),
        });
        let given_back = |name: &str| {
            Record::now(Event::WorkloadsRestored { names: vec![former(name).workload.title()] })
        };
        assert_eq!(open(std::slice::from_ref(&stopped)).unwrap().former.len(), 2);
        let left = open(&[stopped.clone(), given_back("api")]).unwrap().former;
        assert_eq!(left, [former("web")]);
        assert_eq!(open(&[stopped, given_back("web"), given_back("api")]), None);
    }
}
