//! The guard that runs before the server, run for real.

use std::path::Path;

use super::{rendered, values};
use xtask::process::{Invocation, Output};

fn script() -> String {
    let one = rendered("production", &values("production")).unwrap();
    let map = one.objects.iter().find(|object| object.key.name == "rbs-paradedb-configuration");
    map.unwrap().at("data")["guard.sh"].as_str().unwrap().to_string()
}

async fn guard(volume: &Path, holds_data: bool) -> Output {
    Invocation::new("/bin/sh")
        .arguments(["-c", &script()])
        .variable("VOLUME", volume)
        .variable("PGDATA", volume.join("18/docker"))
        .variable("MAJOR", "18")
        .variable("HOLDS_DATA", holds_data.to_string())
        .output()
        .await
        .unwrap()
}

fn put(volume: &Path, file: &str, text: &str) {
    let path = volume.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn an_empty_volume_is_initialised_only_where_none_is_expected_to_be_full() {
    let volume = tempfile::tempdir().unwrap();
    assert_eq!(guard(volume.path(), false).await.code, Some(0));
    std::fs::create_dir_all(volume.path().join("lost+found")).unwrap();
    assert_eq!(guard(volume.path(), false).await.code, Some(0));
    let said = guard(volume.path(), true).await;
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("the claim was recreated"), "{}", said.stderr);
}

#[tokio::test]
async fn the_right_version_starts_and_another_does_not() {
    let volume = tempfile::tempdir().unwrap();
    put(volume.path(), "18/docker/PG_VERSION", "18\n");
    assert_eq!(guard(volume.path(), true).await.code, Some(0));
    put(volume.path(), "18/docker/PG_VERSION", "17\n");
    let said = guard(volume.path(), true).await;
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("holds PostgreSQL 17"), "{}", said.stderr);
}

#[tokio::test]
async fn data_at_another_path_is_named() {
    let volume = tempfile::tempdir().unwrap();
    put(volume.path(), "pgdata/PG_VERSION", "17\n");
    let said = guard(volume.path(), false).await;
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("pgdata/PG_VERSION"), "{}", said.stderr);
}

#[tokio::test]
async fn a_cut_off_initialisation_is_not_continued() {
    let volume = tempfile::tempdir().unwrap();
    put(volume.path(), "18/docker/base/1/112", "");
    let said = guard(volume.path(), false).await;
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("no PG_VERSION"), "{}", said.stderr);
}
