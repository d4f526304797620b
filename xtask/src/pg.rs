//! Everything that speaks to PostgreSQL.

pub mod archive;
pub mod conninfo;
pub mod copy;
pub mod digest;
pub mod endpoint;
pub mod facts;
pub mod folder;
pub mod lock;
pub mod password;
pub mod replication;
pub mod rights;
pub mod sequences;
pub mod slots;
pub mod snapshot;
pub mod state;
pub mod survey;
pub mod tls;
