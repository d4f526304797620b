//! The living cluster, through kubectl: the only place that says how it is called.
//!
//! Whoever changes something names context and namespace: what kubectl takes by itself may be
//! another cluster. What is written travels by standard input, never as an argument. Every change
//! carries the resourceVersion that it is based on, so that nobody's change in between is
//! overwritten: a conflict is seen, and tried again from what is there now.

pub mod merge;
pub mod workloads;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::process::{Invocation, Output};

/// How long the API server may take for one answer, as kubectl is told, where nobody says more.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait before a change is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// The program kubectl, and the cluster that it shall talk to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

impl Kubectl {
    /// A program with its configuration; the usual file and the current context where none is
    /// named.
    pub fn new(
        program: impl Into<PathBuf>,
        kubeconfig: Option<PathBuf>,
        context: Option<String>,
    ) -> Kubectl {
        Kubectl { program: program.into(), kubeconfig, context }
    }

    /// A call that names its cluster; the caller adds the rest.
    pub fn call(&self) -> Invocation {
        let mut call = Invocation::new(&self.program);
        if let Some(kubeconfig) = &self.kubeconfig {
            call = call.argument("--kubeconfig").argument(kubeconfig);
        }
        match &self.context {
            Some(context) => call.arguments(["--context", context]),
            None => call,
        }
    }
}

/// One namespace of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    kubectl: Kubectl,
    namespace: String,
    request_limit: Duration,
}

/// What may be asked of one kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Such as `patch`.
    pub verb: &'static str,
    /// The kind with its group, such as `deployments.apps`.
    pub resource: &'static str,
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)
    }
}

/// Why the cluster has said no, as far as kubectl tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    reason: Option<String>,
    said: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.said)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// `secret` hides what was said: a server may repeat what it was sent.
    fn of(output: &Output, secret: bool) -> Refusal {
        let lines: Vec<&str> =
            output.stderr.trim().lines().filter(|line| !is_of_its_log(line)).collect();
        let said = lines.join("\n");
        let reason = reason(&said).map(String::from);
        let code = output.code.map_or("a signal".into(), |code| format!("exit code {code}"));
        let said = match (said.is_empty() || secret, &reason) {
            (false, _) => said,
            (true, Some(reason)) => format!("the API server says {reason}"),
            (true, None) => format!("kubectl ended with {code}"),
        };
        Refusal { reason, said }
    }

    /// Whether the same question would get the same answer again.
    fn is_final(&self) -> bool {
        let last = ["NotFound", "Forbidden", "Unauthorized", "Invalid", "BadRequest", NO_SUCH_KIND];
        self.reason.as_deref().is_some_and(|reason| last.contains(&reason))
    }
}

/// Why, in the API server's own word. kubectl tells some of them in words of its own.
fn reason(said: &str) -> Option<&str> {
    let told = said.split_once("Error from server (").and_then(|(_, rest)| rest.split_once(')'));
    if let Some((reason, _)) = told {
        return Some(reason);
    }
    said.lines().find_map(|line| match line {
        line if line.starts_with("The ") && line.contains("\" is invalid") => Some("Invalid"),
        line if line.starts_with("The request is invalid") => Some("Invalid"),
        line if line.starts_with("error: You must be logged in") => Some("Unauthorized"),
        line if line.starts_with("error: the server doesn't have a resource type") => {
            Some(NO_SUCH_KIND)
        }
        _ => None,
    })
}

/// Whether a line is of kubectl's own log, which says the same in more words: a letter for how bad
/// it is, and month and day.
fn is_of_its_log(line: &str) -> bool {
    let mut letters = line.chars();
    letters.next().is_some_and(|level| "EWIF".contains(level))
        && letters.by_ref().take(4).all(|letter| letter.is_ascii_digit())
        && letters.next() == Some(' ')
}

/// The reason where the API server does not know a kind of object.
const NO_SUCH_KIND: &str = "NoSuchKind";

/// Whether the cluster does not have the object that was asked for.
pub fn is_missing(error: &anyhow::Error) -> bool {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
    refusal.is_some_and(|refusal| refusal.reason.as_deref() == Some("NotFound"))
}

impl Cluster {
    /// A namespace of the cluster that a context of kubectl names.
    pub fn new(
        program: impl Into<PathBuf>,
        kubeconfig: Option<PathBuf>,
        context: &str,
        namespace: &str,
    ) -> Cluster {
        let kubectl = Kubectl::new(program, kubeconfig, Some(context.into()));
        Cluster { kubectl, namespace: namespace.into(), request_limit: REQUEST_LIMIT }
    }

