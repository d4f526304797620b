//! Tests against real servers. One binary, so that all share one pair.

mod servers;
mod support;
mod verify;
mod workload;
