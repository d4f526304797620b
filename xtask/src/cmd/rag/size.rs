//! `rag size`: what a store of so many chunks needs, and whether a machine has it.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::bench::place;
use crate::failure::Failure;
use crate::migrate::Engine;
use crate::pg::endpoint::Endpoint;
use crate::rag::sample::FILL_LIMIT;
use crate::rag::size::{Compared, Need, Node, Plan, SLOWER_ON_DISK, TOLERANCE, measure};
use crate::rag::store::Store;
use crate::servers::pair::{self, PairOptions};
use crate::ui::{self, Format, Ui};

/// The machines that are judged when none is named, in bytes.
const MACHINES: [u64; 2] = [1 << 30, 8 << 30];
/// The database that is filled to measure.
const DATABASE: &str = "xtask_rag_size";

/// Arguments of `rag size`.
#[derive(Debug, clap::Args)]
#[command(after_help = "For chunks of 512 tokens (2,000 characters), on plain PostgreSQL, whose \
    full-text search keeps the terms in the table, or on ParadeDB, whose BM25 index has them. \
    The formulas and where their constants were \
    measured stand in xtask/src/rag/size.rs.\n\n\
    Examples:\n  cargo xtask rag size --chunks 100000\n  \
    cargo xtask rag size --chunks 10000 --measure\n  \
    cargo xtask rag size --chunks 100000 --engine paradedb --halfvec\n\n\
    Exit codes: 0 said, 1 a prediction is wrong by more than 15 %, 2 usage, 3 it failed.")]
pub struct Arguments {
    /// How many chunks
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    chunks: u64,
    /// How many dimensions an embedding has; HNSW takes up to 2000, or 4000 as halves
    #[arg(long = "dims", default_value_t = 768, value_name = "NUMBER",
        value_parser = clap::value_parser!(u64).range(1..=4000))]
    dimensions: u64,
    /// Embeddings as halfvec, with 2 bytes a number
    #[arg(long = "halfvec")]
    halves: bool,
    /// What the server is: the two keep keywords differently
    #[arg(long, value_enum, default_value_t = Engine::Postgres)]
    engine: Engine,
    /// Memory of the machine, such as 4GiB; may be repeated [default: 1GiB and 8GiB]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Vec<u64>,
    /// Fill a database of its own with so many chunks, and hold the prediction against it
    #[arg(long)]
    measure: bool,
    /// Measure on this server instead of starting one
    #[arg(long, value_name = "URL", requires = "measure")]
    target: Option<String>,
}

/// What is said.
#[derive(Serialize)]
struct Said {
    plan: Plan,
    need: Need,
    disk: u64,
    build_memory: u64,
    nodes: Vec<Node>,
    measured: Option<Vec<Compared>>,
}

/// Says what a store needs; measures where asked.
///
/// # Errors
/// A refusal where a prediction is wrong by too much; a failure where it could not be measured.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    let Arguments { chunks, dimensions, halves, engine, .. } = arguments;
    if dimensions > if halves { 4000 } else { 2000 } {
        return Err(Failure::usage("HNSW takes up to 2000 dimensions")
            .hint("with --halfvec it takes up to 4000")
            .into());
    }
    let plan = Plan { chunks, dimensions, halves, has_bm25: engine == Engine::Paradedb };
    let machines = if arguments.memory.is_empty() { &MACHINES[..] } else { &arguments.memory };
    let measured = match arguments.measure {
        true => Some(measured(&plan, engine, arguments.target.as_deref(), ui).await?),
        false => None,
    };
    let need = plan.need();
    let said = Said {
        plan,
        need,
        disk: need.disk(),
        build_memory: plan.graph(),
        nodes: machines.iter().map(|memory| Node::judge(&plan, *memory)).collect(),
        measured,
    };
    match ui.format() {
        Format::Json => ui.json(&said)?,
        Format::Text => ui.data(&text(&said)),
    }
    let wrong = said.measured.iter().flatten().filter(|part| part.error().abs() > TOLERANCE);
    let wrong: Vec<&str> = wrong.map(|part| part.part).collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "wrong by more than {:.0} %: {}",
            TOLERANCE * 100.0,
            wrong.join(", ")
        ))
        .into()),
    }
}

