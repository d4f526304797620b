//! `--env`: the values of an environment drive a whole run, and hold no password.

mod drill;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use xtask::cutover::step::Step;
use xtask::pg::endpoint::Endpoint;

use crate::tool::{Said, Tool, sql};

/// The values of an environment beside its cutover: none of them says anything of these servers.
pub const VALUES: &str = "
platform: compose
image: {version: '0.25.3'}
engine: postgres
resources: {memory: 1Gi, cpu: '1'}
namespace: {name: night}
names: {workload: paradedb, service: paradedb}
pod: {labels: {app: paradedb}}
storage: {claim: data, size: 1Gi}
database:
  {name: rbsdb, owner: postgres, runtime: postgres, search: postgres, replication: postgres}
secret: {name: paradedb}
network: {clients: []}
compose: {postgres_tag: 16.10-trixie}
";

/// Plays kubectl: what lives in one namespace of one context.
const KUBECTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/called"
case "$*" in
"--context far get secret paradedb --namespace night --output json") cat "$here/secret.json" ;;
"--context far get secret paradedb --ignore-not-found --namespace night --output json")
    cat "$here/managed.json" ;;
"--context far get statefulsets.apps,persistentvolumeclaims --output json --namespace night")
    cat "$here/objects.json" ;;
"--context far get persistentvolumes --output json") cat "$here/volumes.json" ;;
"--context far exec paradedb-0 --namespace night -- sh -c "*) cat "$here/disk" ;;
*) echo "Error from server (NotFound): $*" >&2; exit 1 ;;
esac
"#;

/// An environment called `night`, in a workspace of its own.
struct Night {
    tool: Tool,
    folder: TempDir,
}

/// A URL without password, and the password.
pub fn apart(endpoint: &Endpoint) -> (String, String) {
    let environment = endpoint.libpq_environment();
    let password = environment.into_iter().find(|(name, _)| name == "PGPASSWORD").unwrap().1;
    (endpoint.to_string(), password)
}

impl Night {
    /// An environment of a superuser.
    async fn new(name: &str) -> Night {
        Night::of(Tool::with_example(name).await)
    }

