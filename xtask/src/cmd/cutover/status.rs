//! `cutover status`: who serves, and what next.

use anyhow::Result;

use crate::cmd::cutover::{MetricsArguments, RunArguments};
use crate::cutover::lineage::Phase;
use crate::cutover::status::{Status, status};
use crate::failure::Failure;
use crate::ui::{self, Format, Ui};

/// Arguments of `cutover status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
    Changes nothing and takes no lock. On a machine without a journal it reads the one that the \
    servers keep, so a second person sees the same.\n\
    \n\
    Examples:\n\
    \x20 cargo xtask cutover status\n\
    \x20 cargo xtask --format json cutover status | jq .way_back\n\
    \x20 cargo xtask cutover status --metrics-file /var/lib/node_exporter/cutover.prom\n\
    \n\
    Exit codes: 0 all is well, 1 the way back is at risk or lost, 2 wrong usage, 4 a human \
    decides.")]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    metrics: MetricsArguments,
}

/// Prints the state of the run.
///
/// # Errors
/// The way back is in danger, or who serves is unknown: so that a script can tell.
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let operation = arguments.run.operation(ui).await?;
    let status = status(&operation).await?;
    match ui.format() {
        Format::Json => ui.json(&status)?,
        Format::Text => ui.data(&text(&status)),
    }
    arguments.metrics.write(&status)?;
    judge(&status)
}

fn judge(status: &Status) -> Result<()> {
    use crate::cutover::event::WayBack;
    if status.serves == "unknown" {
        return Err(Failure::undecided(
            "who serves is unknown: the deciding server does not answer",
        )
        .hint("bring it back, then run the same verb again")
        .into());
    }
    match &status.way_back {
        WayBack::AtRisk(_) => Err(Failure::refused("the way back is at risk").into()),
        WayBack::Lost(_) if status.phase != Phase::Finished => {
            Err(Failure::refused("the way back is lost").into())
        }
        _ => Ok(()),
    }
}

/// Where the run stands. A rollback is a switch the other way, and people want to know which.
fn phase(status: &Status) -> String {
    match (status.phase, status.serves.as_str()) {
        (Phase::Switched, "source") => "switched back".into(),
        (phase, _) => format!("{phase:?}").to_lowercase(),
    }
}

fn text(status: &Status) -> String {
    let fence = |fenced: Option<bool>| match fenced {
        Some(true) => "fenced",
        Some(false) => "open",
        None => "does not answer",
    };
    let target = match status.searchable {
        Some(true) => "answers searches; its copied tables are fenced",
        _ => fence(status.target_fenced),
    };
    let mut lines = vec![
        format!("run       {}", status.run.as_deref().unwrap_or("none")),
        format!("phase     {}", phase(status)),
        format!("serves    {}", status.serves),
        format!("source    {}", fence(status.source_fenced)),
        format!("target    {target}"),
        format!("rollback: {}", status.way_back),
    ];
    if let Some(lag) = status.lag_bytes {
        lines.push(format!("lag       {}", ui::bytes(u64::try_from(lag).unwrap_or(0))));
    }
    if let Some(certificate) = &status.certificate {
        lines.push(format!("proof     {certificate}"));
    }
    if let Some(digest) = &status.differences_digest {
        lines.push(format!("accept    finish --accept-differences {digest}"));
    }
    lines.extend(status.changed.iter().map(|changed| format!("changed   {changed}")));
    lines.extend(status.warnings.iter().map(|warning| format!("WARNING   {warning}")));
    lines.extend(status.error.iter().map(|error| format!("error     {error}")));
    lines.extend(status.disagreement.iter().map(|text| format!("ATTENTION {text}")));
    lines.push(format!("next      {}", status.next));
    lines.join("\n")
}
