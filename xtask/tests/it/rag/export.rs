//! `rag export`: what the store has is there afterwards, whoever misbehaves, and nothing else is.

use std::path::Path;

use serde_json::{Value, json};
use xtask::config;
use xtask::pg::endpoint::Session;

use super::services::{Fault, Service};
use super::{empty, install};
use crate::support::{eventually, fresh_databases, skip};
use crate::tool::Tool;

/// Both services, and what they call a collection here.
const SERVICES: [(&str, &str); 2] = [("qdrant", "knowledge"), ("weaviate", "Knowledge")];

/// A vector that is no unit, for one chunk.
fn embedding(number: usize) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..768).map(|axis| (axis as f32).sin() / 7.0).collect();
    vector[number] = 1.5;
    vector
}

/// Fills a store with so many documents of two chunks each; the second has no embedding.
async fn fill(tool: &Tool, folder: &Path, documents: usize) {
    let line = |number: usize| {
        json!({"repo": "rbx/robson", "source_type": "github.doc",
            "source_id": format!("docs/{number}.md"), "author": format!("author{}", number % 2),
            "metadata": {"labels": ["ops", "ä \"quoted\""], "deep": {"n": [1, 2.5, null]}},
            "source_updated_at": "2026-02-03T04:05:06.789012Z",
            "chunks": [{"text": format!("the fence of {number}"), "embedding": embedding(number)},
                {"text": "second\nline\u{1f980}"}]})
    };
    let lines: Vec<String> = (0..documents).map(|number| line(number).to_string()).collect();
    let path = folder.join("fill.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    tool.run(&["rag", "load", path.to_str().unwrap()]).await.expect(0);
}

fn arguments<'all>(kind: &'all str, url: &'all str, name: &'all str) -> Vec<&'all str> {
    vec!["rag", "export", "--to", kind, "--url", url, "--collection", name]
}

/// The figures of an export: chunks, written, removed, foreign, read back.
fn figures(said: &Value) -> [u64; 5] {
    ["chunks", "written", "removed", "foreign", "read_back"].map(|key| said[key].as_u64().unwrap())
}

