//! The text format, held against a parser that takes nothing but what the format allows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{text, write};
use crate::cutover::event::WayBack;
use crate::cutover::lineage::Phase;
use crate::cutover::status::{SideSlot, Status};
use crate::pg::slots::Slot;

fn example() -> Status {
    let slot = Slot {
        name: "xtask_\"ab\\12\n".into(),
        active: true,
        lag_bytes: 10,
        lag_seconds: Some(0.25),
        kept_bytes: 1 << 20,
        budget_bytes: None,
        lost: false,
    };
    Status {
        run: Some("20261122T201500-ab12cd".into()),
        phase: Phase::Switched,
        serves: "target".into(),
        disagreement: None,
        source_fenced: Some(true),
        searchable: None,
        target_fenced: None,
        way_back: WayBack::AtRisk("it is late".into()),
        lag_bytes: Some(10),
        certificate: None,
        certified_at: Some("2026-11-22T20:15:00Z".parse().unwrap()),
        certificate_passes: Some(true),
        last_pause_ms: Some(205.0),
        slots: vec![SideSlot { side: "target", slot }],
        differences_digest: None,
        changed: Vec::new(),
        warnings: Vec::new(),
        error: None,
        next: String::new(),
    }
}

fn is_name(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic());
    first && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Labels in braces; returns them and what follows.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut all = BTreeMap::new();
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label has a quoted value");
        assert!(is_name(name), "label {name}");
        let mut text = String::new();
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next().expect("a value ends") {
                (at, '"') => break at,
                (_, '\\') => match letters.next().expect("something is escaped").1 {
                    'n' => text.push('\n'),
                    letter @ ('\\' | '"') => text.push(letter),
                    other => panic!("\\{other} is no escape"),
                },
                (_, letter) => text.push(letter),
            }
        };
        assert!(all.insert(name.to_string(), text).is_none(), "label {name} twice");
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return (all, rest.strip_prefix("} ").expect("labels end")),
        }
    }
}

/// Every sample by name and labels.
fn parse(page: &str) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    assert!(page.ends_with('\n'), "the last line ends");
    let mut samples = BTreeMap::new();
    let (mut present, mut finished) = (String::new(), BTreeSet::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(is_name(name) && !help.is_empty() && finished.insert(name.to_string()));
            assert_eq!(lines.next(), Some(format!("# TYPE {name} gauge").as_str()));
            present = name.to_string();
            continue;
        }
        let rest = line.strip_prefix(&present).expect("samples stand with their metric");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), rest.strip_prefix(' ').expect("a blank")),
        };
        let value: f64 = value.parse().expect("a number");
        assert!(samples.insert((present.clone(), labels), value).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn every_line_is_of_the_format_and_says_what_is() {
    let page = text(&example(), Timestamp::UNIX_EPOCH);
    let samples = parse(&page);
    let value = |name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        samples.get(&(format!("xtask_cutover_{name}"), labels.collect())).copied()
    };
    assert_eq!(value("way_back", &[("state", "at_risk")]), Some(1.0));
    assert_eq!(value("way_back", &[("state", "armed")]), Some(0.0));
    assert_eq!(value("serves", &[("side", "target")]), Some(1.0));
    assert_eq!(value("phase", &[("phase", "switched")]), Some(1.0));
    assert_eq!(value("server_up", &[("side", "target")]), Some(0.0));
    assert_eq!(value("server_fenced", &[("side", "target")]), None, "nobody knows");
    assert_eq!(value("last_pause_seconds", &[]), Some(0.205));
    assert_eq!(value("lag_seconds", &[]), Some(0.25));
    assert_eq!(value("certificate_timestamp_seconds", &[]), Some(1_795_378_500.0));
    let slot = [("side", "target"), ("slot", "xtask_\"ab\\12\n")];
    assert_eq!(value("slot_wal_kept_bytes", &slot), Some(1_048_576.0));
    assert_eq!(value("slot_wal_budget_bytes", &slot), None, "there is no limit");
    for state in ["way_back", "serves", "phase"] {
        let name = format!("xtask_cutover_{state}");
        let all = samples.iter().filter(|((one, _), _)| *one == name);
        assert_eq!(all.map(|(_, value)| value).sum::<f64>(), 1.0, "{state} is one of its states");
    }
}

#[test]
fn the_file_is_replaced_as_a_whole_and_readable() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cutover.prom");
    std::fs::write(&path, "old").unwrap();
    write(&path, &example()).unwrap();
    parse(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing lies around");
    assert!(write(&folder.path().join("no/such/folder"), &example()).is_err());
}
