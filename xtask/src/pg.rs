//! Everything that speaks to PostgreSQL.

pub mod endpoint;
