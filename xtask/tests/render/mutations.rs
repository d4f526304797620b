//! Single mutations of the rendered set, each rejected by the name of its rule. One that passes is
//! a defect of the rules.

use serde_json::{Value, json};

use super::{cnpg, external, rendered, sealed, values};
use xtask::render::object::Object;
use xtask::render::{File, Rendered, kinds, read, rules};

/// What is done to the value at a JSON pointer.
enum Edit {
    Set(Value),
    Remove,
    Rename(&'static str),
    Replace(&'static str, &'static str),
    Push(Value),
}
use Edit::{Push, Remove, Rename, Replace, Set};

/// Environment, object, pointer, edit, and the rule that must reject it.
type Mutation = (&'static str, &'static str, &'static str, Edit, &'static str);

fn apply(body: &mut Value, pointer: &str, edit: &Edit) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/");
    let parent = body.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} has no parent"));
    match (parent, edit) {
        (Value::Object(entries), Set(value)) => {
            entries.insert(last, value.clone());
        }
        (Value::Object(entries), Remove) => {
            entries.shift_remove(&last).unwrap_or_else(|| panic!("{pointer} is not there"));
        }
        (Value::Object(entries), Rename(name)) => {
            let value = entries.shift_remove(&last).unwrap_or_else(|| panic!("{pointer}"));
            entries.insert((*name).into(), value);
        }
        (Value::Object(entries), Replace(from, to)) => {
            let text = entries[&last].as_str().unwrap();
            assert!(text.contains(from), "{pointer} does not hold {from}");
            let text = text.replacen(from, to, 1);
            entries.insert(last, text.into());
        }
        (Value::Object(entries), Push(value)) => {
            let list = entries.entry(last).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(value.clone());
        }
        (Value::Array(items), Set(value)) => items[last.parse::<usize>().unwrap()] = value.clone(),
        (Value::Array(items), Remove) => {
            items.remove(last.parse::<usize>().unwrap());
        }
        _ => panic!("{pointer} cannot be edited so"),
    }
}

/// The names of the rules that an edited set breaks.
fn broken(one: &Rendered, objects: &[Object]) -> Vec<&'static str> {
    let set = rules::Set { values: &one.environment.values, objects, files: &one.files };
    let typed = objects.iter().flat_map(kinds::check);
    typed.chain(rules::check(&set)).map(|finding| finding.rule).collect()
}

fn shape(name: &str) -> Rendered {
    let text = match name {
        "cnpg" => cnpg(),
        "external" => external(),
        "sealed" => sealed(),
        name => values(name),
    };
    rendered(name, &text).unwrap()
}

fn check(mutations: Vec<Mutation>) {
    let mut passed = Vec::new();
    for (environment, object, pointer, edit, rule) in mutations {
        let one = shape(environment);
        let mut objects = one.objects.clone();
        let index = objects.iter().position(|one| one.key.short() == object);
        let index = index.unwrap_or_else(|| panic!("{environment} has no {object}"));
        let mut body = objects[index].body.clone();
        apply(&mut body, pointer, &edit);
        objects[index] = Object::new(&objects[index].file, body);
        let broken = broken(&one, &objects);
        if !broken.contains(&rule) {
            passed.push(format!("{object} {pointer}: {rule} is not among {broken:?}"));
        }
    }
    assert!(passed.is_empty(), "{passed:#?}");
}

const SET: &str = "statefulset/rbs-paradedb";
const CONF: &str = "configmap/rbs-paradedb-configuration";
const SYNC: &str = "/metadata/annotations/argocd.argoproj.io~1sync-options";
const WAVE: &str = "/metadata/annotations/argocd.argoproj.io~1sync-wave";
const HOOK: &str = "/metadata/annotations/argocd.argoproj.io~1hook";

