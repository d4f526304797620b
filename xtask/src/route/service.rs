//! The route `service`: a Service without selector, whose EndpointSlice names the server. Clients
//! dial the Service, and keep what they dial.
//!
//! Connections that are open stay at the old server. They end there, by its fence.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::kube::{Cluster, Right, at};
use crate::pg::endpoint::Endpoint;
use crate::route::places::{Address, Places};
use crate::route::{Objection, file, managed, objection};

/// The kinds of objects that this route reads and changes.
const SERVICES: &str = "services";
const SLICES: &str = "endpointslices.discovery.k8s.io";
/// The label that says which Service a slice belongs to.
const OF_SERVICE: &str = "kubernetes.io/service-name";
/// How long a change may take outside the pause; within, the pause has its own limit.
const CHANGE_LIMIT: Duration = Duration::from_secs(5);

/// A Service that clients dial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
    /// What the cluster dials to reach each server; addresses, or names that this machine resolves.
    pub places: Places,
    /// A file with a client's connection string that leads to the Service also from this machine;
    /// only read.
    pub clients: Option<PathBuf>,
}

impl Service {
    /// How a client connects, where that is known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn client(&self) -> Result<Option<Endpoint>> {
        self.clients.as_deref().map(file::read).transpose()
    }

    /// The only slice of the Service: with several, clients would be spread over both sides.
    async fn slice(&self) -> Result<Value> {
        let selector = format!("{OF_SERVICE}={}", self.name);
        let mut slices = self.cluster.list(SLICES, Some(&selector)).await?;
        match (slices.len(), slices.pop()) {
            (1, Some(slice)) => Ok(slice),
            (count, _) => {
                let message = format!("Service {} has {count} EndpointSlices, not one", self.name);
                Err(Failure::refused(message)
                    .hint("delete those that the tool shall not keep; `render` writes the one")
                    .into())
            }
        }
    }

    /// Everything that would stop a switch away from the server of `serving`; changes nothing.
    pub async fn objections(&self, serving: &Endpoint) -> Vec<Objection> {
        let fix = format!("kubectl --context {} cluster-info", self.cluster.context());
        match self.look_for_objections(serving).await {
            Ok(all) => all,
            Err(error) => vec![objection("route-service", format!("{error:#}"), &fix)],
        }
    }

    async fn look_for_objections(&self, serving: &Endpoint) -> Result<Vec<Objection>> {
        let mut all = Vec::new();
        let rights = [
            Right { verb: "get", resource: SERVICES },
            Right { verb: "list", resource: SLICES },
            Right { verb: "get", resource: SLICES },
            Right { verb: "patch", resource: SLICES },
        ];
        for right in self.cluster.lacks(&rights).await? {
            let namespace = self.cluster.namespace();
            let problem = format!("in namespace {namespace} the tool may not {right}");
            all.push(objection("cluster-rights", problem, "a Role for it"));
        }
        let Some(service) = self.cluster.get(SERVICES, &self.name).await? else {
            let problem = format!("there is no Service {}", self.name);
            all.push(objection("route-service", problem, "make it, without a selector"));
            return Ok(all);
        };
        if at(&service, "/spec/selector").as_object().is_some_and(|all| !all.is_empty()) {
            let problem = format!(
                "Service {} has a selector: the cluster would set its endpoints \
                                   back to pods",
                self.name
            );
            let fix = "take spec.selector away; mind `commonLabels` of kustomize";
            all.push(objection("route-service", problem, fix));
        }
        let slice = self.slice().await?;
        all.extend(managed("EndpointSlice", &slice));
        let place = self.places.of(serving);
        let wanted = wanted(&slice, &place).await?;
        if wanted != slice {
            let problem = format!("Service {} does not lead to {place}, which serves", self.name);
            let fix = "find who changed its EndpointSlice, and lead it there";
            all.push(objection("route-elsewhere", problem, fix));
        }
        if all.is_empty() {
            all.extend(self.refused_place(&slice).await);
        }
        Ok(all)
    }

    /// A place that the API server would not let the Service lead to: in the pause nobody wants to
    /// learn of it.
    async fn refused_place(&self, slice: &Value) -> Option<Objection> {
        let name = at(slice, "/metadata/name").as_str().unwrap_or_default();
        for place in self.places.dialled() {
            let asked = async {
                let wanted = wanted(slice, place).await?;
                self.cluster.would_take(SLICES, name, slice, &wanted).await
            };
            if let Err(error) = asked.await {
                let problem = format!("Service {} cannot lead to {place}: {error:#}", self.name);
                let fix = "name an address that pods reach, as `source` or `target` of the route";
                return Some(objection("route-service", problem, fix));
            }
        }
        None
    }

    /// Leads the Service to the server of `server`.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn point(&self, server: &Endpoint) -> Result<()> {
        let describe = || format!("lead Service {} to {}", self.name, self.places.of(server));
        let slice = self.slice().await.with_context(describe)?;
        let wanted = wanted(&slice, &self.places.of(server)).await.with_context(describe)?;
        let name = at(&slice, "/metadata/name").as_str().context("read the slice's name")?;
        let (name, read) = (name.to_string(), Some(slice));
        // Clients wait: what was read is changed, and read again only where that was too late.
        let change = self.cluster.change_from(read, SLICES, &name, CHANGE_LIMIT, |now| {
            let mut changed = now.clone();
            changed["endpoints"] = wanted["endpoints"].clone();
            changed["ports"] = wanted["ports"].clone();
            Ok(changed)
        });
        change.await.map(drop).with_context(describe)
    }

    /// Whether the Service leads to the server of `server`.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn points_at(&self, server: &Endpoint) -> Result<bool> {
        let slice = self.slice().await?;
        Ok(wanted(&slice, &self.places.of(server)).await? == slice)
    }
}

/// The slice that leads to a place; what else stands in it stays.
async fn wanted(slice: &Value, place: &Address) -> Result<Value> {
    let kind = slice["addressType"].as_str().unwrap_or("IPv4");
    let ip = resolve(place, kind).await?;
    let mut wanted = slice.clone();
    wanted["endpoints"] = json!([{"addresses": [ip], "conditions": {"ready": true}}]);
    let mut port = slice["ports"].get(0).cloned().unwrap_or_else(|| json!({"protocol": "TCP"}));
    port["port"] = json!(place.port);
    wanted["ports"] = json!([port]);
    Ok(wanted)
}

/// The address of a place: an EndpointSlice knows no names.
async fn resolve(place: &Address, kind: &str) -> Result<String> {
    let fits = |ip: &IpAddr| ip.is_ipv6() == (kind == "IPv6");
    if let Ok(ip) = place.host.parse::<IpAddr>() {
        if !fits(&ip) {
            bail!("{ip} is not of the slice's address type {kind}");
        }
        return Ok(ip.to_string());
    }
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
    let mut found = found.with_context(|| format!("resolve {}", place.host))?;
    let ip = found.find(|socket| fits(&socket.ip()));
    Ok(ip.with_context(|| format!("{} has no {kind} address", place.host))?.ip().to_string())
}
