//! State × verb: what is allowed, what is refused, and that a refusal changes nothing.

use crate::support::eventually;
use crate::tool::{Tool, ask, sql};

/// Everything that a verb may change: journals, and what the servers keep.
async fn everything(tool: &Tool) -> String {
    let mut all = String::new();
    for file in tool.journal_files() {
        all += &std::fs::read_to_string(file).unwrap();
    }
    for endpoint in [&tool.source, &tool.target] {
        for question in [
            "SELECT concat(datconnlimit, (SELECT setconfig FROM pg_db_role_setting AS s
                 WHERE s.setdatabase = d.oid AND setrole = 0))
             FROM pg_database AS d WHERE datname = current_database()",
            "SELECT string_agg(subname || subenabled, ' ' ORDER BY subname) FROM pg_subscription
             WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
            "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots
             WHERE database = current_database()",
            "SELECT string_agg(pubname, ' ' ORDER BY pubname) FROM pg_publication",
            "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r'",
            "SELECT string_agg(tgname, ' ' ORDER BY tgname) FROM pg_trigger
             WHERE NOT tgisinternal",
        ] {
            all += &format!("{endpoint}: {:?}\n", ask(endpoint, question).await);
        }
        if ask(endpoint, "SELECT to_regclass('xtask_cutover.run')").await.is_some() {
            let runs = "SELECT string_agg(id || epoch || coalesce(decision, '-') || guarded, ' '
                ORDER BY id) FROM xtask_cutover.run";
            all += &format!("{:?}\n", ask(endpoint, runs).await);
        }
    }
    all
}

/// A verb and the exit code with which it leaves everything as it is.
type Kept<'a> = (&'a str, i32);

