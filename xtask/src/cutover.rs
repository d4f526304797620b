//! The engine: one run moves one database, and can bring it back.

pub mod drive;
pub mod event;
pub mod journal;
pub mod next;
pub mod plan;
pub mod refusals;
pub mod step;
#[cfg(test)]
mod sweep;
pub mod verify;
