//! `rag load`: real documents in, nothing by half, nothing twice.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use xtask::pg::endpoint::Session;

use super::empty;
use crate::tool::Tool;

/// This project.
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a load may need at most, however large the file. A small one needs some 90 MB, most of it
/// for the vocabulary by which chunks are counted.
const MEMORY_LIMIT: u64 = 160 << 20;
/// By how much six times the documents may need more: what waits to be staged, and the allocator.
const MEMORY_GROWTH: u64 = 12 << 20;
/// How often the memory of a load is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

async fn count(session: &Session, what: &str) -> i64 {
    session.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await.unwrap().get(0)
}

/// A vector with one axis.
fn axis(number: usize) -> Vec<f32> {
    let mut vector = vec![0.0; 768];
    vector[number] = 1.0;
    vector
}

fn write(folder: &Path, name: &str, lines: &[Value]) -> String {
    let path = folder.join(name);
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    path.to_str().unwrap().to_string()
}

fn line(id: &str, text: &str) -> Value {
    json!({"source_type": "github.pr", "source_id": id, "text": text,
        "source_updated_at": "2026-02-03T04:05:06Z"})
}

#[tokio::test]
async fn the_documents_of_this_project_are_loaded_once_and_found() {
    let (tool, session, folder) = empty("rag_docs").await;
    for name in ["README.md", "ARCHITECTURE.md", "docs/manifests.md"] {
        let to = folder.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(Path::new(PROJECT).join(name), to).unwrap();
    }
    let place = folder.path().to_str().unwrap();
    let load = ["rag", "load", place, "--repo", "this/project"];
    tool.run(&["rag", "load", place]).await.expect(2).naming(&["--repo NAME"]);
    tool.run(&[&load[..], &["--dry-run"]].concat()).await.expect(0);
    assert_eq!(count(&session, "rag_knowledge_entries").await, 0);

    let first = tool.run(&load).await.expect(0).lines().pop().unwrap();
    assert_eq!((&first["documents"], &first["committed"]), (&json!(3), &json!(true)), "{first}");
    let chunks = count(&session, "rag_knowledge_entries").await;
    assert!(chunks > 20, "{chunks}");
    assert_eq!(first["chunks_written"], json!(chunks));
    let sum = session.query_one("SELECT sum(chunk_count) FROM rag_documents", &[]).await.unwrap();
    assert_eq!(sum.get::<_, i64>(0), chunks);

    let found = tool.run(&["rag", "search", "who may write, the fence"]).await.expect(0).lines();
    let sources: Vec<&str> = found.iter().map(|hit| hit["source_id"].as_str().unwrap()).collect();
    assert!(sources.contains(&"ARCHITECTURE.md"), "{sources:?}");

    let again = tool.run(&load).await.expect(0).lines().pop().unwrap();
    assert_eq!((&again["chunks_written"], &again["chunks_removed"]), (&json!(0), &json!(0)));

    std::fs::write(folder.path().join("ARCHITECTURE.md"), "# Architecture\n\nShort now.").unwrap();
    let shorter = tool.run(&load).await.expect(0).lines().pop().unwrap();
    assert_eq!(shorter["chunks_written"], json!(1), "{shorter}");
    assert!(shorter["chunks_removed"].as_u64().unwrap() > 5, "{shorter}");
    let stale = "rag_knowledge_entries WHERE source_id = 'ARCHITECTURE.md' AND chunk_index > 0";
    assert_eq!(count(&session, stale).await, 0);
}

