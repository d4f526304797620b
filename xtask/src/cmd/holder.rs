//! `holder`: the hidden verb of the detached process that keeps snapshots alive.

use anyhow::Result;

use crate::cutover::holder;

/// Serves one request on standard streams.
///
/// # Errors
/// The request cannot be read.
pub async fn run() -> Result<()> {
    holder::serve_on_standard_streams().await
}
