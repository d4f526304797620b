//! `index`: keys, indexes and constraints but foreign keys, after the rows; then statistics.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::cutover::drive::Seen;
use crate::cutover::engine::Engine;
use crate::cutover::steps::{evidence, schema};
use crate::pg::endpoint::{Endpoint, Session, identifier, qualified};
use crate::process::Invocation;

/// How long building all indexes may take.
const INDEX_LIMIT: Duration = Duration::from_secs(48 * 3600);
/// How often progress is told while `pg_restore` works.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The kinds of entries of a dump that are built here, as its table of contents names them.
const BUILT_HERE: [&str; 4] = ["INDEX", "INDEX ATTACH", "CONSTRAINT", "STATISTICS"];

/// Builds what is missing. What an interrupted attempt built is dropped and built again, since
/// nobody can tell from outside which of it is whole.
///
/// # Errors
/// A constraint does not hold on the rows, the disk is full, or a program fails.
pub async fn act(engine: &mut Engine) -> Result<()> {
    schema::end_programs(engine).await?;
    let (source, target) = engine.sessions().await?;
    let wanted = index_names(&source).await?;
    if missing(&wanted, &index_names(&target).await?) > 0 {
        drop_indexes(&target, !engine.plan.kept.is_empty()).await?;
        let list = write_list(engine, "post-data", |kind| BUILT_HERE.contains(&kind)).await?;
        let jobs = format!("--jobs={}", engine.options.jobs);
        let list = format!("--use-list={}", list.display());
        let arguments = ["--section=post-data", &jobs, &list];
        let building = schema::restore(engine, &arguments, INDEX_LIMIT);
        tokio::select! {
            built = building => built?,
            () = tell(engine, &target, wanted.len()) => {}
        }
    }
    analyze(engine).await
}

/// Names of indexes, valid and ready ones only.
async fn index_names(session: &Session) -> Result<Vec<String>> {
    let rows = session
        .query(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index AS i
             JOIN pg_class AS c ON c.oid = i.indexrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE i.indisvalid AND i.indisready
               AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'xtask_cutover')
               AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                               AND d.objid IN (i.indexrelid, i.indrelid) AND d.deptype = 'e')",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn missing(wanted: &[String], present: &[String]) -> usize {
    wanted.iter().filter(|name| !present.contains(name)).count()
}

/// Those of search stay where they stood before the run.
async fn drop_indexes(target: &Session, keeps_search: bool) -> Result<()> {
    let rows = target
        .query(
            "SELECT format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE',
                           c.conrelid::regclass, c.conname), 1 AS rank
             FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
             WHERE c.contype IN ('p', 'u', 'x') AND c.conparentid = 0
               AND NOT ($1 AND t.relname LIKE 'rag\\_%')
               AND t.relnamespace NOT IN ('pg_catalog'::regnamespace, 'xtask_cutover'::regnamespace)
               AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                               AND d.objid = t.oid AND d.deptype = 'e')
             UNION ALL
             SELECT format('DROP INDEX IF EXISTS %s CASCADE', i.indexrelid::regclass), 2
             FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid
             WHERE NOT ($1 AND t.relname LIKE 'rag\\_%')
               AND t.relkind IN ('r', 'p', 'm') AND NOT EXISTS (
                     SELECT FROM pg_inherits AS h WHERE h.inhrelid = i.indexrelid)
               AND t.relnamespace NOT IN ('pg_catalog'::regnamespace, 'xtask_cutover'::regnamespace,
                                          'pg_toast'::regnamespace)
               AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                               AND d.objid = t.oid AND d.deptype = 'e')
             UNION ALL
             SELECT format('DROP STATISTICS IF EXISTS %I.%I', stxnamespace::regnamespace, stxname),
                    3
             FROM pg_statistic_ext
             ORDER BY rank",
            &[&keeps_search],
        )
        .await?;
    for row in rows {
        let statement: String = row.get(0);
        target.batch_execute(&statement).await.with_context(|| statement.clone())?;
    }
    Ok(())
}

