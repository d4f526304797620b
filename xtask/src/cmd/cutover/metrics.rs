//! `--metrics-file`: the state of a run for Prometheus, beside whatever verb works.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cutover::metrics;
use crate::cutover::status::{Status, status};
use crate::cutover::verbs::Operation;

/// Where verbs leave the state of the run for Prometheus.
#[derive(Debug, Clone, clap::Args)]
pub struct MetricsArguments {
    /// Write lag, WAL kept, way back and certificate here, as a text file for Prometheus; replaced
    /// as a whole
    #[arg(long, value_name = "PATH")]
    metrics_file: Option<PathBuf>,
}

/// How often a verb that works for hours writes its metrics.
const METRICS_EVERY: Duration = Duration::from_secs(15);

impl MetricsArguments {
    /// Writes what was seen, where a person asked for it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, status: &Status) -> Result<()> {
        self.metrics_file.as_deref().map_or(Ok(()), |path| metrics::write(path, status))
    }

    /// Looks at the servers and writes. That it cannot is a warning: no run depends on it.
    pub async fn observe(&self, operation: &Operation) {
        if self.metrics_file.is_none() {
            return;
        }
        let written = status(operation).await.and_then(|status| self.write(&status));
        if let Err(error) = written {
            operation.story.warning(format!("{error:#}"));
        }
    }

    /// Does long work, and writes over and over meanwhile.
    pub async fn observe_during<T>(
        &self,
        operation: &Operation,
        work: impl Future<Output = T>,
    ) -> T {
        let observing = async {
            loop {
                tokio::time::sleep(METRICS_EVERY).await;
                self.observe(operation).await;
            }
        };
        tokio::select! {
            ended = work => ended,
            () = observing => unreachable!("it never ends"),
        }
    }
}
