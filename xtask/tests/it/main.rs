//! Tests against real servers. One binary, so that all share one pair.

mod crash;
mod night;
mod servers;
mod support;
mod verify;
mod workload;
