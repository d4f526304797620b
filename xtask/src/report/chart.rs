//! Charts as figures for the templates: shares of a width, and paths in a box of 1000 by 1000 that
//! is stretched to whatever place there is.

use std::fmt::Write as _;

use serde::Serialize;

use super::facts::{Act, Pause, Point, StepSeen, StepState};
use super::wording;
use crate::ledger::{Bucket, Window};

/// The side of the box that paths are drawn in.
const BOX: f64 = 1000.0;
/// About how many marks an axis gets.
const MARKS: f64 = 5.0;
/// The least width of a bar, in percent: what took no time is seen all the same.
const LEAST_WIDTH: f64 = 0.5;
/// In how many stretches the speed of the copy is told at most.
const MOST_STRETCHES: usize = 60;

/// A chart with two axes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plot {
    /// What it shows, for who cannot see it.
    pub title: String,
    /// Marks of the horizontal axis.
    pub x: Vec<Mark>,
    /// Marks of the vertical axis; from the top.
    pub y: Vec<Mark>,
    /// What is drawn.
    pub shapes: Vec<Shape>,
    /// Stretches that stand out: the pauses.
    pub bands: Vec<Band>,
}

/// A mark of an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Where, in percent.
    pub at: f64,
    /// What it says.
    pub label: String,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// Its class: `area`, `line`, `faint` or `refused`.
    pub class: &'static str,
    /// Its path.
    pub path: String,
}

/// A stretch of the horizontal axis, in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Band {
    /// Where it begins.
    pub from: f64,
    /// How wide it is.
    pub width: f64,
    /// What it says.
    pub label: String,
}

/// The steps of one command as bars.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gantt {
    /// The bars; those of the pause are one.
    pub bars: Vec<Bar>,
    /// How long all of it took.
    pub span: String,
    /// The steps of the pause on a scale of their own.
    pub zoom: Option<Zoom>,
}

/// The pause, zoomed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Zoom {
    /// Where the pause stands among the other bars, in percent.
    pub from: f64,
    /// How wide it is there.
    pub width: f64,
    /// Its bars.
    pub bars: Vec<Bar>,
    /// How long it took.
    pub span: String,
}

/// One bar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    /// The step.
    pub label: String,
    /// Where it begins, in percent.
    pub from: f64,
    /// How wide it is.
    pub width: f64,
    /// How long it took.
    pub text: String,
    /// `done`, `paused`, `failed`, `undone`, `begun` or `pause`.
    pub class: &'static str,
    /// What became of it, where it was not done.
    pub word: &'static str,
}

/// A range of an axis.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: f64,
    until: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Option<Range> {
        let mut range: Option<Range> = None;
        for value in values {
            let old = range.unwrap_or(Range { from: value, until: value });
            range = Some(Range { from: old.from.min(value), until: old.until.max(value) });
        }
        range.filter(|range| range.until > range.from)
    }

    /// The place of a value between 0 and 1.
    fn place(self, value: f64) -> f64 {
        ((value - self.from) / (self.until - self.from)).clamp(0.0, 1.0)
    }

    fn percent(self, value: f64) -> f64 {
        round(self.place(value) * 100.0)
    }

    fn x(self, value: f64) -> f64 {
        round(self.place(value) * BOX)
    }

    /// Downwards, as screens count.
    fn y(self, value: f64) -> f64 {
        round((1.0 - self.place(value)) * BOX)
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The steps of a command.
pub fn gantt(act: &Act) -> Option<Gantt> {
    let start = milliseconds(act.began);
    let end = act.steps.iter().filter_map(|seen| seen.ended).map(milliseconds);
    let range = Range::of(end.chain([start]))?;
    let (inside, outside): (Vec<&StepSeen>, Vec<&StepSeen>) =
        act.steps.iter().partition(|seen| seen.in_pause);
    let mut bars: Vec<Bar> = outside.iter().map(|seen| bar(seen, range)).collect();
    let span = wording::duration(range.until - range.from);
    let Some(pause) = &act.pause else { return Some(Gantt { bars, span, zoom: None }) };
    let from = milliseconds(pause.began);
    let within = Range { from, until: from + pause.database_ms.max(1.0) };
    let place = range.percent(from);
    let width = (range.percent(within.until) - place).max(LEAST_WIDTH);
    let whole = Bar {
        label: "pause".into(),
        from: place,
        width,
        text: wording::duration(pause.database_ms),
        class: "pause",
        word: "",
    };
    let after_gate = outside.iter().filter(|seen| milliseconds(seen.began) < from).count();
    bars.insert(after_gate, whole);
    let zoom = Zoom {
        from: place,
        width,
        bars: inside.iter().map(|seen| bar(seen, within)).collect(),
        span: wording::duration(pause.database_ms),
    };
    Some(Gantt { bars, span, zoom: Some(zoom) })
}

fn bar(seen: &StepSeen, range: Range) -> Bar {
    let from = milliseconds(seen.began);
    let place = range.percent(from).min(100.0 - LEAST_WIDTH);
    let width = (range.percent(from + seen.milliseconds) - place).max(LEAST_WIDTH);
    let (class, word) = match seen.state {
        StepState::Done if seen.in_pause => ("paused", ""),
        StepState::Done => ("done", ""),
        StepState::Failed => ("failed", "failed"),
        StepState::Unknown => ("failed", "unknown"),
        StepState::StillThere => ("failed", "could not be undone"),
        StepState::Undone => ("undone", "undone"),
        StepState::Begun => ("begun", "cut off"),
    };
    let text = wording::duration(seen.milliseconds);
    Bar { label: seen.name.clone(), from: place, width, text, class, word }
}

fn milliseconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64() * 1000.0
}

