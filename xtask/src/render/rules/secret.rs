//! Rules that keep secrets out of Git, out of environments and out of other users' reach.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::{at, items};

pub(super) const RULES: [Rule; 4] = [
    Rule::new("no-secret-object", "a Secret in Git", no_secret_object),
    Rule::new("no-literal-secret", "a password in a manifest", no_literal),
    Rule::new("secret-as-file", "a password in the environment of a process", as_file),
    Rule::new("secret-mode", "a password that every user of the pod can read", mode),
];

fn no_secret_object(set: &Set, report: &mut Report) {
    for object in set.of("Secret") {
        let problem = "a Secret in Git is no secret";
        report.add(object, "data", problem, "reference one: existing, external or sealed");
    }
}

/// Whether a variable's name promises a secret, and its value is not merely where to find it.
fn is_literal_secret(name: &str, value: &str) -> bool {
    let name = name.to_uppercase();
    let secret = ["PASSWORD", "SECRET", "TOKEN", "CREDENTIAL", "PASS"];
    let refers = name.ends_with("_FILE") || name.ends_with("_KEY") || value.starts_with("/run/");
    secret.iter().any(|word| name.contains(word)) && !refers && !value.is_empty()
}

/// Whether a text holds a connection string with a password, or sets one.
pub fn holds_password(text: &str) -> bool {
    let url = text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', ' ', '"', '\n']).next().unwrap_or_default();
        authority.split_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    let lower = text.to_lowercase();
    let sets = lower.match_indices("password").any(|(at, word)| {
        // `:'password'` is a variable of psql, `PASSWORD 'x'` is one written out.
        let rest = &lower[at + word.len()..];
        let value = rest.trim_start_matches([' ', '=']);
        value.len() < rest.len() && value.starts_with('\'') && !value.starts_with("''")
    });
    url || sets
}

fn no_literal(set: &Set, report: &mut Report) {
    for object in set.objects {
        for (path, container) in object.containers() {
            for variable in items(&container["env"]) {
                let name = variable["name"].as_str().unwrap_or_default();
                let value = variable["value"].as_str().unwrap_or_default();
                if is_literal_secret(name, value) || holds_password(value) {
                    let problem = format!("{name} holds a secret");
                    report.add(object, &format!("{path}.env"), problem, "mount it from a Secret");
                }
            }
            let words = items(&container["args"]).iter().chain(items(&container["command"]));
            if words.filter_map(Value::as_str).any(holds_password) {
                let problem = "an argument holds a password, which every process can read";
                report.add(object, &path, problem, "mount it from a Secret");
            }
        }
        let Some(data) = object.at("data").as_object().filter(|_| object.is("ConfigMap")) else {
            continue;
        };
        for (key, text) in data {
            if holds_password(text.as_str().unwrap_or_default()) {
                let path = format!("data.{key}");
                report.add(object, &path, "the text holds a password", "read it from a file");
            }
        }
    }
}

fn as_file(set: &Set, report: &mut Report) {
    for object in set.objects {
        for (path, container) in object.containers() {
            let variables = items(&container["env"]).iter();
            let sources = items(&container["envFrom"]).iter();
            let by_key = variables.filter(|one| at(one, "valueFrom.secretKeyRef").is_object());
            let whole = sources.filter(|one| one["secretRef"].is_object());
            if by_key.chain(whole).next().is_some() {
                let problem =
                    "a Secret in the environment shows in crash dumps and child processes";
                report.add(object, &format!("{path}.env"), problem, "mount it as a file");
            }
        }
    }
}

fn mode(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        for volume in items(at(template, "spec.volumes")) {
            let Some(secret) = volume.get("secret") else { continue };
            // The last three bits are those of everybody.
            if secret["defaultMode"].as_i64().is_none_or(|mode| mode & 0o7 != 0) {
                let problem = format!("{} is readable for everybody", volume["name"]);
                report.add(object, &format!("{path}.spec.volumes"), problem, "set defaultMode 288");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::holds_password;

    #[test]
    fn passwords_are_seen_and_references_are_not() {
        assert!(holds_password("postgresql://robson:hunter2@db/rbsdb"));
        assert!(holds_password("CREATE ROLE a PASSWORD 'hunter2'"));
        assert!(holds_password("host=db password='x'"));
        assert!(!holds_password("https://github.com/a@b"));
        assert!(!holds_password("PASSWORD :'password'; length(:'password')"));
        assert!(!holds_password("password_encryption = 'scram-sha-256'"));
    }
}
