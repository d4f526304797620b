//! How every verb begins: it reaches both servers, ends another operator where it was told to, and
//! learns what happened to the run elsewhere.

use anyhow::Result;

use crate::cutover::catch_up;
use crate::cutover::event::Side;
use crate::cutover::verbs::Operation;
use crate::failure::Failure;
use crate::pg::endpoint::{Endpoint, Session};
use crate::pg::state;

/// Learns what another machine did with the run since.
///
/// # Errors
/// A journal is damaged, or says something else than the servers. A server that does not answer is
/// told by who needs it.
pub async fn catch_up(operation: &Operation) -> Result<()> {
    let endpoints = [&operation.source, &operation.target];
    catch_up::catch_up(&operation.options.folder, endpoints, &operation.story).await
}

/// What every verb that acts does first: with `--take-over` it ends what another operator's command
/// does; then it catches up.
///
/// # Errors
/// As [`catch_up`]; or a server stays away that another operator is to be ended on.
pub async fn prepare(operation: &Operation) -> Result<()> {
    if operation.take_over {
        for (side, endpoint) in operation.named_endpoints() {
            let session = reach(endpoint, side).await?;
            state::end_other_operators(&session).await?;
        }
    }
    catch_up(operation).await
}

/// Opens the first session of a command, and says what to do where that is not possible.
///
/// # Errors
/// The server cannot be reached, or refuses the login; which it is decides the exit code.
pub async fn reach(endpoint: &Endpoint, side: Side) -> Result<Session> {
    let side = side.name();
    endpoint.connect("plan").await.map_err(|error| {
        use tokio_postgres::error::SqlState;
        let state = error.downcast_ref::<tokio_postgres::Error>().and_then(|error| error.code());
        let is_login = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
        let failure = match state {
            Some(state) if is_login.contains(state) => Failure::usage(format!(
                "the {side} refuses the login: {error:#}"
            ))
            .hint(format!("check role and password: --{side}, PGPASSWORD or the password file")),
            Some(&SqlState::INVALID_CATALOG_NAME) => {
                Failure::usage(format!("the {side} has no such database: {error:#}"))
                    .hint(format!("create it, or name another: --{side}"))
            }
            _ => Failure::failed(format!("the {side} cannot be reached: {error:#}"))
                .hint("check its address and that it runs; nothing was changed"),
        };
        failure.into()
    })
}
