//! Figures as people read them, in documents.

use crate::cutover::event::Outcome;
use crate::cutover::header::Direction;

/// Milliseconds, in the unit that reads best.
pub fn duration(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else if milliseconds < 120_000.0 {
        format!("{:.1} s", milliseconds / 1000.0)
    } else if milliseconds < 7_200_000.0 {
        format!("{:.1} min", milliseconds / 60_000.0)
    } else {
        format!("{:.1} h", milliseconds / 3_600_000.0)
    }
}

/// Bytes, in powers of 1000.
pub fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count;
    let mut place = 0;
    while value.abs() >= 999.5 && place + 1 < UNITS.len() {
        value /= 1000.0;
        place += 1;
    }
    let digits = if place == 0 || value >= 100.0 || value.fract() == 0.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[place])
}

/// A count with its thousands apart.
pub fn count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// One of something, or many.
pub fn number_of(amount: u64, one: &str) -> String {
    format!("{} {one}{}", count(amount), if amount == 1 { "" } else { "s" })
}

/// `server_version_num` as people write it.
pub fn version(number: i32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

/// The side that a run of this direction brings to serve.
pub fn ahead(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "ParadeDB",
        Direction::Backward => "plain PostgreSQL",
    }
}

/// How a command ended, in words.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Following => "following",
        Outcome::Switched => "switched",
        Outcome::Finished => "finished",
        Outcome::Unwound => "unwound",
        Outcome::Removed => "removed",
        Outcome::Halted => "halted: who serves is unknown",
        Outcome::Differs => "switched, with differences",
        Outcome::Degraded => "switched, not complete",
        Outcome::TakenOver => "taken over by another operator",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        let durations = [0.4, 204.6, 2_340.0, 150_000.0, 8e6].map(duration);
        assert_eq!(durations, ["0.4 ms", "205 ms", "2.3 s", "2.5 min", "2.2 h"]);
        let sizes = [0.0, 999.0, 1_500.0, 147_480_443.0, 2e9].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.5 kB", "147 MB", "2 GB"]);
        assert_eq!(number_of(1, "table"), "1 table");
        assert_eq!(number_of(1200, "row"), "1,200 rows");
        assert_eq!(version(160_009), "16.9");
    }
}
