//! `cutover unfence`: opens a source that a dead run left fenced.

use anyhow::Result;

use crate::cmd::environment::Chosen;
use crate::config;
use crate::cutover::decision::{self, Decision};
use crate::cutover::fence;
use crate::failure::Failure;
use crate::pg::state;
use crate::ui::Ui;

/// Arguments of `cutover unfence`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Normally the source's own dead-man does this within 5 s. This is for a source that was \
    restarted in the pause. It refuses where the target serves by decision.\n\
    \n\
    Example:\n\
    \x20 cargo xtask cutover unfence --source postgresql://postgres@old/rbsdb\n\
    \n\
    Exit codes: 0 it accepts writes, or was not fenced, 1 refused: the other side serves.")]
pub struct Arguments {
    /// The fenced server: the side that served when the run began
    #[arg(long, env = config::XTASK_SOURCE, hide_env_values = true, value_name = "URL")]
    source: Option<String>,
    /// Take it from the values of this environment, infra/values/NAME.yaml
    #[arg(long = "env", value_name = "NAME")]
    environment: Option<String>,
}

/// Decides to unwind every undecided run here, then opens the fence.
///
/// # Errors
/// The target of a run serves by decision, or the server cannot be reached.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let mut chosen = Chosen::read(arguments.environment.as_deref())?;
    let given = arguments.source.as_deref();
    let endpoint = chosen.side("source", given, |cutover| cutover.source.as_ref()).await?;
    let session = endpoint.connect("unfence").await?;
    if !state::is_installed(&session).await? || !fence::is_closed(&session).await? {
        ui.line("this database is not fenced by a run");
        return Ok(());
    }
    let rows = session.query("SELECT id FROM xtask_cutover.run ORDER BY begun_at", &[]).await?;
    let Some(last) = rows.last().map(|row| row.get::<_, String>(0)) else {
        return Err(Failure::refused("this side is fenced because it follows: it never served")
            .hint("let it serve with `cutover switch` or `rollback`, never by hand")
            .into());
    };
    if decision::read(&session, &last).await? == Decision::Switch {
        let message =
            format!("the other side serves by decision of run {last}: this one stays fenced");
        return Err(Failure::refused(message)
            .hint("to serve from here again: cargo xtask rollback, or cutover switch")
            .into());
    }
    decision::unwind(&session, &last, &config::operator()).await?;
    fence::open(&endpoint).await?;
    ui.line(&format!("run {last} is unwound here, and {endpoint} accepts writes again"));
    Ok(())
}
