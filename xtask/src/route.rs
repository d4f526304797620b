//! Where clients go.

pub mod file;
pub mod pgbouncer;

use std::path::PathBuf;

use anyhow::Result;

use crate::pg::endpoint::Endpoint;
use crate::route::pgbouncer::PgBouncer;

/// A way to point clients at a server.
#[derive(Debug, Clone)]
pub enum Route {
    /// A file with one connection string, which clients read when they connect.
    File(PathBuf),
    /// Processes of PgBouncer, which clients stay connected to.
    PgBouncer(PgBouncer),
}

/// Something about a route that would stop a switch, found before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// A stable name, for documents and scripts.
    pub name: &'static str,
    /// What is wrong, naming the object.
    pub problem: String,
    /// The command or the change that mends it.
    pub fix: String,
}

impl Route {
    /// How a client connects now, with its role and password.
    ///
    /// # Errors
    /// The endpoint file cannot be read.
    pub fn client(&self) -> Result<Endpoint> {
        match self {
            Route::File(path) => file::read(path),
            Route::PgBouncer(pooler) => pooler.client(),
        }
    }

    /// The pooler, where clients can be held back: then somebody must see to it that they are let
    /// go again.
    pub fn pooler(&self) -> Option<&PgBouncer> {
        match self {
            Route::File(_) => None,
            Route::PgBouncer(pooler) => Some(pooler),
        }
    }

    /// Everything that would stop a switch away from the server of `serving`; changes nothing.
    pub async fn objections(&self, serving: &Endpoint) -> Vec<Objection> {
        match self {
            // That the file can be read is asked by whoever reads it.
            Route::File(_) => Vec::new(),
            Route::PgBouncer(pooler) => pooler.objections(serving).await,
        }
    }

    /// Holds every client back as soon as its transaction has ended. Nobody is held where this
    /// fails.
    ///
    /// # Errors
    /// A transaction does not end in time, or a process does not answer.
    pub async fn hold(&self) -> Result<()> {
        match self {
            Route::File(_) => Ok(()),
            Route::PgBouncer(pooler) => pooler.hold().await,
        }
    }

    /// Whether every client is held back that this route can hold.
    ///
    /// # Errors
    /// A process does not answer.
    pub async fn is_held(&self) -> Result<bool> {
        match self {
            Route::File(_) => Ok(true),
            Route::PgBouncer(pooler) => pooler.is_held().await,
        }
    }

    /// Points clients at the server of `endpoint`, with their own role. Where it cannot point all
    /// of them, it lets those go that it could.
    ///
    /// # Errors
    /// The route cannot be written, or does not take effect.
    pub async fn point(&self, endpoint: &Endpoint) -> Result<()> {
        match self {
            Route::File(path) => file::flip(path, endpoint),
            Route::PgBouncer(pooler) => {
                let pointed = pooler.point(endpoint).await;
                if pointed.is_err() {
                    let reason = "that some cannot be pointed is the error to tell";
                    crate::failure::tolerate(pooler.let_in(endpoint).await, reason);
                }
                pointed
            }
        }
    }

    /// Whether clients are pointed at the server of `endpoint`.
    ///
    /// # Errors
    /// The route cannot be read.
    pub async fn points_at(&self, endpoint: &Endpoint) -> Result<bool> {
        match self {
            Route::File(path) => {
                let now = file::read(path)?;
                Ok(now == now.at_server_of(endpoint))
            }
            Route::PgBouncer(pooler) => pooler.points_at(endpoint).await,
        }
    }

    /// Lets every client go on. Safe to run where nobody is held.
    ///
    /// # Errors
    /// A process answers and does not let go. One that is gone holds nobody.
    pub async fn release(&self) -> Result<()> {
        match self {
            Route::File(_) => Ok(()),
            Route::PgBouncer(pooler) => pooler.release().await,
        }
    }
}
