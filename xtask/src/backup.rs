//! Backups that are proved: dumped under one snapshot, restored elsewhere, compared row by row.
//!
//! A backup is a folder. Until it is whole its name ends in `.part`; its manifest is written last,
//! and a folder without one is no backup.

pub mod create;
pub mod external;
pub mod facts;
pub mod listing;
pub mod manifest;
pub mod place;
pub mod policy;
pub mod progress;
pub mod prove;
pub mod restore;
pub mod scratch;

pub use create::{Backup, create};
pub use policy::{BackupPolicy, Kind};
