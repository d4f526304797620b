//! Where clients go.

pub mod file;

use std::path::PathBuf;

use anyhow::Result;

use crate::pg::endpoint::Endpoint;

/// A way to point clients at a server.
#[derive(Debug, Clone)]
pub enum Route {
    /// A file with one connection string, which clients read when they connect.
    File(PathBuf),
}

impl Route {
    /// Where clients are pointed at now.
    ///
    /// # Errors
    /// The route cannot be read.
    pub fn read(&self) -> Result<Endpoint> {
        match self {
            Route::File(path) => file::read(path),
        }
    }

    /// Points clients at the server of `endpoint`, with their own role.
    ///
    /// # Errors
    /// The route cannot be written.
    pub fn flip(&self, endpoint: &Endpoint) -> Result<()> {
        match self {
            Route::File(path) => file::flip(path, endpoint),
        }
    }
}