#[tokio::test]
async fn what_left_the_folder_is_hidden_where_that_is_asked_for() {
    let (tool, session, folder) = empty("rag_prune").await;
    let docs = folder.path().join("docs");
    std::fs::create_dir(&docs).unwrap();
    let file = |name: &str| docs.join(name);
    for name in ["a.md", "b.md", "c.md"] {
        std::fs::write(file(name), format!("# {name}\n\nText of {name}.")).unwrap();
    }
    let place = docs.to_str().unwrap();
    let load = ["rag", "load", place, "--repo", "one"];
    tool.run(&load).await.expect(0);
    tool.run(&["rag", "load", place, "--repo", "other"]).await.expect(0);
    let other_type = ["rag", "load", place, "--repo", "one", "--type", "adr"];
    tool.run(&other_type).await.expect(0);
    std::fs::remove_file(file("b.md")).unwrap();
    // A file that cannot be taken is bad, not gone.
    std::fs::write(file("c.md"), [0xff, 0xfe]).unwrap();
    let hidden = "rag_knowledge_entries WHERE deleted";

    let prune = [&load[..], &["--prune", "--skip-bad"]].concat();
    let tried = tool.run(&[&prune[..], &["--dry-run"]].concat()).await.expect(1);
    let tried = tried.lines().into_iter().find(|line| line["gone"].is_array()).unwrap();
    assert_eq!((&tried["gone"], &tried["gone_count"]), (&json!(["b.md"]), &json!(1)), "{tried}");
    tool.run(&[&load[..], &["--skip-bad"]].concat()).await.expect(1);
    assert_eq!(count(&session, hidden).await, 0);
    tool.run(&prune).await.expect(1);
    let which = format!("{hidden} AND repo = 'one' AND source_id = 'b.md'");
    let is_here = format!("{which} AND source_type = 'github.doc'");
    assert_eq!((count(&session, hidden).await, count(&session, &is_here).await), (1, 1));
    std::fs::write(file("b.md"), "# b.md\n\nText of b.md.").unwrap();
    tool.run(&prune).await.expect(1);
    assert_eq!(count(&session, hidden).await, 0);
    let file = file("a.md");
    let alone = ["rag", "load", file.to_str().unwrap(), "--repo", "one", "--prune"];
    tool.run(&alone).await.expect(2).naming(&["whole folder"]);
}

