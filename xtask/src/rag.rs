//! The knowledge store: what an application searches, how documents get into it, what it costs.
//!
//! Its tables and functions are migrations; both engines have the same. The tool calls no model:
//! embeddings come with the documents and with the question.

pub mod asked;
pub mod chunk;
pub mod document;
pub mod export;
pub mod http;
pub mod indexes;
mod input;
pub mod load;
pub mod sample;
pub mod search;
pub mod size;
pub mod store;
