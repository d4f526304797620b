//! The living cluster, through kubectl: what would change in it, and whether it would accept it.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::change::{self, Change};
use super::object::{Object, at, items};
use super::rules::HOLDS_DATA;
use super::{Rendered, read};
use crate::failure::Failure;
use crate::kube::Kubectl;
use crate::process::Invocation;

/// How long a cluster may take to say who it is.
const REACH_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to judge or compare everything that is rendered.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// A cluster that kubectl reaches.
pub struct Cluster {
    kubectl: Kubectl,
}

/// What a diff with the cluster says.
#[derive(Debug)]
pub struct Live {
    /// The differing lines, as kubectl prints them.
    pub lines: String,
    /// What they do.
    pub changes: Vec<Change>,
}

impl Cluster {
    /// The cluster of a context of kubectl; the current one where none is named.
    pub fn new(program: impl Into<std::path::PathBuf>, context: Option<String>) -> Cluster {
        Cluster { kubectl: Kubectl::new(program, None, context) }
    }

    fn kubectl(&self, arguments: &[&str]) -> Invocation {
        self.kubectl.call().arguments(arguments).deadline(CALL_LIMIT)
    }

    /// Asks whether the cluster answers at all, so that its silence is not taken for a refusal.
    ///
    /// # Errors
    /// kubectl cannot be run, or no cluster answers it.
    pub async fn reach(&self) -> Result<()> {
        let asked = self.kubectl(&["get", "--raw", "/version", "--request-timeout=15s"]);
        match asked.deadline(REACH_LIMIT).output().await {
            Ok(output) if output.code == Some(0) => Ok(()),
            Ok(output) => Err(unreachable(output.stderr.trim()).into()),
            Err(error) => Err(unreachable(&format!("{error:#}")).into()),
        }
    }

    /// One key of a Secret, for a connection. It is written nowhere.
    ///
    /// # Errors
    /// kubectl or the cluster cannot be reached, or there is no such Secret or key.
    pub async fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<String> {
        // The whole Secret as JSON: a template that fails would print what it was given.
        let asked = ["get", "secret", name, "--namespace", namespace, "--output", "json"];
        let output = self.kubectl(&asked).output().await.context("read a Secret")?;
        if output.code != Some(0) {
            let message =
                format!("Secret {namespace}/{name} cannot be read: {}", output.stderr.trim());
            return Err(Failure::usage(message)
                .hint(format!("kubectl auth can-i get secret/{name} --namespace {namespace}"))
                .into());
        }
        let secret: Secret = serde_json::from_str(&output.stdout)
            .map_err(|_| Failure::usage(format!("kubectl's answer is not Secret {name}")))?;
        let value = secret.data.unwrap_or_default().remove(key).ok_or_else(|| {
            Failure::usage(format!("Secret {namespace}/{name} has no key {key}"))
                .hint("name a key that it has: `secret.keys` and `cutover` in infra/values")
        })?;
        String::from_utf8(value.0).map_err(|_| {
            Failure::usage(format!("key {key} of Secret {namespace}/{name} is not text")).into()
        })
    }

    /// Objects of some kinds, as `statefulsets.apps,secrets`.
    ///
    /// # Errors
    /// kubectl or the cluster cannot be reached, or may not be asked.
    pub async fn list(&self, kinds: &str, namespace: Option<&str>) -> Result<Vec<Value>> {
        let namespace = namespace.into_iter().flat_map(|name| ["--namespace", name]);
        let mut asked = vec!["get", kinds, "--output", "json"];
        asked.extend(namespace);
        let output = self.kubectl(&asked).output().await.context("list objects")?;
        if output.code != Some(0) {
            return Err(unreachable(output.stderr.trim()).into());
        }
        let found: Value = serde_json::from_str(&output.stdout).context("read kubectl's answer")?;
        Ok(items(&found["items"]).to_vec())
    }

