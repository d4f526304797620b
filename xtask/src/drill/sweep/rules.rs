//! The rules that every cycle is held against, as pure functions of what was seen.

use crate::cutover::event::WayBack;
use crate::drill::faults::Fault;

/// What the tool tells where it ends with 4 and the same verb goes on: the words of the runbook.
const GOES_ON: [&str; 4] = [
    "the side that served goes on serving, and not all is as it was",
    "halted: who serves is unknown",
    "the switch is decided, and a later step failed",
    "who serves is unknown: the deciding server does not answer",
];

/// What it tells where a certificate found differences.
const DIFFERS: &str = "and its certificate found differences";

/// What was seen of one end of a verb.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What was at work in the cycle; none where the fault found nobody to strike.
    pub fault: Option<Fault>,
    /// Whether the tool was killed in this very run of the verb.
    pub is_killed: bool,
    /// The exit code; none where a signal ended the tool.
    pub code: Option<i32>,
    /// What the tool told.
    pub told: &'a str,
}

/// Why a verb may not end like this; none where it may.
pub fn objection(seen: Seen<'_>) -> Option<String> {
    let last = seen.told.lines().rev().find(|line| line.contains("error"));
    let told = last.unwrap_or_default();
    match seen.code {
        Some(0 | 1 | 3) => None,
        Some(4) if GOES_ON.iter().any(|words| seen.told.contains(words)) => None,
        // Only one side has the change: that is a difference, and the certificate says so.
        Some(4) if seen.fault == Some(Fault::Ddl) && seen.told.contains(DIFFERS) => None,
        None if seen.is_killed => None,
        Some(code) => Some(format!("exit code {code} is not among those allowed: {told}")),
        None => Some("the tool died of a signal that nobody sent".into()),
    }
}

/// Why the way back may not be like this after a verb that ended with 0; none where it may.
pub fn objection_to_way_back(fault: Option<Fault>, way_back: &WayBack) -> Option<String> {
    match way_back {
        WayBack::Armed => None,
        WayBack::AtRisk(reason) | WayBack::Lost(reason) if reason.trim().is_empty() => {
            Some("the way back is not armed, and no reason is given".into())
        }
        WayBack::AtRisk(_) if fault.is_some_and(Fault::may_put_at_risk) => None,
        WayBack::Lost(_) if fault.is_some_and(Fault::may_cost_the_way_back) => None,
        other => Some(format!("{} may not cost the way back, which is {other:?}", named(fault))),
    }
}

/// Why a verb that never came to its end may not leave things like this; none where it may.
pub fn objection_to_giving_up(
    fault: Option<Fault>,
    way_back: &WayBack,
    warnings: &[String],
) -> Option<String> {
    let is_told = match way_back {
        WayBack::AtRisk(reason) | WayBack::Lost(reason) => !reason.trim().is_empty(),
        WayBack::NotNeeded => !warnings.is_empty(),
        WayBack::Armed | WayBack::Arming | WayBack::Closed => false,
    };
    match (fault.is_some_and(Fault::may_cost_the_way_back), is_told) {
        (true, true) => None,
        (true, false) => Some("the verb never ends, and status gives no reason".into()),
        (false, _) => Some(format!("the verb never ends after {} was lifted", named(fault))),
    }
}

fn named(fault: Option<Fault>) -> &'static str {
    fault.map_or("nothing", Fault::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(fault: Fault, code: Option<i32>, told: &str) -> Seen<'_> {
        let is_killed = fault == Fault::Kill;
        Seen { fault: Some(fault), is_killed, code, told }
    }

    #[test]
    fn only_documented_ends_are_allowed() {
        for code in [0, 1, 3] {
            assert_eq!(objection(seen(Fault::Cut, Some(code), "")), None);
        }
        assert!(objection(seen(Fault::Cut, Some(2), "")).is_some());
        assert!(objection(seen(Fault::Cut, Some(101), "panicked")).is_some());
        let runbook = include_str!("../../../../RUNBOOK.md");
        for words in GOES_ON {
            assert_eq!(objection(seen(Fault::Cut, Some(4), words)), None);
            assert!(runbook.contains(words), "{words}");
        }
        let differs = "run x has switched, and its certificate found differences";
        assert!(objection(seen(Fault::Cut, Some(4), differs)).is_some());
        assert_eq!(objection(seen(Fault::Ddl, Some(4), differs)), None);
        let not_struck = Seen { fault: None, ..seen(Fault::Ddl, Some(4), differs) };
        assert!(objection(not_struck).is_some());
    }

    #[test]
    fn only_a_killed_tool_dies_of_a_signal() {
        assert_eq!(objection(seen(Fault::Kill, None, "")), None);
        assert!(objection(Seen { is_killed: false, ..seen(Fault::Kill, None, "") }).is_some());
        assert!(objection(seen(Fault::Freeze, None, "")).is_some());
    }

    #[test]
    fn a_way_back_is_armed_or_honestly_lost() {
        assert_eq!(objection_to_way_back(Some(Fault::Kill), &WayBack::Armed), None);
        let lost = WayBack::Lost("the slot is gone".into());
        assert!(objection_to_way_back(Some(Fault::Kill), &lost).is_some());
        assert_eq!(objection_to_way_back(Some(Fault::Slot), &lost), None);
        assert!(objection_to_way_back(None, &lost).is_some());
        assert!(objection_to_way_back(Some(Fault::Slot), &WayBack::Lost(String::new())).is_some());
        assert!(objection_to_way_back(Some(Fault::Slot), &WayBack::Arming).is_some());
    }

    #[test]
    fn who_gives_up_says_why() {
        let lost = WayBack::Lost("the slot is gone".into());
        assert_eq!(objection_to_giving_up(Some(Fault::Slot), &lost, &[]), None);
        assert!(objection_to_giving_up(None, &lost, &[]).is_some());
        assert!(objection_to_giving_up(Some(Fault::Slot), &WayBack::NotNeeded, &[]).is_some());
        assert!(objection_to_giving_up(Some(Fault::Kill), &lost, &[]).is_some());
    }
}
