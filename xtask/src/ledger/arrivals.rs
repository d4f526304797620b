//! Which writes arrived, and which of them should not have, or should have.

use serde::{Deserialize, Serialize};

use super::{Example, Found};
use crate::workload::{Attempt, History, Outcome};

/// What the ledger has of one write.
#[derive(Debug, Clone, Copy, Default)]
struct Arrival {
    times: u8,
    server: u8,
}

/// The rows of a ledger, two bytes for each attempt of the history that they are held against.
#[derive(Debug)]
pub struct Arrivals {
    writers: Vec<Vec<Arrival>>,
    servers: Vec<i64>,
    unexplained: Found,
}

impl Arrivals {
    /// No rows yet, and room for those of every attempt.
    pub fn of(history: &History) -> Arrivals {
        let mut writers: Vec<Vec<Arrival>> = Vec::new();
        for attempt in &history.attempts {
            let (writer, number) = (usize::from(attempt.writer), attempt.number as usize);
            writers.resize(writers.len().max(writer + 1), Vec::new());
            let numbers = &mut writers[writer];
            numbers.resize(numbers.len().max(number + 1), Arrival::default());
        }
        Arrivals { writers, servers: history.servers.clone(), unexplained: Found::default() }
    }

    /// Takes one row: which writer's which write, and which server it says has written it.
    pub fn add(&mut self, writer: i64, number: i64, server: i64) {
        let known = self.servers.iter().position(|known| *known == server);
        let place = known.unwrap_or_else(|| {
            self.servers.push(server);
            self.servers.len() - 1
        });
        let numbers = usize::try_from(writer).ok().and_then(|writer| self.writers.get_mut(writer));
        let number_place = usize::try_from(number).ok();
        let arrival = numbers.zip(number_place).and_then(|(all, place)| all.get_mut(place));
        match arrival {
            Some(arrival) => {
                let times = arrival.times.saturating_add(1);
                *arrival = Arrival { times, server: u8::try_from(place).unwrap_or(u8::MAX) };
            }
            None => {
                self.unexplained.add(Example { writer, number, server: Some(server), began: None });
            }
        }
    }

    /// How often the write of an attempt arrived, and from which server.
    fn arrival(&self, attempt: &Attempt) -> (u8, Option<i64>) {
        let numbers = self.writers.get(usize::from(attempt.writer));
        let arrival = numbers.and_then(|numbers| numbers.get(attempt.number as usize));
        let arrival = arrival.copied().unwrap_or_default();
        (arrival.times, self.servers.get(usize::from(arrival.server)).copied())
    }
}

/// Attempts and rows side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Attempts that the server confirmed.
    pub acknowledged: u64,
    /// Attempts that never happened.
    pub refused: u64,
    /// Attempts of which the writer never heard.
    pub unknown: u64,
    /// Those of them that happened.
    pub unknown_arrived: u64,
    /// Acknowledged, and not there.
    pub lost: Found,
    /// There more than once.
    pub duplicated: Found,
    /// Refused, and there.
    pub forbidden: Found,
    /// There, and no writer of this load attempted it.
    pub unexplained: Found,
    /// There, but written by another server than the one that acknowledged it.
    pub misplaced: Found,
}

impl Comparison {
    /// Whether every row is explained and none is missing.
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.duplicated, &self.forbidden, &self.unexplained, &self.misplaced]
            .iter()
            .all(|found| found.count == 0)
    }
}

/// Compares what writers saw with what arrived.
pub fn compare(history: &History, arrivals: Arrivals) -> Comparison {
    let mut seen = Comparison::default();
    for attempt in &history.attempts {
        let (times, server) = arrivals.arrival(attempt);
        if times > 1 {
            seen.duplicated.attempt(history, attempt);
        }
        match attempt.outcome {
            Outcome::Acknowledged => {
                seen.acknowledged += 1;
                if times == 0 {
                    seen.lost.attempt(history, attempt);
                } else if server != history.server(attempt) {
                    seen.misplaced.attempt(history, attempt);
                }
            }
            Outcome::Refused => {
                seen.refused += 1;
                if times > 0 {
                    seen.forbidden.attempt(history, attempt);
                }
            }
            Outcome::Unknown => {
                seen.unknown += 1;
                seen.unknown_arrived += u64::from(times > 0);
            }
        }
    }
    seen.unexplained = arrivals.unexplained;
    seen
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{A, B, history};
    use super::*;
    use Outcome::{Acknowledged, Refused, Unknown};

    fn held_against(history: &History, rows: &[(i64, i64, i64)]) -> Comparison {
        let mut arrivals = Arrivals::of(history);
        for (writer, number, server) in rows {
            arrivals.add(*writer, *number, *server);
        }
        compare(history, arrivals)
    }

    #[test]
    fn a_good_ledger_is_clean() {
        let history = history(&[
            (0, A, 0, 10, Acknowledged),
            (0, A, 20, 30, Refused),
            (1, A, 0, 10, Unknown),
            (1, B, 20, 30, Unknown),
            (1, B, 40, 50, Acknowledged),
        ]);
        let seen = held_against(&history, &[(0, 0, A), (1, 1, B), (1, 2, B)]);
        assert!(seen.is_clean(), "{seen:?}");
        assert_eq!((seen.acknowledged, seen.refused), (2, 1));
        assert_eq!((seen.unknown, seen.unknown_arrived), (2, 1));
    }

    #[test]
    fn lost_and_duplicated() {
        let history = history(&[(0, A, 0, 10, Acknowledged), (0, A, 20, 30, Acknowledged)]);
        let seen = held_against(&history, &[(0, 1, A), (0, 1, A)]);
        assert_eq!((seen.lost.count, seen.duplicated.count), (1, 1));
        assert_eq!(seen.lost.examples[0].number, 0);
        assert_eq!(seen.duplicated.examples[0].number, 1);
        assert!(!seen.is_clean());
    }

    #[test]
    fn an_unknown_write_may_not_arrive_twice() {
        let history = history(&[(0, A, 0, 10, Unknown)]);
        assert_eq!(held_against(&history, &[(0, 0, A), (0, 0, A)]).duplicated.count, 1);
    }

    #[test]
    fn forbidden_unexplained_and_misplaced() {
        let history = history(&[(0, A, 0, 10, Refused), (0, A, 20, 30, Acknowledged)]);
        let seen =
            held_against(&history, &[(0, 0, A), (0, 1, B), (0, 2, A), (5, 3, A), (-1, 0, A)]);
        assert_eq!((seen.forbidden.count, seen.misplaced.count), (1, 1));
        assert_eq!(seen.unexplained.count, 3);
    }
}
