//! The route `secret`: keys of a Secret that Deployments read when they start. They are started
//! anew after it was changed.
//!
//! Host, port and database change; role and password stay, and so does every other key. A URL that
//! holds them all is rewritten in its place.

pub mod url;

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::kube::workloads::{alive, is_noticed};
use crate::kube::{Cluster, Right, at, with};
use crate::pg::endpoint::Endpoint;
use crate::route::places::{Address, Places};
use crate::route::{Objection, managed, objection};

/// The kinds of objects that this route reads and changes.
const SECRETS: &str = "secrets";
const DEPLOYMENTS: &str = "deployments.apps";
/// The annotation of a pod template that says where its pods were led: another value, other pods.
pub const POINTED_AT: &str = "xtask.cutover/pointed-at";
/// How long a change may take outside the pause; within, the pause has its own limit.
const CHANGE_LIMIT: Duration = Duration::from_secs(5);

/// The names of the keys that say where the database is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// A URL with all of them.
    pub url: Option<String>,
    /// The role; only read.
    pub user: Option<String>,
    /// Its password; only read.
    pub password: Option<String>,
}

/// A Secret that leads clients to the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Box<Keys>,
    /// What pods dial to reach each server.
    pub places: Places,
    /// Deployments that read it when they start, and are not stopped meanwhile.
    pub restarts: Vec<String>,
}

impl Secret {
    async fn read(&self) -> Result<Value> {
        let secret = self.cluster.get(SECRETS, &self.name).await?;
        secret.ok_or_else(|| {
            let namespace = self.cluster.namespace();
            Failure::refused(format!("namespace {namespace} has no Secret {}", self.name))
                .hint("name the Secret that the service reads")
                .into()
        })
    }

    /// The value of a key. What it is never stands in an error.
    fn value(&self, secret: &Value, key: &str) -> Result<String> {
        let encoded = secret["data"][key]
            .as_str()
            .with_context(|| format!("Secret {} has no key {key}", self.name))?;
        let unreadable = || format!("key {key} of Secret {} is no text", self.name);
        let bytes = STANDARD.decode(encoded).ok().with_context(unreadable)?;
        String::from_utf8(bytes).ok().with_context(unreadable)
    }

    /// The Secret that leads to a place.
    fn wanted(&self, secret: &Value, place: &Address) -> Result<Value> {
        let mut wanted = secret.clone();
        let pairs = [
            (&self.keys.host, place.host.clone()),
            (&self.keys.port, place.port.to_string()),
            (&self.keys.database, place.database.clone()),
        ];
        for (key, value) in pairs {
            let Some(key) = key else { continue };
            if self.value(secret, key)? != value {
                wanted["data"][key] = json!(STANDARD.encode(value));
            }
        }
        if let Some(key) = &self.keys.url {
            let now = self.value(secret, key)?;
            let pointed = url::pointed(&now, place)
                .with_context(|| format!("key {key} of Secret {} is no URL", self.name))?;
            if pointed != now {
                wanted["data"][key] = json!(STANDARD.encode(pointed));
            }
        }
        Ok(wanted)
    }

    /// How a client connects to the server of `server`, as the tool reaches it.
    ///
    /// # Errors
    /// The cluster does not answer, or a key is missing.
    pub async fn client(&self, server: &Endpoint) -> Result<Option<Endpoint>> {
        let secret = self.read().await?;
        if let (Some(user), Some(password)) = (&self.keys.user, &self.keys.password) {
            let (user, password) = (self.value(&secret, user)?, self.value(&secret, password)?);
            return Ok(Some(server.with_user(&user, &password)));
        }
        let Some(key) = &self.keys.url else { return Ok(None) };
        let login = url::login(&self.value(&secret, key)?);
        Ok(login.map(|(user, password)| server.with_user(&user, &password)))
    }

    /// Everything that would stop a switch away from the server of `serving`; changes nothing.
    pub async fn objections(&self, serving: &Endpoint) -> Vec<Objection> {
        match self.look_for_objections(serving).await {
            Ok(all) => all,
            Err(error) => {
                let fix = "name the Secret and its keys as the service reads them";
                vec![objection("route-secret", format!("{error:#}"), fix)]
            }
        }
    }