    /// The source's password is in a variable, the target's in a Secret.
    fn of(tool: Tool) -> Night {
        let mut night = Night { tool, folder: tempfile::tempdir().unwrap() };
        let root = night.folder.path();
        std::fs::create_dir_all(root.join("templates")).unwrap();
        std::fs::create_dir_all(root.join("infra/values")).unwrap();
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        std::os::unix::fs::symlink(migrations, root.join("migrations")).unwrap();
        let bin = root.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        xtask::render::files::replace(&bin.join("kubectl"), KUBECTL).unwrap();
        let executable = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bin.join("kubectl"), executable).unwrap();
        let path = xtask::config::text("PATH").unwrap();
        let (source, source_password) = apart(&night.tool.source);
        let (target, target_password) = apart(&night.tool.target);
        let keys = ["key", "POSTGRES_PASSWORD", "OWNER_PASSWORD", "RUNTIME_PASSWORD"];
        let keys = keys.into_iter().chain(["SEARCH_PASSWORD", "REPLICATION_PASSWORD"]);
        let value = || k8s_openapi::ByteString(target_password.clone().into());
        let secret = k8s_openapi::api::core::v1::Secret {
            data: Some(keys.map(|key| (key.into(), value())).collect()),
            ..Default::default()
        };
        std::fs::write(bin.join("secret.json"), serde_json::to_vec(&secret).unwrap()).unwrap();
        night.tool.workspace = Some(root.to_path_buf());
        night.tool.variables = vec![
            ("NIGHT_PASSWORD", source_password),
            ("PATH", format!("{}:{path}", bin.display())),
        ];
        let cutover = format!(
            "cutover:\n  peers: []\n  cluster: {{context: far}}\n  \
             source: {{url: '{source}', password: {{env: NIGHT_PASSWORD}}}}\n  \
             target: {{url: '{target}', password: {{secret: {{name: paradedb, key: key}}}}}}\n  \
             search: {{schema: knowledge}}\n  jobs: 2\n  limits: {{pause: 7.5}}\n"
        );
        night.write(&cutover);
        night
    }

    fn values(&self) -> std::path::PathBuf {
        self.folder.path().join("infra/values/night.yaml")
    }

    fn write(&self, cutover: &str) {
        std::fs::write(self.values(), format!("{VALUES}{cutover}")).unwrap();
    }

    /// Changes a piece of the values.
    fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.values()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.values(), text.replace(from, to)).unwrap();
    }

    /// What the cluster says: whether its objects are safe, and how much room there is.
    fn live(&self, sync: &str, policy: &str, kibibytes: u64) {
        let bin = self.folder.path().join("bin");
        let tracking = json!({"argocd.argoproj.io/tracking-id": "paradedb:x",
            "argocd.argoproj.io/sync-options": sync});
        let spec = json!({"template": {"spec": {"initContainers": [{"name": "guard"}],
            "containers": [{"image": "docker.io/paradedb/paradedb:0.25.3-pg18",
                "readinessProbe": {"exec": {"command": ["pg_isready"]}}}]}}});
        let objects = json!({"items": [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
             "metadata": {"name": "data", "namespace": "night", "annotations": tracking}},
            {"apiVersion": "apps/v1", "kind": "StatefulSet",
             "metadata": {"name": "paradedb", "namespace": "night"}, "spec": spec},
        ]});
        let volumes = json!({"items": [
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv1"}, "spec": {
                "claimRef": {"namespace": "night", "name": "data"},
                "persistentVolumeReclaimPolicy": policy}},
        ]});
        let managed = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "paradedb", "namespace": "night"}});
        let disk = format!("18\n/dev/sda1 9 9 {kibibytes} 50% /data\n");
        for (name, text) in [
            ("objects.json", objects.to_string()),
            ("volumes.json", volumes.to_string()),
            ("managed.json", managed.to_string()),
            ("disk", disk),
        ] {
            std::fs::write(bin.join(name), text).unwrap();
        }
    }

    async fn status(&self) -> serde_json::Value {
        let said = self.tool.run(&["cutover", "status", "--env", "night"]).await.expect(0);
        said.lines().remove(0)
    }

    fn called(&self) -> String {
        read(&self.folder.path().join("bin/called"))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn the_values_of_an_environment_drive_a_run_there_and_back() {
    let night = Night::new("env_night").await;
    let tool = &night.tool;
    tool.run(&["cutover", "plan", "--env", "night"]).await.expect(0);
    tool.run(&["cutover", "start", "--env", "night"]).await.expect(0);
    assert!(tool.journal().contains("knowledge"), "search is made where the values say");
    night.change("  jobs: 2", "  topology: follow\n  jobs: 2");
    tool.run(&["cutover", "start", "--env", "night"]).await.expect(0);
    assert_eq!(night.status().await["searchable"], true);
    let refused = tool.run(&["cutover", "switch", "--env", "night"]).await.expect(1);
    refused.naming(&["not to serve", "topology"]);
    night.change("topology: follow", "topology: switch");
    let said = tool.run_as_text(&["cutover", "switch", "--env", "night", "--jobs", "1"]).await;
    let said = said.expect(0);
    assert!(said.stderr.contains("by hand, in the place of values of night: --jobs"));
    assert_eq!(night.status().await["searchable"], false);
    night.change("topology: switch", "topology: follow");
    tool.run(&["rollback", "--yes", "--env", "night"]).await.expect(0);
    let status = night.status().await;
    assert_eq!((&status["serves"], &status["searchable"]), (&"source".into(), &true.into()));
    assert!(status["next"].as_str().unwrap().contains("answers searches"), "{status}");
    tool.run(&["verify", "--env", "night", "--table", "public.item"]).await.expect(0);
    tool.expect_source_writes().await;
    let secrets = [apart(&tool.source).1, apart(&tool.target).1];
    for secret in secrets {
        assert!(!tool.all_journals().contains(&secret), "a journal holds a password");
        assert!(!night.called().contains(&secret), "a command line holds a password");
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_environment_is_named() {
    let night = Night::new("env_wrong").await;
    let plan = ["cutover", "plan", "--env", "night"];
    let wrong = night.tool.run(&["cutover", "plan", "--env", "nigth"]).await;
    wrong.expect(2).naming(&["no environment `nigth`", "did you mean night?"]);
    night.change("key: key", "key: other");
    night.tool.run(&plan).await.expect(2).naming(&["night/paradedb has no key other"]);
    night.change("name: paradedb, key: other", "name: gone, key: key");
    let gone = night.tool.run(&plan).await.expect(2);
    gone.naming(&["Secret night/gone cannot be read", "NotFound", "auth can-i"]);
    night.change("env: NIGHT_PASSWORD", "env: DAY_PASSWORD");
    night.tool.run(&plan).await.expect(2).naming(&["DAY_PASSWORD holds no password"]);
    night.change("limits: {pause", "limits: {puase");
    night.tool.run(&plan).await.expect(2).naming(&["puase", "did you mean `pause`?"]);
    night.change("limits: {puase", "limits: {pause");
    night.change("postgres@", "postgres:s3cret@");
    let said = night.tool.run(&plan).await.expect(2);
    assert!(!said.stdout.contains("s3cret"), "{}", said.stdout);
    said.naming(&["holds a password", "night.yaml"]);
    night.write("cutover: {peers: []}\n");
    night.tool.run(&plan).await.expect(2).naming(&["what the source is", "`cutover.source`"]);
}

#[tokio::test]
async fn an_approved_plan_holds_until_the_world_changes() {
    let tool = Tool::with_example("env_approved").await;
    let file = tool.journals().with_file_name("plan.json");
    let name = file.to_str().unwrap();
    tool.run_as_text(&["cutover", "plan", "--jobs", "3", "--out", name]).await.expect(0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for endpoint in [&tool.source, &tool.target] {
        assert!(!read(&file).contains(&apart(endpoint).1), "the file holds a password");
    }
    let start = ["cutover", "start", "--plan", name];
    tool.run(&start).await.expect(1).naming(&["jobs: ", "was 3"]);
    let start = ["cutover", "start", "--jobs", "3", "--plan", name];
    sql(&tool.source, "CREATE TABLE late (id integer PRIMARY KEY)").await;
    tool.run(&start).await.expect(1).naming(&["new tables: public.late", "nothing was changed"]);
    sql(&tool.source, "DROP TABLE late; CREATE INDEX late ON item (name)").await;
    tool.run(&start).await.expect(1).naming(&["the schema has changed"]);
    sql(&tool.source, "DROP INDEX late; INSERT INTO item (name) VALUES ('more')").await;
    let other = [&start[..], &["--backup", "external", "--backup-command", "true"]].concat();
    tool.run(&other).await.expect(1).naming(&["backup: external, was none"]);
    let one_way = [&start[..], &["--without-way-back"]].concat();
    tool.run(&one_way).await.expect(1).naming(&["way back: none, was kept"]);
    assert!(tool.journal_files().is_empty(), "nothing was begun");
    tool.run(&start).await.expect(0);
    tool.run(&["cutover", "start", "--plan", "/nowhere"]).await.expect(2).naming(&["--out"]);
}

#[tokio::test]
async fn the_plan_is_a_table_that_a_person_can_approve() {
    let tool = Tool::with_example("env_outline").await;
    let said = tool.run_as_text(&["cutover", "plan"]).await.expect(0).stdout;
    for step in xtask::cutover::step::Step::ALL {
        // Nobody asked for search, and there is no cluster.
        let is_asked_for = !matches!(step, Step::Migrate | Step::Quiesce | Step::Aim);
        assert_eq!(said.contains(&format!("┆ {step} ")), is_asked_for, "{step}:\n{said}");
    }
    for wanted in ["undone by", "by the round trips of now", "rollback removes", "rollback turns"] {
        assert!(said.contains(wanted), "{wanted}:\n{said}");
    }
}

/// The level of each check; the worst of several.
fn levels(said: &Said) -> std::collections::BTreeMap<String, String> {
    let mut all = std::collections::BTreeMap::new();
    for line in said.lines() {
        if let (Some(check), Some(level)) = (line["check"].as_str(), line["level"].as_str()) {
            // The urgent ones come first.
            all.entry(check.to_string()).or_insert(level.to_string());
        }
    }
    all
}

#[tokio::test]
async fn doctor_names_what_stands_in_the_way_and_what_is_well() {
    let night = Night::new("env_doctor").await;
    night.change("platform: compose", "platform: kubernetes\nfolder: infra/k8s/night");
    let doctor = ["doctor", "--env", "night"];
    night.live("ServerSideApply=true", "Delete", 1);
    sql(&night.tool.source, "CREATE TABLE bare (id integer)").await;
    let said = night.tool.run(&doctor).await.expect(1);
    let found = levels(&said);
    for name in ["replica-identity", "pruned", "reclaim-policy", "disk-free"] {
        assert_eq!(found.get(name).map(String::as_str), Some("refuse"), "{name}: {found:#?}");
    }
    assert_eq!(found["peer"], "warn", "it is not asked yet");
    sql(&night.tool.source, "DROP TABLE bare").await;
    night.live("Prune=false,Delete=false", "Retain", 1 << 30);
    let found = levels(&night.tool.run(&doctor).await.expect(0));
    let well = ["reach", "peer", "pruned", "reclaim-policy", "disk-free", "image-major"];
    for name in well.into_iter().chain(["secret-managed", "secret-password", "not-superuser"]) {
        assert_eq!(found.get(name).map(String::as_str), Some("ok"), "{name}: {found:#?}");
    }
    assert_eq!(found["empty-probe"], "warn", "{found:#?}");
    sql(&night.tool.target, "CREATE ROLE searcher LOGIN PASSWORD 'another'").await;
    night.change("search: postgres", "search: searcher");
    let said = night.tool.run_as_text(&doctor).await.expect(1);
    assert!(said.stdout.contains("role searcher cannot log in"), "{}", said.stdout);
    assert!(!night.called().contains(&apart(&night.tool.target).1));
}

#[tokio::test]
async fn doctor_goes_on_where_a_server_does_not_answer() {
    let mut tool = Tool::with_example("env_silent").await;
    tool.target = tool.target.with_database("nowhere");
    let said = tool.run(&["doctor"]).await.expect(1);
    let found = levels(&said);
    assert_eq!(found["reach"], "refuse", "{found:#?}");
    let client = Tool::with_example("env_client").await;
    let session = client.source.connect_as_client("reports").await.unwrap();
    let said = client.run_as_text(&["doctor"]).await.expect(0);
    assert!(said.stdout.contains("(reports)"), "{}", said.stdout);
    drop(session);
    // After a switch it looks at those who would be cut off by the way back.
    client.run(&["cutover", "start"]).await.expect(0);
    client.run(&["cutover", "switch"]).await.expect(0);
    let session = client.target.connect_as_client("late").await.unwrap();
    let said = client.run_as_text(&["doctor"]).await.expect(0);
    assert!(said.stdout.contains("(late)"), "{}", said.stdout);
    drop(session);
}

#[tokio::test]
async fn a_login_without_rights_is_told_what_it_would_lose() {
    let tool = Tool::with_example("env_rights").await;
    sql(&tool.source, "CREATE ROLE modest LOGIN PASSWORD 'modest'").await;
    let mut modest = tool.elsewhere();
    modest.source = tool.source.with_user("modest", "modest");
    let refused = modest.run(&["cutover", "plan"]).await.expect(1);
    refused.naming(&["role modest lacks `replication`", "ALTER ROLE modest REPLICATION"]);
    let found = levels(&modest.run(&["doctor"]).await.expect(1));
    assert_eq!(found["privilege"], "refuse", "{found:#?}");
}
