//! The state of a run as a text file for Prometheus, such as the textfile collector of its node
//! exporter reads. It is a pure function of what `cutover status` shows.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::cutover::event::WayBack;
use crate::cutover::status::{SideSlot, Status};
use crate::failure::tolerate;

/// Whoever collects metrics may read them: they hold no secret.
const READABLE: u32 = 0o644;

/// What stands around the value of a label.
const QUOTE: char = '"';

/// What a text file is made of: one block per metric.
struct Page(String);

/// The labels and the value of one sample.
type Sample<'a> = (Vec<(&'a str, &'a str)>, f64);

impl Page {
    /// A metric with its samples; nothing where there are none.
    fn gauge(&mut self, name: &str, help: &str, samples: &[Sample<'_>]) {
        if samples.is_empty() {
            return;
        }
        self.line(format_args!("# HELP xtask_cutover_{name} {help}"));
        self.line(format_args!("# TYPE xtask_cutover_{name} gauge"));
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, text)| format!("{label}={}", quoted(text))).collect();
            let labels =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            self.line(format_args!("xtask_cutover_{name}{labels} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        tolerate(writeln!(self.0, "{line}"), "writing to a string cannot fail");
    }

    /// A metric with one sample, where its value is known.
    fn single(&mut self, name: &str, help: &str, value: Option<f64>) {
        let samples: Vec<Sample> = value.map(|value| (Vec::new(), value)).into_iter().collect();
        self.gauge(name, help, &samples);
    }

    /// A metric that is 1 for one of several states and 0 for the others.
    fn state(&mut self, name: &str, help: &str, label: &str, states: &[&str], present: &str) {
        let samples: Vec<Sample> =
            states.iter().map(|state| (vec![(label, *state)], flag(*state == present))).collect();
        self.gauge(name, help, &samples);
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{QUOTE}{escaped}{QUOTE}")
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
fn number(value: i64) -> f64 {
    value as f64
}

/// The state of a run in the text format of Prometheus.
pub fn text(status: &Status, at: Timestamp) -> String {
    let mut page = Page(String::new());
    let run = status.run.as_deref().unwrap_or("");
    page.gauge("run_info", "The present run.", &[(vec![("run", run)], flag(!run.is_empty()))]);
    let phase = serde_json::to_value(status.phase).unwrap_or_default();
    page.state(
        "phase",
        "Where the run stands.",
        "phase",
        &["absent", "copying", "following", "switching", "releasing", "switched", "finished"],
        phase.as_str().unwrap_or(""),
    );
    page.state(
        "serves",
        "Who serves, as the operator names the servers.",
        "side",
        &["source", "target", "unknown"],
        &status.serves,
    );
    let way_back = match status.way_back {
        WayBack::Armed => "armed",
        WayBack::Arming => "arming",
        WayBack::AtRisk(_) => "at_risk",
        WayBack::Lost(_) => "lost",
        WayBack::Closed => "closed",
        WayBack::NotNeeded => "not_needed",
    };
    page.state(
        "way_back",
        "The way back, as observed on the servers.",
        "state",
        &["armed", "arming", "at_risk", "lost", "closed", "not_needed"],
        way_back,
    );
    servers(&mut page, status);
    slots(&mut page, status);
    page.single(
        "certificate_timestamp_seconds",
        "When the last certificate was complete.",
        status.certified_at.map(|at| at.as_duration().as_secs_f64()),
    );
    page.single(
        "certificate_equal",
        "Whether the last certificate found no difference.",
        status.certificate_passes.map(flag),
    );
    page.single(
        "last_pause_seconds",
        "The database's part of the last pause, from fence to release.",
        status.last_pause_ms.map(|milliseconds| milliseconds / 1000.0),
    );
    page.single(
        "observed_timestamp_seconds",
        "When the servers were looked at.",
        Some(at.as_duration().as_secs_f64()),
    );
    page.0
}

fn servers(page: &mut Page, status: &Status) {
    let sides = [("source", status.source_fenced), ("target", status.target_fenced)];
    let up: Vec<Sample> =
        sides.iter().map(|(side, seen)| (vec![("side", *side)], flag(seen.is_some()))).collect();
    page.gauge("server_up", "Whether the server answers.", &up);
    let fenced: Vec<Sample> = sides
        .iter()
        .filter_map(|(side, seen)| Some((vec![("side", *side)], flag((*seen)?))))
        .collect();
    page.gauge("server_fenced", "Whether the fence of the run stands there.", &fenced);
}

fn slots(page: &mut Page, status: &Status) {
    page.single(
        "lag_bytes",
        "WAL between what the serving side wrote and what the other side confirmed.",
        status.lag_bytes.map(number),
    );
    let read = status.slots.iter().filter(|one| one.slot.active);
    let seconds = read.map(|one| one.slot.lag_seconds.unwrap_or(0.0)).reduce(f64::max);
    let help = "How old the last confirmed change is; 0 where nothing is on its way.";
    page.single("lag_seconds", help, seconds);
    let mut per_slot = |name: &str, help: &str, value: &dyn Fn(&SideSlot) -> Option<f64>| {
        let known = status.slots.iter().filter_map(|one| Some((one, value(one)?)));
        let samples: Vec<Sample> = known
            .map(|(one, value)| (vec![("side", one.side), ("slot", &*one.slot.name)], value))
            .collect();
        page.gauge(name, help, &samples);
    };
    per_slot("slot_wal_kept_bytes", "WAL that the server keeps for the slot.", &|one| {
        Some(number(one.slot.kept_bytes))
    });
    per_slot(
        "slot_wal_budget_bytes",
        "The most WAL that the server keeps for the slot; absent without a limit.",
        &|one| one.slot.budget_bytes.map(number),
    );
    per_slot("slot_active", "Whether somebody reads from the slot.", &|one| {
        Some(flag(one.slot.active))
    });
    per_slot("slot_lost", "Whether the server has dropped WAL that the slot needs.", &|one| {
        Some(flag(one.slot.lost))
    });
}

/// Replaces the file as a whole, so that no reader ever sees half of it.
///
/// # Errors
/// The folder does not exist or cannot be written.
pub fn write(path: &Path, status: &Status) -> Result<()> {
    let describe = || format!("write metrics to {}", path.display());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(describe)?;
    file.write_all(text(status, Timestamp::now()).as_bytes()).with_context(describe)?;
    let readable = std::fs::Permissions::from_mode(READABLE);
    file.as_file().set_permissions(readable).with_context(describe)?;
    file.persist(path).map_err(|error| error.error).with_context(describe)?;
    Ok(())
}

#[cfg(test)]
mod tests;
