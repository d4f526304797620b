//! What a role that is no superuser may do, what it needs, and what is lost where it lacks what is
//! only useful: the privilege table.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::pg::endpoint::Session;
use crate::pg::rights;

/// The oldest major version on which a run needs no superuser: before it nobody else may subscribe.
pub const OLDEST_FOR_OWNERS: i32 = 16;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privilege {
    /// `source` or `target`.
    pub side: String,
    /// The role that the tool logs in as there.
    pub role: String,
    /// What it is asked for.
    pub name: String,
    /// Whether it has it.
    pub held: bool,
    /// Whether the run goes without.
    pub is_necessary: bool,
    /// What the run does with it; where it is only useful, what is lost without it.
    pub about: String,
    /// What gives it.
    pub fix: String,
}

impl Privilege {
    /// Whether the run is refused for it.
    pub fn is_missed(&self) -> bool {
        self.is_necessary && !self.held
    }
}

/// What no grant gives to the owner of a database.
const ONLY_SUPERUSERS: [(&str, &str); 3] = [
    (
        "keep clients out",
        "clients may come to a fenced side, and read there: triggers on every table keep them from \
         writing, and those who came are sent away when the route is flipped",
    ),
    (
        "end superusers' sessions",
        "a superuser's session stays where it is in no transaction: the triggers hold it as well",
    ),
    (
        "fence without locks",
        "each table is locked for a moment before the pause, to give it the fence's trigger",
    ),
];

/// What the side that serves lacks where it may not subscribe.
const WITHOUT: &str = "there is no way back: a switch cannot be turned back";
/// The same, where nobody has decided so yet.
const MAY_DO_WITHOUT: &str = "lets this side follow the other (or do without: --without-way-back)";

/// What a right is for, or what is lost without it.
fn about(name: &str) -> &'static str {
    match name {
        "replication" => "makes and reads slots",
        "create role" => "makes the role that the run's subscriptions log in as",
        "pg_create_subscription" => "lets this side follow the other",
        "pg_signal_backend" => "ends the clients' sessions when the fence is closed",
        "pg_read_all_stats" => "sees whether a session could still write behind the fence",
        "bypass row security" => "reads every row where a policy is forced on the owner too",
        "silence the log" => "keeps passwords out of a log that shows every statement",
        "advance origins" => {
            "after a crash of the serving side `origin = none` alone leaves out what the other \
             side has already"
        }
        _ => "",
    }
}

/// What the table is made for.
pub struct Wanted<'a> {
    /// Both sides by name, the one that serves first.
    pub sides: [(&'static str, &'a Session); 2],
    /// Whether a run is to be begun, which may go without a way back.
    pub begins: bool,
    /// Whether the run shall have no way back.
    pub without_way_back: bool,
}

/// The privilege table: nothing for a superuser, who may do everything.
///
/// # Errors
/// A side cannot be asked.
pub async fn table(wanted: &Wanted<'_>) -> Result<Vec<Privilege>> {
    let mut all = Vec::new();
    let oldest = wanted.sides.iter().map(|(_, session)| session.major()).min().unwrap_or(0);
    for (number, (side, session)) in wanted.sides.into_iter().enumerate() {
        if session.is_superuser || session.major() < OLDEST_FOR_OWNERS {
            continue;
        }
        let follows = number == 1 || !wanted.without_way_back;
        let role: String = session.query_one("SELECT current_user::text", &[]).await?.get(0);
        for right in rights::rights(session).await? {
            all.push(Privilege {
                side: side.into(),
                role: role.clone(),
                is_necessary: match right.name.as_str() {
                    // Only a publisher of that version can leave out what came to it.
                    "advance origins" => follows && oldest < OLDEST_FOR_OWNERS,
                    "pg_create_subscription" => follows,
                    _ => true,
                },
                about: match (number, right.name.as_str()) {
                    (0, "pg_create_subscription") if wanted.without_way_back => WITHOUT.into(),
                    (0, "pg_create_subscription") if wanted.begins => MAY_DO_WITHOUT.into(),
                    (_, name) => about(name).into(),
                },
                name: right.name,
                held: right.held,
                fix: format!("on the {side}: {}", right.grant),
            });
        }
        all.extend(ONLY_SUPERUSERS.map(|(name, about)| Privilege {
            side: side.into(),
            role: role.clone(),
            name: name.into(),
            held: false,
            is_necessary: false,
            about: about.into(),
            fix: format!("connect to the {side} as a superuser"),
        }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_that_is_asked_has_its_words() {
        let asked = include_str!("../pg/sql/rights.sql");
        let literals = asked.lines().filter_map(|line| {
            let rest = line.trim().strip_prefix("SELECT ")?;
            // Each begins with its rank.
            let rest = rest.trim_start_matches(|rank: char| rank.is_ascii_digit());
            Some(rest.strip_prefix(", '")?.split_once('\'')?.0)
        });
        let names: Vec<&str> = literals.collect();
        assert_eq!(names.len(), 5, "{names:?}");
        let roles = ["pg_create_subscription", "pg_signal_backend", "pg_read_all_stats"];
        for name in names.into_iter().chain(roles) {
            assert!(!about(name).is_empty(), "{name}");
        }
    }
}
