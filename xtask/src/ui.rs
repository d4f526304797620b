//! The only owner of standard output and standard error.
//!
//! Standard output carries what was asked for; standard error tells the story, one line a step,
//! with bars on a terminal and plain lines when piped. `--format json` turns both into JSON Lines.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::cutover::event::{Event, Record, Story};
use crate::cutover::step::Step;
use crate::failure::{self, Failure, tolerate};

/// How output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// JSON Lines, for programs.
    Json,
}

/// How often a piped story repeats the progress of long work.
const PLAIN_PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How often the line moves that shows that the tool is alive.
const SPIN_EVERY: Duration = Duration::from_millis(120);

/// Where the tool writes. Cheap to clone.
#[derive(Clone)]
pub struct Ui {
    format: Format,
    screen: Arc<Mutex<Screen>>,
}

/// The moving part of the screen.
struct Screen {
    bar: Option<(String, ProgressBar)>,
    interactive: bool,
    last_plain: Option<Instant>,
    last_lag: Option<Instant>,
    /// The step at work, and what is known beside it: lag and way back.
    step: Option<Step>,
    undoing: bool,
    lag: Option<String>,
    way_back: Option<String>,
}

impl Ui {
    /// A user interface on this process's standard output and standard error.
    pub fn new(format: Format) -> Ui {
        let interactive = format == Format::Text && std::io::stderr().is_terminal();
        let screen = Screen {
            bar: None,
            interactive,
            last_plain: None,
            last_lag: None,
            step: None,
            undoing: false,
            lag: None,
            way_back: None,
        };
        Ui { format, screen: Arc::new(Mutex::new(screen)) }
    }

    /// How output is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// A story that this screen shows.
    pub fn story(&self) -> Story {
        let ui = self.clone();
        Story::new(move |record| ui.show(record))
    }

    /// Writes what was asked for to standard output.
    pub fn data(&self, text: &str) {
        self.end_bar();
        self.suspended(|| {
            anstream::println!("{}", text.trim_end_matches('\n'));
        });
    }

