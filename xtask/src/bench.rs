//! Measurements against real servers, each with a limit that it holds its figures against.

pub mod pause;
pub mod place;
pub mod search;
