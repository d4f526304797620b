//! A plan as a file: a person approves it, and `start` refuses to begin anything else.
//!
//! It holds what must not change in between, and no secret. How much data there is may change.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::cutover::header::Identity;
use crate::cutover::plan::{Plan, PlannedTable};
use crate::cutover::planned::Planned;
use crate::cutover::verbs::Operation;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;

/// The format of the file.
const FORMAT: u32 = 1;
/// How many names of one kind a difference tells.
const TOLD: usize = 5;

/// A plan that a person may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    format: u32,
    /// When the plan was made.
    made_at: Timestamp,
    /// Who made it.
    made_by: String,
    source: Identity,
    target: Identity,
    versions: [i32; 2],
    /// SHA-256 over the facts of the schema.
    schema: String,
    /// Each table with its columns.
    tables: BTreeMap<String, Vec<String>>,
    sequences: usize,
    /// What values and command line say together.
    settings: BTreeMap<String, String>,
    /// What the plan takes note of.
    notes: Vec<String>,
}

impl Approval {
    /// What is to be approved of a plan.
    pub fn of(operation: &Operation, planned: &Planned) -> Approval {
        let plan = &planned.plan;
        let columns = |table: &PlannedTable| (table.title(), table.columns.clone());
        let note = |problem: &String| problem.clone();
        let mut notes: Vec<String> =
            planned.refusals.iter().map(|refusal| note(&refusal.problem)).collect();
        notes.sort();
        Approval {
            format: FORMAT,
            made_at: Timestamp::now(),
            made_by: format!("{}@{}", config::operator(), config::host()),
            source: planned.source.clone(),
            target: planned.target.clone(),
            versions: [plan.source_version, plan.target_version],
            schema: plan.fingerprint.clone(),
            tables: plan.tables.iter().map(columns).collect(),
            sequences: plan.sequences,
            settings: settings(operation),
            notes,
        }
    }

    /// Writes it for its owner only, whole or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        let name = || format!("write {}", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Such a file is made with 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(name)?;
        let text = serde_json::to_string_pretty(self)?;
        file.write_all(text.as_bytes()).with_context(name)?;
        file.write_all(b"\n").with_context(name)?;
        file.as_file().sync_all().with_context(name)?;
        file.persist(path).with_context(name)?;
        Ok(())
    }

    /// Reads it.
    ///
    /// # Errors
    /// There is no such file, or it is none of ours.
    pub fn read(path: &Path) -> Result<Approval> {
        let wrong = |why: String| {
            Failure::usage(format!("plan {}: {why}", path.display()))
                .hint("make one: cargo xtask cutover plan … --out plan.json")
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let read: Approval =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match read.format {
            FORMAT => Ok(read),
            other => Err(wrong(format!("its format is {other}, not {FORMAT}")).into()),
        }
    }

    /// Refuses a world that is not the one that was approved.
    ///
    /// # Errors
    /// Something has changed; each change is named.
    pub fn assert_holds(&self, now: &Approval) -> Result<()> {
        self.refuse(self.differences(now))
    }

    /// Refuses to go on with a run that was begun from something else than what was approved.
    ///
    /// # Errors
    /// The run moves something else.
    pub fn assert_is_of(&self, plan: &Plan) -> Result<()> {
        let same_schema = plan.fingerprint == self.schema;
        let titles: Vec<String> = plan.tables.iter().map(PlannedTable::title).collect();
        let same_tables = titles.len() == self.tables.len()
            && titles.iter().all(|it| self.tables.contains_key(it));
        match same_schema && same_tables {
            true => Ok(()),
            false => self.refuse(vec!["the run under way was begun from another plan".into()]),
        }
    }

    fn refuse(&self, changes: Vec<String>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = changes.iter().map(|change| format!("\n  - {change}")).collect();
        let message = format!(
            "the world is not as it was approved at {}:{}",
            self.made_at.strftime("%F %T UTC"),
            lines.concat()
        );
        Err(Failure::refused(message)
            .hint("nothing was changed; look at it again: cargo xtask cutover plan … --out FILE")
            .into())
    }

    /// What is not as it was approved.
    fn differences(&self, now: &Approval) -> Vec<String> {
        let mut all = Vec::new();
        let sides = [("source", &self.source, &now.source), ("target", &self.target, &now.target)];
        for (side, then, now) in sides.into_iter().filter(|(_, then, now)| then != now) {
            let title = |one: &Identity| {
                format!("{} of system {}, timeline {}", one.database, one.system, one.timeline)
            };
            let (now, then) = (title(now), title(then));
            all.push(format!("the {side} is another database: {now}, was {then}"));
        }
        if self.versions != now.versions {
            all.push(format!("server versions: {:?}, were {:?}", now.versions, self.versions));
        }
        let tables = changed_tables(&self.tables, &now.tables);
        if tables.is_empty() && self.schema != now.schema {
            all.push(
                "the schema has changed beside its tables: indexes, constraints, functions, \
                      grants or the like"
                    .into(),
            );
        }
        all.extend(tables);
        if self.sequences != now.sequences {
            all.push(format!("{} sequences, were {}", now.sequences, self.sequences));
        }
        all.extend(changed_settings(&self.settings, &now.settings));
        let new = now.notes.iter().filter(|note| !self.notes.contains(note));
        all.extend(new.map(|note| format!("new: {note}")));
        all
    }
}

