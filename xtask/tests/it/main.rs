//! Tests against real servers. One binary, so that all share one pair.

mod journals;
mod operators;
mod pagila;
mod refusals;
mod secrets;
mod servers;
mod support;
mod tool;
mod troubles;
mod verbs;
mod verify;
mod workload;
