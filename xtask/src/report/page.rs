//! The forms of the report for people: one page of HTML that loads nothing, and Markdown.

use anyhow::{Context, Result};
use jiff::Timestamp;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use super::chart::{self, Gantt, Plot};
use super::facts::{Act, Report, StepSeen, StepState};
use super::wording;
use crate::cutover::event::WayBack;
use crate::cutover::step::Step;

/// The names of the templates; the ending decides how values are escaped.
const HTML: &str = "page.html";
const MARKDOWN: &str = "page.md";
/// The page of a measurement.
pub(super) const FIGURES: &str = "figures.html";

/// A figure in large type.
#[derive(Debug, Serialize)]
struct Tile {
    value: String,
    label: String,
}

/// What a command looks like.
#[derive(Debug, Serialize)]
struct ActView<'a> {
    act: &'a Act,
    outcome: String,
    tone: &'static str,
    leads: bool,
    gantt: Option<Gantt>,
    throughput: Option<Plot>,
    latency: Option<Plot>,
}

/// The charts that are about the whole.
#[derive(Debug, Serialize)]
struct Charts {
    lag: Option<Plot>,
    copy: Option<Plot>,
    load: Option<[Plot; 2]>,
}

/// The page for people.
///
/// # Errors
/// A template names what is not there, which would be a bug.
pub fn html(report: &Report) -> Result<String> {
    render(report, HTML)
}

/// The same in Markdown, without charts.
///
/// # Errors
/// As [`html`].
pub fn markdown(report: &Report) -> Result<String> {
    render(report, MARKDOWN)
}

fn render(report: &Report, name: &str) -> Result<String> {
    let engine = engine()?;
    let acts: Vec<ActView> = report.acts.iter().map(view).collect();
    let charts = Charts {
        lag: chart::lag(&report.lag, &report.acts),
        copy: chart::copy_rate(&report.copied),
        load: report.clients.as_ref().and_then(|window| chart::load(window, &report.acts)),
    };
    let context = context! {
        report => Value::from(Serde(report)),
        acts => Value::from(Serde(&acts)),
        charts => Value::from(Serde(&charts)),
        tiles => Value::from(Serde(&tiles(report))),
        style => style(),
    };
    let filled = engine.get_template(name).and_then(|template| template.render(context));
    filled.map_err(|error| anyhow::anyhow!("{error:#}")).context("fill the report")
}

/// The style of every page.
pub(super) fn style() -> Value {
    Value::from_safe_string(include_str!("page.css").to_string())
}

/// The templates, and what they may ask for.
pub(super) fn engine() -> Result<Environment<'static>> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|name| match name {
        HTML | FIGURES => AutoEscape::Html,
        _ => AutoEscape::None,
    });
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    engine.set_syntax(syntax.context("build the syntax of templates")?);
    engine.add_filter("duration", wording::duration);
    engine.add_filter("bytes", wording::bytes);
    engine.add_filter("count", wording::count);
    engine.add_filter("version", wording::version);
    engine.add_filter("clock", clock);
    engine.add_filter("day", day);
    engine.add_filter("cell", cell);
    engine.add_filter("percent", |part: f64, whole: f64| {
        (part / whole.max(1.0) * 1000.0).round() / 10.0
    });
    engine.add_template(HTML, include_str!("page.html.j2"))?;
    engine.add_template(MARKDOWN, include_str!("page.md.j2"))?;
    engine.add_template(FIGURES, include_str!("figures.html.j2"))?;
    Ok(engine)
}

/// A moment as the time of day, in UTC.
fn clock(at: String) -> String {
    at.parse::<Timestamp>().map_or(at, |at| at.strftime("%H:%M:%S").to_string())
}

/// A moment with its day, in UTC.
fn day(at: String) -> String {
    at.parse::<Timestamp>().map_or(at, |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A value within a table of Markdown: it can neither end the cell nor bring markup of its own.
fn cell(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' => escaped.extend(['\\', letter]),
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn view(act: &Act) -> ActView<'_> {
    use crate::cutover::event::Outcome;
    let clients = act.pause.as_ref().and_then(|pause| pause.clients.as_ref());
    let tone = match act.outcome {
        Some(Outcome::Following | Outcome::Switched | Outcome::Finished) => "good",
        Some(Outcome::Removed) if act.verb == "rollback" => "good",
        Some(Outcome::Halted | Outcome::Differs | Outcome::Degraded) => "bad",
        _ => "careful",
    };
    let outcome = match act.outcome {
        Some(Outcome::Switched) if act.verb == "rollback" => "switched back",
        Some(outcome) => wording::outcome(outcome),
        None => "no end in the journal",
    };
    ActView {
        act,
        outcome: outcome.into(),
        tone,
        leads: act.steps.iter().any(is_led),
        gantt: chart::gantt(act),
        throughput: clients.and_then(chart::throughput),
        latency: clients.and_then(chart::latency),
    }
}

/// Whether clients were led to the other side through a cluster, and stayed there.
fn is_led(step: &StepSeen) -> bool {
    step.name == Step::Aim.name() && step.state == StepState::Done
}

/// The figures that people ask for first.
fn tiles(report: &Report) -> Vec<Tile> {
    let mut all = Vec::new();
    let mut add = |value: String, label: String| all.push(Tile { value, label });
    let pauses = report.acts.iter().filter_map(|act| act.pause.as_ref());
    let seen = pauses.clone().filter_map(|pause| pause.clients.as_ref()?.switch.as_ref());
    let seen: Vec<f64> = seen.map(|switch| switch.pause_ms).collect();
    let servers: Vec<f64> = pauses.map(|pause| pause.database_ms).collect();
    let longest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let often = |count: usize| match count {
        1 => String::new(),
        count => format!(", longest of {count}"),
    };
    if !seen.is_empty() {
        let label = format!("pause that clients saw{}", often(seen.len()));
        add(wording::duration(longest(&seen)), label);
    } else if !servers.is_empty() {
        let label = format!("the database's part of the pause{}", often(servers.len()));
        add(wording::duration(longest(&servers)), label);
    }
    if let Some(oracle) = &report.oracle {
        let label = format!("lost of {} acknowledged", wording::count(oracle.rows.acknowledged));
        add(wording::count(oracle.rows.lost.count), label);
    }
    if let Some(searches) = &report.searches {
        let label = format!(
            "p95 of {} searches beside the writers, {} failed",
            wording::count(searches.count),
            wording::count(searches.failed)
        );
        add(wording::duration(searches.p95_ms), label);
    }
    if let Some(certificate) = &report.certificate {
        let found = certificate.difference_count();
        let label = format!(
            "{} in {} compared",
            wording::number_of(certificate.rows, "row"),
            wording::number_of(certificate.tables.len() as u64, "table")
        );
        let value =
            if found == 0 { "equal".into() } else { wording::number_of(found, "difference") };
        add(value, label);
    }
    if let Some(moved) = &report.moved {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let bytes = moved.bytes as f64;
        let rate = wording::bytes(bytes / (moved.copy_ms / 1000.0).max(0.001));
        let label =
            format!("copied {} in {}", wording::bytes(bytes), wording::duration(moved.copy_ms));
        add(format!("{rate}/s"), label);
    }
    if let Some(state) = &report.way_back {
        let word = match state {
            WayBack::Armed => "ARMED",
            WayBack::Arming => "ARMING",
            WayBack::AtRisk(_) => "AT RISK",
            WayBack::Lost(_) => "LOST",
            WayBack::Closed => "closed",
            WayBack::NotNeeded => "not needed",
        };
        add(word.into(), "way back, when last seen".into());
    }
    all
}
