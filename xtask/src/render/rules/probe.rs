//! Rules about probes: a wrong one kills a healthy server.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::items;

pub(super) const RULES: [Rule; 3] = [
    Rule::new("probe-address", "a server that counts as ready while it initialises", address),
    Rule::new("probe-shape", "a probe that the API server refuses", shape),
    Rule::new("startup-budget", "a server killed in the middle of crash recovery", startup),
];

const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

fn address(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        for (path, container) in object.containers() {
            for probe in PROBES.iter().filter(|probe| container.get(**probe).is_some()) {
                let command = items(&container[*probe]["exec"]["command"]);
                if !command.contains(&Value::from("--host=127.0.0.1")) {
                    let problem = "the socket answers before the server is initialised";
                    let path = format!("{path}.{probe}");
                    report.add(object, &path, problem, "probe with --host=127.0.0.1");
                }
            }
        }
    }
}

fn shape(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let needs = object.is("StatefulSet") || object.is("Deployment");
        for (path, container) in object.containers() {
            let serves = container.get("ports").is_some();
            for probe in PROBES {
                let Some(body) = container.get(probe) else {
                    if needs && serves && (probe != "startupProbe" || object.is("StatefulSet")) {
                        let path = format!("{path}.{probe}");
                        report.add(object, &path, "the probe is missing", "add it");
                    }
                    continue;
                };
                let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
                let given = handlers.iter().filter(|handler| body.get(**handler).is_some()).count();
                let successes = body["successThreshold"].as_i64().unwrap_or(1);
                if given != 1 || (probe != "readinessProbe" && successes != 1) {
                    let problem = "a probe has exactly one handler, and only readiness may count";
                    let path = format!("{path}.{probe}");
                    report.add(object, &path, problem, "keep one handler");
                }
                for field in ["periodSeconds", "timeoutSeconds", "failureThreshold"] {
                    if body.get(field).is_some_and(|value| value.as_i64().is_none_or(|n| n < 1)) {
                        let path = format!("{path}.{probe}.{field}");
                        report.add(object, &path, "less than 1", "write a positive number");
                    }
                }
            }
        }
    }
}

fn startup(set: &Set, report: &mut Report) {
    const LEAST: i64 = 1800;
    for object in set.of("StatefulSet") {
        for (path, container) in object.containers() {
            let probe = &container["startupProbe"];
            let times = probe["failureThreshold"].as_i64().unwrap_or(3);
            let budget = times * probe["periodSeconds"].as_i64().unwrap_or(10);
            if container.get("startupProbe").is_some() && budget < LEAST {
                let problem = format!("{budget} s may be shorter than crash recovery");
                let fix = format!("set pod.startup to at least {LEAST}");
                report.add(object, &format!("{path}.startupProbe"), problem, fix);
            }
        }
    }
}
