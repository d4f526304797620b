//! The engine: one run moves one database, and can bring it back.

pub mod approval;
pub mod beginning;
pub mod catch_up;
pub mod ddl;
pub mod decision;
pub mod doctor;
pub mod drive;
pub mod ending;
pub mod engine;
pub mod event;
pub mod fence;
pub mod guardian;
pub mod header;
pub mod holder;
pub mod journal;
pub mod lag;
pub mod lineage;
pub mod metrics;
pub mod next;
pub mod opening;
pub mod outline;
pub mod plan;
pub mod planned;
pub mod refusals;
pub mod revive;
pub mod samples;
pub mod search;
pub mod status;
pub mod step;
pub mod steps;
pub mod stopped;
#[cfg(test)]
mod sweep;
pub mod topology;
pub mod verbs;
pub mod verify;
pub mod way_back;
