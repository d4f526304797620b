//! `--env`: the values of an environment drive a whole run, and hold no password.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use xtask::pg::endpoint::Endpoint;

use crate::tool::Tool;

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

/// Plays kubectl: one Secret in one namespace of one context.
const KUBECTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/called"
case "$*" in
"--context far get secret paradedb --namespace night --output json") cat "$here/secret.json" ;;
*) echo "Error from server (NotFound): $*" >&2; exit 1 ;;
esac
"#;

/// An environment called `night`, in a workspace of its own.
struct Night {
    tool: Tool,
    folder: TempDir,
}

/// A URL without password, and the password.
fn apart(endpoint: &Endpoint) -> (String, String) {
    let environment = endpoint.libpq_environment();
    let password = environment.into_iter().find(|(name, _)| name == "PGPASSWORD").unwrap().1;
    (endpoint.to_string(), password)
}

impl Night {
    /// The source's password is in a variable, the target's in a Secret.
    async fn new(name: &str) -> Night {
        let tool = Tool::with_example(name).await;
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
        let secret = k8s_openapi::api::core::v1::Secret {
            data: Some([("key".into(), k8s_openapi::ByteString(target_password.into()))].into()),
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
    let said = tool.run_as_text(&["cutover", "switch", "--env", "night", "--jobs", "1"]).await;
    let said = said.expect(0);
    assert!(said.stderr.contains("by hand, in the place of values of night: --jobs"));
    tool.run(&["cutover", "status", "--env", "night"]).await.expect(0);
    tool.run(&["rollback", "--yes", "--env", "night"]).await.expect(0);
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