/// Tries each verb, and sees that it changes nothing.
async fn keeps(tool: &Tool, state: &str, verbs: &[Kept<'_>]) {
    assert_eq!(tool.status().await["phase"], state.split(' ').next().unwrap());
    let before = everything(tool).await;
    for (verb, code) in verbs {
        let words: Vec<&str> = match *verb {
            "rollback" => vec!["rollback", "--yes"],
            "watch" => vec!["cutover", "watch", "--times", "1"],
            "finish confirmed" => vec!["cutover", "finish", "--confirm", &tool.target.database],
            other => vec!["cutover", other],
        };
        let said = tool.run(&words).await;
        let told = format!("{state} × {verb}\n{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, *code, "{told}");
        let is_refusal = *code != 0 && !["status", "watch", "plan"].contains(verb);
        assert!(!is_refusal || said.error().contains("hint: \""), "no way on: {told}");
        assert_eq!(everything(tool).await, before, "{told}");
    }
}

/// A verb that goes on to another state.
async fn moves(tool: &Tool, command: &[&str], phase: &str, serves: &str) {
    tool.run(command).await.expect(0);
    let status = tool.status().await;
    assert_eq!((&status["phase"], &status["serves"]), (&phase.into(), &serves.into()), "{status}");
    let (writable, closed) = if serves == "source" {
        (&tool.source, "target_fenced")
    } else {
        (&tool.target, "source_fenced")
    };
    if phase != "absent" {
        assert_eq!(status[closed], true, "{status}");
    }
    sql(writable, "INSERT INTO item (name) VALUES ('served here')").await;
}

#[tokio::test]
async fn absent_copying_and_following() {
    let tool = Tool::with_example("verbs_before").await;
    let absent = [
        ("plan", 0),
        ("switch", 1),
        ("rollback", 1),
        ("status", 0),
        ("finish", 1),
        ("adopt", 1),
        ("unfence", 0),
        ("watch", 1),
    ];
    keeps(&tool, "absent", &absent).await;

    let start = tool.begin(&["cutover", "start"]);
    tool.until_journaled(r#""step_done","step":"publish""#).await;
    start.kill().await;
    let copying = [
        ("switch", 1),
        ("status", 0),
        ("finish", 1),
        ("finish confirmed", 1),
        ("adopt", 0),
        ("unfence", 0),
        ("watch", 0),
    ];
    settled(&tool).await;
    keeps(&tool, "copying", &copying).await;
    moves(&tool, &["rollback", "--yes"], "absent", "source").await;
    keeps(&tool, "absent", &absent[..4]).await;

    let start = tool.begin(&["cutover", "start"]);
    tool.until_journaled(r#""step_done","step":"publish""#).await;
    start.kill().await;
    settled(&tool).await;
    moves(&tool, &["cutover", "start"], "following", "source").await;
    let following = [
        ("plan", 1),
        ("start", 0),
        ("status", 0),
        ("finish", 1),
        ("finish confirmed", 1),
        ("adopt", 0),
        ("unfence", 0),
        ("watch", 0),
    ];
    keeps(&tool, "following", &following).await;
    moves(&tool, &["rollback", "--yes"], "absent", "source").await;
}

/// Waits until what a killed command had asked of the servers has ended.
async fn settled(tool: &Tool) {
    let own = "application_name LIKE 'xtask-cutover%' AND application_name NOT LIKE '%test'
        AND application_name NOT LIKE '%holder%' AND application_name NOT LIKE '%watcher%'
        OR application_name LIKE 'pg\\_%'";
    let question = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND ({own})"
    );
    for endpoint in [&tool.source, &tool.target] {
        let session = endpoint.connect("test").await.unwrap();
        let began = std::time::Instant::now();
        while session.query_one(&question, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(began.elapsed() < crate::support::CONDITION_LIMIT, "sessions linger");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// A switch that is killed as soon as its journal says something.
async fn killed_at(tool: &Tool, text: &str) {
    let before = tool.journal().matches(text).count();
    let switch = tool.begin(&["cutover", "switch"]);
    eventually(text, || tool.journal().matches(text).count() > before).await;
    switch.kill().await;
    settled(tool).await;
}

const SWITCHING: [(&str, i32); 8] = [
    ("plan", 1),
    ("start", 1),
    ("status", 0),
    ("finish", 1),
    ("finish confirmed", 1),
    ("adopt", 0),
    ("unfence", 0),
    ("watch", 0),
];

#[tokio::test]
async fn switching() {
    for (name, command, phase, serves) in [
        ("verbs_switching_on", ["cutover", "switch"], "switched", "target"),
        ("verbs_switching_off", ["rollback", "--yes"], "absent", "source"),
    ] {
        let tool = Tool::following(name).await;
        killed_at(&tool, r#""step_started","step":"gate""#).await;
        keeps(&tool, "switching", &SWITCHING).await;
        moves(&tool, &command, phase, serves).await;
    }
}

const RELEASING: [(&str, i32); 6] = [
    ("plan", 1),
    ("start", 1),
    ("finish", 1),
    ("finish confirmed", 1),
    ("adopt", 0),
    ("unfence", 4),
];

#[tokio::test]
async fn releasing() {
    let tool = Tool::following("verbs_releasing").await;
    killed_at(&tool, r#""step_done","step":"decide""#).await;
    keeps(&tool, "releasing", &RELEASING).await;
    moves(&tool, &["cutover", "switch"], "switched", "target").await;
    moves(&tool, &["rollback", "--yes"], "switched", "source").await;
    killed_at(&tool, r#""step_done","step":"decide""#).await;
    keeps(&tool, "releasing again", &RELEASING).await;
    moves(&tool, &["rollback", "--yes"], "switched", "source").await;
}

#[tokio::test]
async fn switched_and_finished() {
    let tool = Tool::following("verbs_after").await;
    moves(&tool, &["cutover", "switch"], "switched", "target").await;
    let switched = [
        ("plan", 1),
        ("start", 1),
        ("switch", 0),
        ("status", 0),
        ("finish", 1),
        ("adopt", 0),
        ("unfence", 4),
        ("watch", 0),
    ];
    keeps(&tool, "switched", &switched).await;
    moves(&tool, &["rollback", "--yes"], "switched", "source").await;
    let back = [
        ("plan", 1),
        ("start", 1),
        ("rollback", 0),
        ("status", 0),
        ("finish", 1),
        ("adopt", 0),
        ("unfence", 0),
        ("watch", 0),
    ];
    keeps(&tool, "switched back", &back).await;
    moves(&tool, &["cutover", "switch"], "switched", "target").await;
    moves(&tool, &["cutover", "finish", "--confirm", "verbs_after"], "finished", "target").await;
    let finished = [
        ("plan", 1),
        ("start", 1),
        ("switch", 1),
        ("rollback", 1),
        ("status", 0),
        ("finish", 0),
        ("adopt", 0),
        ("unfence", 4),
        ("watch", 0),
    ];
    keeps(&tool, "finished", &finished).await;
}

/// An attempt the other way that was unwound: the service is where it was, and every way is open.
#[tokio::test]
async fn following_after_a_turn_that_was_unwound() {
    let tool = Tool::following("verbs_unwound").await;
    moves(&tool, &["cutover", "switch"], "switched", "target").await;
    let client = tool.target.connect_as_client("reporting").await.unwrap();
    client.batch_execute("BEGIN; SELECT count(*) FROM item").await.unwrap();
    tool.run(&["rollback", "--yes"]).await.expect(3).naming(&["goes on serving"]);
    client.batch_execute("COMMIT").await.unwrap();
    let unwound =
        [("plan", 1), ("start", 1), ("status", 0), ("finish", 1), ("adopt", 0), ("unfence", 4)];
    keeps(&tool, "following", &unwound).await;
    let status = tool.status().await;
    assert_eq!(status["serves"], "target");
    assert_eq!(status["way_back"]["state"], "armed", "{status}");
    let finish = ["cutover", "finish", "--confirm", "verbs_unwound"];
    assert!(status["next"].as_str().unwrap().contains("finish"), "{status}");
    moves(&tool, &finish, "finished", "target").await;
}
