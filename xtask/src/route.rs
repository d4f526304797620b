//! Where clients go: one route, or several in order.
//!
//! What needs no live target is led there before the decision, while both sides are fenced: that is
//! `aim`. The rest follows once the target is open: that is `point`.

pub mod command;
pub mod file;
pub mod pgbouncer;
pub mod places;
pub mod secret;
pub mod service;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::tolerate;
use crate::kube::at;
use crate::pg::endpoint::Endpoint;
use crate::route::command::Program;
use crate::route::pgbouncer::PgBouncer;
use crate::route::secret::Secret;
use crate::route::service::Service;

/// A way to point clients at a server.
#[derive(Debug, Clone)]
pub enum Route {
    /// A file with one connection string, which clients read when they connect.
    File(PathBuf),
    /// Processes of PgBouncer, which clients stay connected to.
    PgBouncer(PgBouncer),
    /// What needs no live target.
    Aimed(Aimed),
    /// A program of the operator's.
    Command(Program),
}

/// A route that can be led to a server that nobody can enter yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aimed {
    /// A Service without selector.
    Service(Service),
    /// A Secret that pods read when they start.
    Secret(Secret),
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

fn objection(name: &'static str, problem: String, fix: &str) -> Objection {
    Objection { name, problem, fix: fix.into() }
}

/// An object that ArgoCD sets back to what stands in Git.
fn managed(kind: &str, object: &Value) -> Option<Objection> {
    let annotations = at(object, "/metadata/annotations");
    let tracking = annotations.get("argocd.argoproj.io/tracking-id")?.as_str()?;
    let name = at(object, "/metadata/name").as_str().unwrap_or_default();
    let application = tracking.split(':').next().unwrap_or(tracking);
    let problem = format!("{kind} {name} is managed by ArgoCD's {application}, which sets it back");
    let fix = "take it out of Git, or name its fields in ignoreDifferences of the Application";
    Some(objection("route-managed", problem, fix))
}

impl Aimed {
    /// Leads it to the server of `endpoint`.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn point(&self, endpoint: &Endpoint) -> Result<()> {
        match self {
            Aimed::Service(service) => service.point(endpoint).await,
            Aimed::Secret(secret) => secret.point(endpoint).await,
        }
    }

    /// Has it take effect: who reads a Secret when it starts is started anew.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn take_effect(&self, endpoint: &Endpoint) -> Result<()> {
        match self {
            Aimed::Service(_) => Ok(()),
            Aimed::Secret(secret) => secret.restart(endpoint).await,
        }
    }

    /// Whether it leads to the server of `endpoint`.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn points_at(&self, endpoint: &Endpoint) -> Result<bool> {
        match self {
            Aimed::Service(service) => service.points_at(endpoint).await,
            Aimed::Secret(secret) => secret.points_at(endpoint).await,
        }
    }
}

/// The routes of clients, in the order in which they are pointed.
#[derive(Debug, Clone, Default)]
pub struct Routes(Vec<Route>);

impl From<Route> for Routes {
    fn from(route: Route) -> Routes {
        Routes(vec![route])
    }
}

impl FromIterator<Route> for Routes {
    fn from_iter<I: IntoIterator<Item = Route>>(all: I) -> Routes {
        Routes(all.into_iter().collect())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::File(path) => write!(formatter, "file {}", path.display()),
            Route::PgBouncer(pooler) => write!(formatter, "{pooler}"),
            Route::Aimed(Aimed::Service(service)) => write!(formatter, "Service {}", service.name),
            Route::Aimed(Aimed::Secret(secret)) => write!(formatter, "Secret {}", secret.name),
            Route::Command(program) => write!(formatter, "program {program}"),
        }
    }
}

impl fmt::Display for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&all.join("; "))
    }
}

impl Routes {
    /// Those that need no live target.
    #[must_use]
    pub fn aimed_only(&self) -> Routes {
        self.aimed().into_iter().map(Route::Aimed).collect()
    }

    /// Each route.
    pub fn all(&self) -> &[Route] {
        &self.0
    }

    /// Whether clients are the operator's to redirect.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same, and one more behind them.
    #[must_use]
    pub fn with(&self, last: Route) -> Routes {
        self.0.iter().cloned().chain([last]).collect()
    }

    /// The file that clients on this machine read, where there is one.
    pub fn endpoint_file(&self) -> Option<&PathBuf> {
        self.0.iter().find_map(|route| match route {
            Route::File(path) => Some(path),
            Route::PgBouncer(pooler) => Some(pooler.clients()),
            Route::Aimed(_) | Route::Command(_) => None,
        })
    }

    /// How a client connects now, with its role and password; nothing where no route knows.
    /// `server` is who serves, for routes that know only names within a cluster.
    ///
    /// # Errors
    /// A file or a Secret cannot be read.
    pub async fn client(&self, server: &Endpoint) -> Result<Option<Endpoint>> {
        for route in &self.0 {
            let client = match route {
                Route::File(path) => Some(file::read(path)?),
                Route::PgBouncer(pooler) => Some(pooler.client()?),
                Route::Aimed(Aimed::Service(service)) => service.client()?,
                Route::Aimed(Aimed::Secret(secret)) => secret.client(server).await?,
                Route::Command(_) => None,
            };
            if client.is_some() {
                return Ok(client);
            }
        }
        Ok(None)
    }

