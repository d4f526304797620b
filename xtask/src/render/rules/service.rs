//! Rules about Services: a name that answers, and with the right pods.

use serde_json::Value;

use super::{Report, Rule, Set};
use crate::render::object::{Object, at, items, selects};

pub(super) const RULES: [Rule; 6] = [
    Rule::new("service-name", "a pod without a stable name", service_name),
    Rule::new(
        "service-selects",
        "a Service that reaches no pod, or the wrong one",
        service_selects,
    ),
    Rule::new("target-port", "a Service that dials a closed port", target_port),
    Rule::new("service-type", "a database on the public address of each node", service_type),
    Rule::new("node-port", "a port that a dry run accepts and a real apply refuses", node_port),
    Rule::new("endpoint-slice", "a Service without selector that has no addresses", endpoint_slice),
];

fn service_name(set: &Set, report: &mut Report) {
    for object in set.of("StatefulSet") {
        let name = object.text("spec.serviceName");
        let service = set.of("Service").find(|service| service.key.name == name);
        if service.is_none_or(|service| service.text("spec.clusterIP") != "None") {
            let problem = format!("`{name}` is not a headless Service of this set");
            report.add(object, "spec.serviceName", problem, "name the headless Service");
        }
    }
}

/// The workloads whose pods a selector matches.
fn matched<'a>(set: &Set<'a>, selector: &Value) -> Vec<&'a Object> {
    set.workloads()
        .filter(|object| {
            let template = object.pod_template();
            template.is_some_and(|(_, pod)| selects(selector, at(pod, "metadata.labels")))
        })
        .collect()
}

fn service_selects(set: &Set, report: &mut Report) {
    for service in set.of("Service") {
        let selector = service.at("spec.selector");
        let by_operator = selector.get("cnpg.io/instanceRole").is_some();
        if selector.is_null() || by_operator {
            continue;
        }
        match matched(set, selector).as_slice() {
            [_] => {}
            [] => {
                let problem = "the selector matches no pod of this set";
                report.add(service, "spec.selector", problem, "use the labels of the pods");
            }
            [first, second, ..] => {
                let problem = format!("the selector matches {} and {}", first.key, second.key);
                report.add(service, "spec.selector", problem, "give each its own label");
            }
        }
    }
}

fn target_port(set: &Set, report: &mut Report) {
    for service in set.of("Service") {
        let workloads = matched(set, service.at("spec.selector"));
        let containers: Vec<_> = workloads.iter().flat_map(|object| object.containers()).collect();
        let open: Vec<&Value> =
            containers.iter().flat_map(|(_, container)| items(&container["ports"])).collect();
        for (index, port) in items(service.at("spec.ports")).iter().enumerate() {
            let target = &port["targetPort"];
            let path = format!("spec.ports[{index}].targetPort");
            let empty = target.is_null() || *target == "";
            let closed = !workloads.is_empty()
                && !open
                    .iter()
                    .any(|one| one["name"] == *target || one["containerPort"] == *target);
            if empty || closed {
                let problem = format!("{target} is no port of the pods");
                report.add(service, &path, problem, "name a port of the container");
            }
            let number = port["port"].as_i64().unwrap_or(0);
            if !(1..=65535).contains(&number) {
                let path = format!("spec.ports[{index}].port");
                report.add(service, &path, format!("{number} is no port"), "use 1 to 65535");
            }
        }
    }
}

fn service_type(set: &Set, report: &mut Report) {
    for service in set.of("Service") {
        if service.text("spec.type") != "ClusterIP" || service.at("spec.externalIPs").is_array() {
            let problem = "k3s would open the port on the public address of every node";
            report.add(service, "spec.type", problem, "set ClusterIP");
        }
    }
}

fn node_port(set: &Set, report: &mut Report) {
    for service in set.of("Service") {
        for (index, port) in items(service.at("spec.ports")).iter().enumerate() {
            let Some(number) = port["nodePort"].as_i64() else { continue };
            if !(30000..=32767).contains(&number) {
                let problem = format!("{number} is outside 30000 to 32767");
                let path = format!("spec.ports[{index}].nodePort");
                report.add(service, &path, problem, "leave it out");
            }
        }
    }
}

fn endpoint_slice(set: &Set, report: &mut Report) {
    let label = "kubernetes.io/service-name";
    for service in set.of("Service").filter(|service| service.at("spec.selector").is_null()) {
        let named = |slice: &&Object| slice.at("metadata.labels")[label] == service.key.name;
        let slices: Vec<&Object> = set.of("EndpointSlice").filter(named).collect();
        if slices.is_empty() {
            let problem = "it has no selector, and no EndpointSlice names it";
            report.add(service, "spec", problem, format!("label an EndpointSlice {label}"));
        }
        for slice in slices {
            let addresses: Vec<&Value> = items(slice.at("endpoints"))
                .iter()
                .flat_map(|one| items(&one["addresses"]))
                .collect();
            let family = slice.text("addressType");
            let fits = addresses.iter().all(|address| {
                let parsed =
                    address.as_str().and_then(|text| text.parse::<std::net::IpAddr>().ok());
                parsed.is_some_and(|ip| !ip.is_loopback() && (family == "IPv6") == ip.is_ipv6())
            });
            let names = |object: &Object, path: &str| -> Vec<String> {
                items(object.at(path)).iter().map(|port| port["name"].to_string()).collect()
            };
            if addresses.is_empty()
                || !fits
                || names(slice, "ports") != names(service, "spec.ports")
            {
                let problem = "addresses, address type and port names do not fit the Service";
                report.add(slice, "endpoints", problem, "use reachable addresses of one family");
            }
        }
    }
    for slice in set.of("EndpointSlice") {
        let service = slice.at("metadata.labels")[label].as_str().unwrap_or_default();
        let owner = set.of("Service").find(|object| object.key.name == service);
        if owner.is_none_or(|owner| !owner.at("spec.selector").is_null()) {
            let problem = format!("`{service}` is no Service without selector");
            report.add(slice, "metadata.labels", problem, "name such a Service");
        }
    }
}
