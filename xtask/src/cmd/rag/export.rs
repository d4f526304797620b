//! `rag export`: the store to Qdrant, to Weaviate, or to a file.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::config;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::rag::export::{Exported, Request, To, export};
use crate::rag::http::{Address, Key};
use crate::ui::{self, Format, Ui};

/// Arguments of `rag export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Makes a collection equal to the store, as it is at one instant, and proves \
    it: every point by its id and fingerprint, the count, and a hundred points read back whole. A \
    missing collection is made, with the store's dimensions and cosine distance. The same command \
    again sends only what is missing or differs, so it also goes on where it was cut short. \
    Points of an earlier export that the store has no more are removed; points that no export \
    brought are left alone and counted.\n\n\
    To jsonl: one document a line, which rag load reads; the file appears as a whole or not at \
    all.\n\n\
    Examples:\n  cargo xtask rag export --to qdrant --url https://qdrant:6333 --collection \
    knowledge --api-key-env QDRANT_KEY\n  \
    cargo xtask rag export --to weaviate --url http://localhost:8080 --collection Knowledge\n  \
    cargo xtask rag export --to jsonl --out knowledge.jsonl\n\n\
    Exit codes: 0 equal, 1 refused (another shape, an empty store), 2 usage, 3 it failed; run it \
    again."
)]
pub struct Arguments {
    /// Where to
    #[arg(long, value_enum)]
    to: Kind,
    /// The database with the store
    #[arg(long, env = config::XTASK_TARGET, hide_env_values = true, value_name = "URL")]
    target: String,
    /// The service's address, without a path of its API
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The collection of Qdrant or the class of Weaviate; it belongs to this store alone
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// The file of JSON Lines
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "collection", "api_key_env",
        "api_key_file", "ca_file", "accept_plain_http", "include_deleted"])]
    out: Option<PathBuf>,
    /// The environment variable that holds the API key
    #[arg(long, value_name = "NAME", conflicts_with = "api_key_file")]
    api_key_env: Option<String>,
    /// The file that holds the API key
    #[arg(long, value_name = "PATH")]
    api_key_file: Option<PathBuf>,
    /// The certificates that are believed, as PEM [default: those of this machine]
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// Chunks that are sent at once
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Export deleted chunks too, marked as such
    #[arg(long)]
    include_deleted: bool,
    /// Speak to another machine without TLS, where the network between is yours alone
    #[arg(long)]
    accept_plain_http: bool,
}

/// Where a store can be exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A collection of Qdrant
    Qdrant,
    /// A class of Weaviate
    Weaviate,
    /// A file that rag load reads
    Jsonl,
}

/// Exports and says what came of it.
///
/// # Errors
/// The export's own.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    let request = Request {
        target: Endpoint::parse(&arguments.target)?,
        to: place(&arguments)?,
        batch: arguments.batch,
        include_deleted: arguments.include_deleted,
    };
    let exported = export(&request, &ui.story()).await?;
    match ui.format() {
        Format::Json => ui.json(&exported)?,
        Format::Text => ui.data(&text(&exported, arguments.to)),
    }
    Ok(())
}

fn place(arguments: &Arguments) -> Result<To> {
    let needed = |what: &str, example: &str| {
        Failure::usage(format!("--to {:?} needs {what}", arguments.to).to_lowercase()).hint(example)
    };
    if arguments.to == Kind::Jsonl {
        let file = arguments.out.clone();
        let file = file.ok_or_else(|| needed("--out", "--out knowledge.jsonl"))?;
        return Ok(To::Lines(file));
    }
    let url =
        arguments.url.clone().ok_or_else(|| needed("--url", "--url http://localhost:6333"))?;
    let name = arguments.collection.clone();
    let name = name.ok_or_else(|| needed("--collection", "--collection Knowledge"))?;
    let address = Address {
        url,
        key: key(arguments.api_key_env.as_deref(), arguments.api_key_file.as_deref())?,
        roots: arguments.ca_file.clone(),
        accepts_plain: arguments.accept_plain_http,
    };
    Ok(match arguments.to {
        Kind::Weaviate => To::Weaviate(address, name),
        Kind::Qdrant | Kind::Jsonl => To::Qdrant(address, name),
    })
}

fn key(variable: Option<&str>, file: Option<&Path>) -> Result<Option<Key>> {
    let text = match (variable, file) {
        (Some(name), _) => config::text(name)
            .ok_or_else(|| Failure::usage(format!("the variable {name} is not set")))?,
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("{} cannot be read: {error}", file.display()))
        })?,
        (None, None) => return Ok(None),
    };
    Key::new(&text).map(Some)
}

fn text(exported: &Exported, to: Kind) -> String {
    let what = format!(
        "{} chunks, {} with an embedding",
        ui::count(exported.chunks),
        ui::count(exported.embedded)
    );
    let time = ui::duration(exported.seconds * 1000.0);
    let place = &exported.place;
    if to == Kind::Jsonl {
        return format!(
            "{what}, {} documents: written to {place} in {time}",
            ui::count(exported.documents)
        );
    }
    let foreign = match exported.foreign {
        0 => String::new(),
        count => format!("; {} points of somebody else left alone", ui::count(count)),
    };
    format!(
        "{what}: {} written, {} there already, {} removed, {} read back and equal, in {time}\n\
         EQUAL: {place}{foreign}",
        ui::count(exported.written),
        ui::count(exported.chunks - exported.written),
        ui::count(exported.removed),
        ui::count(exported.read_back),
    )
}
