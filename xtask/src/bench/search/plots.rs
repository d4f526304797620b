//! What `bench search` measured, as a page with bars.

use crate::bench::search::{Latencies, Report};
use crate::report::figures::{Group, Page};

/// The page of all engines that were measured.
pub fn page(reports: &[Report]) -> Page {
    let chunks = reports.first().map_or(0, |report| report.chunks);
    let dimensions = reports.first().map_or(0, |report| report.dimensions);
    let rate = reports.first().map_or(0.0, |report| report.search_rate);
    let mut groups = Vec::new();
    for (place, (name, about)) in [
        ("p50", "half of the searches took no longer"),
        ("p95", "95 of 100 took no longer"),
        ("p99", "99 of 100 took no longer"),
    ]
    .into_iter()
    .enumerate()
    {
        groups.push(Group::new(name, about, latencies(reports, place)));
    }
    groups.push(Group::new(
        "Trades",
        format!("a second, alone and beside {rate} searches a second"),
        trades(reports),
    ));
    groups.push(Group::new("Indexes", "size, after filling", sizes(reports)));
    Page {
        title: "Searches beside an application that trades".into(),
        lead: format!("{chunks} chunks of {dimensions} dimensions; ten answers a search."),
        groups,
    }
}

type Figure = (String, String, &'static str, f64);

fn latencies(reports: &[Report], place: usize) -> Vec<Figure> {
    let mut all = Vec::new();
    for report in reports {
        for (when, class, kinds) in
            [("alone", "done", &report.alone), ("beside trades", "pause", &report.beside)]
        {
            all.extend(kinds.iter().map(|kind: &Latencies| {
                let took = [kind.p50_ms, kind.p95_ms, kind.p99_ms][place];
                let label = format!("{}, {}, {when}", report.engine, kind.kind.name());
                (label, format!("{took:.1} ms"), class, took)
            }));
        }
    }
    all
}

fn trades(reports: &[Report]) -> Vec<Figure> {
    let both = |report: &Report| {
        [("alone", "done", report.trades_alone), ("beside", "pause", report.trades_beside)].map(
            |(when, class, rate)| {
                (format!("{}, {when}", report.engine), format!("{rate:.0}/s"), class, rate)
            },
        )
    };
    reports.iter().flat_map(both).collect()
}

fn sizes(reports: &[Report]) -> Vec<Figure> {
    let of = |report: &Report| {
        let engine = report.engine;
        let one = move |index: &crate::rag::indexes::Built| {
            let label = format!("{engine}, {}", index.name);
            let text = format!("{:.1} MiB", index.bytes as f64 / f64::from(1 << 20));
            (label, text, "done", index.bytes as f64)
        };
        report.indexes.iter().map(one).collect::<Vec<_>>()
    };
    reports.iter().flat_map(of).collect()
}
