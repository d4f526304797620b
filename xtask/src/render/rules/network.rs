//! Rules about the network: named clients in, named targets out, nothing else.

use serde_json::{Value, json};

use super::{Report, Rule, Set};
use crate::render::object::{Object, at, items, selects};
use crate::render::values::choice::Workload;
use crate::render::values::scalar::is_cidr;

pub(super) const RULES: [Rule; 6] = [
    Rule::new("policy-covers", "a pod that everybody can reach", covers),
    Rule::new("policy-selects", "a policy that protects nothing", policy_selects),
    Rule::new("policy-open", "a policy that lets everybody in", open),
    Rule::new("policy-clients", "a client that is locked out", clients),
    Rule::new("policy-dns", "a pod that cannot look a name up", dns),
    Rule::new("policy-peer", "a cutover or a backup that cannot dial", peer),
];

fn covers(set: &Set, report: &mut Report) {
    for object in set.workloads() {
        let Some((path, template)) = object.pod_template() else { continue };
        let labels = at(template, "metadata.labels");
        let covered = set
            .of("NetworkPolicy")
            .any(|policy| selects(policy.at("spec.podSelector.matchLabels"), labels));
        if !covered {
            let problem = "no NetworkPolicy selects its pods";
            report.add(object, &format!("{path}.metadata.labels"), problem, "add one");
        }
    }
}

fn policy_selects(set: &Set, report: &mut Report) {
    let by_operator = set.values.workload == Workload::Cnpg;
    for policy in set.of("NetworkPolicy") {
        let selector = policy.at("spec.podSelector.matchLabels");
        let selected = set.workloads().any(|object| {
            let template = object.pod_template();
            template.is_some_and(|(_, pod)| selects(selector, at(pod, "metadata.labels")))
        });
        let of_operator = by_operator && *selector == json!(set.values.pod.labels);
        if !(selected || of_operator) {
            let problem = "the selector matches no pod of this set";
            report.add(policy, "spec.podSelector", problem, "use the labels of the pods");
        }
        let types = items(policy.at("spec.policyTypes"));
        if !types.contains(&Value::from("Ingress")) {
            let problem = "everybody may come in";
            report.add(policy, "spec.policyTypes", problem, "add Ingress");
        }
    }
}

fn open(set: &Set, report: &mut Report) {
    for policy in set.of("NetworkPolicy") {
        for (direction, side) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in items(policy.at(&format!("spec.{direction}"))).iter().enumerate() {
                let path = format!("spec.{direction}[{index}]");
                let peers = items(&rule[side]);
                let all = peers.iter().any(|one| {
                    one["podSelector"] == json!({}) && one.get("namespaceSelector").is_none()
                        || one["namespaceSelector"] == json!({})
                });
                if peers.is_empty() || all || items(&rule["ports"]).is_empty() {
                    let problem = format!("`{side}` or `ports` is open to everybody");
                    report.add(policy, &path, problem, "name the peers and the ports");
                }
                for peer in peers {
                    let Some(block) = peer.get("ipBlock") else { continue };
                    let cidr = block["cidr"].as_str().unwrap_or_default();
                    let world = direction == "ingress" && matches!(cidr, "0.0.0.0/0" | "::/0");
                    if !is_cidr(cidr) || world {
                        let problem = format!("`{cidr}` is no range of addresses to let in");
                        report.add(policy, &path, problem, "name the addresses");
                    }
                }
            }
        }
    }
}

/// The policy of the server.
fn of_server<'a>(set: &Set<'a>) -> Option<&'a Object> {
    let labels = json!(set.values.pod.labels);
    set.of("NetworkPolicy").find(|policy| *policy.at("spec.podSelector.matchLabels") == labels)
}

fn permits(policy: &Object, direction: &str, port: u16, fits: impl Fn(&Value) -> bool) -> bool {
    let side = if direction == "ingress" { "from" } else { "to" };
    items(policy.at(&format!("spec.{direction}"))).iter().any(|rule| {
        items(&rule["ports"]).iter().any(|one| one["port"] == port)
            && items(&rule[side]).iter().any(&fits)
    })
}

fn clients(set: &Set, report: &mut Report) {
    let Some(policy) = of_server(set) else { return };
    for client in &set.values.network.clients {
        let namespace = json!({"kubernetes.io/metadata.name": client.namespace});
        let named = permits(policy, "ingress", 5432, |peer| {
            peer["namespaceSelector"]["matchLabels"] == namespace
                && (client.labels.is_empty()
                    || peer["podSelector"]["matchLabels"] == json!(client.labels))
        });
        if !named {
            let problem = format!("pods of {} cannot reach 5432", client.namespace);
            report.add(policy, "spec.ingress", problem, "render network.clients");
        }
    }
    let own = set.workloads().filter(|object| {
        let server = ["PGHOST", "DATA_SOURCE_URI", "PASSWORD_KEY"];
        object.containers().iter().any(|(_, container)| {
            items(&container["env"])
                .iter()
                .any(|one| one["name"].as_str().is_some_and(|name| server.contains(&name)))
        })
    });
    for object in own {
        let Some((_, template)) = object.pod_template() else { continue };
        let labels = at(template, "metadata.labels");
        let named = permits(policy, "ingress", 5432, |peer| {
            selects(&peer["podSelector"]["matchLabels"], labels)
        });
        if !named {
            let problem = format!("pods of {} cannot reach 5432", object.key);
            report.add(policy, "spec.ingress", problem, "name them in `from`");
        }
    }
}

fn dns(set: &Set, report: &mut Report) {
    for policy in set.of("NetworkPolicy") {
        let closes = items(policy.at("spec.policyTypes")).contains(&Value::from("Egress"));
        if closes && !permits(policy, "egress", 53, |_| true) {
            let problem = "names cannot be looked up";
            report.add(policy, "spec.egress", problem, "allow port 53 to kube-dns");
        }
    }
}

fn peer(set: &Set, report: &mut Report) {
    let peers = set.values.cutover.iter().flat_map(|cutover| &cutover.peers);
    if let Some(policy) = of_server(set) {
        for peer in peers {
            let range = |one: &Value| one["ipBlock"]["cidr"] == peer.addresses.as_str();
            let closes = items(policy.at("spec.policyTypes")).contains(&Value::from("Egress"));
            let out = !closes || permits(policy, "egress", peer.port, range);
            if !out || !permits(policy, "ingress", 5432, range) {
                let problem = format!("a cutover with {} needs both directions", peer.addresses);
                report.add(policy, "spec", problem, "render cutover.peers");
            }
        }
    }
    let storage = set.values.backup.as_ref().and_then(|backup| backup.s3.as_ref());
    for addresses in storage.iter().flat_map(|s3| &s3.addresses) {
        let range = |one: &Value| one["ipBlock"]["cidr"] == addresses.as_str();
        let port = storage.map_or(443, |s3| s3.port);
        let reached = set.of("NetworkPolicy").any(|policy| permits(policy, "egress", port, range));
        if !reached && let Some(policy) = of_server(set) {
            let problem = format!("backups cannot reach {addresses}");
            report.add(policy, "spec.egress", problem, "render backup.s3.addresses");
        }
    }
}
