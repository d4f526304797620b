//! Move a live service from plain PostgreSQL to ParadeDB, with proof, and back.
//!
//! The map is ARCHITECTURE.md; the commands are in `cmd/`.

pub mod backup;
pub mod bench;
pub mod cmd;
pub mod config;
pub mod cutover;
pub mod django;
pub mod drill;
pub mod failure;
pub mod kube;
pub mod ledger;
pub mod migrate;
pub mod pg;
pub mod process;
pub mod rag;
pub mod render;
pub mod report;
pub mod route;
pub mod servers;
#[cfg(test)]
mod tidy;
pub mod ui;
pub mod workload;
