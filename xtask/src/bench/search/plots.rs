//! What `bench search` measured, as a page with bars.

use crate::bench::search::{Latencies, Report};
use crate::rag::indexes::Built;
use crate::report::figures::{Group, Page};

/// What is shown of the searches' times: name, meaning, and where it stands in [`times`].
const PERCENTILES: [(&str, &str); 3] = [
    ("p50", "half of the searches took no longer"),
    ("p95", "95 of 100 took no longer"),
    ("p99", "99 of 100 took no longer"),
];
/// The percentile that has a limit.
const LIMITED: &str = "p95";

/// A bar: label, text, class and amount.
type Figure = (String, String, &'static str, f64);

/// The page of all engines that were measured; a p95 over the limit, in milliseconds, is marked.
pub fn page(reports: &[Report], limit: f64) -> Page {
    let mut groups = Vec::new();
    for (place, (name, about)) in PERCENTILES.into_iter().enumerate() {
        let limit = if name == LIMITED { limit } else { f64::INFINITY };
        let about = match limit.is_finite() {
            true => format!("{about}; the limit is {limit} ms"),
            false => about.to_string(),
        };
        groups.push(Group::new(name, about, latencies(reports, place, limit)));
    }
    groups.push(Group::new("Trades", "a second", trades(reports)));
    groups.push(Group::new(
        "Recall",
        "the share of the ten nearest chunks that is found",
        recall(reports),
    ));
    groups.push(Group::new("Indexes", "size, and time to build", sizes(reports)));
    Page {
        title: "Searches beside an application that trades".into(),
        lead: reports.first().map(lead).unwrap_or_default(),
        groups,
    }
}

fn lead(report: &Report) -> String {
    format!(
        "{} chunks of {} dimensions; ten answers a search. Blue is alone, orange beside: searches \
         by two sessions one after the other, trades as fast as they go, and then both, with {} \
         searches a second.",
        indicatif::HumanCount(report.chunks),
        report.dimensions,
        report.search_rate
    )
}

/// What a bar is called: the engine is told where there is more than one.
fn label(reports: &[Report], report: &Report, what: &str) -> String {
    match reports.len() {
        1 => what.to_string(),
        _ => format!("{}, {what}", report.engine),
    }
}

fn latencies(reports: &[Report], place: usize, limit: f64) -> Vec<Figure> {
    let mut all = Vec::new();
    for report in reports {
        for (alone, beside) in report.alone.iter().zip(&report.beside) {
            let mut bar = |kind: &Latencies, when: &str, class: &'static str| {
                let took = times(kind)[place];
                let label = label(reports, report, &format!("{}{when}", kind.kind.name()));
                let class = if took > limit { "failed" } else { class };
                all.push((label, format!("{took:.1} ms"), class, took));
            };
            bar(alone, "", "done");
            bar(beside, ", beside trades", "pause");
        }
    }
    all
}

fn times(kind: &Latencies) -> [f64; 3] {
    [kind.p50_ms, kind.p95_ms, kind.p99_ms]
}

fn trades(reports: &[Report]) -> Vec<Figure> {
    let both = |report: &Report| {
        let alone = (label(reports, report, "alone"), "done", report.trades_alone);
        let beside = (label(reports, report, "beside searches"), "pause", report.trades_beside);
        [alone, beside].map(|(label, class, rate)| (label, format!("{rate:.0}/s"), class, rate))
    };
    reports.iter().flat_map(both).collect()
}

fn recall(reports: &[Report]) -> Vec<Figure> {
    let all = |report: &Report| {
        let recall = &report.recall;
        let exact = format!("1.000 in {:.0} ms", recall.exact_ms);
        [
            ("every row looked at", exact, 1.0),
            ("HNSW, on average", format!("{:.3}", recall.mean), recall.mean),
            ("HNSW, at worst", format!("{:.3}", recall.least), recall.least),
        ]
        .map(|(what, text, share)| (label(reports, report, what), text, "done", share))
    };
    reports.iter().flat_map(all).collect()
}

fn sizes(reports: &[Report]) -> Vec<Figure> {
    let of = |report: &Report| {
        let one = |index: &Built| {
            let mebibytes = index.bytes as f64 / f64::from(1 << 20);
            let text = format!("{mebibytes:.1} MiB in {:.1} s", index.seconds);
            (label(reports, report, &index.name), text, "done", index.bytes as f64)
        };
        report.indexes.iter().map(one).collect::<Vec<_>>()
    };
    reports.iter().flat_map(of).collect()
}