    /// One object; none where there is none of that name. It needs no right to see the others.
    ///
    /// # Errors
    /// As [`Cluster::list`].
    pub async fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let asked = ["get", kind, name, "--ignore-not-found", "--namespace", namespace];
        let asked = self.kubectl(&asked).arguments(["--output", "json"]);
        let output = asked.output().await.context("read an object")?;
        if output.code != Some(0) {
            return Err(unreachable(output.stderr.trim()).into());
        }
        match output.stdout.trim() {
            "" => Ok(None),
            text => serde_json::from_str(text).context("read kubectl's answer"),
        }
    }

    /// What a shell script inside a pod says; the script reads and changes nothing.
    ///
    /// # Errors
    /// The pod does not run, or the script fails.
    pub async fn within(&self, namespace: &str, pod: &str, script: &str) -> Result<String> {
        let asked = ["exec", pod, "--namespace", namespace, "--", "sh", "-c", script];
        self.kubectl(&asked).run().await
    }

    /// Compares the cluster with one environment.
    ///
    /// # Errors
    /// kubectl or the cluster cannot be reached, or the cluster refuses an object.
    pub async fn diff(&self, rendered: &Rendered) -> Result<Live> {
        let objects: Vec<&Object> =
            rendered.objects.iter().filter(|object| !is_hook(object)).collect();
        let output = self
            .kubectl(&["diff", "-f", "-"])
            .variable("KUBECTL_EXTERNAL_DIFF", "diff -u -N -U1000000")
            .input(list(objects.iter().map(|object| &object.body)))
            .output()
            .await
            .context("compare with the cluster")?;
        // 0: equal; 1: different; anything else: the cluster could not answer.
        if !matches!(output.code, Some(0 | 1))
            || (output.code == Some(1) && output.stdout.is_empty())
        {
            return Err(no_diff(rendered, output.stderr.trim()).into());
        }
        let mut changes = Vec::new();
        for (before, after) in pairs(&output.stdout) {
            match (before, after) {
                (Some(before), Some(after)) => changes.extend(change::changed(&before, &after)),
                (None, Some(after)) => changes.extend(change::between(&[], &[after])),
                _ => {}
            }
        }
        changes.extend(self.left_behind(rendered).await?);
        changes.sort_by_key(|change| std::cmp::Reverse(change.class));
        Ok(Live { lines: shortened(&output.stdout), changes })
    }

    /// What lives in the namespace under this Application's name or labels, holds data, and is not
    /// rendered any more: ArgoCD would prune it.
    async fn left_behind(&self, rendered: &Rendered) -> Result<Vec<Change>> {
        let values = &rendered.environment.values;
        let namespace = values.namespace.name.as_str();
        let kinds = "statefulsets.apps,persistentvolumeclaims";
        let output = self
            .kubectl(&["get", kinds, "--namespace", namespace, "--output", "json"])
            .output()
            .await
            .context("list what holds data in the cluster")?;
        if output.code != Some(0) {
            return Err(unreachable(output.stderr.trim()).into());
        }
        let found: Value = serde_json::from_str(&output.stdout).context("read kubectl's answer")?;
        let application = values.argocd.as_ref().map(|argocd| argocd.application.as_str());
        let ours = |object: &Object| {
            let tracked = object.annotation("argocd.argoproj.io/tracking-id");
            let labels = object.at("metadata.labels");
            let owner = tracked.split(':').next().filter(|name| !name.is_empty());
            owner
                .or(labels["app.kubernetes.io/instance"].as_str())
                .is_some_and(|name| Some(name) == application)
                || values.pod.labels.iter().all(|(name, value)| labels[name] == value.as_str())
        };
        let made_by_template = |object: &Object| {
            rendered.objects.iter().filter(|one| one.is("StatefulSet")).any(|set| {
                items(set.at("spec.volumeClaimTemplates")).iter().any(|template| {
                    let name = at(template, "metadata.name").as_str().unwrap_or_default();
                    object.key.name.starts_with(&format!("{name}-{}-", set.key.name))
                })
            })
        };
        Ok(items(&found["items"])
            .iter()
            .map(|body| Object::new("cluster", body.clone()))
            .filter(|object| HOLDS_DATA.contains(&object.key.kind.as_str()) && ours(object))
            .filter(|object| !rendered.objects.iter().any(|one| one.key == object.key))
            .filter(|object| !made_by_template(object))
            .map(|object| change::removed(&object, &rendered.objects, &[]))
            .collect())
    }

    /// Lets the API server judge every object, and the pod that the StatefulSet would make: an
    /// accepted StatefulSet can have a pod that is refused.
    ///
    /// # Errors
    /// The cluster cannot be reached, or refuses something; the message is the server's.
    pub async fn dry_run(&self, rendered: &Rendered) -> Result<usize> {
        let pods: Vec<Value> = rendered.objects.iter().filter_map(pod_of).collect();
        let all: Vec<&Value> =
            rendered.objects.iter().map(|object| &object.body).chain(&pods).collect();
        let count = all.len();
        let output = self
            .kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", "-"])
            .input(list(all.into_iter()))
            .output()
            .await
            .context("ask the cluster")?;
        if output.code == Some(0) {
            return Ok(count);
        }
        let message = format!("the cluster refuses {}", rendered.environment.name);
        Err(Failure::refused(message).hint(refusal(rendered, output.stderr.trim())).into())
    }
}

/// What the API server has said; or, where it knows nothing of the namespace yet, what has to come
/// first: it judges no object of a namespace that is not there.
fn refusal(rendered: &Rendered, said: &str) -> String {
    let name = &rendered.environment.values.namespace.name;
    if !said.contains(&format!("namespaces \"{name}\" not found")) {
        return said.into();
    }
    let ours = rendered.objects.iter().find(|object| object.is("Namespace"));
    let make = ours.map_or_else(
        || format!("kubectl create namespace {name}"),
        |object| format!("kubectl apply -f {}", object.file),
    );
    format!("namespace {name} is not there, so nothing in it can be judged: {make}")
}

