//! Move a live service from plain PostgreSQL to ParadeDB, with proof, and back.
//!
//! The map is ARCHITECTURE.md; the commands are in `cmd/`.

pub mod cmd;
pub mod config;
pub mod cutover;
pub mod failure;
pub mod pg;
pub mod process;
pub mod render;
pub mod ui;
