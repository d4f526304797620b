//! What the guardian does: one pure function of what it sees.

use std::time::Duration;

use crate::cutover::event::Side;

/// How long a target must have been open by decision, with the tool there, before the guardian does
/// the tool's work: one at work is faster, so this one is frozen.
pub const FROZEN: Duration = Duration::from_secs(1);
/// How long the dead-man may take before the guardian does its work. It is longer than its
/// patience: the dead-man comes first wherever there is one.
pub const DEAD_MAN_LIMIT: Duration = Duration::from_secs(6);
/// How long clients wait for a side that serves by decision and is not open, or for a source that
/// does not answer. After it they are let go whatever they find: an error tells them more.
pub const WAITING_LIMIT: Duration = Duration::from_secs(30);

/// What the run's row on the source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// The source does not answer.
    Unknown,
    /// There is no such run any more, or its row is about a later attempt, which has a guardian of
    /// its own.
    Superseded,
    /// Nothing is decided.
    Open {
        /// Whether the dead-man is to act when the tool falls silent.
        guarded: bool,
    },
    /// The source goes on serving.
    Unwind,
    /// The target serves.
    Switch,
}

/// What the guardian sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether the tool has died, or has let go of the guardian.
    pub is_alone: bool,
    /// The decision.
    pub row: Row,
    /// Whether the source accepts writes; nothing where it cannot be told.
    pub source_is_open: Option<bool>,
    /// Whether the target accepts writes; nothing where it cannot be told.
    pub target_is_open: Option<bool>,
}

/// What the guardian does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Looks again.
    Wait,
    /// Ends: there is nothing more to guard.
    Leave,
    /// Decides that the source goes on serving, where nothing is decided, and opens it.
    Unwind,
    /// Points clients at a side and lets them go.
    LetIn(Side),
    /// Lets clients go to where they are pointed.
    LetGo,
}

/// What to do about facts that have been the same for so long.
///
/// Clients are let in to a side only when that side serves by the row. The target is never opened
/// here, and a source that is fenced by the decision gets no client.
pub fn judge(facts: &Facts, unchanged: Duration) -> Deed {
    let may_act = facts.is_alone || unchanged >= FROZEN;
    let is_over = facts.is_alone && unchanged >= WAITING_LIMIT;
    match facts.row {
        Row::Superseded => Deed::Leave,
        // The tool has sent the dead-man home: the attempt is cleared away, or never fenced.
        Row::Open { guarded: false } if facts.is_alone && facts.source_is_open == Some(true) => {
            Deed::LetIn(Side::Source)
        }
        Row::Open { .. } if facts.is_alone && unchanged >= DEAD_MAN_LIMIT => Deed::Unwind,
        // Whoever unwound it: from here on every client belongs there, frozen tool or not.
        Row::Unwind if facts.source_is_open == Some(true) => Deed::LetIn(Side::Source),
        Row::Unwind if facts.is_alone && unchanged >= DEAD_MAN_LIMIT => Deed::Unwind,
        Row::Switch if may_act && facts.target_is_open == Some(true) => Deed::LetIn(Side::Target),
        // Only the next command can open it. Clients that wait no longer go to nobody else.
        Row::Switch if is_over => Deed::LetIn(Side::Target),
        Row::Unknown if is_over => Deed::LetGo,
        Row::Open { .. } | Row::Unwind | Row::Switch | Row::Unknown => Deed::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVER: Duration = Duration::from_secs(3600);
    const ROWS: [Row; 6] = [
        Row::Unknown,
        Row::Superseded,
        Row::Open { guarded: true },
        Row::Open { guarded: false },
        Row::Unwind,
        Row::Switch,
    ];
    const SEEN: [Option<bool>; 3] = [None, Some(false), Some(true)];

    fn every_case() -> Vec<(Facts, Duration)> {
        let mut all = Vec::new();
        for row in ROWS {
            for is_alone in [false, true] {
                for source_is_open in SEEN {
                    for target_is_open in SEEN {
                        for unchanged in
                            [Duration::ZERO, FROZEN, DEAD_MAN_LIMIT, WAITING_LIMIT, EVER]
                        {
                            let facts = Facts { is_alone, row, source_is_open, target_is_open };
                            all.push((facts, unchanged));
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn clients_go_only_where_the_row_says() {
        for (facts, unchanged) in every_case() {
            match judge(&facts, unchanged) {
                Deed::LetIn(Side::Target) => assert_eq!(facts.row, Row::Switch, "{facts:?}"),
                Deed::LetIn(Side::Source) | Deed::Unwind => {
                    let serves = matches!(facts.row, Row::Unwind | Row::Open { .. });
                    assert!(serves, "{facts:?}");
                }
                Deed::LetGo => assert_eq!(facts.row, Row::Unknown, "{facts:?}"),
                Deed::Wait | Deed::Leave => {}
            }
        }
    }

    #[test]
    fn a_fenced_source_gets_no_client() {
        for (facts, unchanged) in every_case() {
            if judge(&facts, unchanged) == Deed::LetIn(Side::Source) {
                assert_eq!(facts.source_is_open, Some(true), "{facts:?}");
            }
        }
    }

    #[test]
    fn a_tool_at_work_is_left_alone() {
        let is_at_work = |facts: &Facts| !facts.is_alone && facts.row != Row::Unwind;
        for (facts, _) in every_case().into_iter().filter(|(facts, _)| is_at_work(facts)) {
            let deed = judge(&facts, Duration::ZERO);
            assert!(matches!(deed, Deed::Wait | Deed::Leave), "{facts:?}: {deed:?}");
        }
    }

    #[test]
    fn nobody_waits_for_ever() {
        for (facts, _) in every_case().into_iter().filter(|(facts, _)| facts.is_alone) {
            assert_ne!(judge(&facts, EVER), Deed::Wait, "{facts:?}");
        }
    }
}
