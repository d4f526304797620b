//! `migrate plan`: what `up` would do, and the locks that it would take.

use anyhow::Result;

use crate::cmd::migrate::PlaceArguments;
use crate::migrate::rehearsal::{self, Held, Rehearsed};
use crate::ui::{self, Format, Ui};

/// Arguments of `migrate plan`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is pending runs in one transaction that is rolled back: it takes its \
    locks for that long, and gives up where it would wait more than two seconds for one. Indexes \
    that are built outside a transaction are only named.\n\n\
    Exit codes: 0 it would work, 1 refused, 2 wrong usage, 3 a statement failed."
)]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
}

/// Prints it.
///
/// # Errors
/// As [`rehearsal::plan`].
pub async fn run(arguments: &Arguments, ui: &Ui) -> Result<()> {
    let (endpoint, choice, folder) = arguments.place.read()?;
    let rehearsed = rehearsal::plan(&endpoint, &choice, &folder).await?;
    match ui.format() {
        Format::Json => ui.json(&serde_json::json!({ "pending": rehearsed }))?,
        Format::Text if rehearsed.is_empty() => {
            ui.data("nothing to do: every migration is applied");
        }
        Format::Text => {
            let all: Vec<String> = rehearsed.iter().map(text).collect();
            ui.data(&all.join("\n"));
        }
    }
    Ok(())
}

fn text(file: &Rehearsed) -> String {
    let kind = if file.outside { "  (outside a transaction: not tried)" } else { "" };
    let mut lines = vec![format!("{}{kind}", file.file)];
    for statement in &file.statements {
        let time = statement.milliseconds.map_or("—".into(), ui::duration);
        lines.push(format!("  {time:>8}  line {}", statement.line));
        lines.extend(statement.text.lines().map(|line| format!("            {line}")));
    }
    let (new, old): (Vec<&Held>, Vec<&Held>) = file.locks.iter().partition(|lock| lock.new);
    for lock in old {
        let time = lock.milliseconds.map_or("while it runs".into(), ui::duration);
        lines.push(format!("  lock      {} on {}, {time}", lock.mode, lock.relation));
    }
    if !new.is_empty() {
        lines.push(format!("  locks     {} on what it makes, where nobody waits", new.len()));
    }
    lines.join("\n") + "\n"
}
