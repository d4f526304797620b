//! `rag_search`: what it finds, what it never finds, by which index, and what it says no to.

use tokio_postgres::Row;
use xtask::pg::endpoint::{Session, literal};

use super::{empty, engine, filled, tool_on_filled};
use crate::support::{fresh_databases, pair, skip};
use crate::tool::Tool;

/// The embedding of one chunk, as an argument.
const LIKE_700: &str =
    "(SELECT chunk_embedding FROM rag_knowledge_entries WHERE source_id = 'document 700')";

#[derive(Debug, Clone, PartialEq)]
struct Found {
    id: i64,
    score: f64,
    keyword_rank: Option<i32>,
    vector_rank: Option<i32>,
}

fn found(row: &Row) -> Found {
    Found { id: row.get(0), score: row.get(1), keyword_rank: row.get(2), vector_rank: row.get(3) }
}

async fn search(session: &Session, query: &str, vector: &str, k: i32, filter: &str) -> Vec<Found> {
    let filter = literal(filter);
    let sql = format!(
        "SELECT id, score, keyword_rank, vector_rank
         FROM rag_search({query}, {vector}, {k}, {filter}::jsonb)"
    );
    let rows = session.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(found).collect()
}

/// How many of these rows a condition holds for.
async fn matching(session: &Session, found: &[Found], condition: &str) -> usize {
    let ids: Vec<i64> = found.iter().map(|found| found.id).collect();
    let sql =
        format!("SELECT count(*) FROM rag_knowledge_entries WHERE id = ANY ($1) AND ({condition})");
    let row = session.query_one(&sql, &[&ids]).await.unwrap();
    usize::try_from(row.get::<_, i64>(0)).unwrap()
}

