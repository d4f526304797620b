//! A well-known database with old-style inheritance, rules, triggers and one owner for everything
//! goes there and back.

use std::path::{Path, PathBuf};

use xtask::process::{Invocation, find_program};

use crate::support::{fresh_databases, pair, skip};
use crate::tool::{Tool, ask, sql};

/// The sample beside the workspace, where somebody put it.
fn dataset() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let beside = [workspace.parent()?.join("shared"), workspace.parent()?.to_path_buf()];
    let folders = beside.map(|folder| folder.join("datasets/pagila"));
    folders.into_iter().find(|folder| folder.join("schema.sql").is_file())
}

/// Rows and sums that a changed or lost payment would change.
const PAYMENTS: &str = "SELECT string_agg(tableoid::regclass || ':' || rows || ':' || sum, ' '
        ORDER BY tableoid::regclass::text)
    FROM (SELECT tableoid, count(*) AS rows, sum(amount) AS sum FROM public.payment
          GROUP BY tableoid) AS by_table";

#[tokio::test]
async fn pagila_goes_there_and_back() {
    let Some(folder) = dataset() else { skip!("datasets/pagila is not beside the workspace") };
    let Some(psql) = find_program("psql") else { skip!("psql is not installed") };
    let (source, target) = fresh_databases("pagila").await;
    for file in ["schema.sql", "data.sql"] {
        let mut load = Invocation::new(&psql)
            .arguments(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file"])
            .argument(folder.join(file));
        for (name, value) in source.libpq_environment() {
            load = load.variable(name, value);
        }
        load.run().await.expect("the sample loads");
    }
    let tool = Tool::new(pair().await, source, target);
    let before = ask(&tool.source, PAYMENTS).await.unwrap();
    assert!(before.contains("payment_p2007_06"), "{before}");

    let said = tool.run(&["cutover", "plan"]).await.expect(1);
    said.naming(&["public.payment_p2007_01", "REPLICA IDENTITY FULL"]);
    let planned = tool.run(&["cutover", "plan"]).await.lines().remove(0);
    for refusal in planned["refusals"].as_array().unwrap() {
        let fix = refusal["fix"].as_str().unwrap();
        sql(&tool.source, fix.strip_prefix("on the source: ").expect("a statement")).await;
    }

    tool.run(&["cutover", "start"]).await.expect(0);
    tool.run(&["cutover", "switch"]).await.expect(0);
    assert_eq!(ask(&tool.target, PAYMENTS).await.unwrap(), before);
    // Rules and triggers work where the service now is: the rule sends the row to its child.
    sql(
        &tool.target,
        "INSERT INTO public.payment (customer_id, staff_id, rental_id, amount, payment_date)
             VALUES (1, 1, 1, 9.99, '2007-02-15');
         UPDATE public.film SET title = 'MOVED' WHERE film_id = 1;
         DELETE FROM public.payment_p2007_01 WHERE payment_id =
             (SELECT min(payment_id) FROM public.payment_p2007_01)",
    )
    .await;
    let after = ask(&tool.target, PAYMENTS).await.unwrap();
    assert_ne!(after, before);
    tool.run(&["rollback", "--yes"]).await.expect(0);
    assert_eq!(ask(&tool.source, PAYMENTS).await.unwrap(), after);
    let question = "SELECT fulltext @@ to_tsquery('moved') FROM public.film WHERE film_id = 1";
    assert_eq!(ask(&tool.source, question).await.as_deref(), Some("true"));
}
