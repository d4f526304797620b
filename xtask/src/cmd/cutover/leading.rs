//! What the values of an environment say of the cluster: who is stopped there, and what leads
//! clients.

use std::time::Duration;

use anyhow::Result;

use crate::cmd::environment::Chosen;
use crate::kube::workloads::{Kind, Workload, Workloads};
use crate::pg::endpoint::Endpoint;
use crate::render::values::clients::{Dialled, SecretRoute, ServiceRoute};
use crate::render::values::scalar::SecretKey;
use crate::route::Aimed;
use crate::route::places::Places;
use crate::route::secret::{Keys, Secret};
use crate::route::service::Service;

/// The workloads that a switch stops, where the values name some.
///
/// # Errors
/// kubectl is not installed.
pub fn workloads(chosen: &Chosen) -> Result<Option<Workloads>> {
    let Some(quiesce) = chosen.cutover().and_then(|cutover| cutover.quiesce.as_ref()) else {
        return Ok(None);
    };
    let cluster = chosen.kube()?;
    let workload = |kind, namespace: &str, name: String, migrates| Workload {
        kind,
        namespace: namespace.into(),
        name,
        migrates,
    };
    let own = cluster.namespace();
    let mut all = Vec::new();
    if let Some(argocd) = &quiesce.argocd {
        // The parent first: it would set the other back.
        let names = argocd.parent.iter().chain([&argocd.application]);
        let namespace = argocd.namespace.as_str();
        let each = |name: &_| workload(Kind::Application, namespace, format!("{name}"), false);
        all.extend(names.map(each));
    }
    let each = |name: &_| workload(Kind::CronJob, own, format!("{name}"), false);
    all.extend(quiesce.cronjobs.iter().map(each));
    for one in &quiesce.deployments {
        all.push(workload(Kind::Deployment, own, one.name.to_string(), one.migrates));
    }
    let roles = quiesce.roles.iter().map(ToString::to_string).collect();
    let limit = Duration::from_secs(quiesce.limit.0.into());
    Ok(Some(Workloads { all, roles, limit, cluster }))
}

/// What leads clients and needs no live target; the servers are source and target.
///
/// # Errors
/// kubectl is not installed.
pub fn aimed(chosen: &Chosen, sides: [&Endpoint; 2]) -> Result<Vec<Aimed>> {
    let mut all = Vec::new();
    for route in chosen.cutover().iter().flat_map(|cutover| &cutover.routes) {
        if let Some(written) = &route.service {
            all.push(Aimed::Service(service(written, chosen, sides)?));
        }
        if let Some(written) = &route.secret {
            all.push(Aimed::Secret(secret(written, chosen, sides)?));
        }
    }
    Ok(all)
}

fn service(written: &ServiceRoute, chosen: &Chosen, sides: [&Endpoint; 2]) -> Result<Service> {
    Ok(Service {
        cluster: chosen.kube()?,
        name: written.name.to_string(),
        places: places(sides, [&written.source, &written.target]),
        clients: written.clients.as_ref().map(Into::into),
    })
}

fn secret(written: &SecretRoute, chosen: &Chosen, sides: [&Endpoint; 2]) -> Result<Secret> {
    let key = |key: &Option<SecretKey>| key.as_ref().map(ToString::to_string);
    Ok(Secret {
        cluster: chosen.kube()?,
        name: written.name.to_string(),
        keys: Box::new(Keys {
            host: key(&written.keys.host),
            port: key(&written.keys.port),
            database: key(&written.keys.database),
            url: key(&written.keys.url),
            user: key(&written.keys.user),
            password: key(&written.keys.password),
        }),
        places: places(sides, [&written.source, &written.target]),
        restarts: written.restarts.iter().map(ToString::to_string).collect(),
    })
}

fn places(sides: [&Endpoint; 2], dialled: [&Dialled; 2]) -> Places {
    sides.iter().zip(dialled).fold(Places::default(), |places, (side, dialled)| {
        places.with(side, &dialled.host, dialled.port)
    })
}