#[test]
fn what_loses_data() {
    let claim = "pvc/rbs-paradedb-data";
    check(vec![
        ("production", SET, "/spec/replicas", Set(json!(2)), "one-server"),
        ("cnpg", "cluster/rbs-paradedb", "/spec/instances", Set(json!(3)), "one-server"),
        ("production", claim, SYNC, Remove, "data-protected"),
        ("production", claim, SYNC, Set(json!("Prune=false")), "data-protected"),
        ("production", SET, SYNC, Remove, "data-protected"),
        ("staging", "namespace/robson-staging", SYNC, Remove, "data-protected"),
        ("staging", "externalsecret/paradedb-passwords", SYNC, Remove, "data-protected"),
        ("sealed", "sealedsecret/rbs-paradedb-secret", SYNC, Remove, "data-protected"),
        ("production", SET, SYNC, Replace("Prune", "Replace=true,Prune"), "no-replace"),
        (
            "production",
            "application/paradedb",
            "/spec/syncPolicy/syncOptions",
            Push(json!("Force=true")),
            "no-replace",
        ),
        (
            "production",
            SET,
            "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted",
            Set(json!("Delete")),
            "retention-policy",
        ),
        (
            "production",
            SET,
            "/spec/persistentVolumeClaimRetentionPolicy",
            Remove,
            "retention-policy",
        ),
        (
            "staging",
            "storageclass/local-path-retain",
            "/reclaimPolicy",
            Set(json!("Delete")),
            "reclaim-retain",
        ),
        ("production", claim, WAVE, Set(json!("-5")), "claim-wave"),
        ("production", claim, "/metadata/name", Set(json!("data")), "claim-exists"),
        ("production", SET, "/metadata/name", Set(json!("robson-paradedb")), "stable-names"),
        (
            "production",
            SET,
            "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName",
            Set(json!("x")),
            "stable-names",
        ),
        (
            "staging",
            "statefulset/paradedb",
            "/spec/volumeClaimTemplates/0/metadata/name",
            Set(json!("x")),
            "stable-names",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/volumeMounts/0/mountPath",
            Set(json!("/var/lib/postgresql/data")),
            "mount-path",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/env/0/value",
            Set(json!("/var/lib/postgresql/data/pgdata")),
            "mount-path",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/env/0/value",
            Set(json!("/tmp/data")),
            "pgdata-on-claim",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/volumeMounts/0/subPath",
            Set(json!("x")),
            "pgdata-on-claim",
        ),
        ("production", SET, "/spec/template/spec/initContainers/0", Remove, "guard"),
        (
            "production",
            SET,
            "/spec/template/spec/initContainers/0/env/2/value",
            Set(json!("17")),
            "guard",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/initContainers/0/command",
            Set(json!(["true"])),
            "guard",
        ),
    ]);
}

#[test]
fn images_and_secrets() {
    let image = "/spec/template/spec/containers/0/image";
    let env = "/spec/template/spec/containers/0/env";
    let by_key = json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}});
    check(vec![
        ("production", SET, image, Set(json!("docker.io/paradedb/paradedb:latest")), "image-exact"),
        ("production", SET, image, Set(json!("docker.io/paradedb/paradedb:pg18")), "image-exact"),
        (
            "production",
            SET,
            image,
            Set(json!("docker.io/paradedb/paradedb:0.25-pg18")),
            "image-exact",
        ),
        ("production", SET, image, Set(json!("docker.io/paradedb/paradedb")), "image-exact"),
        ("production", SET, image, Set(json!("paradedb /paradedb:0.25.3-pg18")), "image-reference"),
        (
            "production",
            SET,
            image,
            Set(json!("docker.io/paradedb/paradedb:0.25.2-pg18")),
            "image-version",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/imagePullPolicy",
            Set(json!("Always")),
            "pull-policy",
        ),
        (
            "cnpg",
            "cluster/rbs-paradedb",
            "/spec/imageName",
            Set(json!("postgres:18.1")),
            "cluster-image",
        ),
        (
            "production",
            SET,
            env,
            Push(json!({"name": "POSTGRES_PASSWORD", "value": "hunter2"})),
            "no-literal-secret",
        ),
        (
            "production",
            SET,
            env,
            Push(json!({"name": "URL", "value": "postgresql://a:b@c/d"})),
            "no-literal-secret",
        ),
        (
            "production",
            CONF,
            "/data/20_roles.sql",
            Replace("PASSWORD :'password'", "PASSWORD 'hunter2'"),
            "no-literal-secret",
        ),
        ("production", CONF, "/kind", Set(json!("Secret")), "no-secret-object"),
        ("production", SET, env, Push(by_key), "secret-as-file"),
        (
            "production",
            SET,
            "/spec/template/spec/volumes/4/secret/defaultMode",
            Set(json!(292)),
            "secret-mode",
        ),
        ("staging", "externalsecret/paradedb-passwords", "/spec/data/0", Remove, "secret-keys"),
        (
            "sealed",
            "sealedsecret/rbs-paradedb-secret",
            "/spec/encryptedData/BACKUP_PASSWORD",
            Remove,
            "secret-keys",
        ),
    ]);
}