    /// Writes a value as one line of JSON to standard output.
    ///
    /// # Errors
    /// The value cannot be written as JSON.
    pub fn json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        self.data(&serde_json::to_string(value)?);
        Ok(())
    }

    /// Writes one line of the story to standard error; nothing in JSON.
    pub fn line(&self, text: &str) {
        if self.format == Format::Text {
            self.error_line(text);
        }
    }

    /// Shows an error and its hint.
    pub fn error(&self, error: &anyhow::Error) {
        let hint = failure::find(error).and_then(|failure: &Failure| failure.hint.clone());
        match self.format {
            Format::Text => {
                let style = anstyle::AnsiColor::Red.on_default().bold();
                self.error_line(&format!("{style}error{style:#}: {error:#}"));
                if let Some(hint) = hint {
                    let style = anstyle::AnsiColor::Cyan.on_default();
                    self.error_line(&format!("{style}hint{style:#}: {hint}"));
                }
            }
            Format::Json => {
                let code = failure::kind(error).exit_code();
                let line = serde_json::json!({
                    "event": "error", "error": format!("{error:#}"), "hint": hint,
                    "exit_code": code,
                });
                self.data(&line.to_string());
            }
        }
    }

    /// Shows one event.
    fn show(&self, record: &Record) {
        if self.format == Format::Json {
            if let Ok(line) = serde_json::to_string(record) {
                self.data(&line);
            }
            return;
        }
        self.follow(&record.event);
        if let Event::Progress { what, done, total, unit } = &record.event {
            self.progress(what, *done, *total, unit);
        } else if let Event::Lag { .. } = &record.event {
            self.tell_lag(&record.event);
        } else if let Some(line) = line_of(&record.event) {
            let finishes_step = matches!(
                record.event,
                Event::StepDone { .. } | Event::StepFailed { .. } | Event::UndoDone { .. }
            );
            if finishes_step {
                self.end_bar();
            }
            self.error_line(&line);
        }
    }

    /// Keeps the foot of the screen at what is going on: the step, the lag, the way back, and what
    /// comes next. Only on a terminal; it moves, so that a person sees that the tool is alive.
    fn follow(&self, event: &Event) {
        let mut screen = lock(&self.screen);
        match event {
            Event::StepStarted { step } => (screen.step, screen.undoing) = (Some(*step), false),
            Event::UndoStarted { step } => (screen.step, screen.undoing) = (Some(*step), true),
            Event::Lag { bytes: behind } => {
                screen.lag = Some(format!("lag {}", bytes(u64::try_from(*behind).unwrap_or(0))));
            }
            Event::WayBack { way_back: state } => {
                screen.way_back = Some(format!("rollback {state}"));
            }
            Event::Ended { .. } => screen.step = None,
            _ => return,
        }
        if !screen.interactive {
            return;
        }
        let Some(foot) = screen.foot() else {
            if let Some((_, bar)) = screen.bar.take() {
                bar.finish_and_clear();
            }
            return;
        };
        match &screen.bar {
            Some((_, bar)) => bar.set_message(foot),
            None => {
                let spinner = new_spinner();
                spinner.set_message(foot);
                screen.bar = Some((String::new(), spinner));
            }
        }
    }

    /// The lag as a line of its own: on a terminal it stands at the foot, elsewhere a line now and
    /// then is enough.
    fn tell_lag(&self, event: &Event) {
        let mut screen = lock(&self.screen);
        let due = screen.last_lag.is_none_or(|last| last.elapsed() >= PLAIN_PROGRESS_EVERY);
        if (screen.interactive && screen.step.is_some()) || !due {
            return;
        }
        screen.last_lag = Some(Instant::now());
        drop(screen);
        if let Some(line) = line_of(event) {
            self.error_line(&line);
        }
    }

    fn progress(&self, what: &str, done: u64, total: u64, unit: &str) {
        let mut screen = lock(&self.screen);
        if screen.interactive {
            if screen.bar.as_ref().is_none_or(|(name, _)| name != what) {
                if let Some((_, old)) = screen.bar.take() {
                    old.finish_and_clear();
                }
                let bar = new_bar(what, unit);
                bar.set_message(screen.foot().unwrap_or_default());
                screen.bar = Some((what.to_string(), bar));
            }
            if let Some((_, bar)) = &screen.bar {
                bar.set_length(total);
                bar.set_position(done);
            }
            return;
        }
        let due = screen.last_plain.is_none_or(|last| last.elapsed() >= PLAIN_PROGRESS_EVERY);
        if due {
            screen.last_plain = Some(Instant::now());
            drop(screen);
            let share = done.saturating_mul(100).checked_div(total).unwrap_or(0);
            let counted = match unit {
                "bytes" => format!("{} of {}", bytes(done), bytes(total)),
                _ => format!("{done} of {total} {unit}"),
            };
            self.error_line(&format!("  {what}: {share} % ({counted})"));
        }
    }

    fn end_bar(&self) {
        let mut screen = lock(&self.screen);
        if let Some((_, bar)) = screen.bar.take() {
            bar.finish_and_clear();
        }
        screen.last_plain = None;
    }

    fn error_line(&self, text: &str) {
        self.suspended(|| {
            anstream::eprintln!("{text}");
        });
    }

    /// Runs a write with the bar out of the way.
    fn suspended(&self, write: impl FnOnce()) {
        let screen = lock(&self.screen);
        match &screen.bar {
            Some((_, bar)) => bar.suspend(write),
            None => write(),
        }
        tolerate(
            std::io::stdout().flush(),
            "a closed pipe ends the reader's interest, not the run",
        );
    }
}

impl Screen {
    /// What goes on and what comes next; none between verbs.
    fn foot(&self) -> Option<String> {
        let step = self.step?;
        let beside = [self.lag.as_deref(), self.way_back.as_deref()];
        let next = Step::ALL.into_iter().find(|next| *next > step && !self.undoing);
        let what = if self.undoing { format!("undoing {step}") } else { step.to_string() };
        let mut all: Vec<String> = vec![what];
        all.extend(beside.into_iter().flatten().map(str::to_string));
        all.extend(next.map(|next| format!("next {next}")));
        Some(all.join(" · "))
    }
}

