//! What each step does on real servers. One file a step, with `act`, `look` and `undo` in that
//! order; only `look` may say that a step is done.

use anyhow::Result;

use crate::cutover::drive::{Log, Seen};
use crate::cutover::engine::Engine;
use crate::cutover::step::Step;

pub mod aim;
pub mod arm;
pub mod backup;
pub mod certify;
pub mod copy;
pub mod decide;
pub mod detach;
pub mod drain;
pub mod fence;
pub mod flip;
pub mod follow;
pub mod gate;
pub mod hold;
pub mod index;
pub mod migrate;
pub mod open;
pub mod pin;
pub mod prove;
pub mod publish;
pub mod quiesce;
pub mod release;
pub mod retire;
pub mod reverse;
pub mod schema;
pub mod sequences;

/// Does a step. Safe to run twice.
///
/// # Errors
/// The step's own.
pub async fn act(step: Step, engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    match step {
        Step::Backup => backup::act(engine, log).await,
        Step::Publish => publish::act(engine, log).await,
        Step::Schema => schema::act(engine, log).await,
        Step::Copy => copy::act(engine, log).await,
        Step::Index => index::act(engine).await,
        Step::Follow => follow::act(engine, log).await,
        Step::Migrate => migrate::act(engine, log).await,
        Step::Arm => arm::act(engine).await,
        Step::Prove => prove::act(engine, log).await,
        Step::Quiesce => quiesce::act(engine, log).await,
        Step::Gate => gate::act(engine, log).await,
        Step::Hold => hold::act(engine).await,
        Step::Fence => fence::act(engine, log).await,
        Step::Drain => drain::act(engine, log).await,
        Step::Sequences => sequences::act(engine).await,
        Step::Detach => detach::act(engine, log).await,
        Step::Pin => pin::act(engine, log).await,
        Step::Aim => aim::act(engine).await,
        Step::Decide => decide::act(engine).await,
        Step::Open => open::act(engine, log).await,
        Step::Flip => flip::act(engine).await,
        Step::Release => release::act(engine, log).await,
        Step::Reverse => reverse::act(engine, log).await,
        Step::Certify => certify::act(engine, log).await,
        Step::Retire => retire::act(engine, log).await,
    }
}

/// Looks whether a step is done.
///
/// # Errors
/// It cannot be told.
pub async fn look(step: Step, engine: &mut Engine, log: &dyn Log) -> Result<Seen> {
    match step {
        Step::Backup => backup::look(log),
        Step::Publish => publish::look(engine, log).await,
        Step::Schema => schema::look(engine).await,
        Step::Copy => copy::look(engine, log).await,
        Step::Index => index::look(engine).await,
        Step::Follow => follow::look(engine, log).await,
        Step::Migrate => migrate::look(engine).await,
        Step::Arm => arm::look(engine).await,
        Step::Prove => prove::look(log),
        Step::Quiesce => quiesce::look(engine).await,
        Step::Gate => gate::look(engine).await,
        Step::Hold => hold::look(engine).await,
        Step::Fence => fence::look(engine).await,
        Step::Drain => drain::look(engine, log).await,
        Step::Sequences => sequences::look(engine).await,
        Step::Detach => detach::look(engine, log).await,
        Step::Pin => pin::look(engine, log).await,
        Step::Aim => aim::look(engine).await,
        Step::Decide => decide::look(engine).await,
        Step::Open => open::look(engine).await,
        Step::Flip => flip::look(engine).await,
        Step::Release => release::look(engine, log).await,
        Step::Reverse => reverse::look(engine).await,
        Step::Certify => certify::look(log),
        Step::Retire => retire::look(engine).await,
    }
}

/// Makes a step not done. Safe to run twice, and where nothing was done.
///
/// # Errors
/// The step's own.
pub async fn undo(step: Step, engine: &mut Engine, log: &mut dyn Log) -> Result<()> {
    match step {
        Step::Backup => backup::undo(engine, log).await,
        Step::Publish => publish::undo(engine).await,
        Step::Schema => schema::undo(engine).await,
        Step::Copy => copy::undo(engine).await,
        Step::Follow => follow::undo(engine, log).await,
        Step::Migrate => migrate::undo(engine, log).await,
        Step::Arm => arm::undo(engine).await,
        Step::Quiesce => quiesce::undo(engine, log).await,
        Step::Gate => gate::undo(engine).await,
        Step::Hold => hold::undo(engine).await,
        Step::Fence => fence::undo(engine, log).await,
        Step::Drain => drain::undo(engine),
        Step::Detach => detach::undo(engine, log).await,
        Step::Pin => pin::undo(engine).await,
        Step::Aim => aim::undo(engine).await,
        Step::Decide => decide::undo(engine).await,
        // Indexes go with their tables; sequences on a side that does not serve mean nothing; a
        // proof leaves nothing; what follows the decision is never undone.
        Step::Index
        | Step::Prove
        | Step::Sequences
        | Step::Open
        | Step::Flip
        | Step::Release
        | Step::Reverse
        | Step::Certify
        | Step::Retire => Ok(()),
    }
}

/// Evidence from pairs of names and values.
macro_rules! evidence {
    ($($name:literal : $value:expr),* $(,)?) => {
        [$((String::from($name), serde_json::json!($value))),*]
            .into_iter()
            .collect::<$crate::cutover::event::Evidence>()
    };
}
pub(crate) use evidence;
