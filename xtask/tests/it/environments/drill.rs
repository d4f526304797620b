//! `drill --env`: a rehearsal on servers that hold somebody's data.

use xtask::pg::endpoint::Endpoint;
use xtask::route::file;
use xtask::servers::pooler;

use super::{Night, VALUES, apart, read};
use crate::night::{password_file, start_poolers};
use crate::owner::keeper;
use crate::support::{REHEARSAL, fresh_databases, pair, skip};
use crate::tool::{EXAMPLE, Tool, ask, sql, until};

/// A rehearsal that is as quick as its writers.
const DRILL: [&str; 9] =
    ["drill", "--env", "night", "--cycles", "1", "--rate", "0", "--writers", "2"];

/// What a rehearsal could leave in a database or for it on its server.
async fn left(tool: &Tool) -> Vec<Option<String>> {
    let mut all = Vec::new();
    for endpoint in [&tool.source, &tool.target] {
        for question in [
            "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace",
            "SELECT string_agg(format('%s %s', relname, relkind), ' ' ORDER BY oid) FROM pg_class
             WHERE relnamespace = 'public'::regnamespace",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'xtask_drill'",
            "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()",
            "SELECT count(*) FROM pg_publication",
            "SELECT count(*) FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid
             WHERE d.datname = current_database()",
            "SELECT coalesce(string_agg(setconfig::text, ' '), '') FROM pg_db_role_setting AS s
             JOIN pg_database AS d ON d.oid = s.setdatabase WHERE d.datname = current_database()",
        ] {
            all.push(ask(endpoint, question).await);
        }
    }
    all
}

/// How many rows of the example a side has.
async fn items(endpoint: &Endpoint) -> Option<String> {
    ask(endpoint, "SELECT count(*) FROM public.item").await
}

