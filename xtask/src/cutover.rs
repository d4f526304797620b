//! The engine: one run moves one database, and can bring it back.

pub mod event;
pub mod step;
pub mod verify;
