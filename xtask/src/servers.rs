//! Servers for rehearsal: a pair that is installed, started, and gone without a trace.
//!
//! A run lives in one folder in `/var/tmp`. Its keeper stops what runs in there and removes it when
//! the run ends, however it ends; where even the keeper was killed, the next run sweeps.

pub mod account;
pub mod binaries;
pub mod cluster;
pub mod disk;
pub mod folder;
pub mod keeper;
pub mod kept;
pub mod lock;
pub mod pair;
pub mod pip;
pub mod pooler;
pub mod programs;
pub mod settings;
pub mod throwaway;
pub mod wheel;
