//! `prepared`: a transaction that was prepared on the serving side and left over, until somebody
//! commits it.

use anyhow::{Context, Result};

use super::{Expected, Scene, Wound};
use crate::failure::tolerate;
use crate::pg::endpoint::literal;

/// Prepares it. Where the side is fenced by now nobody can, and nothing has happened.
pub(super) async fn leave(scene: &Scene<'_>) -> Result<Wound> {
    let name = format!("forgotten {}", scene.draw.cycle);
    let row = Expected::of(scene.draw.cycle, scene.world.identity(scene.draw.verb.leaves()));
    let Ok(session) = scene.serving().connect_as_client("maintenance").await else {
        return Ok(Wound::Nothing);
    };
    let prepare = format!("BEGIN; {}; PREPARE TRANSACTION {}", row.insert(), literal(&name));
    Ok(match session.batch_execute(&prepare).await {
        Ok(()) => Wound::Prepared(name, row),
        Err(_) => Wound::Nothing,
    })
}

/// Commits it. What was acknowledged must be there in the end, wherever the service is by then.
pub(super) async fn commit(name: &str, row: Expected, scene: &Scene<'_>) -> Result<Expected> {
    // A fence refuses clients; the one who mends this is let in as the tool is.
    let endpoint = scene.serving();
    let session = endpoint.connect("drill").await.context("commit what was prepared")?;
    let committed = session.batch_execute(&format!("COMMIT PREPARED {}", literal(name))).await;
    let is_acknowledged = committed.is_ok();
    tolerate(committed, "a server that is down kept it, and the oracle holds both to be right");
    Ok(Expected { is_acknowledged, ..row })
}