#[test]
fn configuration() {
    let conf = "/data/postgresql.conf";
    let hba = "/data/pg_hba.conf";
    check(vec![
        ("production", CONF, conf, Replace("pg_search,", ""), "preload-list"),
        (
            "production",
            CONF,
            conf,
            Replace("shared_preload_libraries", "shared_preload_librarie"),
            "preload-list",
        ),
        ("production", CONF, conf, Replace("'logical'", "'replica'"), "cutover-settings"),
        (
            "production",
            CONF,
            conf,
            Replace("max_slot_wal_keep_size = '2560MB'", "max_slot_wal_keep_size = '-1'"),
            "cutover-settings",
        ),
        (
            "production",
            CONF,
            conf,
            Replace("work_mem = '4MB'", "work_mem = '64MB'"),
            "memory-budget",
        ),
        (
            "production",
            CONF,
            conf,
            Replace("log_checkpoints = 'on'", "log_checkpoints = 'off'"),
            "config-checksum",
        ),
        ("production", CONF, conf, Remove, "config-file"),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/args/2",
            Set(json!("config_file=/x")),
            "config-file",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/env/1/value",
            Set(json!("true")),
            "auto-tune-off",
        ),
        ("production", CONF, hba, Replace("scram-sha-256", "trust"), "hba-method"),
        (
            "production",
            CONF,
            hba,
            Replace("127.0.0.1/32  scram-sha-256", "127.0.0.1/32  md5"),
            "hba-method",
        ),
        ("production", CONF, hba, Replace("10.42.0.0/16", "0.0.0.0/0"), "hba-addresses"),
        (
            "staging",
            "configmap/paradedb-configuration",
            hba,
            Replace("hostssl", "host"),
            "hba-addresses",
        ),
        (
            "cnpg",
            "cluster/rbs-paradedb",
            "/spec/postgresql/pg_hba",
            Push(json!("host all all 10.0.0.0/8 trust")),
            "hba-method",
        ),
        (
            "production",
            CONF,
            "/data/20_roles.sql",
            Replace("NOSUPERUSER", "SUPERUSER"),
            "role-rights",
        ),
        (
            "production",
            CONF,
            "/data/20_roles.sql",
            Replace("REVOKE CREATE ON SCHEMA public FROM PUBLIC;", ""),
            "role-rights",
        ),
    ]);
}

#[test]
fn pods() {
    let limits = "/spec/template/spec/containers/0/resources";
    let mount = json!({"name": "socket", "mountPath": "/tmp"});
    let many: Vec<Mutation> = vec![
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/volumeMounts/2/name",
            Set(json!("x")),
            "volume-declared",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/volumeMounts",
            Push(mount),
            "mount-unique",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/volumeMounts/5/subPath",
            Set(json!("x.conf")),
            "config-key",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/volumes/5/configMap/name",
            Set(json!("x")),
            "config-key",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/initContainers/0/name",
            Set(json!("paradedb")),
            "container-unique",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/resources/limits/memory",
            Set(json!("1G")),
            "quantity",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/resources/limits/cpu",
            Set(json!("banana")),
            "quantity",
        ),
        (
            "production",
            "pvc/rbs-paradedb-data",
            "/spec/resources/requests/storage",
            Set(json!("20G")),
            "quantity",
        ),
        (
            "staging",
            "statefulset/paradedb",
            "/spec/volumeClaimTemplates/0/spec/resources/requests/storage",
            Set(json!("20G")),
            "quantity",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/resources/requests/memory",
            Set(json!("2Gi")),
            "request-within-limit",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/resources/requests/cpu",
            Set(json!("500m")),
            "guaranteed",
        ),
        ("production", SET, limits, Remove, "required-field"),
        (
            "production",
            SET,
            "/spec/template/spec/volumes/3/emptyDir/medium",
            Remove,
            "shared-memory",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/terminationGracePeriodSeconds",
            Set(json!(30)),
            "grace-period",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/command",
            Set(json!(["postgres"])),
            "entry-point",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/volumeMounts/7/mountPath",
            Set(json!("/docker-entrypoint-initdb.d")),
            "entry-point",
        ),
        ("production", SET, "/spec/selector/matchLabels/app", Set(json!("x")), "selector-matches"),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/readinessProbe/exec/command/1",
            Set(json!("--host=/tmp")),
            "probe-address",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/livenessProbe",
            Remove,
            "probe-shape",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/livenessProbe/tcpSocket",
            Set(json!({"port": 5432})),
            "probe-shape",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/livenessProbe/successThreshold",
            Set(json!(2)),
            "probe-shape",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/startupProbe/failureThreshold",
            Set(json!(3)),
            "startup-budget",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/securityContext/runAsUser",
            Set(json!(0)),
            "not-root",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/securityContext/seccompProfile",
            Remove,
            "not-root",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/securityContext/runAsUser",
            Set(json!(70)),
            "image-user",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/securityContext/fsGroupChangePolicy",
            Remove,
            "image-user",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/securityContext/sysctls",
            Push(json!({"name": "kernel.shmmax", "value": "1"})),
            "no-sysctl",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/priorityClassName",
            Set(json!("high")),
            "no-sysctl",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/securityContext/capabilities/add",
            Set(json!(["NET_ADMIN"])),
            "no-privilege",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/securityContext/readOnlyRootFilesystem",
            Set(json!(false)),
            "read-only-root",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/volumeMounts/1",
            Remove,
            "read-only-root",
        ),
        (
            "production",
            SET,
            "/spec/template/spec/automountServiceAccountToken",
            Remove,
            "no-api-token",
        ),
        ("production", SET, "/spec/template/spec/hostNetwork", Set(json!(true)), "no-host"),
        (
            "production",
            SET,
            "/spec/template/spec/volumes",
            Push(json!({"name": "h", "hostPath": {"path": "/"}})),
            "no-host",
        ),
    ];
    check(many);
}

