//! The outline of a run: each step with what it touches, what clients feel, and how it is undone.
//! It is what a person approves.

use serde::Serialize;

use crate::cutover::plan::Plan;
use crate::cutover::step::Step;
use crate::cutover::verbs::Operation;
use crate::kube::workloads::Workload;
use crate::pg::endpoint::{APPLICATION_NAME, Session};
use crate::route::Routes;

/// One step, for a person to approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The verb that does it.
    pub verb: &'static str,
    /// The step.
    pub step: Step,
    /// The objects that it touches, named and counted.
    pub touches: String,
    /// What clients feel meanwhile.
    pub clients: &'static str,
    /// How it is undone.
    pub undo: &'static str,
}

/// What the serving side holds beside its tables, counted when the plan was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Indexes of the tables that are moved, those of keys too.
    pub indexes: i64,
    /// Sessions of clients on the source.
    pub sessions: i64,
}

impl Census {
    /// Counts.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn take(source: &Session) -> anyhow::Result<Census> {
        let sql = "
            SELECT (SELECT count(*) FROM pg_index AS i
                    JOIN pg_class AS c ON c.oid = i.indrelid
                    JOIN pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE n.nspname NOT LIKE 'pg\\_%'
                      AND n.nspname NOT IN ('information_schema', 'xtask_cutover')
                      AND c.relkind IN ('r', 'm')
                      AND NOT EXISTS (SELECT FROM pg_depend AS d
                                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                        AND d.deptype = 'e')),
                   (SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND backend_type = 'client backend'
                      AND application_name NOT LIKE $1 || ' %')";
        let row = source.query_one(sql, &[&APPLICATION_NAME]).await?;
        Ok(Census { indexes: row.get(0), sessions: row.get(1) })
    }
}

/// Every step of a run from its beginning to its end.
pub fn outline(operation: &Operation, plan: &Plan, census: Census) -> Vec<Row> {
    let options = &operation.options;
    let is_there = |step: &Step| match step {
        Step::Migrate => plan.search.is_some(),
        Step::Quiesce => options.workloads.is_some(),
        Step::Aim => !options.routes.aimed().is_empty(),
        Step::Arm => !plan.without_way_back,
        _ => true,
    };
    // Where ParadeDB follows, nobody lets it serve; the run can be closed.
    let is_wanted = |step: &Step| !options.follows || verb(*step) != "switch";
    let row = |step: Step| Row {
        verb: verb(step),
        step,
        touches: touches(step, operation, plan, census),
        clients: clients(step, &options.routes),
        undo: undo(step, plan.without_way_back),
    };
    Step::ALL.into_iter().filter(is_there).filter(is_wanted).map(row).collect()
}

fn verb(step: Step) -> &'static str {
    match step {
        Step::Retire => "finish",
        step if step >= Step::Quiesce => "switch",
        _ => "start",
    }
}

fn undo(step: Step, without_way_back: bool) -> &'static str {
    match step {
        Step::Retire => "never",
        Step::Backup => "it stays",
        step if step.is_after_decision() && without_way_back => "never",
        step if step.is_after_decision() => "rollback turns back",
        step if step >= Step::Quiesce => "itself, if it fails",
        _ => "rollback removes it",
    }
}

fn clients(step: Step, routes: &Routes) -> &'static str {
    let are_held = routes.pooler().is_some();
    match step {
        Step::Quiesce => "write; those of the workloads are away until release",
        Step::Hold if !are_held => "write",
        step if step.is_in_pause() || matches!(step, Step::Open | Step::Flip | Step::Release) => {
            if are_held {
                "are held"
            } else {
                "wait, or are cut off"
            }
        }
        step if step.is_after_decision() => "write on the target",
        _ => "write",
    }
}

/// What a step touches, in the words of this plan.
fn touches(step: Step, operation: &Operation, plan: &Plan, census: Census) -> String {
    let (tables, sequences) = (plan.tables.len(), plan.sequences);
    let published = plan.published.len();
    match step {
        Step::Backup => "nothing; reads the source as the backup's policy says".into(),
        Step::Publish => format!(
            "source: publication of {published} tables, 1 slot, 1 role, schema xtask_cutover; \
             target: schema xtask_cutover"
        ),
        Step::Schema => format!(
            "target: {tables} tables, {sequences} sequences and what they need; closed to clients"
        ),
        Step::Copy => format!(
            "target: the rows of {tables} tables, {} MB; {} sessions a side",
            plan.bytes().div_euclid(1_000_000) + 1,
            operation.options.jobs
        ),
        Step::Index => format!("target: {} indexes, statistics", census.indexes),
        Step::Follow => "target: 1 subscription, foreign keys, triggers".into(),
        Step::Migrate => plan.search.as_ref().map_or_else(String::new, |choice| {
            format!("target: search of {}, schema {}", choice.engine, choice.schema)
        }),
        Step::Arm => "target: 1 publication, 1 slot, 1 role; source: 1 subscription, off".into(),
        Step::Prove | Step::Certify => format!("nothing; reads {tables} tables on both sides"),
        step => touches_at_the_turn(step, operation, sequences, census.sessions),
    }
}

/// The same for what stands around the decision.
fn touches_at_the_turn(
    step: Step,
    operation: &Operation,
    sequences: usize,
    sessions: i64,
) -> String {
    let (source, target) = (&operation.source.database, &operation.target.database);
    let routes = &operation.options.routes;
    match (step, routes.pooler()) {
        (Step::Gate, _) => "source: the dead-man's session; nothing else".into(),
        (Step::Hold, Some(_)) => "every PgBouncer is paused".into(),
        (Step::Hold, _) => "nothing: this route cannot hold clients".into(),
        (Step::Fence, _) => format!(
            "source: database {source} read-only and closed; {sessions} sessions end (as of now)"
        ),
        (Step::Drain, _) => "1 row of the run's own".into(),
        (Step::Sequences, _) => format!("target: {sequences} sequences set"),
        (Step::Detach, _) => "target: subscription off; slot of the way back moved".into(),
        (Step::Pin, _) => "1 snapshot a side".into(),
        (Step::Decide, _) => "source: 1 row, which says who serves".into(),
        (Step::Open, _) => format!("target: database {target} opened"),
        (Step::Aim, _) => routes.aimed_only().to_string(),
        (Step::Flip, _) if routes.is_empty() => "nothing: clients are yours to redirect".into(),
        (Step::Flip, _) => routes.to_string(),
        (Step::Quiesce, _) => {
            let all = operation.options.workloads.iter().flat_map(|workloads| &workloads.all);
            all.map(Workload::title).collect::<Vec<_>>().join(", ")
        }
        (Step::Release, _) if routes.is_empty() => "nothing: no route is named".into(),
        (Step::Release, _) => "1 login of the application through the route".into(),
        (Step::Reverse, _) if operation.options.without_way_back => {
            "the way there is dropped".into()
        }
        (Step::Reverse, _) => "source: subscription on; the way there is dropped".into(),
        (Step::Retire, _) => "the way back is dropped; the source keeps data and fence".into(),
        // What stands before the gate was told above.
        (_, _) => String::new(),
    }
}
