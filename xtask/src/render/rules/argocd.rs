//! Rules about ArgoCD: what its CRDs accept and its controller then does.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::items;
use crate::render::values::scalar::is_schedule;

pub(super) const RULES: [Rule; 11] = [
    Rule::new("sync-option", "a misspelt option, which ArgoCD ignores", sync_option),
    Rule::new("one-source", "two sources, of which one is ignored", one_source),
    Rule::new("one-destination", "two destinations, which ArgoCD refuses", one_destination),
    Rule::new("no-prune", "ArgoCD deleting what left Git", no_prune),
    Rule::new("no-cascade", "a deleted Application taking the database along", no_cascade),
    Rule::new("duration", "a backoff or window that ArgoCD cannot read", duration),
    Rule::new("ignore-difference", "an ignored difference that matches nothing", ignored),
    Rule::new("revision-pinned", "production following a branch by accident", revision),
    Rule::new("project-permits", "a sync that the AppProject refuses", permits),
    Rule::new("sync-wave", "an order that ArgoCD cannot read, or that waits for ever", wave),
    Rule::new("hook", "a migration that waits for the server of its own sync", hook),
];

/// Options of an Application or of one object, with the values that ArgoCD 3.5 knows.
const OPTIONS: [(&str, &[&str]); 15] = [
    ("ApplyOutOfSyncOnly", &["true", "false"]),
    ("ClientSideApplyMigration", &["true", "false"]),
    ("CreateNamespace", &["true", "false"]),
    ("Delete", &["false", "confirm"]),
    ("FailOnSharedResource", &["true"]),
    ("Force", &["true"]),
    ("Prune", &["false", "confirm"]),
    ("PruneLast", &["true"]),
    ("PrunePropagationPolicy", &["foreground", "background", "orphan"]),
    ("Replace", &["true", "false"]),
    ("RespectIgnoreDifferences", &["true"]),
    ("ServerSideApply", &["true", "false"]),
    ("ServerSideDiff", &["true"]),
    ("SkipDryRunOnMissingResource", &["true"]),
    ("Validate", &["false"]),
];

fn sync_option(set: &Set, report: &mut Report) {
    for object in set.objects {
        let of_object = object.annotation("argocd.argoproj.io/sync-options");
        let of_object = of_object.split(',').map(str::trim).filter(|option| !option.is_empty());
        let of_application = items(object.at("spec.syncPolicy.syncOptions")).iter();
        for option in of_object.chain(of_application.filter_map(Value::as_str)) {
            let known = option.split_once('=').is_some_and(|(name, value)| {
                OPTIONS.iter().any(|(known, values)| *known == name && values.contains(&value))
            });
            if !known {
                let problem = format!("ArgoCD does not know `{option}`");
                report.add(object, "sync options", problem, "correct its spelling");
            }
        }
    }
}

fn one_source(set: &Set, report: &mut Report) {
    for object in set.of("Application") {
        let given = ["source", "sources", "sourceHydrator"]
            .iter()
            .filter(|name| object.at("spec").get(**name).is_some())
            .count();
        if given != 1 {
            report.add(object, "spec.source", "it needs exactly one source", "keep `source`");
        }
        let folder = set.values.folder.as_ref().map_or("", |folder| folder.as_str());
        if object.text("spec.source.path") != folder {
            let problem = "the path is not the folder of this environment";
            report.add(object, "spec.source.path", problem, format!("set {folder}"));
        }
    }
}

fn one_destination(set: &Set, report: &mut Report) {
    for object in set.of("Application") {
        let destination = object.at("spec.destination");
        if destination.get("server").is_some() == destination.get("name").is_some() {
            let problem = "it needs exactly one of server and name";
            report.add(object, "spec.destination", problem, "keep `server`");
        }
        if destination["namespace"] != set.values.namespace.name.as_str() {
            let problem = "the namespace is not that of the objects";
            report.add(object, "spec.destination.namespace", problem, "use namespace.name");
        }
    }
}

