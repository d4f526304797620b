//! The steps of a run, in order, and where in a run they stand.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step. The order of the variants is the order of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A backup by the policy that was given; it outlives the run.
    Backup,
    /// State tables, publication with an explicit list, slot, exported snapshot, holder.
    Publish,
    /// The target is fenced and gets the source's schema under the snapshot.
    Schema,
    /// The rows, by chunks.
    Copy,
    /// Keys, indexes and constraints but foreign keys; statistics.
    Index,
    /// Subscription on; catch up; foreign keys, triggers and the rest of the schema.
    Follow,
    /// Tables, indexes and functions of search, where the operator asked for them.
    Migrate,
    /// Publication and slot on the target, disabled subscription on the source.
    Arm,
    /// Every row compared, live.
    Prove,
    /// What writes from a cluster is stopped; the source still serves.
    Quiesce,
    /// Last checks and catching up, while clients still write; the dead-man is armed.
    Gate,
    /// Clients that can be held back are, between two transactions.
    Hold,
    /// Nobody can write on the source.
    Fence,
    /// A barrier row has arrived: everything before it has arrived.
    Drain,
    /// Every sequence stands on the target as on the source.
    Sequences,
    /// The subscription is off and flushed; the way back starts here.
    Detach,
    /// Both sides held at the same logical instant.
    Pin,
    /// What leads clients and needs no live target leads there.
    Aim,
    /// The one row that says who serves.
    Decide,
    /// The target accepts writes.
    Open,
    /// Clients are pointed at the target.
    Flip,
    /// A client can write through the route.
    Release,
    /// The way back flows: a marker of the target has arrived on the source.
    Reverse,
    /// Every row compared, on the pins.
    Certify,
    /// The other direction is retired; the old side keeps its fence.
    Retire,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Step; 25] = [
        Step::Backup,
        Step::Publish,
        Step::Schema,
        Step::Copy,
        Step::Index,
        Step::Follow,
        Step::Migrate,
        Step::Arm,
        Step::Prove,
        Step::Quiesce,
        Step::Gate,
        Step::Hold,
        Step::Fence,
        Step::Drain,
        Step::Sequences,
        Step::Detach,
        Step::Pin,
        Step::Aim,
        Step::Decide,
        Step::Open,
        Step::Flip,
        Step::Release,
        Step::Reverse,
        Step::Certify,
        Step::Retire,
    ];

    /// The name in journals, on the screen and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Step::Backup => "backup",
            Step::Publish => "publish",
            Step::Schema => "schema",
            Step::Copy => "copy",
            Step::Index => "index",
            Step::Follow => "follow",
            Step::Migrate => "migrate",
            Step::Arm => "arm",
            Step::Prove => "prove",
            Step::Quiesce => "quiesce",
            Step::Gate => "gate",
            Step::Hold => "hold",
            Step::Fence => "fence",
            Step::Drain => "drain",
            Step::Sequences => "sequences",
            Step::Detach => "detach",
            Step::Pin => "pin",
            Step::Aim => "aim",
            Step::Decide => "decide",
            Step::Open => "open",
            Step::Flip => "flip",
            Step::Release => "release",
            Step::Reverse => "reverse",
            Step::Certify => "certify",
            Step::Retire => "retire",
        }
    }

    /// Whether clients cannot write from the start of this step, and nothing is decided yet.
    pub fn is_in_pause(self) -> bool {
        (Step::Hold..=Step::Decide).contains(&self)
    }

    /// Whether this step can only follow the decision.
    pub fn is_after_decision(self) -> bool {
        self > Step::Decide
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_order_and_named_as_stored() {
        assert!(Step::ALL.is_sorted());
        for step in Step::ALL {
            assert_eq!(serde_json::to_string(&step).unwrap(), format!("\"{step}\""));
        }
    }
}
