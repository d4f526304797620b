//! The verdict: what a reader must know if they read nothing else.

use super::facts::{Change, Report, Tone, Verdict};
use super::wording::{ahead, count, duration, number_of};
use crate::cutover::event::{Outcome, WayBack};
use crate::cutover::lineage::{Lineage, Phase};
use crate::cutover::next::State;

/// Who serves, by the journals.
pub fn serves(lineage: &Lineage) -> String {
    match ended(lineage) {
        Some(Outcome::Halted) => "unknown".into(),
        _ => ahead(lineage.served_by()).into(),
    }
}

/// A verdict about nothing.
pub fn none() -> Verdict {
    let (word, sentence) = (String::new(), String::new());
    Verdict { word, tone: Tone::Careful, sentence, details: Vec::new() }
}

fn ended(lineage: &Lineage) -> Option<Outcome> {
    State::of(&lineage.latest().records).ended()
}

/// The verdict of a report that is complete but for it.
pub fn verdict(lineage: &Lineage, report: &Report) -> Verdict {
    let (word, tone, sentence) = headline(lineage, report);
    let mut details = Vec::new();
    details.extend(about_pause(report));
    details.extend(about_certificate(report));
    details.extend(about_way_back(report));
    // The fence of the side that does not serve stays on purpose.
    let is_open = |change: &&Change| {
        change.restored.is_none() && !change.stays && change.server == report.serves
    };
    let open = report.changes.iter().filter(is_open).count() as u64;
    if open > 0 {
        details.push(format!("{} not restored.", number_of(open, "changed setting")));
    }
    let sentence = capitalized(&sentence);
    let mut verdict = Verdict { word: word.into(), tone, sentence, details };
    if let Some(oracle) = &report.oracle {
        let acknowledged = count(oracle.rows.acknowledged);
        if oracle.is_clean() {
            let text = format!("Of {acknowledged} acknowledged writes none was lost or doubled.");
            verdict.details.insert(0, text);
        } else {
            verdict.word = "FAULTS FOUND".into();
            verdict.tone = Tone::Bad;
            verdict.sentence = oracle.lines().into_iter().next().unwrap_or_default();
        }
    }
    if let Some(searches) = report.searches.as_ref().filter(|searches| searches.failed > 0) {
        verdict.word = "FAULTS FOUND".into();
        verdict.tone = Tone::Bad;
        verdict.details.insert(0, format!("Searches that failed: {}.", searches.failed));
    }
    verdict
}

fn headline(lineage: &Lineage, report: &Report) -> (&'static str, Tone, String) {
    let serves = &report.serves;
    let direction = lineage.latest().header.direction;
    let waits = ahead(direction);
    match (ended(lineage), report.phase) {
        (Some(Outcome::Halted), _) => (
            "A HUMAN DECIDES",
            Tone::Bad,
            "Who serves is unknown: both sides stay closed until the deciding server answers."
                .into(),
        ),
        (Some(Outcome::Differs), _) => (
            "DIFFERENCES",
            Tone::Bad,
            format!("{serves} serves, and the comparison of every row found differences."),
        ),
        (_, Phase::Absent) => (
            "REMOVED",
            Tone::Careful,
            format!("Nothing was moved: {serves} serves, and nothing of the run is left."),
        ),
        (_, Phase::Copying) => (
            "NOT COMPLETE",
            Tone::Careful,
            format!("{serves} serves. The copy is not complete, or was not proved."),
        ),
        (_, Phase::Following) if report.acts.iter().any(|act| act.pause.is_some()) => (
            "UNWOUND",
            Tone::Careful,
            format!("{serves} serves, as before. {waits} still follows."),
        ),
        (_, Phase::Following) => (
            "READY",
            Tone::Good,
            format!("{waits} holds every row and follows. {serves} serves until you switch."),
        ),
        (_, Phase::Switching) => (
            "CUT SHORT",
            Tone::Bad,
            "An attempt to switch was cut short before it was decided. Run the same verb again."
                .into(),
        ),
        (_, Phase::Releasing) => (
            "NOT COMPLETE",
            Tone::Bad,
            format!("{serves} serves by decision, and a later step is open. Run the verb again."),
        ),
        (_, Phase::Switched) => switched(report, serves),
        (_, Phase::Finished) => (
            "FINISHED",
            Tone::Good,
            format!("{serves} serves alone. The other side keeps its data and its fence."),
        ),
    }
}

fn switched(report: &Report, serves: &str) -> (&'static str, Tone, String) {
    let word = if serves == "ParadeDB" { "SWITCHED" } else { "ROLLED BACK" };
    let sentence = match &report.way_back {
        Some(WayBack::Armed) => format!("{serves} serves, and the way back is open."),
        _ => format!("{serves} serves. The way back is not armed: ask `cutover status`."),
    };
    let is_armed = report.way_back == Some(WayBack::Armed);
    (word, if is_armed { Tone::Good } else { Tone::Careful }, sentence)
}

/// A sentence may begin with `plain PostgreSQL`.
fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

fn about_pause(report: &Report) -> Option<String> {
    let paused: Vec<_> = report.acts.iter().filter_map(|act| act.pause.as_ref()).collect();
    let longest = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
    if paused.is_empty() {
        return None;
    }
    let database = longest(paused.iter().map(|pause| pause.database_ms).collect());
    let seen = paused.iter().filter_map(|pause| pause.clients.as_ref()?.switch.as_ref());
    let seen = longest(seen.map(|switch| switch.pause_ms).collect());
    let often = if paused.len() == 1 { "" } else { " at most" };
    Some(if seen > 0.0 {
        format!("Clients could not write for {}{often}.", duration(seen))
    } else {
        format!(
            "The servers were closed for {}{often}; what clients saw is not in the journal.",
            duration(database)
        )
    })
}

fn about_certificate(report: &Report) -> Option<String> {
    let certificate = report.certificate.as_ref()?;
    let (rows, tables) = (certificate.rows, certificate.tables.len() as u64);
    let (rows, tables) = (number_of(rows, "row"), number_of(tables, "table"));
    Some(match certificate.difference_count() {
        0 => format!("Every row was compared and is equal: {rows} in {tables}."),
        found => format!("{} between {rows} in {tables}.", number_of(found, "difference")),
    })
}

fn about_way_back(report: &Report) -> Option<String> {
    match (&report.way_back, report.phase) {
        (_, Phase::Finished) => Some("The way back is closed, as asked.".into()),
        (Some(state), _) => Some(format!("The way back when last seen: {state}.")),
        (None, _) => None,
    }
}