#[tokio::test]
async fn an_export_makes_the_other_side_equal_and_again_sends_nothing() {
    let (tool, session, folder) = empty("rag_export").await;
    fill(&tool, folder.path(), 12).await;
    for (kind, name) in SERVICES {
        let service = Service::start(None);
        let export = arguments(kind, &service.url, name);
        let said = tool.run(&export).await.expect(0).lines().pop().unwrap();
        assert_eq!(figures(&said), [24, 24, 0, 0, 24], "{said}");
        assert_eq!(said["embedded"], json!(12));
        let kept = service.state().collections[name].clone();
        assert_eq!(kept.points.len(), 24);
        let shape = kept.shape.to_string();
        assert!(shape.to_lowercase().contains(r#""distance":"cosine""#), "{shape}");
        let (payload, _) = kept.points.values().next().unwrap();
        assert_eq!(payload["source_updated_at"], json!("2026-02-03T04:05:06.789012Z"));
        assert_eq!(payload["labels"], json!(["ops", "ä \"quoted\""]));
        let again = tool.run(&export).await.expect(0).lines().pop().unwrap();
        assert_eq!(figures(&again), [24, 0, 0, 0, 24], "{again}");
    }
    follow_the_store(&tool, &session).await;
    shown_to_people(&tool).await;
}

/// What changed is sent, what went is removed, and what is somebody else's stays.
async fn follow_the_store(tool: &Tool, session: &Session) {
    for (kind, name) in SERVICES {
        let service = Service::start(None);
        let export = arguments(kind, &service.url, name);
        tool.run(&export).await.expect(0);
        let stranger = uuid::Uuid::from_u128(7);
        let mine = json!({"repo": "rbx/robson", "chunk_index": 1});
        let kept = |service: &Service| service.state().collections[name].points.len();
        service.state().collections.get_mut(name).unwrap().points.insert(stranger, (mine, None));
        session.batch_execute("BEGIN").await.unwrap();
        session
            .batch_execute(
                "UPDATE rag_knowledge_entries SET chunk_text = 'changed'
                 WHERE source_id = 'docs/1.md' AND chunk_index = 0;
                 SELECT rag_delete_document('rbx/robson', 'github.doc', 'docs/2.md'); COMMIT",
            )
            .await
            .unwrap();
        let said = tool.run(&export).await.expect(0).lines().pop().unwrap();
        assert_eq!(figures(&said), [22, 1, 2, 1, 22], "{said}");
        assert_eq!(kept(&service), 23);
        let with_deleted = [&export[..], &["--include-deleted"]].concat();
        let said = tool.run(&with_deleted).await.expect(0).lines().pop().unwrap();
        assert_eq!(figures(&said), [24, 2, 0, 1, 24], "{said}");
        let back = "UPDATE rag_knowledge_entries SET deleted = false, chunk_text = 'again'
            WHERE deleted OR chunk_text = 'changed'";
        session.batch_execute(back).await.unwrap();
        tool.run(&export).await.expect(0);
        // The wrong database must not empty what another filled.
        session.batch_execute("UPDATE rag_knowledge_entries SET deleted = true").await.unwrap();
        tool.run(&export).await.expect(1).naming(&["is empty", "24 points of an earlier export"]);
        assert_eq!(kept(&service), 25);
        session.batch_execute("UPDATE rag_knowledge_entries SET deleted = false").await.unwrap();
    }
}

async fn shown_to_people(tool: &Tool) {
    let service = Service::start(None);
    let said = tool.run_as_text(&arguments("qdrant", &service.url, "a b")).await.expect(0);
    for wanted in ["24 written", "0 removed", "EQUAL: ", "/collections/a%20b"] {
        assert!(said.stdout.contains(wanted), "{}", said.stdout);
    }
}

#[tokio::test]
async fn a_killed_export_goes_on_where_it_was() {
    let (tool, _session, folder) = empty("rag_export_killed").await;
    fill(&tool, folder.path(), 10).await;
    for (kind, name) in SERVICES {
        let service = Service::start(None);
        service.fault(Fault::StallAfter(5));
        let export = [&arguments(kind, &service.url, name)[..], &["--batch", "3"]].concat();
        let begun = tool.begin(&export);
        eventually("the fifth write", || service.is_stalled()).await;
        // Nobody else may export there meanwhile.
        tool.run(&export).await.expect(1).naming(&["another export", "is at work"]);
        begun.kill().await;
        assert_eq!(service.state().collections[name].points.len(), 15);
        // The server may need a moment to see that the killed client is gone.
        let mut said = tool.run(&export).await;
        while said.code == 1 && said.error().contains("is at work") {
            said = tool.run(&export).await;
        }
        let said = said.expect(0).lines().pop().unwrap();
        assert_eq!(figures(&said), [20, 5, 0, 0, 20], "{said}");
    }
}

#[tokio::test]
async fn a_service_that_is_busy_loses_answers_or_lies_is_dealt_with() {
    let (tool, _session, folder) = empty("rag_export_faults").await;
    fill(&tool, folder.path(), 3).await;
    for (kind, name) in SERVICES {
        let service = Service::start(None);
        let export = arguments(kind, &service.url, name);
        service.fault(Fault::Answer(429, "retry-after: 0\r\n"));
        service.fault(Fault::Answer(503, ""));
        let said = tool.run_as_text(&export).await.expect(0);
        for wanted in ["answers 429", "again in 0ns", "answers 503", "again in 1s"] {
            assert!(said.stderr.contains(wanted), "{wanted}: {}", said.stderr);
        }
        service.fault(Fault::Answer(429, "retry-after: 3600\r\n"));
        tool.run(&export).await.expect(3).naming(&["answers 429", "run the same command later"]);
        service.fault(Fault::Answer(302, "location: http://127.0.0.1:1/\r\n"));
        tool.run(&export).await.expect(2).naming(&["sends us elsewhere"]);

        for (fault, found) in
            [(Fault::LosePoint, "1 points lack or differ"), (Fault::ChangeVector, "the vector of")]
        {
            service.state().collections.clear();
            service.fault(fault);
            tool.run(&export).await.expect(3).naming(&["not equal to the store", found]);
        }
        // An answer that is lost, of the making of the collection too, is asked for again.
        service.state().collections.clear();
        service.fault(Fault::Answer(503, "retry-after: 0\r\n"));
        service.fault(Fault::LoseAnswer);
        service.fault(Fault::LoseAnswer);
        tool.run(&export).await.expect(0);
    }
}

#[tokio::test]
async fn a_service_of_another_shape_or_with_a_key_is_named() {
    let (tool, _session, folder) = empty("rag_export_refused").await;
    fill(&tool, folder.path(), 1).await;
    let key = folder.path().join("key");
    std::fs::write(&key, "a-key-of-this-test\n").unwrap();
    let key = key.to_str().unwrap();
    for (kind, name) in SERVICES {
        let service = Service::start(Some("a-key-of-this-test"));
        let export = arguments(kind, &service.url, name);
        tool.run(&export).await.expect(2).naming(&["refuses us (401)", "--api-key-env"]);
        let with_key = [&export[..], &["--api-key-file", key]].concat();
        let said = tool.run(&with_key).await.expect(0);
        assert!(!format!("{}{}", said.stdout, said.stderr).contains("a-key-of-this-test"));
        let unset = [&export[..], &["--api-key-env", "XTASK_TEST_UNSET"]].concat();
        tool.run(&unset).await.expect(2).naming(&["XTASK_TEST_UNSET is not set"]);
        let other = match kind {
            "qdrant" => json!({"size": 384, "distance": "Dot"}),
            _ => json!({"vectorizer": "text2vec-openai"}),
        };
        service.state().collections.get_mut(name).unwrap().shape = other;
        let said = tool.run(&with_key).await.expect(1);
        match kind {
            "qdrant" => said.naming(&["384 dimensions and distance Dot", "has 768 dimensions"]),
            _ => said.naming(&["vectorizer text2vec-openai"]),
        };
    }
    let nobody = arguments("qdrant", "http://127.0.0.1:1", "a");
    tool.run(&nobody).await.expect(3).naming(&["cannot be reached"]);
    let plain = arguments("qdrant", "http://there.example:6333", "a");
    tool.run(&plain).await.expect(2).naming(&["without TLS", "--accept-plain-http"]);
    tool.run(&["rag", "export", "--to", "qdrant"]).await.expect(2).naming(&["needs --url"]);
    tool.run(&["rag", "export", "--to", "jsonl"]).await.expect(2).naming(&["needs --out"]);
}

#[tokio::test]
async fn a_file_of_the_store_is_loaded_again_as_it_was() {
    let (tool, session, folder) = empty("rag_export_lines").await;
    fill(&tool, folder.path(), 5).await;
    let file = folder.path().join("out.jsonl");
    let export = ["rag", "export", "--to", "jsonl", "--out", file.to_str().unwrap()];
    let said = tool.run(&export).await.expect(0).lines().pop().unwrap();
    assert_eq!((&said["chunks"], &said["documents"]), (&json!(10), &json!(5)), "{said}");

    let (_, other) = fresh_databases("rag_export_loaded").await;
    let copy = install(&other).await;
    let target = other.secret_conninfo();
    tool.run(&["rag", "load", export[5], "--target", &target]).await.expect(0);
    let all = "SELECT string_agg(concat_ws('|', repo, source_type, source_id, chunk_index,
            chunk_text, chunk_hash, chunk_embedding, metadata, author, labels, source_updated_at),
            E'\\n' ORDER BY repo, source_type, source_id, chunk_index)
        FROM rag_knowledge_entries";
    let text = |row: tokio_postgres::Row| row.get::<_, String>(0);
    let one = text(session.query_one(all, &[]).await.unwrap());
    assert_eq!(one, text(copy.query_one(all, &[]).await.unwrap()));

    // What one line cannot say is refused by name, and the file stays as it was.
    let before = std::fs::read(&file).unwrap();
    let hide = "UPDATE rag_knowledge_entries SET deleted = true
        WHERE source_id = 'docs/3.md' AND chunk_index = 0;
        UPDATE rag_knowledge_entries SET metadata = '{}'
        WHERE source_id = 'docs/4.md' AND chunk_index = 1";
    session.batch_execute(hide).await.unwrap();
    tool.run(&export).await.expect(1).naming(&[
        "2 documents",
        "docs/3.md: its chunk 0 is missing or deleted",
        "docs/4.md: the metadata of its chunks 0 and 1 differ",
    ]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // Nor does an empty store take its place.
    session.batch_execute("UPDATE rag_knowledge_entries SET deleted = true").await.unwrap();
    tool.run(&export).await.expect(1).naming(&["the store is empty"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
}

#[tokio::test]
async fn real_services_keep_what_they_are_given() {
    let (tool, _session, folder) = empty("rag_export_real").await;
    fill(&tool, folder.path(), 40).await;
    let mut lacking = Vec::new();
    for (kind, variable) in
        [("qdrant", "XTASK_TEST_QDRANT_URL"), ("weaviate", "XTASK_TEST_WEAVIATE_URL")]
    {
        let Some(url) = config::text(variable) else {
            lacking.push(variable);
            continue;
        };
        let name = format!("Xtask{}", std::process::id());
        let export = arguments(kind, &url, &name);
        let said = tool.run(&export).await.expect(0).lines().pop().unwrap();
        assert_eq!(figures(&said), [80, 80, 0, 0, 80], "{said}");
        let again = tool.run(&export).await.expect(0).lines().pop().unwrap();
        assert_eq!(figures(&again), [80, 0, 0, 0, 80], "{again}");
    }
    if !lacking.is_empty() {
        skip!("no address of a real service in {}", lacking.join(" and "));
    }
}
