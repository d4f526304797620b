//! `guardian`: the hidden verb of the detached process that lets held clients go.

use anyhow::Result;

use crate::cutover::guardian;
use crate::ui::Ui;

/// Serves one request on standard streams.
///
/// # Errors
/// The request cannot be read, or clients could not be let go.
pub async fn run(ui: &Ui) -> Result<()> {
    guardian::serve_on_standard_streams(&ui.story()).await
}
