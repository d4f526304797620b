//! The report of a made-up journal: whole, the same twice, and safe whatever things are called.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Written, write};
use crate::cutover::drive::Log;
use crate::cutover::event::{Event, Outcome, Side, Story, WayBack};
use crate::cutover::journal::Journal;
use crate::cutover::journal::tests::example_header;
use crate::cutover::step::Step;

/// A name that would end any cell, tag or attribute that it is put into unescaped.
const HOSTILE: &str = "a\"'><script>alert(1)</script><img onerror=x>|`\n# {{ 7 * 7 }}";
/// Every attribute that the page may have: none of them loads anything or runs anything.
const HARMLESS: [&str; 27] = [
    "aria-hidden",
    "aria-label",
    "charset",
    "class",
    "colspan",
    "content",
    "d",
    "dy",
    "height",
    "lang",
    "name",
    "points",
    "preserveAspectRatio",
    "role",
    "rx",
    "viewBox",
    "width",
    "x",
    "x1",
    "x2",
    "y",
    "y1",
    "y2",
    "scope",
    "id",
    "fill",
    "transform",
];

fn certificate() -> serde_json::Value {
    let table = json!({
        "schema": "public", "name": HOSTILE, "source_rows": 7, "target_rows": 8, "bytes": 100,
        "source_digest": "00ff00ff00ff00ff", "target_digest": "11", "equal": false,
        "differences": [{"key": HOSTILE, "column": null, "source": HOSTILE, "target": null}],
        "difference_count": 1, "unsettled": 0, "milliseconds": 5, "note": HOSTILE,
    });
    json!({
        "mode": "pinned", "started": "2026-11-22T20:15:10Z", "finished": "2026-11-22T20:15:12Z",
        "source_version": 160_009, "target_version": 180_001, "seeds": [1, 2], "tables": [table],
        "schema": [], "schema_compared": true, "sequences": [], "sequences_compared": 3,
        "outside": [{"object": HOSTILE, "reason": HOSTILE}], "rows": 7, "bytes": 100,
    })
}

fn clients() -> serde_json::Value {
    let bucket = |at: u32, acknowledged: u32, refused: u32| {
        let latency = json!({"p50_ms": 3.0, "p99_ms": 9.0, "longest_ms": 30.0});
        json!({"at_ms": at, "acknowledged": acknowledged, "refused": refused, "unknown": 0,
               "latency": latency})
    };
    json!({
        "load_began": "2026-11-22T20:15:00Z", "stretch_ms": 50.0,
        "switch": {"from": 1, "to": 2, "last_acknowledged": 90_000, "first_acknowledged": 300_000,
                   "pause_ms": 210.0, "longest_ms": 250.0, "refused": 4, "unknown": 1},
        "buckets": [bucket(0, 9, 0), bucket(50, 8, 0), bucket(100, 0, 4), bucket(300, 7, 0)],
    })
}

/// A journal of a whole run, in which everything that has a name has the hostile one.
fn journal(folder: &Path) {
    let plan = json!({
        "source_version": 160_009, "target_version": 180_001, "tables": [], "published": [],
        "sequences": 3, "fingerprint": "00", "superuser_clients": [],
    });
    let mut journal =
        Journal::create(folder, example_header(), plan, Story::silent()).expect("it can be made");
    let story = journal.story();
    let mut append = |event| journal.append(event).expect("it can be written");
    append(Event::Verb {
        verb: "switch".into(),
        epoch: 1,
        argv: vec![HOSTILE.into()],
        operator: HOSTILE.into(),
    });
    let what = HOSTILE.to_string();
    append(Event::Changed { side: Side::Target, what, former: None, now: Some(HOSTILE.into()) });
    for step in Step::ALL {
        append(Event::StepStarted { step });
        story.progress("copy", 1, 2, "bytes");
        if step == Step::Certify {
            append(Event::StepFailed { step, error: HOSTILE.into() });
        } else {
            append(Event::StepDone { step, evidence: Default::default(), milliseconds: 1.0 });
        }
    }
    let route = HOSTILE.to_string();
    append(Event::Arrived { route, milliseconds: 412.0, sessions: 3 });
    append(Event::WayBack { way_back: WayBack::AtRisk(HOSTILE.into()) });
    append(Event::Certified { certificate: certificate() });
    append(Event::Warning { text: HOSTILE.into() });
    append(Event::Ended { outcome: Outcome::Differs });
    append(Event::Clients { clients: clients() });
}

