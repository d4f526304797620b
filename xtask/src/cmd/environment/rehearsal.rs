//! Where a drill may not go: to an environment whose values do not allow it, and to any server of
//! one that does not, by whatever name.

use anyhow::{Context, Result};

use super::Chosen;
use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::render;
use crate::render::values::cutover::Login;
use crate::render::values::{self, Environment};

impl Chosen {
    /// Refuses a drill where the values do not allow it, and where a server of theirs is also one
    /// of an environment that does not: a copied file whose addresses were left as they were.
    ///
    /// # Errors
    /// No word allows it; or the values of another environment cannot be read.
    pub fn assert_rehearsable(&self) -> Result<()> {
        let Some(environment) = &self.environment else { return Ok(()) };
        let name = &environment.name;
        if !allows(environment) {
            let message = format!("a drill may not switch the clients of {name} forth and back");
            let hint = format!(
                "only where nobody is hurt by it: `cutover.rehearse: true` in {}/{name}.yaml",
                values::FOLDER
            );
            return Err(Failure::refused(message).hint(hint).into());
        }
        let own = places(environment)?;
        for other in forbidding()? {
            let shared = places(&other)?.into_iter().find(|place| own.contains(place));
            if let Some((host, port)) = shared {
                return Err(is_shared(&format!("{host} port {port}"), &other.name, name));
            }
        }
        Ok(())
    }

    /// The same by asking: a server has one identifier and one time of its start, under whatever
    /// name it is reached; a clone of it has started at another time. What cannot be asked, or
    /// needs a password that is not here, is told, and was compared by its address only.
    ///
    /// # Errors
    /// A server is one of an environment that allows no drill; or one of `servers` is lost.
    pub async fn assert_nobody_elses(&self, servers: [&Endpoint; 2], story: &Story) -> Result<()> {
        let Some(environment) = &self.environment else { return Ok(()) };
        let mut own = Vec::new();
        for server in servers {
            own.push((server, running(server).await?));
        }
        for other in forbidding()? {
            let chosen = Chosen { environment: Some(other.clone()), by_hand: Vec::new() };
            for login in logins(&other) {
                match chosen.running(login).await {
                    Ok(found) => {
                        let Some((server, _)) = own.iter().find(|(_, own)| *own == found) else {
                            continue;
                        };
                        let shown = format!("{} port {}", server.host, server.port);
                        return Err(is_shared(&shown, &other.name, &environment.name));
                    }
                    Err(error) => story.warning(format!(
                        "{} of {} was compared by its address only: {error:#}",
                        login.url.as_str(),
                        other.name
                    )),
                }
            }
        }
        Ok(())
    }

    async fn running(&self, login: &Login) -> Result<String> {
        running(&self.login(login).await?).await
    }
}

/// Which running server this is.
async fn running(endpoint: &Endpoint) -> Result<String> {
    let session = endpoint.connect("drill").await?;
    let sql = "SELECT format('%s since %s', system_identifier, pg_postmaster_start_time())
               FROM pg_control_system()";
    Ok(session.query_one(sql, &[]).await.context("ask which server this is")?.get(0))
}

fn allows(environment: &Environment) -> bool {
    environment.values.cutover.as_ref().is_some_and(|cutover| cutover.rehearse)
}

/// Every environment of this workspace that allows no drill.
fn forbidding() -> Result<Vec<Environment>> {
    let here = std::env::current_dir().context("read the working folder")?;
    let mut all = values::read_all(&render::workspace(&here)?.join(values::FOLDER))?;
    all.retain(|environment| !allows(environment));
    Ok(all)
}

fn logins(environment: &Environment) -> impl Iterator<Item = &Login> {
    let cutover = environment.values.cutover.iter();
    cutover.flat_map(|cutover| [&cutover.source, &cutover.target]).flatten()
}

/// Where the servers of an environment are.
fn places(environment: &Environment) -> Result<Vec<(String, u16)>> {
    let mut all = Vec::new();
    for login in logins(environment) {
        all.extend(Endpoint::parse(login.url.as_str())?.places());
    }
    Ok(all)
}

fn is_shared(server: &str, other: &str, name: &str) -> anyhow::Error {
    let message = format!("{server} is a server of {other}, too, where no drill is allowed");
    let hint = format!("name other servers in {}/{name}.yaml", values::FOLDER);
    Failure::refused(message).hint(hint).into()
}