    async fn look_for_objections(&self, serving: &Endpoint) -> Result<Vec<Objection>> {
        let mut all = Vec::new();
        let mut rights = vec![
            Right { verb: "get", resource: SECRETS },
            Right { verb: "patch", resource: SECRETS },
        ];
        if !self.restarts.is_empty() {
            rights.push(Right { verb: "get", resource: DEPLOYMENTS });
            rights.push(Right { verb: "patch", resource: DEPLOYMENTS });
        }
        for right in self.cluster.lacks(&rights).await? {
            let namespace = self.cluster.namespace();
            let problem = format!("in namespace {namespace} the tool may not {right}");
            all.push(objection("cluster-rights", problem, "a Role for it"));
        }
        for name in &self.restarts {
            if self.cluster.get(DEPLOYMENTS, name).await?.is_none() {
                let problem = format!("there is no Deployment {name} to be started anew");
                all.push(objection("route-secret", problem, "name what there is"));
            }
        }
        let secret = self.read().await?;
        all.extend(managed("Secret", &secret));
        let place = self.places.of(serving);
        if self.wanted(&secret, &place)? != secret {
            let problem = format!("Secret {} does not lead to {place}, which serves", self.name);
            let fix = "name the host as pods dial it, or find who changed the Secret";
            all.push(objection("route-elsewhere", problem, fix));
        }
        for place in self.places.dialled().filter(|_| all.is_empty()) {
            let wanted = self.wanted(&secret, place)?;
            let asked = self.cluster.would_take(SECRETS, &self.name, &secret, &wanted).await;
            asked.with_context(|| format!("lead Secret {} to {place}", self.name))?;
        }
        Ok(all)
    }

    /// Writes the server of `server` into the Secret. Pods see it when they start.
    ///
    /// # Errors
    /// The cluster does not answer or refuses, or a key is missing.
    pub async fn point(&self, server: &Endpoint) -> Result<()> {
        let place = self.places.of(server);
        let change = self
            .cluster
            .change(SECRETS, &self.name, CHANGE_LIMIT, |secret| self.wanted(secret, &place));
        change.await.map(drop).with_context(|| format!("lead Secret {} to {place}", self.name))
    }

    /// Whether the Secret leads to the server of `server`.
    ///
    /// # Errors
    /// The cluster does not answer, or a key is missing.
    pub async fn points_at(&self, server: &Endpoint) -> Result<bool> {
        let secret = self.read().await?;
        Ok(self.wanted(&secret, &self.places.of(server))? == secret)
    }

    /// Has the Deployments started anew that were started with another server. Safe to run twice:
    /// the pods of this one stay.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn restart(&self, server: &Endpoint) -> Result<()> {
        let place = self.places.of(server).to_string();
        for name in &self.restarts {
            let path = ["spec", "template", "metadata", "annotations", POINTED_AT];
            let change = self.cluster.change(DEPLOYMENTS, name, CHANGE_LIMIT, |deployment| {
                Ok(with(deployment, &path, json!(place)))
            });
            change.await.with_context(|| format!("start the pods of {name} anew"))?;
        }
        Ok(())
    }

    /// Whether pods of a Deployment run that were started with the Secret as it is.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn runs(&self, deployment: &str) -> Result<bool> {
        let object = self.cluster.get(DEPLOYMENTS, deployment).await?.unwrap_or_default();
        Ok(is_noticed(&object) && !alive(&self.cluster, &object).await?.is_empty())
    }

    /// Whether the Deployments were told to start their pods with the server of `server`.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn is_restarted(&self, server: &Endpoint) -> Result<bool> {
        let place = self.places.of(server).to_string();
        for name in &self.restarts {
            let deployment = self.cluster.get(DEPLOYMENTS, name).await?.unwrap_or_default();
            let annotations = at(&deployment, "/spec/template/metadata/annotations");
            if annotations[POINTED_AT] != place {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