    /// The same with another limit for one answer, in whole seconds.
    #[must_use]
    pub fn answering_within(self, request_limit: Duration) -> Cluster {
        Cluster { request_limit, ..self }
    }

    /// Another namespace of the same cluster.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Cluster {
        Cluster { namespace: namespace.into(), ..self.clone() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The context, by which people know the cluster.
    pub fn context(&self) -> &str {
        self.kubectl.context.as_deref().unwrap_or("the current one")
    }

    fn call(&self) -> Invocation {
        self.kubectl
            .call()
            .arguments(["--namespace", &self.namespace])
            .argument(format!("--request-timeout={}s", self.request_limit.as_secs()))
            // kubectl gives up by itself; where it does not, it is killed.
            .deadline(self.request_limit.mul_f64(1.5))
    }

    /// One object; nothing where there is none of this name.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn get(&self, resource: &str, name: &str) -> Result<Option<Value>> {
        let describe = || format!("read {resource}/{name} in namespace {}", self.namespace);
        let call = self.call().arguments(["get", resource, name, "--ignore-not-found"]);
        let text =
            self.answer(call.arguments(["--output", "json"])).await.with_context(describe)?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text).with_context(describe)?))
    }

    /// The objects of a kind that a selector of labels finds; all of them without one.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn list(&self, resource: &str, selector: Option<&str>) -> Result<Vec<Value>> {
        let describe = || format!("list {resource} in namespace {}", self.namespace);
        let mut call = self.call().arguments(["get", resource, "--output", "json"]);
        if let Some(selector) = selector {
            call = call.arguments(["--selector", selector]);
        }
        let text = self.answer(call).await.with_context(describe)?;
        let mut found: Value = serde_json::from_str(&text).with_context(describe)?;
        match found["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    async fn answer(&self, call: Invocation) -> Result<String> {
        let output = call.output().await?;
        match output.code {
            Some(0) => Ok(output.stdout),
            _ => Err(Refusal::of(&output, false).into()),
        }
    }

    /// Brings an object to what `wanted` makes of it, from what is there at that moment.
    /// A conflict, a lost answer or a silent server is met by looking again, for as long as `limit`
    /// allows.
    /// Returns whether it was changed; nothing to do is no change.
    ///
    /// # Errors
    /// There is no such object, the cluster refuses, or it does not come about in time.
    pub async fn change(
        &self,
        resource: &str,
        name: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> Result<Value>,
    ) -> Result<bool> {
        self.change_from(None, resource, name, limit, wanted).await
    }

    /// The same from an object that was read a moment ago, which saves reading it again.
    ///
    /// # Errors
    /// As [`Cluster::change`].
    pub async fn change_from(
        &self,
        mut read: Option<Value>,
        resource: &str,
        name: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> Result<Value>,
    ) -> Result<bool> {
        let begun = Instant::now();
        loop {
            let error = match self.try_to_change(read.take(), resource, name, &wanted).await {
                Ok(changed) => return Ok(changed),
                Err(error) => error,
            };
            let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
            let is_final = refusal.is_some_and(Refusal::is_final);
            if is_final || crate::failure::find(&error).is_some() || begun.elapsed() > limit {
                let what = format!("change {resource}/{name} in namespace {}", self.namespace);
                return Err(error.context(what));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    async fn try_to_change(
        &self,
        read: Option<Value>,
        resource: &str,
        name: &str,
        wanted: impl Fn(&Value) -> Result<Value>,
    ) -> Result<bool> {
        let now = match read {
            Some(read) => Some(read),
            None => self.get(resource, name).await?,
        };
        let Some(now) = now else {
            let said = format!("there is no {resource}/{name}");
            return Err(Refusal { reason: Some("NotFound".into()), said }.into());
        };
        self.patch(resource, name, &now, &wanted(&now)?, &[]).await
    }

    /// Whether it differed.
    async fn patch(
        &self,
        resource: &str,
        name: &str,
        now: &Value,
        wanted: &Value,
        flags: &[&str],
    ) -> Result<bool> {
        let Some(mut patch) = merge::difference(now, wanted) else { return Ok(false) };
        // Only what was read is changed: whoever was faster makes this a conflict.
        patch["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
        let call = self
            .call()
            .arguments(["patch", resource, name, "--type", "merge"])
            .arguments(["--patch-file", "/dev/stdin", "--output", "name"])
            .arguments(flags)
            .input(patch.to_string());
        let output = call.output().await?;
        match output.code {
            Some(0) => Ok(true),
            _ => Err(Refusal::of(&output, resource == "secrets").into()),
        }
    }

    /// Asks the API server, and whoever else has a say in it, whether it would take a change of an
    /// object that was read a moment ago. Nothing is changed.
    ///
    /// # Errors
    /// It would not, or it does not answer.
    pub async fn would_take(
        &self,
        resource: &str,
        name: &str,
        now: &Value,
        wanted: &Value,
    ) -> Result<()> {
        self.patch(resource, name, now, wanted, &["--dry-run=server"]).await.map(drop)
    }

    /// Those of some rights that the tool's account does not have here.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn lacks(&self, rights: &[Right]) -> Result<Vec<Right>> {
        let asked = rights.iter().map(|right| async move {
            let call = self.call().arguments(["auth", "can-i", right.verb, right.resource]);
            let output = call.output().await.context("ask what the tool may do in the cluster")?;
            // A no may be followed by a reason.
            match output.stdout.split_whitespace().next() {
                Some("yes") => Ok(None),
                Some("no") => Ok(Some(*right)),
                _ => Err(unreachable(self, &Refusal::of(&output, false).said)),
            }
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }
}

fn unreachable(cluster: &Cluster, said: &str) -> anyhow::Error {
    let context = cluster.context();
    Failure::usage(format!("the cluster of context {context} does not answer: {said}"))
        .hint(format!("kubectl --context {context} cluster-info"))
        .into()
}

/// A value within an object by its pointer; null where there is none.
pub fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&Value::Null)
}

/// The object with another value at a path of names; null takes it away.
pub fn with(object: &Value, path: &[&str], value: Value) -> Value {
    let mut changed = object.clone();
    let Some((last, parents)) = path.split_last() else { return value };
    let mut place = &mut changed;
    for name in parents {
        if !place[*name].is_object() {
            if value.is_null() {
                return changed;
            }
            place[*name] = json!({});
        }
        place = &mut place[*name];
    }
    match (value, place.as_object_mut()) {
        (Value::Null, Some(members)) => drop(members.shift_remove(*last)),
        (value, Some(members)) => drop(members.insert((*last).into(), value)),
        (_, None) => {}
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_set_and_taken_away_at_its_path() {
        let object = json!({"spec": {"replicas": 3}});
        let stopped = with(&object, &["spec", "replicas"], json!(0));
        assert_eq!(stopped, json!({"spec": {"replicas": 0}}));
        let marked = with(&object, &["metadata", "annotations", "a/b"], json!("c"));
        assert_eq!(at(&marked, "/metadata/annotations/a~1b"), &json!("c"));
        assert_eq!(with(&object, &["metadata", "annotations", "a/b"], Value::Null), object);
        assert_eq!(with(&object, &["spec", "replicas"], Value::Null), json!({"spec": {}}));
    }

    #[test]
    fn why_the_server_refused_is_understood() {
        let output =
            |stderr: &str| Output { code: Some(1), stdout: String::new(), stderr: stderr.into() };
        let conflict = "Error from server (Conflict): the object has been modified\n";
        assert!(!Refusal::of(&output(conflict), false).is_final());
        let forbidden = Refusal::of(&output("Error from server (Forbidden): s3cret"), true);
        assert!(forbidden.is_final());
        assert_eq!(forbidden.said, "the API server says Forbidden");
        let invalid = "The EndpointSlice \"paradedb\" is invalid: endpoints[0].addresses[0]: \
                       Invalid value: \"127.0.0.1\": may not be in the loopback range";
        assert!(Refusal::of(&output(invalid), false).is_final());
        let unknown = "Warning: old\nerror: You must be logged in to the server (Unauthorized)\n";
        assert!(Refusal::of(&output(unknown), false).is_final());
        let kind = "error: the server doesn't have a resource type \"applications\"\n";
        assert!(Refusal::of(&output(kind), false).is_final());
        let silent = "The connection to the server 127.0.0.1:6443 was refused - did you specify \
                      the right host or port?";
        let log = "E1128 15:59:08.761700   13986 memcache.go:265] \"Unhandled Error\" err=\"…\"";
        let refused = Refusal::of(&output(&format!("{log}\n{log}\n{silent}\n")), false);
        assert!(!refused.is_final());
        assert_eq!(refused.said, silent);
    }
}
