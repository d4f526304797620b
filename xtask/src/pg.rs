//! Everything that speaks to PostgreSQL.

pub mod digest;
pub mod endpoint;
pub mod facts;
pub mod sequences;
pub mod survey;