/// Why there is no diff: a change that the API server refuses cannot be shown.
fn no_diff(rendered: &Rendered, said: &str) -> Failure {
    let environment = &rendered.environment.name;
    match said.contains("Error from server (Invalid)") {
        true => Failure::refused(format!("the cluster refuses a change of {environment}"))
            .hint(format!("{said}\nwhat each change would do: render --against REV")),
        false => unreachable(&refusal(rendered, said)),
    }
}

fn unreachable(said: &str) -> Failure {
    Failure::usage(format!("kubectl cannot answer: {said}"))
        .hint("check `kubectl cluster-info`, or name a --context")
}

/// Objects that ArgoCD makes and deletes at each sync.
fn is_hook(object: &Object) -> bool {
    !object.annotation("argocd.argoproj.io/hook").is_empty()
}

fn list<'a>(items: impl Iterator<Item = &'a Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>()}).to_string()
}

/// The pod that a StatefulSet would make, its claim templates as claims.
fn pod_of(object: &Object) -> Option<Value> {
    if !object.is("StatefulSet") {
        return None;
    }
    let mut spec = object.at("spec.template.spec").clone();
    let claims = items(object.at("spec.volumeClaimTemplates")).iter().map(|template| {
        let name = &template["metadata"]["name"];
        let claim = format!("{}-{}-0", name.as_str().unwrap_or_default(), object.key.name);
        json!({"name": name, "persistentVolumeClaim": {"claimName": claim}})
    });
    spec["volumes"].as_array_mut()?.extend(claims);
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{}-dry-run", object.key.name),
            "namespace": object.key.namespace,
            "labels": object.at("spec.template.metadata.labels"),
        },
        "spec": spec,
    }))
}

/// The objects before and after, from a diff whose context is the whole of each file.
fn pairs(diff: &str) -> Vec<(Option<Object>, Option<Object>)> {
    let mut all = Vec::new();
    for part in format!("\n{diff}").split("\n--- ").skip(1) {
        let (mut before, mut after) = (String::new(), String::new());
        for line in part.lines().skip(1) {
            let (sign, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
            let sides: &mut [&mut String] = match sign {
                " " => &mut [&mut before, &mut after],
                "-" => &mut [&mut before],
                "+" if !line.starts_with("+++ ") => &mut [&mut after],
                _ => &mut [],
            };
            for side in sides {
                side.push_str(rest);
                side.push('\n');
            }
        }
        let object = |text: &str| read::loosely("cluster", text).objects.into_iter().next();
        all.push((object(&before), object(&after)));
    }
    all
}

/// The same diff with three lines around each change.
fn shortened(diff: &str) -> String {
    let mut all = String::new();
    for (before, after) in pairs(diff) {
        if is_counted_only(before.as_ref(), after.as_ref()) {
            continue;
        }
        let name = before.as_ref().or(after.as_ref()).map(|object| object.key.short());
        let text = |object: Option<Object>| {
            object.and_then(|one| serde_yaml::to_string(&one.body).ok()).unwrap_or_default()
        };
        all.push_str(&format!("{}\n", name.unwrap_or_default()));
        all.push_str(&super::files::lines_between(&text(before), &text(after)));
    }
    all
}

/// Whether two states of an object differ by nothing but how often it was changed.
fn is_counted_only(before: Option<&Object>, after: Option<&Object>) -> bool {
    let without = |object: &Object| {
        let mut body = object.body.clone();
        if let Some(metadata) = body["metadata"].as_object_mut() {
            metadata.shift_remove("generation");
        }
        body
    };
    matches!((before, after), (Some(before), Some(after)) if without(before) == without(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_was_only_counted_again_is_no_difference() {
        let diff = |spec: &str| {
            format!(
                "diff -u -N /tmp/LIVE/x /tmp/MERGED/x\n--- /tmp/LIVE/x\n+++ /tmp/MERGED/x\n\
                 @@ -1,5 +1,5 @@\n apiVersion: v1\n kind: Service\n metadata:\n   name: a\n\
                 -  generation: 1\n+  generation: 2\n{spec}"
            )
        };
        assert_eq!(shortened(&diff("")), "");
        assert!(shortened(&diff("-x: 1\n+x: 2\n")).contains("+x: 2"));
    }

    #[test]
    fn whole_files_are_read_from_a_diff() {
        let diff = "diff -u -N -U1000000 /tmp/LIVE/v1.x /tmp/MERGED/v1.x\n\
            --- /tmp/LIVE/v1.x\n+++ /tmp/MERGED/v1.x\n\
            @@ -1,4 +1,4 @@\n apiVersion: v1\n kind: Service\n-x: 1\n+x: 2\n metadata: {name: a}\n";
        let all = pairs(diff);
        let (before, after) = &all[0];
        assert_eq!(before.as_ref().unwrap().body["x"], 1);
        assert_eq!(after.as_ref().unwrap().body["x"], 2);
        assert_eq!(after.as_ref().unwrap().key.name, "a");
    }
}