/// The report of that journal, in a folder of its own.
fn example() -> (tempfile::TempDir, Written, [String; 3]) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    journal(folder.path());
    let written = write(folder.path(), None, &folder.path().join("out")).expect("it is written");
    let texts = texts(&written);
    (folder, written, texts)
}

fn texts(written: &Written) -> [String; 3] {
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("it can be read");
    [&written.html, &written.markdown, &written.json].map(read)
}

/// The tags of a page, without text and style: name, attributes, whether it ends itself.
fn tags(page: &str) -> Vec<(String, Vec<String>, bool)> {
    let mut all = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let inside = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let ends_itself = inside.ends_with('/');
        let inside = inside.trim_end_matches('/');
        let (name, attributes) = inside.split_once([' ', '\n']).unwrap_or((inside, ""));
        // Outside of values, which stand between quotes.
        let outside: Vec<&str> = attributes.split('"').step_by(2).collect();
        assert_eq!(attributes.matches('"').count() % 2, 0, "open value in <{inside}>");
        let words = outside.iter().flat_map(|part| part.split_whitespace());
        let names = words.map(|word| word.trim_end_matches('=').to_string());
        all.push((name.to_string(), names.collect(), ends_itself));
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("the style ends")..];
        }
    }
    all
}

#[test]
fn the_page_is_balanced_and_loads_and_runs_nothing() {
    let (_folder, _, [page, ..]) = example();
    let mut open: Vec<String> = Vec::new();
    for (name, attributes, ends_itself) in tags(&page) {
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "open: {open:?}");
            continue;
        }
        for attribute in attributes.iter().filter(|_| name != "!DOCTYPE") {
            assert!(HARMLESS.contains(&attribute.as_str()), "<{name} {attribute}>");
        }
        assert!(
            !["script", "link", "img", "iframe", "a", "use"].contains(&name.as_str()),
            "{name}"
        );
        if !ends_itself && !["meta", "br", "!DOCTYPE"].contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    let style = &page[page.find("<style>").unwrap()..page.find("</style>").unwrap()];
    for loading in ["url(", "@import", "@font-face"] {
        assert!(!style.contains(loading), "{loading}");
    }
    for needed in ["prefers-color-scheme: dark", "@media print", "width=device-width"] {
        assert!(page.contains(needed), "{needed}");
    }
}

#[test]
fn every_step_and_the_verdict_are_there() {
    let (_folder, written, texts) = example();
    for text in &texts {
        for step in Step::ALL {
            assert!(text.contains(step.name()), "{step} is missing from {text}");
        }
        assert!(text.contains("DIFFERENCES"), "{text}");
        assert!(text.contains("pinned"), "the mode of the certificate: {text}");
    }
    assert!(written.verdict.contains("found differences"), "{}", written.verdict);
    let parsed: serde_json::Value = serde_json::from_str(&texts[2]).unwrap();
    assert_eq!(parsed["verdict"]["tone"], "bad");
    assert_eq!(parsed["acts"][0]["pause"]["clients"]["switch"]["pause_ms"], 210.0);
    assert_eq!(parsed["acts"][0]["arrival"]["milliseconds"], 412.0);
    for text in &texts[..2] {
        assert!(text.contains("The first client came 412 ms after"), "{text}");
    }
    assert_eq!(parsed["changes"][0]["restored"], serde_json::Value::Null);
}

#[test]
fn hostile_names_stay_names() {
    let (_folder, _, [page, markdown, _]) = example();
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;"), "the name is shown");
    assert!(page.contains("{{ 7 * 7 }}"), "names are no templates");
    assert!(!markdown.contains("<script") && !markdown.contains("\n# {{"), "{markdown}");
    for line in markdown.lines().filter(|line| line.contains("script")) {
        let bars = line.replace("\\|", "").matches('|').count();
        assert!([0, 5, 6, 7].contains(&bars), "{bars} cells: {line}");
    }
}

#[test]
fn the_same_journal_gives_the_same_report_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, written, first) = example();
    let again = write(folder.path(), None, &folder.path().join("out")).unwrap();
    assert_eq!((&again, texts(&again)), (&written, first));
    for path in [&written.html, &written.markdown, &written.json] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_folder_without_a_journal_has_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(folder.path(), None, folder.path()).unwrap_err();
    assert_eq!(crate::failure::kind(&error), crate::failure::Kind::Usage);
}