/// The writes that clients got acknowledged around a pause, by second.
pub fn throughput(window: &Window) -> Option<Plot> {
    let (range, zero) = span(window)?;
    let per_second = 1000.0 / window.stretch_ms;
    #[expect(clippy::cast_precision_loss, reason = "a chart shows three digits")]
    let rate = |count: u64| count as f64 * per_second;
    let top = window.buckets.iter().map(|one| rate(one.acknowledged.max(one.refused)));
    let (height, y) = linear(top.fold(1.0, f64::max), |value| format!("{value:.0}"));
    let columns = |count: &dyn Fn(&Bucket) -> u64| {
        let mut path = String::new();
        for bucket in window.buckets.iter().filter(|bucket| count(bucket) > 0) {
            let (left, right) =
                (range.x(bucket.at_ms), range.x(bucket.at_ms + window.stretch_ms * 0.9));
            let up = height.y(rate(count(bucket)));
            append(&mut path, format_args!("M{left} {BOX}V{up}H{right}V{BOX}Z"));
        }
        path
    };
    let shapes = vec![
        Shape { class: "area", path: columns(&|one| one.acknowledged) },
        Shape { class: "refused", path: columns(&|one| one.refused) },
    ];
    let title = "Writes per second that clients got acknowledged, and refused".into();
    Some(Plot { title, x: moments(range, zero), y, shapes, bands: pause_bands(window, range) })
}

/// How long writes took, around a pause, on a logarithmic scale.
pub fn latency(window: &Window) -> Option<Plot> {
    let (range, zero) = span(window)?;
    let seen: Vec<&Bucket> = window.buckets.iter().filter(|one| one.acknowledged > 0).collect();
    let longest = seen.iter().map(|one| one.latency.longest_ms).fold(10.0, f64::max);
    // From a tenth of a millisecond.
    let height = Range { from: -1.0, until: longest.log10().ceil() };
    let log = |value: f64| height.y(value.max(0.1).log10());
    let marks = [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0];
    let y = marks.into_iter().filter(|mark: &f64| mark.log10() <= height.until);
    let y = y.map(|mark| Mark {
        at: 100.0 - height.percent(mark.log10()),
        label: if mark < 1.0 { "0.1 ms".into() } else { short(mark) },
    });
    let line = |pick: &dyn Fn(&Bucket) -> f64| {
        let mut path = String::new();
        let mut before = f64::NEG_INFINITY;
        for bucket in &seen {
            // Where nothing was acknowledged the line is broken.
            let pen = if bucket.at_ms - before > window.stretch_ms * 1.5 { 'M' } else { 'L' };
            let x = range.x(bucket.at_ms + window.stretch_ms / 2.0);
            append(&mut path, format_args!("{pen}{x} {}", log(pick(bucket))));
            before = bucket.at_ms;
        }
        path
    };
    let shapes = vec![
        Shape { class: "faint", path: line(&|one| one.latency.longest_ms) },
        Shape { class: "line", path: line(&|one| one.latency.p50_ms) },
    ];
    let title = "How long writes took: half of them, and the longest".into();
    let bands = pause_bands(window, range);
    Some(Plot { title, x: moments(range, zero), y: y.collect(), shapes, bands })
}