/// Fills a database that is dropped again, whatever becomes of it.
async fn measured(
    plan: &Plan,
    engine: Engine,
    target: Option<&str>,
    ui: &Ui,
) -> Result<Vec<Compared>> {
    let story = ui.story();
    let (pair, server) = match target {
        Some(target) => (None, Endpoint::parse(target)?),
        None => {
            let pair = pair::up(&PairOptions::default(), &story).await?;
            let server = pair.target.endpoint("postgres");
            (Some(pair), server)
        }
    };
    let endpoint = server.with_database(DATABASE);
    let measuring = async {
        place::make(&endpoint, engine.name()).await?;
        let store = Store::open(&endpoint, "size", FILL_LIMIT).await?;
        measure(&store, plan, &story).await
    };
    let found = measuring.await;
    let dropped = place::drop_database(&endpoint).await;
    if let Some(pair) = pair {
        pair.down().await?;
    }
    let found = found?;
    dropped?;
    Ok(found)
}

/// Reads a size such as `1GiB` or `512MiB`.
fn memory(text: &str) -> Result<u64, String> {
    let units = [("GiB", 30), ("Gi", 30), ("MiB", 20), ("Mi", 20)];
    let found = units.iter().find_map(|(unit, power)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(1 << power)
    });
    match found {
        Some(bytes) if bytes >= 64 << 20 => Ok(bytes),
        _ => Err("write a size of at least 64MiB, such as 512MiB or 4GiB".into()),
    }
}

fn text(said: &Said) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let mut header = vec!["", "bytes a chunk", "in all"];
    if said.measured.is_some() {
        header.extend(["found", "wrong by"]);
    }
    table.set_header(header);
    for (number, (name, bytes)) in said.need.parts().into_iter().enumerate() {
        let mut row = vec![name.to_string(), each(bytes, said), ui::bytes(bytes)];
        if let Some(part) = said.measured.as_ref().and_then(|all| all.get(number)) {
            row.extend([ui::bytes(part.found), format!("{:+.1} %", part.error() * 100.0)]);
        }
        table.add_row(row);
    }
    table.add_row(["disk, without WAL".into(), each(said.disk, said), ui::bytes(said.disk)]);
    let graph = said.build_memory;
    table.add_row(["memory to build HNSW".into(), each(graph, said), ui::bytes(graph)]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let nodes: Vec<String> = said.nodes.iter().map(|node| judgement(node, said)).collect();
    format!("{table}\n{}", nodes.join("\n"))
}

fn each(bytes: u64, said: &Said) -> String {
    ui::count(bytes / said.plan.chunks.max(1))
}

fn judgement(node: &Node, said: &Said) -> String {
    let given = said.build_memory.div_ceil(1 << 20) + 1;
    let build = match (node.builds, node.builds_if_given) {
        (true, _) => format!(
            "builds HNSW in memory with its own settings (maintenance_work_mem {})",
            ui::bytes(node.maintenance)
        ),
        (false, true) => format!(
            "builds HNSW in memory if the build is given it: SET maintenance_work_mem = '{given}MB'"
        ),
        (false, false) => format!(
            "cannot build HNSW in memory: it goes on on disk, about {SLOWER_ON_DISK:.1} times as \
             slow"
        ),
    };
    let hold = match node.holds {
        true => "holds the search indexes in memory",
        false => "does NOT hold the search indexes in memory: searches read the disk",
    };
    format!("{}: {build}; {hold}", ui::bytes(node.memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_or_refused() {
        assert_eq!(memory("1GiB"), Ok(1 << 30));
        assert_eq!(memory("512Mi"), Ok(512 << 20));
        for bad in ["1", "1GB", "x", "0GiB", "99999999999999GiB"] {
            memory(bad).unwrap_err();
        }
    }
}
