//! The route `command`: a program of the operator's that redirects clients in a way that this tool
//! does not know. Its contract stands in docs/route-command.md.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::pg::endpoint::Endpoint;
use crate::process::{Invocation, Output};
use crate::route::{Objection, objection};

/// How long the program may take, each time.
const DEADLINE: Duration = Duration::from_secs(10);
/// The variables that tell it about the server.
const HOST: &str = "XTASK_ROUTE_HOST";
const PORT: &str = "XTASK_ROUTE_PORT";
const DATABASE: &str = "XTASK_ROUTE_DATABASE";
/// How long it may take, in seconds.
const SECONDS: &str = "XTASK_ROUTE_SECONDS";
/// How much of what it says is repeated, in characters.
const SHOWN: usize = 500;

/// The exit code of `look` where clients are led elsewhere.
const ELSEWHERE: i32 = 1;

/// A program that leads clients to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
}

impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())
    }
}

impl Program {
    /// A program. It is run directly, never by a shell.
    pub fn new(path: impl Into<PathBuf>) -> Program {
        Program { path: path.into() }
    }

    async fn run(&self, order: &str, server: &Endpoint) -> Result<Output> {
        let call = Invocation::new(&self.path)
            .argument(order)
            .variable(HOST, &server.host)
            .variable(PORT, server.port.to_string())
            .variable(DATABASE, &server.database)
            .variable(SECONDS, DEADLINE.as_secs().to_string())
            .deadline(DEADLINE);
        call.output().await.with_context(|| format!("ask {} to {order}", self.path.display()))
    }

    /// Everything that would stop a switch away from the server of `serving`; changes nothing.
    pub async fn objections(&self, serving: &Endpoint) -> Vec<Objection> {
        let fix = "see docs/route-command.md for what it has to answer";
        match self.points_at(serving).await {
            Ok(true) => Vec::new(),
            Ok(false) => {
                let path = self.path.display();
                let problem =
                    format!("{path} says that clients are not led to the side that serves");
                vec![objection("route-elsewhere", problem, fix)]
            }
            Err(error) => vec![objection("route-command", format!("{error:#}"), fix)],
        }
    }

    /// Has the program lead clients to the server of `server`.
    ///
    /// # Errors
    /// It cannot be run, takes too long, or ends with another code than 0.
    pub async fn point(&self, server: &Endpoint) -> Result<()> {
        let output = self.run("point", server).await?;
        match output.code {
            Some(0) => Ok(()),
            _ => bail!("{} could not lead clients to {server}: {}", self.name(), said(&output)),
        }
    }

    /// Whether the program says that clients are led to the server of `server`.
    ///
    /// # Errors
    /// It cannot be run, takes too long, or cannot tell.
    pub async fn points_at(&self, server: &Endpoint) -> Result<bool> {
        let output = self.run("look", server).await?;
        match output.code {
            Some(0) => Ok(true),
            Some(ELSEWHERE) => Ok(false),
            _ => bail!("{} cannot tell where clients are led: {}", self.name(), said(&output)),
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// How it ended, and the beginning of what it said.
fn said(output: &Output) -> String {
    let code = output.code.map_or("a signal".into(), |code| format!("exit code {code}"));
    let text: String = output.stderr.trim().chars().take(SHOWN).collect();
    format!("{code}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_contract_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lead");
        let text = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n\
            where=\"$XTASK_ROUTE_HOST:$XTASK_ROUTE_PORT\"\n\
            case $1 in\npoint) echo \"$where\" > now ;;\n\
            look) [ -f now ] || { echo nobody knows >&2; exit 9; }\n\
            [ \"$(cat now)\" = \"$where\" ] ;;\nesac\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = Program::new(&path);
        let server = |port| Endpoint::new("127.0.0.1", port, "rbsdb", "postgres", "s3cret");
        let error = program.points_at(&server(1)).await.unwrap_err().to_string();
        assert!(error.contains("exit code 9: nobody knows"), "{error}");
        program.point(&server(1)).await.unwrap();
        assert!(program.points_at(&server(1)).await.unwrap());
        assert!(!program.points_at(&server(2)).await.unwrap());
        assert_eq!(program.objections(&server(2)).await[0].name, "route-elsewhere");
        assert_eq!(program.objections(&server(1)).await, []);
    }
}