#[tokio::test]
async fn a_filter_holds_in_both_branches_and_still_gives_k() {
    let session = filled().await;
    for (filter, condition) in [
        (r#"{"repo":"shop/rare"}"#, "repo = 'shop/rare'"),
        (r#"{"source_type":["github.pr","github.issue"]}"#, "source_type <> 'github.doc'"),
        (r#"{"labels":["ops","night"]}"#, "labels @> '{ops,night}'"),
        (r#"{"author":"author2"}"#, "author = 'author2'"),
        (
            r#"{"since":"2026-02-01","until":"2026-03-01T00:00:00Z"}"#,
            "source_updated_at >= '2026-02-01+00' AND source_updated_at < '2026-03-01+00'",
        ),
        (
            r#"{"repo":["shop/main","other"],"labels":"ops","author":"author4"}"#,
            "repo = 'shop/main' AND 'ops' = ANY (labels) AND author = 'author4'",
        ),
    ] {
        let branches =
            [("'exchange'", "NULL"), ("NULL", LIKE_700), ("'exchange orders'", LIKE_700)];
        for (query, vector) in branches {
            let found = search(&session, query, vector, 10, filter).await;
            assert_eq!(found.len(), 10, "{filter} {query}");
            let kept = format!("{condition} AND NOT deleted");
            assert_eq!(matching(&session, &found, &kept).await, 10, "{filter} {query}");
        }
    }
    let nothing = search(&session, "'exchange'", LIKE_700, 10, r#"{"repo":"none"}"#).await;
    assert_eq!(nothing, []);
    let empty_list = search(&session, "'exchange'", LIKE_700, 10, r#"{"repo":[]}"#).await;
    assert_eq!(empty_list, []);
}

#[tokio::test]
async fn what_is_deleted_is_never_found() {
    let session = filled().await;
    // Its own words and its own embedding: nothing is nearer.
    let deleted = "(SELECT chunk_embedding FROM rag_knowledge_entries WHERE source_id =
        'document 703')";
    let found = search(&session, "'topic10 variant63'", deleted, 100, "{}").await;
    assert!(!found.is_empty());
    assert_eq!(matching(&session, &found, "deleted").await, 0);
}

#[tokio::test]
async fn a_common_word_gives_way_to_a_rarer_one_and_not_to_one_that_nobody_wrote() {
    let session = filled().await;
    let found = search(&session, "'exchange variant60 nobodywrote'", "NULL", 10, "{}").await;
    assert_eq!(matching(&session, &found, "chunk_text LIKE '%variant60 %'").await, 10);
    for filter in ["{}", r#"{"repo":"shop/rare"}"#] {
        let found = search(&session, "'exchange nobodywrote'", "NULL", 10, filter).await;
        assert_eq!(found.len(), 10, "{filter}");
    }
}

#[tokio::test]
async fn one_branch_alone_ranks_alone() {
    let session = filled().await;
    let words = search(&session, "'variant60 document 700'", "NULL", 5, "{}").await;
    assert!(words.iter().all(|found| found.vector_rank.is_none()), "{words:?}");
    assert_eq!(words[0].keyword_rank, Some(1));
    assert_eq!(matching(&session, &words[..1], "source_id = 'document 700'").await, 1);
    let meaning = search(&session, "NULL", LIKE_700, 5, "{}").await;
    let ranks: Vec<_> = meaning.iter().map(|found| found.vector_rank).collect();
    assert_eq!(ranks, [Some(1), Some(2), Some(3), Some(4), Some(5)]);
    assert_eq!(matching(&session, &meaning[..1], "source_id = 'document 700'").await, 1);
    // Near in meaning is of the same topic.
    assert_eq!(matching(&session, &meaning, "chunk_text LIKE 'topic10 %'").await, 5);
    // An empty text is no text.
    assert_eq!(search(&session, "'  '", LIKE_700, 5, "{}").await, meaning);
}

#[tokio::test]
async fn both_branches_are_joined_by_reciprocal_ranks_in_a_stable_order() {
    let session = filled().await;
    let k = 10_i32;
    let query = "'variant60'";
    // Each branch gives four times as many candidates as are asked for, at least 40.
    let words = search(&session, query, "NULL", 4 * k, "{}").await;
    let meaning = search(&session, "NULL", LIKE_700, 4 * k, "{}").await;
    let mut expected: Vec<Found> = Vec::new();
    for one in words.iter().chain(&meaning) {
        match expected.iter_mut().find(|found| found.id == one.id) {
            Some(found) => {
                found.score += one.score;
                found.vector_rank = one.vector_rank;
            }
            None => expected.push(one.clone()),
        }
    }
    expected.sort_by(|one, other| {
        other.score.total_cmp(&one.score).then_with(|| one.id.cmp(&other.id))
    });
    expected.truncate(usize::try_from(k).unwrap());
    let joined = search(&session, query, LIKE_700, k, "{}").await;
    let ids = |all: &[Found]| all.iter().map(|found| found.id).collect::<Vec<_>>();
    assert_eq!(ids(&joined), ids(&expected));
    for (one, wanted) in joined.iter().zip(&expected) {
        assert!((one.score - wanted.score).abs() < 1e-9, "{one:?} {wanted:?}");
        let part = |rank: Option<i32>| rank.map_or(0.0, |rank| 1.0 / (60.0 + f64::from(rank)));
        let sum = part(one.keyword_rank) + part(one.vector_rank);
        assert!((one.score - sum).abs() < 1e-9, "{one:?}");
    }
    assert!(joined.iter().any(|one| one.keyword_rank.is_some() && one.vector_rank.is_some()));
    for _ in 0..3 {
        assert_eq!(search(&session, query, LIKE_700, k, "{}").await, joined);
    }
}

#[tokio::test]
async fn each_branch_uses_its_index() {
    let session = filled().await;
    let sql = format!("SELECT rag_search_explain('topic10 variant60', {LIKE_700})");
    let rows = session.query(&sql, &[]).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan using idx_rag_knowledge_embedding"), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
    match engine(&pair().await.target.endpoint("postgres")).await {
        "paradedb" => assert!(plan.contains("TopKScanExecState"), "{plan}"),
        _ => {
            assert!(plan.contains("idx_rag_knowledge_terms"), "{plan}");
            skip!("the target has no pg_search, so TopKScanExecState is not looked for");
        }
    }
}

#[tokio::test]
async fn hostile_words_are_only_words() {
    let session = filled().await;
    for text in [
        "it's",
        "'); DROP TABLE rag_knowledge_entries; --",
        "%s %1$L $1",
        r"back\slash",
        "a & | ! b",
        "<mark>",
        "(((",
        "the",
        "\u{1f980} käse",
        "\"unfinished",
        ":*",
        "title:x AND",
        "[1 TO",
    ] {
        search(&session, &literal(text), LIKE_700, 3, "{}").await;
        search(&session, &literal(text), "NULL", 3, "{}").await;
        let filter = serde_json::json!({"repo": text, "labels": [text], "author": text});
        search(&session, "'exchange'", LIKE_700, 3, &filter.to_string()).await;
    }
    let found = search(&session, "'exchange'", "NULL", 3, "{}").await;
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn a_wrong_question_is_refused_with_what_is_wrong() {
    let tool = tool_on_filled().await;
    let cases: [(&[&str], &str); 6] = [
        (&["x", "--embedding", "[1,2,3]"], "the embedding has 3 dimensions, and the store has 768"),
        (&["x", "--k", "0"], "k is 0, and must be from 1 to 1000"),
        (&["x", "--k", "1001"], "k is 1001"),
        (&["x", "--since", "yesterdayish"], "yesterdayish"),
        (&["x", "--embedding", "/does/not/exist"], "cannot be read"),
        (&["  "], "needs a query, an embedding, or both"),
    ];
    for (arguments, wanted) in cases {
        let all = [&["rag", "search"], arguments].concat();
        tool.run(&all).await.expect(2).naming(&[wanted]);
    }
    let session = filled().await;
    for (filter, wanted) in [
        (r#"{"repos":"x"}"#, "unknown filter key \"repos\""),
        (r#"{"author":["x"]}"#, "filter key author cannot be"),
        (r#"{"repo":[1]}"#, "filter key repo cannot be"),
        ("[]", "the filter is a JSON array"),
    ] {
        let sql = format!("SELECT rag_search('x', NULL, 1, '{filter}')");
        let error = session.query(&sql, &[]).await.unwrap_err();
        let message = error.as_db_error().unwrap().message();
        assert!(message.contains(wanted), "{filter}: {message}");
    }
}

#[tokio::test]
async fn a_database_without_a_store_is_named_with_the_way_to_one() {
    let (source, target) = fresh_databases("rag_none").await;
    let tool = Tool::new(pair().await, source, target);
    let said = tool.run(&["rag", "search", "fence"]).await.expect(2);
    said.naming(&["has no function rag_search", "cargo xtask migrate up"]);
    tool.run(&["rag", "load", "/does/not/exist"]).await.expect(2).naming(&["cannot be read"]);
}

#[tokio::test]
async fn the_verb_shows_what_it_found() {
    let tool = tool_on_filled().await;
    let question =
        ["rag", "search", "variant60", "--k", "2", "--repo", "shop/main", "--label", "ops"];
    let said = tool.run_as_text(&question).await.expect(0);
    for wanted in ["github.", "document ", "variant60", "0.0164"] {
        assert!(said.stdout.contains(wanted), "{}", said.stdout);
    }
    assert!(!said.stdout.contains("<mark>") && !said.stdout.contains('\u{1b}'), "{}", said.stdout);
    let said = tool.run(&question).await.expect(0);
    let lines = said.lines();
    assert_eq!(lines.len(), 2, "{}", said.stdout);
    assert!(lines[0]["snippet"].as_str().unwrap().contains("<mark>variant60</mark>"));
    let said = tool.run(&["rag", "search", "variant60", "--repo", "none"]).await.expect(0);
    assert_eq!(said.stdout, "");
    let said = tool.run_as_text(&["rag", "search", "variant60", "--explain"]).await.expect(0);
    assert!(said.stdout.contains("Execution Time"), "{}", said.stdout);
}

#[tokio::test]
async fn a_role_that_only_searches_can_search_and_no_more() {
    let (tool, session, _folder) = empty("rag_roles").await;
    let roles = "CREATE ROLE rag_test_search LOGIN PASSWORD 'pw'; CREATE ROLE rag_test_none LOGIN
        PASSWORD 'pw'; SELECT rag_grant('', 'rag_test_search')";
    session.batch_execute(roles).await.unwrap();
    let search = |role: &'static str| {
        let endpoint = tool.target.with_user(role, "pw");
        async move {
            let session = endpoint.connect_as_client("test").await.unwrap();
            session.query("SELECT * FROM rag_search('fence')", &[]).await.map(|_| ())
        }
    };
    search("rag_test_search").await.unwrap();
    search("rag_test_none").await.unwrap_err();
    let writer = tool.target.with_user("rag_test_search", "pw");
    let writer = writer.connect_as_client("test").await.unwrap();
    writer.batch_execute("SELECT rag_delete_document('a', 'b', 'c')").await.unwrap_err();
}
