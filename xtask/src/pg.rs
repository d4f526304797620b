//! Everything that speaks to PostgreSQL.

pub mod endpoint;
pub mod replication;
pub mod state;
