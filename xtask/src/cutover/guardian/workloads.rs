//! What a guardian knows of workloads that the tool has stopped in a cluster, and giving them back
//! should the tool die.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cutover::event::Story;
use crate::cutover::steps::release;
use crate::kube::Cluster;
use crate::kube::workloads::{self, Former};
use crate::pg::endpoint::Endpoint;
use crate::route::{Route, Routes};

/// Workloads that one command stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// How the cluster is reached.
    pub cluster: Cluster,
    /// What each had, in the order of stopping.
    pub former: Vec<Former>,
    /// The stamp of the command on all that it has stopped.
    pub stamp: String,
    /// Whether clients come to the target by routes that a guardian leads there itself. Where the
    /// operator leads them, or a file, nobody is there to do so for a dead tool.
    pub are_led: bool,
}

/// The stamp of a command on what it stops: nobody has had this epoch of the run before.
pub fn stamp(run: &str, epoch: i64) -> String {
    format!("{run} {epoch}")
}

/// Whether a guardian leads every client of these routes.
pub fn leads_all(routes: &Routes) -> bool {
    let is_led = |route: &Route| matches!(route, Route::PgBouncer(_) | Route::Aimed(_));
    !routes.is_empty() && routes.all().iter().all(is_led)
}

/// How a client gets in, with its password, and where that must lead before anything is started
/// that would make tables elsewhere.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// A client's connection string.
    pub client: String,
    /// The target's system identifier.
    pub system: String,
}

impl Entry {
    async fn is_seen(&self) -> Result<()> {
        release::try_as_client(&Endpoint::parse(&self.client)?, &self.system).await
    }
}

impl Stopped {
    /// Gives back everything: the source serves as before.
    ///
    /// # Errors
    /// Something could not be given back; the rest was.
    pub(super) async fn give_back(&self, story: &Story) -> Result<()> {
        self.give_back_those(story, |_| true).await
    }

    /// The same on the target, in the order of the step `release`: what makes tables waits until a
    /// client gets in.
    ///
    /// # Errors
    /// As [`Stopped::give_back`]; or no client gets in.
    pub(super) async fn give_back_behind(&self, entry: &Entry, story: &Story) -> Result<()> {
        let harmless = self.give_back_those(story, release::is_harmless).await;
        let is_seen = entry.is_seen().await;
        is_seen.context("workloads that migrate at their start are held back")?;
        harmless.and(self.give_back(story).await)
    }

    /// What bears the stamp, the last stopped first. Each is tried, whatever happens to the others.
    async fn give_back_those(
        &self,
        story: &Story,
        may_start: impl Fn(&Former) -> bool,
    ) -> Result<()> {
        let mut failed = None;
        for one in self.former.iter().rev().filter(|one| may_start(one)) {
            match workloads::restore_of(&self.cluster, one, &self.stamp).await {
                Ok(remark) => remark.into_iter().for_each(|remark| story.warning(remark)),
                Err(error) => {
                    let context = format!("give {} back what it had", one.workload.title());
                    failed = Some(error.context(context));
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error).context("some workloads are still stopped"))
    }
}
