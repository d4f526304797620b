//! `subscriber`: somebody else's database follows the serving side.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Scene, Wound};
use crate::drill;
use crate::failure::tolerate;
use crate::pg::endpoint::{Endpoint, identifier};
use crate::pg::replication;

/// What publication, slot and subscription are called.
const NAME: &str = "warehouse";
/// The table that it follows.
const TABLE: (&str, &str) = ("public", "workload_ledger");

/// How long making it may take: a slot waits for every transaction.
const LIMIT: Duration = Duration::from_secs(5);

/// Its database, which is on the other server.
fn warehouse(scene: &Scene<'_>) -> Endpoint {
    let name = format!("{NAME}_{}", scene.draw.cycle);
    scene.world.endpoint(scene.draw.verb.reaches()).with_database(&name)
}

/// Lets it follow. Where the serving side is fenced by now nobody can, and nothing has happened.
pub(super) async fn follow(scene: &Scene<'_>) -> Result<Wound> {
    let own = warehouse(scene);
    drill::create_database(&own).await?;
    let session = own.connect("drill").await?;
    let table = "CREATE TABLE public.workload_ledger (
                     run bigint, writer integer, number bigint, server bigint)";
    session.batch_execute(table).await.context("make its table")?;
    let Ok(serving) = scene.serving().connect_as_client("warehouse").await else {
        return Ok(Wound::Subscriber);
    };
    let table = (TABLE.0.to_string(), TABLE.1.to_string());
    let published = replication::publish(&serving, NAME, &[table]).await;
    if published.is_err() {
        return Ok(Wound::Subscriber);
    }
    let following = replication::subscribe_and_copy(&session, NAME, scene.serving());
    let followed = tokio::time::timeout(LIMIT, following).await;
    tolerate(followed, "a fence that came in between refuses it, as it should");
    Ok(Wound::Subscriber)
}

/// Sends it away, with everything of it.
pub(super) async fn leave(scene: &Scene<'_>) -> Result<()> {
    let own = warehouse(scene);
    let session = own.connect("drill").await?;
    let script = include_str!("../../pg/sql/drop_replication.sql");
    session.batch_execute(script).await.context("drop its subscription")?;
    drop(session);
    let serving = scene.serving().connect("drill").await?;
    drill::sweep::world::drop_foreign_slots(&serving, &scene.serving().database).await?;
    replication::unpublish(&serving, NAME).await?;
    let other = own.with_database("postgres").connect("drill").await?;
    let drop = format!("DROP DATABASE {} WITH (FORCE)", identifier(&own.database));
    other.batch_execute(&drop).await.context("drop its database")
}
