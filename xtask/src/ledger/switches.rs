//! Who acknowledged writes when: never two servers at once, and how long nobody did.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Found, acknowledged, milliseconds};
use crate::workload::{Attempt, History, Outcome};

/// One change of the server, as clients saw it. Instants are microseconds since the start of the
/// load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Switch {
    /// The system identifier of the server that served before.
    pub from: i64,
    /// The system identifier of the server that serves after.
    pub to: i64,
    /// When the last write on the old side was acknowledged.
    pub last_acknowledged: u64,
    /// When the first write on the new side was acknowledged.
    pub first_acknowledged: u64,
    /// The time between the two, in milliseconds: the pause.
    pub pause_ms: f64,
    /// The longest time of one writer between its last write on the old side and its first on the
    /// new one, in milliseconds.
    pub longest_ms: f64,
    /// Attempts that were refused while nobody acknowledged.
    pub refused: u64,
    /// Attempts that are unknown since then.
    pub unknown: u64,
}

impl fmt::Display for Switch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "pause {:.0} ms, of the slowest writer {:.0} ms; {} refused and {} unknown in it",
            self.pause_ms, self.longest_ms, self.refused, self.unknown
        )
    }
}

/// Who acknowledged when.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// Every change of the server, in order.
    pub switches: Vec<Switch>,
    /// Writes that a server acknowledged although they began after its successor had acknowledged
    /// one: two writers.
    pub rivals: Found,
    /// Servers that never acknowledged anything in their turn: of them nothing is proven.
    pub unreached: Vec<i64>,
}

impl Serving {
    /// Whether each server acknowledged in its turn, and only then.
    pub fn is_clean(&self) -> bool {
        self.rivals.count == 0 && self.unreached.is_empty()
    }
}

/// One server's turn.
struct Turn {
    first: u64,
    last: u64,
    longest: u64,
}

/// Walks through the acknowledged attempts in the order of their ends. A server that comes back
/// when it is not its turn is a rival; one that comes back for its turn is not, so an illegal
/// return is found at the latest when the turns are used up.
pub fn serving(history: &History, phases: &[i64]) -> Serving {
    let mut all: Vec<&Attempt> = acknowledged(history).collect();
    all.sort_by_key(|attempt| attempt.ended());
    let mut turns: Vec<Turn> = Vec::new();
    let mut last_of_writer: HashMap<u16, (usize, u64)> = HashMap::new();
    let mut rivals = Found::default();
    for attempt in all {
        let server = history.server(attempt);
        let current = turns.len().checked_sub(1);
        let is_late = current.is_some_and(|turn| {
            turn > 0 && server == Some(phases[turn - 1]) && attempt.began <= turns[turn].first
        });
        let turn = if is_late {
            turns.len() - 2
        } else if current.is_some_and(|turn| server == Some(phases[turn])) {
            turns.len() - 1
        } else if server.is_some() && phases.get(turns.len()).copied() == server {
            turns.push(Turn { first: attempt.ended(), last: attempt.ended(), longest: 0 });
            turns.len() - 1
        } else {
            rivals.attempt(history, attempt);
            continue;
        };
        turns[turn].last = turns[turn].last.max(attempt.ended());
        let before = last_of_writer.insert(attempt.writer, (turn, attempt.ended()));
        if let Some((_, ended)) = before.filter(|(former, _)| *former < turn) {
            turns[turn].longest = turns[turn].longest.max(attempt.ended() - ended);
        }
    }
    let pairs = turns.windows(2).zip(phases.windows(2));
    let switches = pairs.map(|(turns, servers)| switch(history, turns, servers)).collect();
    Serving { switches, rivals, unreached: phases.iter().skip(turns.len()).copied().collect() }
}

fn switch(history: &History, turns: &[Turn], servers: &[i64]) -> Switch {
    let (last, first) = (turns[0].last, turns[1].first);
    let inside = |outcome: Outcome| {
        let attempts = history.attempts.iter().filter(|one| one.outcome == outcome);
        attempts.filter(|one| one.began <= first && one.ended() >= last).count() as u64
    };
    Switch {
        from: servers[0],
        to: servers[1],
        last_acknowledged: last,
        first_acknowledged: first,
        pause_ms: milliseconds(first.saturating_sub(last)),
        longest_ms: milliseconds(turns[1].longest),
        refused: inside(Outcome::Refused),
        unknown: inside(Outcome::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{A, B, history};
    use super::*;
    use Outcome::{Acknowledged, Refused, Unknown};

    #[test]
    fn a_pause_is_from_last_to_first() {
        let history = history(&[
            (0, A, 0, 1_000, Acknowledged),
            (1, A, 500, 9_000, Acknowledged),
            (0, A, 9_500, 10_000, Refused),
            (1, A, 9_100, 12_000, Unknown),
            (0, B, 50_000, 59_000, Acknowledged),
            (1, B, 50_000, 70_000, Acknowledged),
            (1, B, 70_000, 80_000, Refused),
        ]);
        let seen = serving(&history, &[A, B]);
        assert!(seen.is_clean(), "{seen:?}");
        let [switch] = seen.switches.as_slice() else { panic!("{seen:?}") };
        assert_eq!((switch.last_acknowledged, switch.first_acknowledged), (9_000, 59_000));
        assert!((switch.pause_ms - 50.0).abs() < 1e-9);
        assert!((switch.longest_ms - 61.0).abs() < 1e-9);
        assert_eq!((switch.refused, switch.unknown), (1, 1));
    }

    #[test]
    fn two_writers_are_found() {
        let history = history(&[
            (0, A, 0, 10, Acknowledged),
            (1, B, 20, 30, Acknowledged),
            (0, A, 31, 40, Acknowledged),
        ]);
        let seen = serving(&history, &[A, B]);
        assert_eq!(seen.rivals.count, 1);
        assert_eq!(seen.rivals.examples[0].began, Some(31));
    }

    #[test]
    fn a_late_answer_is_no_rival() {
        let history = history(&[
            (0, A, 0, 10, Acknowledged),
            (1, B, 20, 30, Acknowledged),
            (0, A, 29, 40, Acknowledged),
        ]);
        let seen = serving(&history, &[A, B]);
        assert!(seen.is_clean(), "{seen:?}");
        assert!(seen.switches[0].pause_ms.abs() < 1e-9);
    }

    #[test]
    fn there_and_back_again() {
        let turns = [(0, A, 0, 10), (0, B, 20, 30), (0, A, 40, 50), (0, B, 60, 70)];
        let lines = turns
            .map(|(writer, server, began, ended)| (writer, server, began, ended, Acknowledged));
        let seen = serving(&history(&lines), &[A, B, A, B]);
        assert!(seen.is_clean(), "{seen:?}");
        assert_eq!(seen.switches.len(), 3);
        assert_eq!(serving(&history(&lines), &[A, B, A]).rivals.count, 1);
    }

    #[test]
    fn a_turn_without_a_write_is_not_proven() {
        let seen = serving(&history(&[(0, A, 0, 10, Acknowledged)]), &[A, B]);
        assert_eq!(seen.unreached, [B]);
        assert!(!seen.is_clean());
    }
}