fn no_prune(set: &Set, report: &mut Report) {
    for object in set.of("Application") {
        let automated = object.at("spec.syncPolicy.automated");
        let sound = automated.is_null()
            || (automated["prune"] == false && automated["allowEmpty"] == false);
        if !sound {
            let path = "spec.syncPolicy.automated";
            let problem = "ArgoCD deletes what leaves Git, the database too";
            report.add(object, path, problem, "set prune and allowEmpty to false");
        }
    }
}

fn no_cascade(set: &Set, report: &mut Report) {
    for object in set.objects {
        if !items(object.at("metadata.finalizers")).is_empty() {
            let problem = "a finalizer deletes all objects along with this one";
            report.add(object, "metadata.finalizers", problem, "leave it out");
        }
    }
}

/// Whether Go reads a text as a duration, or as a whole number of seconds.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let units = ["ms", "s", "m", "h"];
        let unit = units.iter().find(|unit| rest[digits..].starts_with(**unit));
        let Some(unit) = unit.filter(|_| digits > 0) else { return false };
        rest = &rest[digits + unit.len()..];
    }
    !text.is_empty()
}

fn duration(set: &Set, report: &mut Report) {
    for object in set.of("Application") {
        for field in ["duration", "maxDuration"] {
            let path = format!("spec.syncPolicy.retry.backoff.{field}");
            let value = object.at(&path);
            if !value.is_null() && !value.as_str().is_some_and(is_duration) {
                report.add(object, &path, format!("{value} is no duration"), "write it as 10s");
            }
        }
    }
    for object in set.of("AppProject") {
        for window in items(object.at("spec.syncWindows")) {
            let sound = window["duration"].as_str().is_some_and(is_duration)
                && window["schedule"].as_str().is_some_and(is_schedule)
                && (window["kind"] == "allow" || window["kind"] == "deny");
            if !sound {
                let problem = format!("{window} is no window");
                let fix = "write kind, a schedule of five fields, and a duration as 2h";
                report.add(object, "spec.syncWindows", problem, fix);
            }
        }
    }
}

/// Whether a path of jq has its brackets in pairs and begins with a dot.
fn is_jq(text: &str) -> bool {
    let mut open = Vec::new();
    for letter in text.chars() {
        match letter {
            '[' => open.push(']'),
            '(' => open.push(')'),
            '{' => open.push('}'),
            ']' | ')' | '}' if open.pop() != Some(letter) => return false,
            _ => {}
        }
    }
    open.is_empty() && text.starts_with('.') && text.matches('"').count().is_multiple_of(2)
}

fn ignored(set: &Set, report: &mut Report) {
    for object in set.of("Application") {
        for (index, one) in items(object.at("spec.ignoreDifferences")).iter().enumerate() {
            let path = format!("spec.ignoreDifferences[{index}]");
            let text = |list: &'static str| items(&one[list]).iter().filter_map(Value::as_str);
            let bad = text("jqPathExpressions")
                .find(|jq| !is_jq(jq))
                .or_else(|| text("jsonPointers").find(|pointer| !pointer.starts_with('/')));
            if let Some(bad) = bad {
                let problem = format!("`{bad}` cannot be read");
                report.add(object, &path, problem, "close its brackets, begin with . or /");
            }
            let whole = ["/spec", "/", "", ".spec", "."];
            let hides = text("jsonPointers").chain(text("jqPathExpressions"));
            if hides.into_iter().any(|path| whole.contains(&path)) {
                let problem = "it hides every change of the object";
                report.add(object, &path, problem, "name the one field");
            }
        }
    }
}

fn revision(set: &Set, report: &mut Report) {
    let follows = set.values.argocd.as_ref().is_some_and(|argocd| argocd.follow_branch);
    for object in set.of("Application") {
        let revision = object.text("spec.source.targetRevision");
        let commit = revision.len() == 40 && revision.chars().all(|c| c.is_ascii_hexdigit());
        let tag = revision.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit())
            && revision.contains('.');
        if revision.is_empty() || revision == "HEAD" || !(commit || tag || follows) {
            let problem = format!("`{revision}` moves under the operator's feet");
            let fix = "name a commit or a tag, or say argocd.follow_branch";
            report.add(object, "spec.source.targetRevision", problem, fix);
        }
    }
}

