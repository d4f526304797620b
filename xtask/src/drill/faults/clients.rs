//! `superuser` and `session`: clients that go their own ways.

use anyhow::{Context, Result};

use super::{Scene, Wound};
use crate::route::file;
use crate::workload::{Load, Workload, Writes};

/// How many rows a second a superuser writes past the route.
const RATE: f64 = 20.0;

/// A superuser who writes to the serving side itself, past route and pooler, and comes back
/// whenever it is sent away.
pub(super) fn write_directly(scene: &Scene<'_>) -> Result<Wound> {
    let path = scene.world.folder.join("superuser");
    file::write(&path, scene.serving())?;
    let load = Load {
        writes: Writes::Sample,
        rate: Some(RATE),
        writers: 1,
        seed: scene.stage.options.seed ^ u64::from(scene.draw.cycle),
        endpoint_file: path,
        application_name: "maintenance".into(),
    };
    Ok(Wound::Writer(Workload::start(load)?))
}

/// A client that keeps its server connection for itself, as behind a pooler by session: it has a
/// transaction open and does nothing. Where nobody is let in at the moment, there is none.
pub(super) async fn keep_a_session(scene: &Scene<'_>) -> Result<Wound> {
    let route = file::read(&scene.world.route_file()).context("read the route")?;
    let Ok(session) = route.connect_as_client("reporting").await else {
        return Ok(Wound::Nothing);
    };
    Ok(match session.batch_execute("BEGIN; SELECT 1").await {
        Ok(()) => Wound::Session(session),
        Err(_) => Wound::Nothing,
    })
}