/// The horizontal axis of a window, and where it counts from.
fn span(window: &Window) -> Option<(Range, f64)> {
    let edges = window.buckets.iter().flat_map(|one| [one.at_ms, one.at_ms + window.stretch_ms]);
    let range = Range::of(edges)?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a rehearsal")]
    let zero = window.switch.as_ref().map_or(0.0, |switch| switch.last_acknowledged as f64 / 1e3);
    Some((range, zero))
}

fn pause_bands(window: &Window, range: Range) -> Vec<Band> {
    let Some(switch) = &window.switch else { return Vec::new() };
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a rehearsal")]
    let edges = [switch.last_acknowledged, switch.first_acknowledged].map(|at| at as f64 / 1e3);
    vec![band(range, edges, wording::duration(switch.pause_ms))]
}

fn band(range: Range, [from, until]: [f64; 2], label: String) -> Band {
    let from = range.percent(from);
    Band { from, width: (range.percent(until) - from).max(LEAST_WIDTH), label }
}

/// How far the follower was behind, with the pauses.
pub fn lag(points: &[Point], acts: &[Act]) -> Option<Plot> {
    let moment = |point: &Point| at_of(point);
    let range = Range::of(points.iter().map(moment))?;
    let top = points.iter().map(|point| point.value).fold(1000.0, f64::max);
    let (height, y) = linear(top, wording::bytes);
    let mut path = String::new();
    for point in points {
        let pen = if path.is_empty() { 'M' } else { 'L' };
        append(&mut path, format_args!("{pen}{} {}", range.x(at_of(point)), height.y(point.value)));
    }
    let area = format!("{path}L{BOX} {BOX}L0 {BOX}Z");
    let shapes = vec![Shape { class: "wash", path: area }, Shape { class: "line", path }];
    let title = "Bytes of WAL that the follower was behind".into();
    let bands = act_bands(acts, range);
    Some(Plot { title, x: moments(range, range.from), y, shapes, bands })
}

/// The speed of the copy, in bytes a second. What workers tell comes in lumps, some of them a
/// millisecond apart, so it is the mean of stretches of equal length.
#[expect(clippy::cast_precision_loss, reason = "at most 60 stretches")]
pub fn copy_rate(points: &[Point]) -> Option<Plot> {
    let range = Range::of(points.iter().map(at_of))?;
    let count = points.len().saturating_sub(1).clamp(1, MOST_STRETCHES);
    let length = (range.until - range.from) / count as f64;
    let rates: Vec<(f64, f64, f64)> = (0..count)
        .map(|number| {
            let from = range.from + length * number as f64;
            let until = from + length;
            let moved = value_at(points, until) - value_at(points, from);
            (from, until, moved.max(0.0) / length * 1000.0)
        })
        .collect();
    let top = rates.iter().map(|(_, _, rate)| *rate).fold(1000.0, f64::max);
    let (height, y) = linear(top, |value| format!("{}/s", wording::bytes(value)));
    let mut path = format!("M0 {BOX}");
    for (from, until, rate) in rates {
        let up = height.y(rate);
        append(&mut path, format_args!("L{} {up}L{} {up}", range.x(from), range.x(until)));
    }
    append(&mut path, format_args!("L{BOX} {BOX}Z"));
    let title = "Bytes a second that the copy moved".into();
    let shapes = vec![Shape { class: "area", path }];
    Some(Plot { title, x: moments(range, range.from), y, shapes, bands: Vec::new() })
}

/// What a curve stood at, on a straight line between the points around.
fn value_at(points: &[Point], at: f64) -> f64 {
    let after = points.partition_point(|point| at_of(point) <= at);
    let (before, after) = (after.checked_sub(1).map(|place| &points[place]), points.get(after));
    match (before, after) {
        (Some(before), Some(after)) => {
            let share = (at - at_of(before)) / (at_of(after) - at_of(before));
            before.value + (after.value - before.value) * share
        }
        (Some(one), None) | (None, Some(one)) => one.value,
        (None, None) => 0.0,
    }
}

/// The whole load of a rehearsal, with the pauses.
pub fn load(window: &Window, acts: &[Act]) -> Option<[Plot; 2]> {
    let (range, _) = span(window)?;
    let began = milliseconds(window.load_began);
    let wall = Range { from: range.from + began, until: range.until + began };
    let mut plots = [throughput(window)?, latency(window)?];
    for plot in &mut plots {
        plot.bands = act_bands(acts, wall);
    }
    Some(plots)
}