#[tokio::test]
async fn a_bad_line_loads_nothing_or_only_the_others() {
    let (tool, session, folder) = empty("rag_bad").await;
    let mut bad = line("2", "two");
    bad["embeddings"] = json!([[1, 2]]);
    let lines = [line("1", "one"), bad, json!({"text": "nameless"}), line("1", "again")];
    let path = write(folder.path(), "a.jsonl", &lines);
    let load = ["rag", "load", &path, "--repo", "r"];
    let said = tool.run(&load).await.expect(1);
    let report = said.lines()[0..].iter().find(|one| one["refused"].is_array()).unwrap().clone();
    let places: Vec<&str> = report["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["place"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["line 2", "line 3", "line 4"]);
    said.naming(&["3 documents are bad; nothing was loaded", "--skip-bad"]);
    for table in ["rag_knowledge_entries", "rag_documents", "rag_dead_letters"] {
        assert_eq!(count(&session, table).await, 0, "{table}");
    }
    let skip = [&load[..], &["--skip-bad"]].concat();
    tool.run(&skip).await.expect(1).naming(&["the others were loaded", "rag_dead_letters"]);
    assert_eq!(count(&session, "rag_documents WHERE source_id = '1'").await, 1);
    assert_eq!(count(&session, "rag_dead_letters").await, 1);
    tool.run(&skip).await.expect(1);
    let letter = "SELECT source_id, attempts, error, payload ->> 'text' FROM rag_dead_letters";
    let letter = session.query_one(letter, &[]).await.unwrap();
    assert_eq!((letter.get::<_, &str>(0), letter.get::<_, i32>(1)), ("2", 2));
    assert!(letter.get::<_, &str>(2).contains("line 2: the embedding of chunk 0 has 2 dimensions"));
    assert_eq!(letter.get::<_, &str>(3), "two");
    // Once it is right, nothing is left of its failures.
    let mended = write(folder.path(), "b.jsonl", &[line("2", "two")]);
    tool.run(&["rag", "load", &mended, "--repo", "r"]).await.expect(0);
    assert_eq!(count(&session, "rag_dead_letters").await, 0);
}

#[tokio::test]
async fn embeddings_come_along_and_go_with_their_text() {
    let (tool, session, folder) = empty("rag_vectors").await;
    let mut one = line("1", "the fence stands");
    one["embeddings"] = json!([axis(1)]);
    let two = json!({"source_type": "github.issue", "source_id": "2", "repo": "own",
        "chunks": [{"text": "a", "embedding": axis(2)}, {"text": "b"}],
        "source_updated_at": "2026-02-03T04:05:06Z"});
    let path = write(folder.path(), "a.jsonl", &[one.clone(), two.clone()]);
    let load = ["rag", "load", &path, "--repo", "r"];
    let first = tool.run(&load).await.expect(0).lines().pop().unwrap();
    assert_eq!((&first["chunks"], &first["embedded"]), (&json!(3), &json!(2)));
    let embedding = json!(axis(2)).to_string();
    let found = tool.run(&["rag", "search", "--embedding", &embedding]).await.expect(0).lines();
    assert_eq!((&found[0]["source_id"], &found[0]["repo"]), (&json!("2"), &json!("own")));
    assert_eq!(tool.run(&load).await.expect(0).lines().pop().unwrap()["chunks_written"], 0);
    // Without its embedding a text keeps the one it has; another text does not.
    write(folder.path(), "a.jsonl", &[line("1", "the fence stands")]);
    tool.run(&load).await.expect(0);
    let embedded = "rag_knowledge_entries WHERE source_id = '1' AND chunk_embedding IS NOT NULL";
    assert_eq!(count(&session, embedded).await, 1);
    write(folder.path(), "a.jsonl", &[line("1", "the fence fell")]);
    tool.run(&load).await.expect(0);
    assert_eq!(count(&session, embedded).await, 0);
}

/// Writes documents of one chunk of 40,000 characters each, which somebody else cut; returns the
/// file's bytes. Stop words alone: the server shall have little to do with them.
fn write_long(path: &Path, documents: usize) -> u64 {
    let text = "of the and to in ".repeat(2400);
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for number in 0..documents {
        let line = json!({"source_type": "github.doc", "source_id": number.to_string(),
            "chunks": [{"text": text}], "source_updated_at": "2026-02-03T04:05:06Z"});
        writeln!(file, "{line}").unwrap();
    }
    file.into_inner().unwrap().metadata().unwrap().len()
}

/// The most memory that a load had, as the kernel kept it (`VmHWM`), in bytes.
async fn peak_of_load(tool: &Tool, path: &Path) -> u64 {
    let begun = tool.begin(&["rag", "load", path.to_str().unwrap(), "--repo", "long"]);
    let status = format!("/proc/{}/status", begun.process());
    let ending = begun.end();
    tokio::pin!(ending);
    let mut peak = 0;
    let said = loop {
        tokio::select! {
            said = &mut ending => break said,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // One that has just ended has no such line any more.
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10;
        }
    };
    let said = said.expect(0).lines().pop().unwrap();
    assert_eq!(said["committed"], json!(true), "{said}");
    peak
}

#[tokio::test]
async fn a_load_needs_no_more_memory_for_a_larger_file() {
    let (tool, session, folder) = empty("rag_memory").await;
    let path = folder.path().join("long.jsonl");
    let short = write_long(&path, 100);
    let of_short = peak_of_load(&tool, &path).await;
    let long = write_long(&path, 600);
    let of_long = peak_of_load(&tool, &path).await;
    assert_eq!(count(&session, "rag_documents").await, 600);
    let told = format!("{of_short} bytes for {short}, {of_long} for {long}");
    assert!(short > 3 << 20 && long > 22 << 20, "{told}");
    // As much as anything that holds the vocabulary: it was looked at while it worked.
    assert!(of_short > 16 << 20 && of_long < MEMORY_LIMIT, "{told}");
    assert!(of_long < of_short + MEMORY_GROWTH, "{told}");
}

#[tokio::test]
async fn a_load_of_many_batches_and_documents_needs_few_locks() {
    // Other tests on this server have locks of their own.
    const OWN_LOCKS: &str = "pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    let (tool, session, folder) = empty("rag_many").await;
    // More documents than the server's table of locks would hold one by one.
    let lines: Vec<Value> = (0..2500).map(|n| line(&n.to_string(), &format!("text {n}"))).collect();
    let path = write(folder.path(), "a.jsonl", &lines);
    let said = tool.run(&["rag", "load", &path, "--repo", "r"]).await.expect(0);
    assert_eq!(said.lines().pop().unwrap()["chunks_written"], json!(2500));
    assert_eq!(count(&session, "rag_documents").await, 2500);
    session.batch_execute("BEGIN; CREATE TEMPORARY TABLE t AS TABLE rag_documents").await.unwrap();
    session.batch_execute("SELECT rag_lock_documents('t')").await.unwrap();
    let locks = count(&session, OWN_LOCKS).await;
    assert!((900..=1024).contains(&locks), "{locks}");
    session.batch_execute("ROLLBACK").await.unwrap();
}