#[test]
fn services_and_network() {
    let service = "service/paradedb";
    let policy = "networkpolicy/rbs-paradedb";
    check(vec![
        ("production", SET, "/spec/serviceName", Set(json!("nobody")), "service-name"),
        ("production", SET, "/spec/serviceName", Remove, "service-name"),
        ("production", "service/rbs-paradedb", "/spec/clusterIP", Remove, "service-name"),
        ("production", service, "/spec/selector/app", Set(json!("x")), "service-selects"),
        ("production", service, "/spec/ports/0/targetPort", Set(json!("")), "target-port"),
        ("production", service, "/spec/ports/0/targetPort", Set(json!("pg")), "target-port"),
        ("production", service, "/spec/ports/0/port", Set(json!(70000)), "target-port"),
        ("production", service, "/spec/type", Set(json!("LoadBalancer")), "service-type"),
        ("production", service, "/spec/ports/0/nodePort", Set(json!(5432)), "node-port"),
        ("production", service, "/spec/ports/0/protocol", Set(json!("tcp")), "known-word"),
        (
            "external",
            "service/paradedb",
            "/spec/selector",
            Set(json!({"app": "x"})),
            "endpoint-slice",
        ),
        (
            "external",
            "endpointslice/paradedb-external",
            "/endpoints/0/addresses",
            Set(json!(["127.0.0.1"])),
            "endpoint-slice",
        ),
        (
            "staging",
            "endpointslice/paradedb-serving",
            "/metadata/labels/kubernetes.io~1service-name",
            Set(json!("x")),
            "endpoint-slice",
        ),
        (
            "production",
            policy,
            "/spec/podSelector/matchLabels/app",
            Set(json!("x")),
            "policy-covers",
        ),
        (
            "production",
            policy,
            "/spec/podSelector/matchLabels/app",
            Set(json!("x")),
            "policy-selects",
        ),
        ("production", policy, "/spec/ingress/0/from", Remove, "policy-open"),
        (
            "production",
            policy,
            "/spec/ingress",
            Push(json!({"from": [{"namespaceSelector": {}}], "ports": [{"port": 5432}]})),
            "policy-open",
        ),
        (
            "staging",
            "networkpolicy/paradedb-backup",
            "/spec/egress/2/to/0/ipBlock/cidr",
            Set(json!("0.0.0.0/33")),
            "policy-open",
        ),
        ("production", policy, "/spec/ingress/0/from/0", Remove, "policy-clients"),
        ("production", policy, "/spec/egress/0", Remove, "policy-dns"),
        ("production", policy, "/spec/egress/1", Remove, "policy-peer"),
        ("staging", "networkpolicy/paradedb-backup", "/spec/egress/2", Remove, "policy-peer"),
    ]);
}