fn act_bands(acts: &[Act], range: Range) -> Vec<Band> {
    let paused = acts.iter().filter_map(|act| act.pause.as_ref().map(|pause| (act, pause)));
    let seen = |(act, pause): (&Act, &Pause)| {
        let from = milliseconds(pause.began);
        band(range, [from, from + pause.database_ms], act.verb.clone())
    };
    paused.map(seen).collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
fn at_of(point: &Point) -> f64 {
    point.at as f64
}

/// A vertical axis from 0 to a round figure.
fn linear(top: f64, label: impl Fn(f64) -> String) -> (Range, Vec<Mark>) {
    let step = round_step(top / MARKS);
    let until = (top / step).ceil() * step;
    let range = Range { from: 0.0, until };
    let mut marks = Vec::new();
    let mut value = 0.0;
    while value <= until * 1.001 {
        marks.push(Mark { at: 100.0 - range.percent(value), label: label(value) });
        value += step;
    }
    (range, marks)
}

/// 1, 2 or 5 times a power of ten, not below a value.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps.into_iter().find(|step| *step >= least * 0.999).unwrap_or(least)
}

/// Marks of time, counted from `zero`, all in milliseconds.
fn moments(range: Range, zero: f64) -> Vec<Mark> {
    const MINUTE: f64 = 60_000.0;
    const HOUR: f64 = 60.0 * MINUTE;
    let least = (range.until - range.from) / MARKS;
    let long = [MINUTE, 2.0 * MINUTE, 5.0 * MINUTE, 10.0 * MINUTE, 30.0 * MINUTE]
        .into_iter()
        .chain([1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0].map(|hours| hours * HOUR));
    let short_steps = (1..5).flat_map(|power| [1.0, 2.0, 5.0].map(|one| one * 10_f64.powi(power)));
    let mut steps = short_steps.filter(|step| *step < MINUTE / 2.0).chain([30_000.0]).chain(long);
    let step = steps.find(|step| *step >= least).unwrap_or(least);
    let mut at = ((range.from - zero) / step).ceil() * step;
    let mut marks = Vec::new();
    while at <= range.until - zero + 0.001 {
        marks.push(Mark { at: range.percent(at + zero), label: short(at) });
        at += step;
    }
    marks
}

/// A time for a mark, in milliseconds: no more digits than it needs.
fn short(milliseconds: f64) -> String {
    let (value, unit) = match milliseconds.abs() {
        0.0 => return "0".into(),
        below if below < 1000.0 => (milliseconds, "ms"),
        below if below < 60_000.0 => (milliseconds / 1000.0, "s"),
        below if below < 3_600_000.0 => (milliseconds / 60_000.0, "min"),
        _ => (milliseconds / 3_600_000.0, "h"),
    };
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{} {unit}", round(value.abs()))
}

fn append(path: &mut String, piece: std::fmt::Arguments<'_>) {
    crate::failure::tolerate(path.write_fmt(piece), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks() {
        let labels = |marks: Vec<Mark>| -> Vec<String> {
            marks.into_iter().map(|mark| mark.label).collect()
        };
        let (range, marks) = linear(304.0, |value| format!("{value}"));
        assert!((range.until - 400.0).abs() < 1e-9);
        assert_eq!(labels(marks), ["0", "100", "200", "300", "400"]);
        let range = Range { from: -1500.0, until: 1700.0 };
        assert_eq!(labels(moments(range, 0.0)), ["−1 s", "0", "1 s"]);
        let range = Range { from: 0.0, until: 7.5 * 3_600_000.0 };
        assert_eq!(labels(moments(range, 0.0)), ["0", "2 h", "4 h", "6 h"]);
    }

    #[test]
    fn one_point_is_no_curve() {
        let point = Point { at: 7, value: 1.0 };
        assert_eq!(lag(&[point], &[]), None);
        assert_eq!(copy_rate(&[]), None);
        let later = Point { at: 1007, value: 2e6 };
        let plot = copy_rate(&[Point { at: 7, value: 0.0 }, later]).unwrap();
        assert_eq!(plot.y.last().unwrap().label, "2 MB/s");
    }

    #[test]
    fn what_is_told_in_lumps_moves_evenly() {
        let lumps = (0..100_i32).flat_map(|step| {
            let value = 4e6 * f64::from(step);
            let at = 100 * i64::from(step);
            [Point { at, value }, Point { at: at + 1, value: value + 4e6 }]
        });
        let plot = copy_rate(&lumps.collect::<Vec<_>>()).unwrap();
        assert_eq!(plot.y.last().unwrap().label, "50 MB/s", "and not 4 GB/s");
    }
}
