//! TLS to servers that have it: who is believed, and a whole night over nothing else.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use xtask::cutover::event::Story;
use xtask::pg::endpoint::Endpoint;
use xtask::process::Invocation;
use xtask::servers::cluster::Cluster;
use xtask::servers::pair::{self, Pair, PairOptions};

use crate::support::{fresh_database, skip};
use crate::tool::{EXAMPLE, Tool, sql};

/// Where Debian keeps the programs of each major version; the pinned wheel has no TLS.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of a PostgreSQL that was built with TLS.
async fn bindir_with_tls() -> Option<PathBuf> {
    for entry in std::fs::read_dir(DEBIAN).ok()?.flatten() {
        let bindir = entry.path().join("bin");
        if !bindir.join("initdb").is_file() {
            continue;
        }
        let said = Invocation::new(bindir.join("postgres")).argument("--describe-config");
        if said.output().await.is_ok_and(|said| said.stdout.contains("ssl_ciphers\t")) {
            return Some(bindir);
        }
    }
    None
}

/// An authority of our own.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key of a server that is called `localhost`, and no other name.
fn certificate(authority: &CertifiedIssuer<'_, KeyPair>, last_year: i32) -> (String, String) {
    let mut parameters = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    parameters.not_after = date_time_ymd(last_year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Writes a file that the server's user may read, and only it.
fn write_for(server: &Cluster, name: &str, text: &str) -> PathBuf {
    let data = server.data();
    let owner = std::fs::metadata(&data).unwrap();
    let file = data.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    file
}

/// Gives a running server this certificate, and takes every way in but TLS away.
async fn give(server: &Cluster, (certificate, key): &(String, String)) {
    write_for(server, "server.crt", certificate);
    write_for(server, "server.key", key);
    let rules = "hostssl all all 127.0.0.1/32 scram-sha-256\n\
                 hostssl replication all 127.0.0.1/32 scram-sha-256\n";
    let session = server.endpoint("postgres").connect("test").await.unwrap();
    session.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    write_for(server, "pg_hba.conf", rules);
    session.query("SELECT pg_reload_conf()", &[]).await.unwrap();
}

/// The same database by another host name, with these parameters besides.
fn by(endpoint: &Endpoint, host: &str, parameters: &str) -> anyhow::Result<Endpoint> {
    let text = endpoint.secret_conninfo().replace("127.0.0.1", host);
    Endpoint::parse(&format!("{text} {parameters}"))
}

/// Connects, and says whether the session is encrypted, or the whole error.
async fn is_encrypted(endpoint: anyhow::Result<Endpoint>) -> Result<bool, String> {
    let told = |error: anyhow::Error| format!("{error:#}");
    let session = endpoint.map_err(told)?.connect("test").await.map_err(told)?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(session.query_one(sql, &[]).await.unwrap().get(0))
}

/// Waits until a server that was told to read its settings anew answers so.
async fn until_answers(endpoint: impl Fn() -> anyhow::Result<Endpoint>, wanted: &str) {
    let begun = std::time::Instant::now();
    loop {
        let answer = is_encrypted(endpoint()).await;
        let text = format!("{answer:?}");
        if text.contains(wanted) {
            return;
        }
        assert!(begun.elapsed() < crate::support::CONDITION_LIMIT, "{wanted} wanted, not {text}");
        tokio::time::sleep(crate::support::LOOK_EVERY).await;
    }
}

async fn pair_with_tls(bindir: &Path) -> Pair {
    let options = PairOptions {
        source_bindir: Some(bindir.to_path_buf()),
        target_bindir: Some(bindir.to_path_buf()),
        ..PairOptions::default()
    };
    pair::up(&options, &Story::silent()).await.expect("a pair starts")
}

#[tokio::test]
async fn a_night_over_nothing_but_tls() {
    let Some(bindir) = bindir_with_tls().await else {
        skip!("no PostgreSQL with TLS in {DEBIAN}");
    };
    let pair = pair_with_tls(&bindir).await;
    let (ours, strange) = (authority("ours"), authority("strange"));
    let fresh = certificate(&ours, 2099);
    let source = fresh_database(&pair.source.endpoint("postgres"), "tls").await;
    let target = fresh_database(&pair.target.endpoint("postgres"), "tls").await;
    sql(&source, EXAMPLE).await;
    for server in [&pair.source, &pair.target] {
        give(server, &fresh).await;
    }
    // Each server reads the certificate of the authority, too: it dials the other one.
    let root = |server: &Cluster, name: &str, authority: &CertifiedIssuer<'_, KeyPair>| {
        let file = write_for(server, name, &authority.pem());
        file.to_string_lossy().into_owned()
    };
    let known = root(&pair.source, "root.crt", &ours);
    let unknown = root(&pair.source, "strange.crt", &strange);

    let full = format!("sslmode=verify-full sslrootcert={known}");
    until_answers(|| by(&source, "localhost", &full), "Ok(true)").await;
    until_answers(|| by(&target, "localhost", &full), "Ok(true)").await;
    let refused = |host: &str, parameters: &str| is_encrypted(by(&source, host, parameters));
    let error = refused("127.0.0.1", &full).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let any_name = format!("sslmode=verify-ca sslrootcert={known}");
    assert_eq!(refused("127.0.0.1", &any_name).await, Ok(true));
    for mode in ["verify-ca", "verify-full", "require"] {
        let parameters = format!("sslmode={mode} sslrootcert={unknown}");
        let error = refused("localhost", &parameters).await.unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{mode}: {error}");
    }
    assert_eq!(refused("127.0.0.1", "sslmode=require").await, Ok(true));
    assert_eq!(refused("127.0.0.1", "").await, Ok(true), "prefer takes TLS where it is");
    let error = refused("127.0.0.1", "sslmode=disable").await.unwrap_err();
    assert!(error.contains("no encryption"), "{error}");

    // The key of the replication session, of the children and of the servers' own dialling.
    let readable = pair.source.data().join("root.crt");
    let tool = Tool::new(
        &pair,
        by(&source, "localhost", &full).unwrap(),
        by(&target, "localhost", &full).unwrap(),
    );
    assert!(readable.is_file());
    tool.run(&["cutover", "start"]).await.expect(0);
    tool.run(&["cutover", "switch"]).await.expect(0);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    let status = tool.status().await;
    assert_eq!(status["way_back"]["state"], "armed", "{status}");

    let expired = certificate(&ours, 2001);
    for server in [&pair.source, &pair.target] {
        write_for(server, "server.crt", &expired.0);
        write_for(server, "server.key", &expired.1);
    }
    let session = by(&source, "localhost", "sslmode=require").unwrap();
    let session = session.connect("test").await.unwrap();
    session.query("SELECT pg_reload_conf()", &[]).await.unwrap();
    until_answers(|| by(&source, "localhost", &full), "xpired").await;
    tool.run(&["cutover", "status"]).await.expect(1).naming(&["at risk"]);
    tool.run(&["cutover", "switch"]).await.expect(3).naming(&["xpired"]);
    pair.down().await.expect("nothing is left");
}

#[tokio::test]
async fn another_machine_is_not_dialled_without_a_word_about_tls() {
    let mut tool = Tool::with_example("no_sslmode").await;
    let said = tool.run(&["cutover", "plan", "--target", "postgresql://u@db.example/d"]).await;
    said.expect(2).naming(&["db.example", "sslmode=verify-full"]);
    tool.target = tool.target.with_database("no_sslmode");
    tool.run(&["cutover", "plan"]).await.expect(0);
}