fn lock(screen: &Mutex<Screen>) -> std::sync::MutexGuard<'_, Screen> {
    // A panic while drawing leaves nothing that later drawing could not use.
    screen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn new_bar(what: &str, unit: &str) -> ProgressBar {
    let counts = if unit == "bytes" {
        "{bytes}/{total_bytes} {bytes_per_sec}"
    } else {
        "{human_pos}/{human_len}"
    };
    let template = format!("  {{prefix}} [{{bar:32}}] {counts}{{left}}  {{wide_msg:.dim}}");
    let style = ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            // Before anything is done nothing says how long it takes.
            if state.pos() > 0 {
                let left = HumanDuration(state.eta());
                tolerate(write!(to, ", {left:#} left"), "the bar is drawn again soon");
            }
        })
        .progress_chars("=> ");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style)
        .with_prefix(what.to_string())
}

/// A line that moves while a step has nothing to count.
fn new_spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {wide_msg:.dim} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
    spinner.enable_steady_tick(SPIN_EVERY);
    spinner
}

/// Milliseconds, in the unit that a person reads best.
pub fn duration(milliseconds: f64) -> String {
    if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else if milliseconds < 120_000.0 {
        format!("{:.1} s", milliseconds / 1000.0)
    } else {
        format!("{:.1} min", milliseconds / 60_000.0)
    }
}

/// Bytes, in the unit that a person reads best.
pub fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// A count with its thousands apart.
pub fn count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// The line of the story for an event; `None` for what only programs read.
fn line_of(event: &Event) -> Option<String> {
    let good = anstyle::AnsiColor::Green.on_default().bold();
    let bad = anstyle::AnsiColor::Red.on_default().bold();
    let careful = anstyle::AnsiColor::Yellow.on_default().bold();
    let faint = anstyle::Style::new().dimmed();
    Some(match event {
        Event::StepDone { step, evidence, milliseconds } => {
            let facts = facts(evidence);
            let time = duration(*milliseconds);
            format!("  {good}✓{good:#} {:<10} {time:>8}  {faint}{facts}{faint:#}", step.name())
        }
        Event::StepFailed { step, error } => {
            format!("  {bad}✗{bad:#} {:<10} failed: {error}", step.name())
        }
        Event::StepUnknown { step, error } => {
            format!("  {careful}?{careful:#} {:<10} unknown: {error}", step.name())
        }
        Event::UndoDone { step, milliseconds } => {
            format!(
                "  {careful}↶{careful:#} {:<10} {:>8}  undone",
                step.name(),
                duration(*milliseconds)
            )
        }
        Event::UndoFailed { step, error } => {
            format!("  {bad}✗{bad:#} {:<10} could not be undone: {error}", step.name())
        }
        Event::Interrupted => format!("  {careful}!{careful:#} asked to stop; stopping safely"),
        Event::WayBack { way_back: state } => format!("  rollback: {state}"),
        Event::Difference { object, detail } => {
            format!("  {bad}≠{bad:#} {object}: {detail}")
        }
        Event::Arrived { route, milliseconds, sessions } => format!(
            "  the first client came {milliseconds:.0} ms after {route} was led there; {sessions} \
             sessions now"
        ),
        Event::WorkloadsRestored { names } => format!("  runs again: {}", names.join(", ")),
        Event::Note { text } => format!("  {text}"),
        Event::Warning { text } => format!("  {careful}warning{careful:#}: {text}"),
        Event::Lag { bytes: behind } => {
            format!("  lag {}", bytes(u64::try_from(*behind).unwrap_or(0)))
        }
        Event::StepStarted { .. }
        | Event::UndoStarted { .. }
        | Event::Verb { .. }
        | Event::Planned { .. }
        | Event::Backup { .. }
        | Event::Batch { .. }
        | Event::Pinned { .. }
        | Event::Certified { .. }
        | Event::Changed { .. }
        | Event::Restored { .. }
        | Event::SchemaChange { .. }
        | Event::Workloads { .. }
        | Event::Samples { .. }
        | Event::Clients { .. }
        | Event::Oracle { .. }
        | Event::Searches { .. }
        | Event::Ended { .. }
        | Event::Progress { .. } => return None,
    })
}

fn facts(evidence: &crate::cutover::event::Evidence) -> String {
    let show = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let all: Vec<String> = evidence
        .iter()
        .filter(|(_, value)| !value.is_array() && !value.is_object())
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), show(value)))
        .collect();
    all.join(", ")
}
