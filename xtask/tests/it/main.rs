//! Tests against real servers. One binary, so that all share one pair.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod backup;
mod backups;
mod cluster;
mod crash;
mod ddl;
mod environments;
mod journals;
mod measurements;
mod migrate;
mod night;
mod operators;
mod owner;
mod pagila;
mod pooled;
mod rag;
mod refusals;
mod reports;
mod secrets;
mod servers;
mod slots;
mod support;
mod sweep;
mod tls;
mod tool;
mod topology;
mod troubles;
mod verbs;
mod verify;
mod workload;