    /// The pooler, where clients can be held back: then somebody must see to it that they are let
    /// go again.
    pub fn pooler(&self) -> Option<&PgBouncer> {
        self.0.iter().find_map(|route| match route {
            Route::PgBouncer(pooler) => Some(pooler),
            _ => None,
        })
    }

    /// What is led to the target before the decision: somebody must see to it that it leads back
    /// where nothing is decided.
    pub fn aimed(&self) -> Vec<Aimed> {
        let aimed = self.0.iter().filter_map(|route| match route {
            Route::Aimed(aimed) => Some(aimed.clone()),
            _ => None,
        });
        aimed.collect()
    }

    /// The Secrets that lead clients.
    pub fn secrets(&self) -> Vec<Secret> {
        let secrets = self.0.iter().filter_map(|route| match route {
            Route::Aimed(Aimed::Secret(secret)) => Some(secret.clone()),
            _ => None,
        });
        secrets.collect()
    }

    /// Whether clients depend on somebody who acts should the tool die.
    pub fn needs_guardian(&self) -> bool {
        self.0.iter().any(|route| matches!(route, Route::PgBouncer(_) | Route::Aimed(_)))
    }

    /// Everything that would stop a switch away from the server of `serving`; changes nothing.
    pub async fn objections(&self, serving: &Endpoint) -> Vec<Objection> {
        let mut all = Vec::new();
        for route in &self.0 {
            all.extend(match route {
                // That the file can be read is asked by whoever reads it.
                Route::File(_) => Vec::new(),
                Route::PgBouncer(pooler) => pooler.objections(serving).await,
                Route::Aimed(Aimed::Service(service)) => service.objections(serving).await,
                Route::Aimed(Aimed::Secret(secret)) => secret.objections(serving).await,
                Route::Command(program) => program.objections(serving).await,
            });
        }
        all
    }

    /// Holds every client back as soon as its transaction has ended. Nobody is held where this
    /// fails.
    ///
    /// # Errors
    /// A transaction does not end in time, or a process does not answer.
    pub async fn hold(&self) -> Result<()> {
        match self.pooler() {
            Some(pooler) => pooler.hold().await,
            None => Ok(()),
        }
    }

    /// Whether every client is held back that these routes can hold.
    ///
    /// # Errors
    /// A process does not answer.
    pub async fn is_held(&self) -> Result<bool> {
        match self.pooler() {
            Some(pooler) => pooler.is_held().await,
            None => Ok(true),
        }
    }

    /// Leads to the server of `endpoint` what needs no live server. All are tried.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn aim(&self, endpoint: &Endpoint) -> Result<()> {
        aim(&self.aimed(), endpoint).await
    }

    /// Whether what needs no live server leads to the server of `endpoint`.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn aims_at(&self, endpoint: &Endpoint) -> Result<bool> {
        for aimed in self.aimed() {
            if !aimed.points_at(endpoint).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Points clients at the server of `endpoint`, with their own role, and has it take effect.
    /// Each is tried; where PgBouncer cannot point all clients, it lets those go that it could.
    ///
    /// # Errors
    /// A route cannot be written, or does not take effect.
    pub async fn point(&self, endpoint: &Endpoint) -> Result<()> {
        let mut pointed = Ok(());
        for route in &self.0 {
            pointed = pointed.and(route.point(endpoint).await);
        }
        pointed
    }

    /// Whether clients are pointed at the server of `endpoint`.
    ///
    /// # Errors
    /// A route cannot be read.
    pub async fn points_at(&self, endpoint: &Endpoint) -> Result<bool> {
        for route in &self.0 {
            if !route.points_at(endpoint).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets every client go on. Safe to run where nobody is held.
    ///
    /// # Errors
    /// A process answers and does not let go. One that is gone holds nobody.
    pub async fn release(&self) -> Result<()> {
        match self.pooler() {
            Some(pooler) => pooler.release().await,
            None => Ok(()),
        }
    }
}

impl Route {
    async fn point(&self, endpoint: &Endpoint) -> Result<()> {
        match self {
            Route::File(path) => file::flip(path, endpoint),
            Route::PgBouncer(pooler) => {
                let pointed = pooler.point(endpoint).await;
                if pointed.is_err() {
                    let reason = "that some cannot be pointed is the error to tell";
                    tolerate(pooler.let_in(endpoint).await, reason);
                }
                pointed
            }
            // Led there before; somebody may have changed it since.
            Route::Aimed(aimed) => {
                aimed.point(endpoint).await?;
                aimed.take_effect(endpoint).await
            }
            Route::Command(program) => program.point(endpoint).await,
        }
    }

    async fn points_at(&self, endpoint: &Endpoint) -> Result<bool> {
        match self {
            Route::File(path) => {
                let now = file::read(path)?;
                Ok(now == now.at_server_of(endpoint))
            }
            Route::PgBouncer(pooler) => pooler.points_at(endpoint).await,
            Route::Aimed(Aimed::Service(service)) => service.points_at(endpoint).await,
            Route::Aimed(Aimed::Secret(secret)) => {
                Ok(secret.points_at(endpoint).await? && secret.is_restarted(endpoint).await?)
            }
            Route::Command(program) => program.points_at(endpoint).await,
        }
    }
}

/// Leads to the server of `endpoint` what needs no live server. All are tried.
///
/// # Errors
/// The cluster does not answer, or refuses.
pub async fn aim(all: &[Aimed], endpoint: &Endpoint) -> Result<()> {
    let mut aimed = Ok(());
    for one in all {
        aimed = aimed.and(one.point(endpoint).await);
    }
    aimed.context("lead what needs no live server")
}
