//! Planted differences in rows and sequences.

use super::{EXAMPLE, certificate, only_row, pin, planted, quiet, run};
use crate::support::{fresh_database, fresh_databases, pair};
use xtask::cutover::verify::Mode;

fn texts(values: [&str; 2]) -> [Option<String>; 2] {
    values.map(|text| Some(text.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_sides_pass() {
    let certificate = planted("verify_equal", "").await;
    assert!(certificate.passes(), "{certificate:#?}");
    assert_eq!((certificate.rows, certificate.sequences_compared), (402, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_of_a_bytea() {
    let plant = "UPDATE item SET file = set_bit(file, 77, 1 - get_bit(file, 77)) WHERE id = 7";
    let (key, column, source, target) = only_row(&planted("verify_bit", plant).await);
    assert_eq!((key.as_str(), column.as_deref()), ("id=7", Some("file")));
    assert_ne!(source, target);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numeric_with_another_scale() {
    let plant = "UPDATE item SET price = 1.00 WHERE id = 10; UPDATE item SET price = price";
    let (source, target) = fresh_databases("verify_scale").await;
    for (side, price) in [(&source, "1.0"), (&target, "1.00")] {
        run(side, EXAMPLE).await;
        run(side, plant).await;
        run(side, &format!("UPDATE item SET price = {price} WHERE id = 10")).await;
    }
    let mode = Mode::Live { barrier: Some(quiet()) };
    let (key, column, one, other) = only_row(&certificate(&source, &target, mode).await);
    assert_eq!((key.as_str(), column.as_deref()), ("id=10", Some("price")));
    assert_eq!([one, other], texts(["1.0", "1.00"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_in_jsonb_with_another_scale() {
    let plant = r#"UPDATE item SET facts = '{"a": 5.0}' WHERE id = 5"#;
    let (key, column, source, target) = only_row(&planted("verify_jsonb", plant).await);
    assert_eq!((key.as_str(), column.as_deref()), ("id=5", Some("facts")));
    assert_eq!([source, target], texts([r#"{"a": 5}"#, r#"{"a": 5.0}"#]));
}

#[tokio::test(flavor = "multi_thread")]
async fn minus_zero_is_not_zero() {
    let (source, target) = fresh_databases("verify_zero").await;
    for (side, weight) in [(&source, "0"), (&target, "-0")] {
        run(side, EXAMPLE).await;
        run(side, &format!("UPDATE item SET weight = '{weight}' WHERE id = 3")).await;
    }
    let mode = Mode::Live { barrier: Some(quiet()) };
    let (key, column, one, other) = only_row(&certificate(&source, &target, mode).await);
    assert_eq!((key.as_str(), column.as_deref()), ("id=3", Some("weight")));
    assert_eq!([one, other], texts(["0", "-0"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_not_empty() {
    let plant = "UPDATE item SET name = '' WHERE id = 4";
    let (source, target) = fresh_databases("verify_null").await;
    run(&source, &format!("{EXAMPLE}; UPDATE item SET name = NULL WHERE id = 4")).await;
    run(&target, &format!("{EXAMPLE}; {plant}")).await;
    let mode = Mode::Live { barrier: Some(quiet()) };
    let (_, column, one, other) = only_row(&certificate(&source, &target, mode).await);
    assert_eq!(column.as_deref(), Some("name"));
    assert_eq!((one, other.as_deref()), (None, Some("")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row() {
    let found = planted("verify_missing", "DELETE FROM item WHERE id = 42").await;
    let (key, column, source, target) = only_row(&found);
    assert_eq!((key.as_str(), column, target), ("id=42", None, None));
    assert!(source.is_some_and(|row| row.contains("name 42")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extra_row() {
    let plant = "INSERT INTO item (id, name) VALUES (1000, 'extra')";
    let (key, column, source, target) = only_row(&planted("verify_extra", plant).await);
    assert_eq!((key.as_str(), column, source), ("id=1000", None, None));
    assert!(target.is_some_and(|row| row.contains("extra")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_row_without_a_key() {
    let plant = "INSERT INTO line VALUES ('twice', 1)";
    let (key, _, source, target) = only_row(&planted("verify_duplicate", plant).await);
    assert_eq!(key, "(no key)");
    assert_eq!([source, target], texts(["2 × (twice,1)", "3 × (twice,1)"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_differences_are_counted_and_the_first_are_shown() {
    let found = planted("verify_many", "UPDATE item SET name = 'gone' WHERE id % 2 = 0").await;
    let item = found.tables.iter().find(|table| table.name == "item").unwrap();
    assert_eq!((item.difference_count, item.differences.len()), (100, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_large_table_with_a_key_of_texts() {
    let (source, target) = fresh_databases("verify_large").await;
    for side in [&source, &target] {
        let sql = "CREATE TABLE big (a text, b integer, v text, PRIMARY KEY (a, b));
            INSERT INTO big SELECT 'key ' || g % 1000, g, md5(g::text)
              FROM generate_series(1, 250000) AS g;
            ANALYZE big;";
        run(side, sql).await;
    }
    let plant = "UPDATE big SET v = 'other' WHERE b IN (77, 100001, 249999);
        DELETE FROM big WHERE b = 5; INSERT INTO big VALUES ('zzz', -1, 'new')";
    run(&target, plant).await;
    let (source_pin, _one) = pin(&source).await;
    let (target_pin, _other) = pin(&target).await;
    let mode = Mode::Pinned { source: source_pin, target: target_pin, barrier: None };
    let found = certificate(&source, &target, mode).await;
    assert_eq!(found.difference_count(), 5);
    let mut keys: Vec<&str> =
        found.tables[0].differences.iter().map(|row| row.key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "a=key 1, b=100001",
        "a=key 5, b=5",
        "a=key 77, b=77",
        "a=key 999, b=249999",
        "a=zzz, b=-1",
    ];
    assert_eq!(keys, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sides_that_may_order_texts_differently() {
    let pair = pair().await;
    let source = fresh_database(&pair.source.endpoint("postgres"), "verify_text_order").await;
    let maintenance = pair.target.endpoint("postgres");
    let create = "CREATE DATABASE verify_text_order TEMPLATE template0
        LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'";
    run(&maintenance, create).await;
    let target = maintenance.with_database("verify_text_order");
    for side in [&source, &target] {
        let sql = "CREATE TABLE word (word text PRIMARY KEY, number integer);
            INSERT INTO word SELECT chr(65 + g % 58) || md5(g::text), g
              FROM generate_series(1, 20000) AS g; ANALYZE word";
        run(side, sql).await;
    }
    run(&target, "DELETE FROM word WHERE number = 5000").await;
    let found = certificate(&source, &target, Mode::Live { barrier: Some(quiet()) }).await;
    let word = &found.tables[0];
    assert_eq!((word.source_rows, word.target_rows, word.difference_count), (20_000, 19_999, 1));
    assert_eq!((found.schema[0].kind.as_str(), found.schema.len()), ("database", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_behind_by_one() {
    let found = planted("verify_behind", "SELECT setval('item_id_seq', 199)").await;
    assert_eq!(found.difference_count(), 1);
    assert_eq!(found.sequences[0].sequence, "public.item_id_seq");
    assert_eq!(found.sequences[0].source.as_deref(), Some("200 (given out)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_whose_value_is_not_yet_given_out() {
    let found = planted("verify_called", "SELECT setval('item_id_seq', 200, false)").await;
    assert_eq!(found.difference_count(), 1);
    assert_eq!(found.sequences[0].target.as_deref(), Some("200 (not yet given out)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_have_a_name_that_does_not_depend_on_the_run() {
    let (source, target) = fresh_databases("verify_named").await;
    run(&source, EXAMPLE).await;
    run(&target, &format!("{EXAMPLE}; DELETE FROM item WHERE id IN (5, 6)")).await;
    let mode = || Mode::Live { barrier: Some(quiet()) };
    let first = certificate(&source, &target, mode()).await;
    let second = certificate(&source, &target, mode()).await;
    assert_ne!(first.seeds, second.seeds);
    assert_eq!(first.digest_of_differences(), second.digest_of_differences());
    run(&target, "DELETE FROM item WHERE id = 7").await;
    let third = certificate(&source, &target, mode()).await;
    assert_ne!(first.digest_of_differences(), third.digest_of_differences());
}