/// Writes the part of a section of the dump's table of contents whose kind is wanted, for
/// `--use-list`.
///
/// # Errors
/// `pg_restore` cannot read the dump, or the file cannot be written.
pub async fn write_list(
    engine: &Engine,
    section: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<std::path::PathBuf> {
    let programs = engine.programs.as_ref().context("pg_restore was not looked for")?;
    let contents = Invocation::new(&programs.pg_restore)
        .argument("--list")
        .argument(format!("--section={section}"))
        .argument(schema::dump_file(engine))
        .run()
        .await
        .context("list the schema dump")?;
    let wanted: Vec<&str> = contents
        .lines()
        .filter(|line| !line.starts_with(';') && is_wanted(kind_of(line)))
        .collect();
    let path = schema::list_file(engine);
    std::fs::write(&path, wanted.join("\n") + "\n").context("write the list to restore")?;
    Ok(path)
}

/// The kind of an entry: `3400; 2606 16395 FK CONSTRAINT public orders orders_fkey owner`.
fn kind_of(line: &str) -> &str {
    const KINDS: [&str; 17] = [
        "SCHEMA",
        "COMMENT - EXTENSION",
        "FK CONSTRAINT",
        "CHECK CONSTRAINT",
        "CONSTRAINT",
        "INDEX ATTACH",
        "INDEX",
        "STATISTICS",
        "EVENT TRIGGER",
        "TRIGGER",
        "RULE",
        "ROW SECURITY",
        "POLICY",
        "DEFAULT ACL",
        "COMMENT",
        "MATERIALIZED VIEW DATA",
        "SECURITY LABEL",
    ];
    let rest = line.splitn(4, ' ').nth(3).unwrap_or("");
    KINDS.into_iter().find(|kind| rest.starts_with(kind)).unwrap_or("OTHER")
}

/// Tells how many indexes there are by now; ends never.
async fn tell(engine: &Engine, target: &Session, wanted: usize) {
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        if let Ok(names) = index_names(target).await {
            engine.story.progress("index", names.len() as u64, wanted as u64, "indexes");
        }
    }
}

/// Statistics for every table, several at once: without them the first queries plan badly.
async fn analyze(engine: &Engine) -> Result<()> {
    let mut tables = engine.plan.tables.iter().map(|table| qualified(&table.schema, &table.name));
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    let batches: Vec<Vec<String>> = {
        let all: Vec<String> = tables.by_ref().collect();
        let jobs = engine.options.jobs.max(1);
        (0..jobs).map(|job| all.iter().skip(job).step_by(jobs).cloned().collect()).collect()
    };
    for batch in batches {
        let endpoint: Endpoint = engine.target.endpoint.clone();
        tasks.spawn(async move {
            let session = endpoint.connect("analyze").await?;
            for table in batch {
                session.batch_execute(&format!("ANALYZE {table}")).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a worker of ANALYZE broke")??;
    }
    Ok(())
}

/// Done when every index of the source is there and valid, and tables have statistics.
///
/// # Errors
/// A server cannot be asked.
pub async fn look(engine: &mut Engine) -> Result<Seen> {
    let (source, target) = engine.sessions().await?;
    let wanted = index_names(&source).await?;
    if missing(&wanted, &index_names(&target).await?) > 0 {
        return Ok(Seen::NotDone);
    }
    let unanalyzed: i64 = target
        .query_one(
            "SELECT count(*) FROM pg_stat_user_tables
             WHERE schemaname <> 'xtask_cutover' AND last_analyze IS NULL
               AND last_autoanalyze IS NULL
               AND format('%I.%I', schemaname, relname) = ANY ($1)",
            &[&rowful_names(engine)],
        )
        .await?
        .get(0);
    match unanalyzed {
        0 => Ok(Seen::Done(evidence! { "indexes": wanted.len() })),
        _ => Ok(Seen::NotDone),
    }
}

/// The tables as `format('%I.%I')` would write them, wherever quoting is not needed.
fn rowful_names(engine: &Engine) -> Vec<String> {
    let plain = |name: &str| {
        let simple = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && name
                .chars()
                .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
        if simple { name.to_string() } else { identifier(name) }
    };
    let tables = engine.plan.tables.iter();
    tables.map(|table| format!("{}.{}", plain(&table.schema), plain(&table.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_a_table_of_contents() {
        assert_eq!(
            kind_of("3400; 2606 16395 FK CONSTRAINT public a b_fkey owner"),
            "FK CONSTRAINT"
        );
        assert_eq!(kind_of("3396; 2606 16389 CONSTRAINT public a a_pkey owner"), "CONSTRAINT");
        assert_eq!(kind_of("3397; 0 0 INDEX ATTACH public p_pkey owner"), "INDEX ATTACH");
        assert_eq!(kind_of("3399; 1259 16400 INDEX public my index owner"), "INDEX");
        assert_eq!(kind_of("7; 2615 16386 SCHEMA - app owner"), "SCHEMA");
        assert_eq!(kind_of("3500; 0 0 ACL - SCHEMA app owner"), "OTHER");
        assert_eq!(kind_of("3501; 0 0 COMMENT - EXTENSION vector "), "COMMENT - EXTENSION");
    }
}