#[tokio::test]
async fn an_environment_goes_forth_and_back_only_where_its_values_allow_it() {
    let _turn = REHEARSAL.lock().await;
    let night = Night::new("env_drill").await;
    let tool = &night.tool;
    let with = |more: &[&'static str]| [&DRILL[..], &["--i-have-no-backup"], more].concat();
    let refused = tool.run(&with(&["--dry-run"])).await.expect(1);
    refused.naming(&["may not switch the clients of night", "cutover.rehearse: true"]);
    night.change("  jobs: 2", "  rehearse: true\n  jobs: 2");
    // The values of another environment name the same servers, and allow no drill.
    let own = read(&night.values()).replace("rehearse: true", "rehearse: false");
    let other = night.values().with_file_name("day.yaml");
    std::fs::write(&other, own.replace(VALUES, &VALUES.replace("{name: night}", "{name: day}")))
        .unwrap();
    tool.run(&with(&[])).await.expect(1).naming(&["is a server of day, too"]);
    // By another name, it is asked; and who cannot be asked is told.
    let alias = read(&other).replace("127.0.0.1", "localhost");
    std::fs::write(&other, &alias).unwrap();
    tool.run(&with(&[])).await.expect(1).naming(&["127.0.0.1", "is a server of day, too"]);
    let unknown = alias.replace("NIGHT_PASSWORD", "DAY_PASSWORD").replace("key: key", "key: none");
    std::fs::write(&other, unknown).unwrap();
    let told = tool.run_as_text(&with(&["--dry-run"])).await.expect(0).stderr;
    assert!(told.contains("of day was compared by its address only"), "{told}");
    std::fs::remove_file(&other).unwrap();
    // The role is one for all databases of a server: nobody takes it from another drill.
    sql(&tool.source, "CREATE ROLE xtask_drill LOGIN PASSWORD 'writes'").await;
    let writer = tool.source.with_user("xtask_drill", "writes").with_database("postgres");
    let writer = writer.connect_as_client("another drill").await.unwrap();
    let refused = tool.run(&with(&[])).await.expect(1);
    refused.naming(&["another drill writes as role xtask_drill to database postgres"]);
    drop(writer);
    until(&tool.source, "NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'xtask_drill')")
        .await;
    sql(&tool.source, "DROP ROLE xtask_drill").await;
    tool.run(&DRILL).await.expect(1).naming(&["about a backup"]);

    let before = left(tool).await;
    let dry = tool.run(&with(&["--dry-run", "--finish"])).await.expect(0);
    let lines = dry.lines();
    let rows = &lines.iter().find(|line| !line["rehearsal"].is_null()).unwrap()["rehearsal"];
    let order: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["what"].as_str().unwrap()).collect();
    let wanted = ["the drill", "writers", "cutover start", "cutover switch", "rollback"];
    assert_eq!(order, [&wanted[..], &["cutover finish"]].concat());
    let shown = tool.run_as_text(&with(&["--dry-run"])).await.expect(0).stdout;
    assert!(shown.contains("xtask_drill") && shown.contains("undone by"), "{shown}");
    assert_eq!(left(tool).await, before, "a dry run touches nothing");
    assert!(tool.journal_files().is_empty(), "nor does it begin a run");

    tool.run(&with(&["--finish"])).await.expect(0);
    assert_eq!(items(&tool.source).await.as_deref(), Some("100"));
    let after = left(tool).await;
    assert!(!format!("{after:?}").contains("xtask_drill"), "{after:?}");
    assert_eq!(after[2], before[2], "no role of the drill is left");
    tool.expect_source_writes().await;
    let files = std::fs::read_dir(tool.journals()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    let ends = |end| files.iter().any(|path| path.to_string_lossy().ends_with(end));
    assert!(ends(".report.json") && ends(".jsonl"), "{files:?}");
    for secret in [apart(&tool.source).1, apart(&tool.target).1] {
        let holds = files.iter().find(|path| read(path).contains(&secret));
        assert_eq!(holds, None, "a file of the run holds a password");
    }
}

#[tokio::test]
async fn writers_come_by_the_route_of_clients_and_an_open_run_is_left_alone() {
    let night = Night::new("env_guest").await;
    let tool = &night.tool;
    let endpoint_file = night.folder.path().join("endpoint");
    for side in [&tool.source, &tool.target] {
        sql(side, "CREATE ROLE env_guest_app LOGIN PASSWORD 'guest'").await;
    }
    file::write(&endpoint_file, &tool.source.with_user("env_guest_app", "guest")).unwrap();
    let name = endpoint_file.display();
    night.change("  jobs: 2", &format!("  rehearse: true\n  endpoint_file: {name}\n  jobs: 2"));
    let drill = [&DRILL[..], &["--i-have-no-backup"]].concat();
    let said = tool.run_as_text(&drill).await.expect(0);
    assert!(said.stderr.contains("the run is open"), "{}", said.stderr);
    let client = file::read(&endpoint_file).unwrap();
    assert_eq!((client.port, &*client.user), (tool.source.port, "env_guest_app"));
    let count = "SELECT count(*) > 500 FROM xtask_drill.workload_ledger";
    assert_eq!(ask(&tool.source, count).await.as_deref(), Some("true"));
    let status = night.status().await;
    assert_eq!((&status["serves"], &status["phase"]), (&"source".into(), &"switched".into()));
    tool.run(&drill).await.expect(1).naming(&["is not closed", "cutover status --env night"]);
}

/// Two databases that belong to a role without superuser, with the example, and their clients'
/// login.
async fn kept(name: &str) -> (Tool, Endpoint) {
    let (source, target) = fresh_databases(name).await;
    let (owner, client) = (format!("{name}_keeper"), format!("{name}_app"));
    let mut owners = Vec::new();
    for side in [&source, &target] {
        sql(side, &format!("CREATE ROLE {client} LOGIN PASSWORD 'guest'")).await;
        owners.push(keeper(side, &owner).await);
    }
    sql(&owners[0], EXAMPLE).await;
    let tool = Tool::new(pair().await, owners.remove(0), owners.remove(0));
    (tool, source.with_user(&client, "guest"))
}

#[tokio::test]
async fn an_owner_rehearses_through_pgbouncer_on_a_proved_dump() {
    if let Err(error) = pooler::program() {
        skip!("{error:#}");
    }
    let name = "env_pooled";
    let (tool, client) = kept(name).await;
    let poolers = start_poolers(pair().await, name, 2, &client).await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint_file = folder.path().join("endpoint");
    file::write(&endpoint_file, &poolers[0].through(&client)).unwrap();
    let passwords = password_file(folder.path(), &poolers);
    let mut night = Night::of(tool);
    night.tool.variables.push(("PGPASSFILE", passwords.display().to_string()));
    // What the step `migrate` could not do is said before anything is copied.
    for (wanted, mend) in [("CREATE EXTENSION vector", true), ("may not become postgres", false)] {
        let refused = night.tool.run(&["cutover", "plan", "--env", "night"]).await.expect(1);
        assert!(refused.stdout.contains(wanted), "{}", refused.stdout);
        if mend {
            sql(&pair().await.target.endpoint(name), wanted).await;
        }
    }
    night.change("owner: postgres", &format!("owner: {name}_keeper"));
    let consoles: Vec<String> =
        poolers.iter().map(|pooler| format!("{{url: '{}'}}", pooler.console())).collect();
    let inis: Vec<String> =
        poolers.iter().map(|pooler| format!("'{}'", pooler.ini().display())).collect();
    night.change(
        "  jobs: 2",
        &format!(
            "  rehearse: true\n  endpoint_file: '{}'\n  backup: {{folder: '{}'}}\n  \
             pgbouncer: {{consoles: [{}], ini: [{}]}}\n  jobs: 2",
            endpoint_file.display(),
            folder.path().join("dumps").display(),
            consoles.join(", "),
            inis.join(", ")
        ),
    );
    let said = night.tool.run(&["drill", "--env", "night", "--finish"]).await.expect(0);
    let lines = said.lines();
    let report = lines.iter().find(|line| line["failed"].is_number()).unwrap();
    assert_eq!(report["failed"], 0, "{report}");
    let tool = &night.tool;
    assert_eq!(items(&tool.source).await.as_deref(), Some("100"));
    let left = left(tool).await;
    assert!(!format!("{left:?}").contains("xtask_drill"), "{left:?}");
    tool.expect_source_writes().await;
    let question = "SELECT system_identifier::text FROM pg_control_system()";
    let through = poolers[1].through(&client).connect_as_client("test").await.unwrap();
    let reached: String = through.query_typed(question, &[]).await.unwrap()[0].get(0);
    let source = ask(&tool.source, question).await.unwrap();
    assert_eq!(reached, source, "the second process of PgBouncer leads home, too");
}
