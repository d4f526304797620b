//! Rules of the restricted profile, and of what the image can do without.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::{at, items};

pub(super) const RULES: [Rule; 7] = [
    Rule::new("not-root", "a container that runs as root", not_root),
    Rule::new("no-privilege", "a container that can gain rights", no_privilege),
    Rule::new("read-only-root", "a container that can change its own image", read_only_root),
    Rule::new("image-user", "a user that cannot read its own data", image_user),
    Rule::new("no-api-token", "a pod that can speak to the cluster", no_api_token),
    Rule::new("no-host", "a pod that reaches into its node", no_host),
    Rule::new("no-sysctl", "a pod that its node refuses", no_sysctl),
];

fn not_root(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        let pod = at(template, "spec.securityContext");
        let path = format!("{path}.spec.securityContext");
        if pod["runAsNonRoot"] != true || pod["runAsUser"].as_i64().is_none_or(|user| user == 0) {
            report.add(object, &path, "the pod may run as root", "set runAsNonRoot and runAsUser");
        }
        if pod["seccompProfile"]["type"] != "RuntimeDefault" {
            let problem = "the kernel's whole interface is open";
            report.add(object, &path, problem, "set seccompProfile RuntimeDefault");
        }
        for (path, container) in object.containers() {
            if container["securityContext"]["runAsUser"] == 0 {
                report.add(object, &path, "the container runs as root", "leave runAsUser out");
            }
        }
    }
}

fn no_privilege(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        for (path, container) in object.containers() {
            let security = &container["securityContext"];
            let dropped = items(&security["capabilities"]["drop"]).contains(&Value::from("ALL"));
            let added = security["capabilities"].get("add").is_some();
            let sound = security["allowPrivilegeEscalation"] == false
                && security["privileged"] != true
                && dropped
                && !added;
            if !sound {
                let path = format!("{path}.securityContext");
                let fix = "set allowPrivilegeEscalation false and drop ALL capabilities";
                report.add(object, &path, "the container can gain rights", fix);
            }
        }
    }
}

fn read_only_root(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        for (path, container) in object.containers() {
            if container["securityContext"]["readOnlyRootFilesystem"] != true {
                let path = format!("{path}.securityContext");
                let fix = "set readOnlyRootFilesystem, and mount what it writes";
                report.add(object, &path, "the container can change its own image", fix);
            }
        }
    }
    for object in set.of("StatefulSet") {
        let containers = object.containers();
        let Some((path, server)) = containers.iter().find(|(_, one)| one["name"] == "paradedb")
        else {
            continue;
        };
        let mounts: Vec<&str> = items(&server["volumeMounts"])
            .iter()
            .filter(|mount| mount["readOnly"] != true)
            .filter_map(|mount| mount["mountPath"].as_str())
            .collect();
        for written in ["/var/run/postgresql", "/tmp"] {
            if !mounts.contains(&written) {
                let problem = format!("the server cannot write {written}");
                report.add(object, &format!("{path}.volumeMounts"), problem, "mount an emptyDir");
            }
        }
    }
}

fn image_user(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let path = "spec.template.spec.securityContext";
        let pod = object.at(path);
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            if pod[field] != 999 {
                let problem = format!("{field} is not 999, the owner of the data in the image");
                report.add(object, path, problem, "set 999");
            }
        }
        if pod["fsGroupChangePolicy"] != "OnRootMismatch" {
            let problem = "each start would walk through all the data, and open it to the group";
            report.add(object, path, problem, "set fsGroupChangePolicy OnRootMismatch");
        }
    }
}

fn no_api_token(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        let spec = &template["spec"];
        if spec["automountServiceAccountToken"] != false || spec["enableServiceLinks"] != false {
            let problem = "the pod gets a token of the cluster, or the addresses of all Services";
            let fix = "set automountServiceAccountToken and enableServiceLinks to false";
            report.add(object, &format!("{path}.spec"), problem, fix);
        }
    }
}

fn no_host(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        let spec = &template["spec"];
        let shares = ["hostNetwork", "hostPID", "hostIPC"].iter().any(|name| spec[*name] == true);
        let mounts = items(&spec["volumes"]).iter().any(|volume| volume.get("hostPath").is_some());
        let ports = object.containers().iter().any(|(_, container)| {
            items(&container["ports"]).iter().any(|port| port.get("hostPort").is_some())
        });
        if shares || mounts || ports {
            let problem = "the pod shares network, processes, ports or folders of its node";
            report.add(object, &format!("{path}.spec"), problem, "leave them out");
        }
    }
}

fn no_sysctl(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        if !items(at(template, "spec.securityContext.sysctls")).is_empty() {
            let problem = "the StatefulSet is accepted, but its pod is refused";
            let path = format!("{path}.spec.securityContext.sysctls");
            report.add(object, &path, problem, "set it on the node; PostgreSQL needs none");
        }
        if at(template, "spec.priorityClassName").is_string() {
            let problem = "the priority class is not rendered, and without it the pod is refused";
            let path = format!("{path}.spec.priorityClassName");
            report.add(object, &path, problem, "leave it out");
        }
    }
}
