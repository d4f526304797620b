//! `--env`: what the values of an environment say of a run, where nobody says otherwise by hand.
//!
//! Passwords are read here, when a verb runs, from where the values say that they are.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config;
use crate::failure::Failure;
use crate::kube;
use crate::pg::endpoint::Endpoint;
use crate::process;
use crate::render;
use crate::render::cluster::Cluster;
use crate::render::values::cutover::{Cutover, Login, Password, SecretReference};
use crate::render::values::{self, Environment};

mod rehearsal;

/// The environment that a verb was given, and what was given by hand all the same.
#[derive(Default)]
pub struct Chosen {
    environment: Option<Environment>,
    by_hand: Vec<String>,
}

impl Chosen {
    /// Reads the values of an environment of this workspace, where one is named.
    ///
    /// # Errors
    /// There is no workspace here, no such environment, or its file is wrong.
    pub fn read(name: Option<&str>) -> Result<Chosen> {
        let Some(name) = name else { return Ok(Chosen::default()) };
        let here = std::env::current_dir().context("read the working folder")?;
        let environment = values::read_one(&render::workspace(&here)?, name)?;
        Ok(Chosen { environment: Some(environment), by_hand: Vec::new() })
    }

    /// The environment, where one was named.
    pub fn environment(&self) -> Option<&Environment> {
        self.environment.as_ref()
    }

    /// What the environment says of cutovers.
    pub fn cutover(&self) -> Option<&Cutover> {
        self.environment.as_ref()?.values.cutover.as_ref()
    }

    /// What was given by hand in the place of values, as the command line spells it.
    pub fn by_hand(&self) -> &[String] {
        &self.by_hand
    }

    /// What was given by hand, else what the values say.
    pub fn pick<T>(
        &mut self,
        flag: &str,
        given: Option<T>,
        written: impl FnOnce(&Cutover) -> Option<T>,
    ) -> Option<T> {
        if given.is_none() {
            return self.cutover().and_then(written);
        }
        if self.environment.is_some() {
            self.by_hand.push(flag.into());
        }
        given
    }

    /// A server: the connection string that was given by hand, else the login that the values say.
    ///
    /// # Errors
    /// The string is none, or the password is not where the values say.
    pub async fn server(
        &mut self,
        flag: &str,
        given: Option<&str>,
        written: fn(&Cutover) -> Option<&Login>,
    ) -> Result<Option<Endpoint>> {
        let given = given.map(Endpoint::parse).transpose()?;
        if let Some(endpoint) = self.pick(flag, given, |_| None) {
            return Ok(Some(endpoint));
        }
        match self.cutover().and_then(written) {
            Some(login) => self.login(login).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same for one that must be named.
    ///
    /// # Errors
    /// As [`Chosen::server`]; or nobody names it.
    pub async fn side(
        &mut self,
        side: &str,
        given: Option<&str>,
        written: fn(&Cutover) -> Option<&Login>,
    ) -> Result<Endpoint> {
        let named = self.server(&format!("--{side}"), given, written).await?;
        named.ok_or_else(|| {
            let variable = format!("XTASK_{}", side.to_uppercase());
            let hint = match &self.environment {
                Some(environment) => {
                    format!("write `cutover.{side}` into infra/values/{}.yaml", environment.name)
                }
                None => format!("--{side} URL, {variable}, or --env NAME"),
            };
            Failure::usage(format!("nobody says what the {side} is")).hint(hint).into()
        })
    }

    /// A login of the values, with its password.
    ///
    /// # Errors
    /// The password is not where the values say.
    pub async fn login(&self, login: &Login) -> Result<Endpoint> {
        let endpoint = Endpoint::parse(login.url.as_str())?;
        match &login.password {
            None => Ok(endpoint),
            Some(password) => {
                Ok(endpoint.with_user(&endpoint.user, &self.password(password).await?))
            }
        }
    }

    async fn password(&self, password: &Password) -> Result<String> {
        let reference = password.reference();
        if let Some(variable) = &reference.env {
            return config::text(variable.as_str()).ok_or_else(|| {
                Failure::usage(format!("the environment variable {variable} holds no password"))
                    .hint(format!("export {variable}, as the values of the environment say"))
                    .into()
            });
        }
        if let Some(file) = &reference.file {
            return read_password(Path::new(file.as_str()));
        }
        match &reference.secret {
            Some(secret) => self.secret(secret).await,
            None => unreachable!("the reader asks for one of the three"),
        }
    }

    /// The context and the namespace of the cluster.
    fn place(&self) -> Result<(&str, &str)> {
        let (Some(environment), Some(cutover)) = (&self.environment, self.cutover()) else {
            unreachable!("only values name a cluster")
        };
        let place = cutover.cluster.as_ref().context("read `cutover.cluster`")?;
        let namespace = match &place.namespace {
            Some(name) => name.as_str(),
            None => environment.values.namespace.name.as_str(),
        };
        Ok((&place.context, namespace))
    }

    /// The namespace of the cluster in which things are changed.
    ///
    /// # Errors
    /// kubectl is not installed.
    pub fn kube(&self) -> Result<kube::Cluster> {
        let (context, namespace) = self.place()?;
        Ok(kube::Cluster::new(kubectl("the cluster is to be asked")?, None, context, namespace))
    }

    async fn secret(&self, secret: &SecretReference) -> Result<String> {
        let (context, namespace) = self.place()?;
        let cluster = Cluster::new(kubectl("a Secret is to be read")?, Some(context.into()));
        cluster.secret(namespace, secret.name.as_str(), secret.key.as_str()).await
    }
}

/// A cluster by the context of kubectl.
///
/// # Errors
/// kubectl is not installed.
pub fn cluster(context: &str) -> Result<Cluster> {
    Ok(Cluster::new(kubectl("the cluster is to be asked")?, Some(context.into())))
}

/// Where kubectl is.
///
/// # Errors
/// It is not installed.
fn kubectl(what_for: &str) -> Result<PathBuf> {
    process::find_program("kubectl").ok_or_else(|| {
        Failure::usage(format!("kubectl is not installed, and {what_for}"))
            .hint("install kubectl, or put it on PATH")
            .into()
    })
}

/// A file that holds a password and nothing else.
fn read_password(file: &Path) -> Result<String> {
    let shown = file.display();
    let unreadable =
        |error| Failure::usage(format!("password file {shown} cannot be read: {error}"));
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Failure::usage(format!("password file {shown} is open to others"))
            .hint(format!("chmod 0600 {shown}"))
            .into());
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::usage(format!("password file {shown} is empty")).into()),
        password => Ok(password.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "p w\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode));
        mode(0o644).unwrap();
        assert!(read_password(&file).unwrap_err().to_string().contains("open to others"));
        mode(0o600).unwrap();
        assert_eq!(read_password(&file).unwrap(), "p w");
        std::fs::write(&file, "\n").unwrap();
        assert!(read_password(&file).is_err());
    }
}