/// What values and command line say together, without a secret.
pub fn settings(operation: &Operation) -> BTreeMap<String, String> {
    let options = &operation.options;
    let endpoint = |endpoint: &Endpoint| endpoint.to_string();
    let routes = match options.routes.is_empty() {
        true => "none".into(),
        false => format!("{:?}", options.routes),
    };
    let mut all = BTreeMap::from([
        ("source", endpoint(&operation.source)),
        ("target", endpoint(&operation.target)),
        ("source for target", endpoint(&operation.source_for_target)),
        ("target for source", endpoint(&operation.target_for_source)),
        ("routes", routes),
        ("workloads", format!("{:?}", options.workloads)),
        ("topology", if options.follows { "follow" } else { "switch" }.into()),
        ("jobs", options.jobs.to_string()),
        ("pause limit", format!("{:?}", options.pause_limit)),
        ("pin limit", format!("{:?}", options.pin_limit)),
        ("snapshot limit", format!("{:?}", options.snapshot_limit)),
        ("catch-up limit", format!("{:?}", options.catch_up_limit)),
        ("on ddl", format!("{:?}", options.on_ddl).to_lowercase()),
        ("unlimited WAL", options.accepts_unlimited_wal.to_string()),
        ("way back", if options.without_way_back { "none" } else { "kept" }.into()),
        ("backup", options.backup.to_string()),
    ]);
    if let Some(choice) = &options.search {
        let roles = &choice.roles;
        let role = |role: &Option<String>| role.clone().unwrap_or_else(|| "none".into());
        all.insert("search", format!("{} in schema {}", choice.engine, choice.schema));
        let roles = [&roles.owner, &roles.runtime, &roles.search].map(role).join(", ");
        all.insert("roles of search", roles);
    }
    all.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn changed_tables(
    then: &BTreeMap<String, Vec<String>>,
    now: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let new: Vec<&String> = now.keys().filter(|name| !then.contains_key(*name)).collect();
    let gone: Vec<&String> = then.keys().filter(|name| !now.contains_key(*name)).collect();
    let differs = |name: &&String| now.get(*name).is_some_and(|columns| *columns != then[*name]);
    let changed: Vec<&String> = then.keys().filter(differs).collect();
    let kinds =
        [("new tables", new), ("tables gone", gone), ("tables with other columns", changed)];
    let tell = |(kind, names): (&str, Vec<&String>)| {
        let told: Vec<&str> = names.iter().take(TOLD).map(|name| name.as_str()).collect();
        let more = names.len().saturating_sub(TOLD);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("{kind}: {}{more}", told.join(", ")))
    };
    kinds.into_iter().filter_map(tell).collect()
}

fn changed_settings(
    then: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut names: Vec<&String> = then.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let side = |all: &BTreeMap<String, String>, name: &String| {
        all.get(name).cloned().unwrap_or_else(|| "none".into())
    };
    let differs = |name: &&String| then.get(*name) != now.get(*name);
    let tell = |name: &String| format!("{name}: {}, was {}", side(now, name), side(then, name));
    names.into_iter().filter(differs).map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Approval {
        let identity = |system: &str| Identity {
            system: system.into(),
            database_oid: 5,
            database: "rbsdb".into(),
            timeline: 1,
        };
        Approval {
            format: FORMAT,
            made_at: Timestamp::UNIX_EPOCH,
            made_by: "a@b".into(),
            source: identity("1"),
            target: identity("2"),
            versions: [160_000, 180_000],
            schema: "abc".into(),
            tables: [("public.item".into(), vec!["id".into()])].into(),
            sequences: 1,
            settings: [("jobs".into(), "2".into())].into(),
            notes: vec!["text sorts otherwise".into()],
        }
    }

    #[test]
    fn each_change_of_the_world_is_named() {
        let approved = example();
        assert_eq!(approved.differences(&example()), Vec::<String>::new());
        type Change = fn(&mut Approval);
        let changes: [(Change, &str); 9] = [
            (|it| it.source.timeline = 2, "the source is another database"),
            (|it| it.target.system = "3".into(), "the target is another database"),
            (|it| it.versions[1] = 180_001, "server versions"),
            (|it| it.schema = "def".into(), "the schema has changed"),
            (|it| drop(it.tables.insert("a.b".into(), vec![])), "new tables: a.b"),
            (|it| it.tables.clear(), "tables gone: public.item"),
            (|it| drop(it.tables.insert("public.item".into(), vec![])), "other columns"),
            (|it| drop(it.settings.insert("jobs".into(), "4".into())), "jobs: 4, was 2"),
            (|it| it.notes.push("slot b".into()), "new: slot b"),
        ];
        for (change, told) in changes {
            let mut now = example();
            change(&mut now);
            let found = approved.differences(&now);
            assert!(found.iter().any(|one| one.contains(told)), "{told}: {found:?}");
            assert!(approved.assert_holds(&now).is_err());
        }
        let mut later = example();
        later.notes.clear();
        later.made_at = Timestamp::now();
        assert!(approved.assert_holds(&later).is_ok(), "what was mended is no reason");
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plan.json");
        std::fs::write(&file, "old").unwrap();
        example().write(&file).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Approval::read(&file).unwrap(), example());
        std::fs::write(&file, "{}").unwrap();
        assert!(Approval::read(&file).is_err());
    }
}