fn permits(set: &Set, report: &mut Report) {
    let Some(argocd) = &set.values.argocd else { return };
    let project = &argocd.project;
    for object in set.objects {
        if matches!(object.key.kind.as_str(), "Application" | "AppProject") {
            continue;
        }
        if object.key.namespace.is_empty() {
            let kind = match object.key.group.as_str() {
                "" => object.key.kind.clone(),
                group => format!("{group}/{}", object.key.kind),
            };
            if !project.cluster_kinds.contains(&kind) {
                let problem = format!("AppProject {} does not permit {kind}", project.name);
                report.add(object, "kind", problem, "do not render it, or extend the project");
            }
        } else if !project.namespaces.iter().any(|name| name.as_str() == object.key.namespace) {
            let problem = format!(
                "AppProject {} does not permit the namespace {}",
                project.name, object.key.namespace
            );
            report.add(object, "metadata.namespace", problem, "extend argocd.project.namespaces");
        }
    }
    for object in set.of("AppProject") {
        let repositories = items(object.at("spec.sourceRepos")).iter();
        let destinations = items(object.at("spec.destinations")).iter();
        let spaces = destinations.map(|one| &one["namespace"]);
        if repositories.chain(spaces).any(|text| *text == "*") {
            let problem = "it permits every repository or namespace";
            report.add(object, "spec", problem, "name them");
        }
    }
}

fn wave(set: &Set, report: &mut Report) {
    let name = "argocd.argoproj.io/sync-wave";
    let server = set.of("StatefulSet").chain(set.of("Cluster")).map(|o| o.wave()).next();
    for object in set.objects {
        let value = &object.at("metadata.annotations")[name];
        let number = value.as_str().is_some_and(|text| text.parse::<i32>().is_ok());
        if !value.is_null() && !number {
            let problem = format!("{value} is no quoted whole number");
            report.add(object, "metadata.annotations", problem, "write it as \"5\"");
        }
        let before = ["ConfigMap", "ExternalSecret", "SealedSecret", "Namespace", "StorageClass"];
        let late = server.is_some_and(|server| object.wave() > server);
        if before.contains(&object.key.kind.as_str()) && late {
            let problem = "the server needs it, and comes in an earlier wave";
            report.add(object, "metadata.annotations", problem, "lower its wave");
        }
    }
}

fn hook(set: &Set, report: &mut Report) {
    let server = set.of("StatefulSet").chain(set.of("Cluster")).map(|o| o.wave()).max();
    for object in set.objects {
        let hook = object.annotation("argocd.argoproj.io/hook");
        if hook.is_empty() {
            continue;
        }
        if !["Sync", "PostSync", "SyncFail", "Skip"].contains(&hook) {
            let problem = format!("`{hook}` runs before the server that it needs exists");
            report.add(object, "metadata.annotations", problem, "use Sync in a later wave");
        }
        let policy = object.annotation("argocd.argoproj.io/hook-delete-policy");
        if policy != "BeforeHookCreation" {
            let problem = "a second run would find the Job of the first";
            let fix = "set hook-delete-policy BeforeHookCreation";
            report.add(object, "metadata.annotations", problem, fix);
        }
        if hook == "Sync" && server.is_some_and(|server| object.wave() <= server) {
            let problem = "it runs before the server is healthy";
            report.add(object, "metadata.annotations", problem, "use a wave after the server's");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_paths() {
        assert!(is_duration("10s") && is_duration("1h30m") && is_duration("250ms"));
        assert!(!is_duration("") && !is_duration("10") && !is_duration("5x") && !is_duration("s"));
        assert!(is_jq(".spec.a[]?.b") && !is_jq(".spec.a[") && !is_jq("spec"));
    }
}