#[test]
fn names_shapes_and_schedules() {
    let long = json!("a".repeat(53));
    check(vec![
        ("production", SET, "/metadata/name", Set(long.clone()), "name-length"),
        ("production", "cronjob/rbs-paradedb-backup", "/metadata/name", Set(long), "name-length"),
        ("production", SET, "/metadata/name", Set(json!("Rbs_Paradedb")), "name-syntax"),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/ports/0/name",
            Set(json!("postgres-database-port")),
            "name-syntax",
        ),
        (
            "production",
            "service/paradedb",
            "/metadata/name",
            Set(json!("rbs-paradedb")),
            "unique-object",
        ),
        (
            "production",
            "service/paradedb",
            "/metadata/namespace",
            Set(json!("default")),
            "namespace",
        ),
        ("production", "service/paradedb", "/metadata/namespace", Remove, "namespace"),
        (
            "production",
            "service/paradedb",
            "/metadata/labels/team",
            Set(json!("a b")),
            "label-syntax",
        ),
        (
            "staging",
            "statefulset/paradedb",
            "/spec/volumeClaimTemplates/0/metadata/labels",
            Set(json!({"app.kubernetes.io/instance": "x"})),
            "tracking-label",
        ),
        ("production", SET, "/spec/selector", Remove, "required-field"),
        ("production", SET, "/spec/replicas", Set(json!("1")), "field-type"),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/env/0/value",
            Set(json!(1)),
            "field-type",
        ),
        ("production", SET, "/spec/replicas", Rename("replicaz"), "unknown-field"),
        (
            "production",
            SET,
            "/spec/template/spec/containers/0/startupProbe/exec",
            Rename("exce"),
            "unknown-field",
        ),
        (
            "production",
            "application/paradedb",
            "/spec/syncPolicy/automated/selfHeal",
            Rename("selfheal"),
            "unknown-field",
        ),
        (
            "cnpg",
            "cluster/rbs-paradedb",
            "/spec/storage/storageClass",
            Rename("storageclass"),
            "unknown-field",
        ),
        (
            "staging",
            "podmonitor/paradedb",
            "/spec/podMetricsEndpoints/0/interval",
            Rename("intervall"),
            "unknown-field",
        ),
        (
            "staging",
            "externalsecret/paradedb-passwords",
            "/apiVersion",
            Set(json!("external-secrets.io/v1beta1")),
            "known-kind",
        ),
        ("production", SET, "/spec/updateStrategy/type", Set(json!("OnDeleted")), "known-word"),
        (
            "production",
            "pvc/rbs-paradedb-data",
            "/spec/accessModes/0",
            Set(json!("ReadWriteMany")),
            "known-word",
        ),
        (
            "production",
            "cronjob/rbs-paradedb-backup",
            "/spec/jobTemplate/spec/template/spec/restartPolicy",
            Set(json!("Always")),
            "known-word",
        ),
        ("production", CONF, "/data/a b", Set(json!("x")), "config-map"),
        (
            "production",
            "poddisruptionbudget/rbs-paradedb",
            "/spec/minAvailable",
            Set(json!(1)),
            "disruption-budget",
        ),
        (
            "production",
            "cronjob/rbs-paradedb-backup",
            "/spec/schedule",
            Set(json!("15 25 * * *")),
            "cron-schedule",
        ),
        (
            "production",
            "cronjob/rbs-paradedb-backup",
            "/spec/timeZone",
            Set(json!("Mars/Base")),
            "cron-schedule",
        ),
        (
            "production",
            "job/rbs-paradedb-smoke",
            "/spec/activeDeadlineSeconds",
            Remove,
            "job-limits",
        ),
        (
            "production",
            "cronjob/rbs-paradedb-verify",
            "/spec/suspend",
            Set(json!(true)),
            "backup-proved",
        ),
        (
            "production",
            "configmap/rbs-paradedb-backup",
            "/data/dump.sh",
            Replace("sha256sum", "md5sum"),
            "backup-proved",
        ),
        ("staging", "prometheusrule/paradedb", "/spec/groups/0/rules/1", Remove, "alert-rules"),
    ]);
}

