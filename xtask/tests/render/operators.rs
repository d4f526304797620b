//! CloudNativePG: each role can log in, and a base backup has a place to go.

use super::{cnpg, rendered, values};
use xtask::render::object::items;

#[test]
fn every_role_has_a_secret_of_the_right_type() {
    let one = rendered("cnpg", &cnpg()).unwrap();
    let cluster = one.objects.iter().find(|object| object.is("Cluster")).unwrap();
    let managed = items(cluster.at("spec.managed.roles"));
    let named: Vec<(&str, &str)> = managed
        .iter()
        .map(|role| {
            let secret = role["passwordSecret"]["name"].as_str().unwrap();
            (role["name"].as_str().unwrap(), secret)
        })
        .chain([("robson", cluster.text("spec.bootstrap.initdb.secret.name"))])
        .collect();
    let parts = ["runtime", "search", "replication", "backup", "owner"];
    assert_eq!(named.len(), parts.len());
    for ((role, secret), part) in named.iter().zip(parts) {
        assert_eq!(*secret, format!("rbs-paradedb-secret-{part}"));
        let made = one.objects.iter().find(|object| object.key.name == *secret).unwrap();
        assert_eq!(made.text("spec.target.template.type"), "kubernetes.io/basic-auth");
        let data = made.at("spec.target.template.data");
        assert_eq!(data["username"], *role);
        assert_eq!(data["password"], "{{ .password }}");
    }
    let backup =
        one.objects.iter().find(|object| object.key.short() == "cronjob/rbs-paradedb-backup");
    let volumes = backup.unwrap().at("spec.jobTemplate.spec.template.spec.volumes").to_string();
    assert!(volumes.contains("\"secretName\":\"rbs-paradedb-secret-backup\""), "{volumes}");
    assert!(volumes.contains("{\"key\":\"password\",\"path\":\"BACKUP_PASSWORD\"}"), "{volumes}");
}

#[test]
fn the_first_statements_make_the_roles_and_are_single_ones() {
    let one = rendered("cnpg", &cnpg()).unwrap();
    let cluster = one.objects.iter().find(|object| object.is("Cluster")).unwrap();
    let statements: Vec<&str> = items(cluster.at("spec.bootstrap.initdb.postInitApplicationSQL"))
        .iter()
        .map(|statement| statement.as_str().unwrap())
        .collect();
    let runtime = "CREATE ROLE robson_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION";
    assert_eq!(statements[0], runtime);
    let position = |start: &str| {
        let found = statements.iter().position(|statement| statement.starts_with(start));
        found.unwrap_or_else(|| panic!("{start} is not among {statements:#?}"))
    };
    assert!(position("CREATE ROLE backup") < position("CREATE EXTENSION IF NOT EXISTS pg_search"));
    position("GRANT CONNECT ON DATABASE rbsdb TO");
    position("ALTER ROLE robson_search IN DATABASE rbsdb SET");
    for statement in &statements {
        assert!(!statement.contains(';') && !statement.contains("--"), "{statement}");
        assert!(!statement.contains("PASSWORD"), "{statement}");
    }
}

#[test]
fn what_the_operator_cannot_do_is_refused_with_the_reason() {
    for (from, to, says) in [
        ("  object_store: store\n", "", "needs `cnpg.object_store`"),
        ("  search: robson_search", "  search: pg_search_reader", "the operator reserves"),
        ("  name: rbsdb\n", "  name: rbsdb\n  superuser: root\n", "always `postgres`"),
        ("  source: external\n", "  source: sealed\n  sealed: { A: b }\n", "seals are bound"),
    ] {
        let text = cnpg();
        assert!(text.contains(from), "{from}");
        let error = rendered("cnpg", &text.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(says), "{from} -> {to}: {error}");
    }
    // The same values are right where the operator does not run.
    rendered("production", &values("production")).unwrap();
}