#[test]
fn argocd() {
    let app = "application/paradedb";
    let project = "appproject/paradedb-staging";
    let source = json!([{"repoURL": "https://a", "targetRevision": "v1.0", "path": "a"}]);
    let window = json!({"kind": "allow", "schedule": "* * * *", "duration": "2h"});
    check(vec![
        (
            "production",
            app,
            "/spec/syncPolicy/syncOptions",
            Push(json!("PruneLasst=true")),
            "sync-option",
        ),
        ("production", SET, SYNC, Set(json!("Prune=no,Delete=false")), "sync-option"),
        ("production", app, "/spec/sources", Set(source), "one-source"),
        ("production", app, "/spec/source/path", Set(json!("infra/k8s/other")), "one-source"),
        ("production", app, "/spec/destination/name", Set(json!("in-cluster")), "one-destination"),
        ("production", app, "/spec/destination/namespace", Set(json!("other")), "one-destination"),
        ("production", app, "/spec/syncPolicy/automated/prune", Set(json!(true)), "no-prune"),
        ("production", app, "/spec/syncPolicy/automated/allowEmpty", Remove, "no-prune"),
        (
            "production",
            app,
            "/metadata/finalizers",
            Push(json!("resources-finalizer.argocd.argoproj.io")),
            "no-cascade",
        ),
        (
            "production",
            app,
            "/spec/syncPolicy/retry/backoff/duration",
            Set(json!("10 seconds")),
            "duration",
        ),
        ("staging", project, "/spec/syncWindows", Push(window), "duration"),
        (
            "production",
            app,
            "/spec/ignoreDifferences/1/jqPathExpressions/0",
            Set(json!(".spec[")),
            "ignore-difference",
        ),
        (
            "production",
            app,
            "/spec/ignoreDifferences/0/jsonPointers/0",
            Set(json!("/spec")),
            "ignore-difference",
        ),
        ("production", app, "/spec/source/targetRevision", Set(json!("HEAD")), "revision-pinned"),
        ("production", "service/paradedb", "/kind", Set(json!("Namespace")), "namespace"),
        ("staging", project, "/spec/sourceRepos/0", Set(json!("*")), "project-permits"),
        (
            "production",
            "service/paradedb",
            "/metadata/namespace",
            Set(json!("elsewhere")),
            "project-permits",
        ),
        ("production", SET, WAVE, Set(json!(0)), "sync-wave"),
        ("production", CONF, WAVE, Set(json!("5")), "sync-wave"),
        ("staging", "job/paradedb-migrate", HOOK, Set(json!("PreSync")), "hook"),
        ("staging", "job/paradedb-migrate", WAVE, Set(json!("0")), "hook"),
    ]);
}

#[test]
fn a_cluster_kind_that_the_project_forbids() {
    let text =
        values("production").replace("  name: robson\n\n", "  name: robson\n  create: true\n\n");
    let one = rendered("production", &text).unwrap();
    assert!(
        one.findings.iter().any(|finding| finding.rule == "project-permits"),
        "{:?}",
        one.findings
    );
}

#[test]
fn texts_that_two_readers_read_differently() {
    for (text, rule) in [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: y, namespace: a }\n", "yaml-1.1"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  a: off\n", "yaml-1.1"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n", "yaml-syntax"),
        ("a: [1\n", "yaml-syntax"),
    ] {
        let read = read::strictly("a.yaml", text);
        assert!(
            read.findings.iter().any(|finding| finding.rule == rule),
            "{text}: {:?}",
            read.findings
        );
    }
}

#[test]
fn compose() {
    let one = shape("local");
    for (path, from, to, rule) in [
        ("docker-compose.yml", "127.0.0.1:${RBS", "${RBS", "compose-ports"),
        (
            "docker-compose.yml",
            ":/var/lib/postgresql\"",
            ":/var/lib/postgresql/data\"",
            "compose-volume",
        ),
        ("docker-compose.yml", "0.25.3-pg18", "latest", "compose-image"),
        ("docker-compose.yml", "postgres:16.10-trixie", "postgres:16-alpine", "compose-image"),
        ("docker-compose.yml", "\"--host=127.0.0.1\", ", "", "compose-health"),
        ("docker-compose.yml", "POSTGRES_PASSWORD_FILE", "POSTGRES_PASSWORD", "compose-secret"),
        (".env.example", "RBS_PG_HOST", "PG_HOST", "compose-secret"),
    ] {
        let files: Vec<File> = one
            .files
            .iter()
            .map(|file| match file.path == path {
                true => {
                    assert!(file.text.contains(from), "{from}");
                    File { path: path.into(), text: file.text.replacen(from, to, 1) }
                }
                false => file.clone(),
            })
            .collect();
        let set = rules::Set { values: &one.environment.values, objects: &[], files: &files };
        let broken: Vec<&str> = rules::check(&set).iter().map(|finding| finding.rule).collect();
        assert!(broken.contains(&rule), "{from} -> {to}: {broken:?}");
    }
}
