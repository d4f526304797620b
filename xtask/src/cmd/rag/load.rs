//! `rag load`: documents into the store.

use std::path::PathBuf;

use anyhow::Result;

use crate::config;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::rag::load::{Loaded, Request, load};
use crate::ui::{self, Format, Ui};

/// Arguments of `rag load`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A file has one document a line, as JSON:\n  \
    repo, source_type, source_id   its name in the store; --repo and --type stand in\n  \
    text                           what is cut into chunks; or content_blocks: [{kind, text}];\n  \
    \u{20}                              or chunks: [{text, embedding}], cut elsewhere\n  \
    embeddings                     optional, one for each chunk of the text\n  \
    title, author, url, metadata   optional; labels are metadata.labels\n  \
    source_updated_at              RFC 3339; else the time of the file\n\
    A chunk has up to 512 tokens and repeats up to 128 of the one before. Tokens are counted by \
    the public vocabulary cl100k_base; texts are cut as Markdown, those of a type that ends in \
    .code as plain text.\n\n\
    All is one transaction: a bad line loads nothing, unless --skip-bad. The same documents may \
    be loaded again: what did not change is not written, and what a document lost is removed. \
    A document whose file left the folder stays, unless --prune hides it.\n\n\
    Examples:\n  cargo xtask rag load docs --repo ldamasio/robson\n  \
    cargo xtask rag load docs --repo ldamasio/robson --prune --dry-run\n  \
    cargo xtask rag load pulls.jsonl --skip-bad\n\n\
    Exit codes: 0 all loaded, 1 something was refused (with --skip-bad after the others were \
    loaded), 2 no store or no input, 3 nothing loaded.")]
pub struct Arguments {
    /// A file of JSON Lines, a file of Markdown, or a folder of Markdown
    #[arg(value_name = "FILE|DIR")]
    input: PathBuf,
    /// The database with the store
    #[arg(long, env = config::XTASK_TARGET, hide_env_values = true, value_name = "URL")]
    target: String,
    /// The repository of documents that name none
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// The source type of documents that name none [default for Markdown: github.doc]
    #[arg(long = "type", value_name = "TYPE")]
    source_type: Option<String>,
    /// Load the good ones where some are bad, remember the bad ones in rag_dead_letters, and exit 1
    #[arg(long)]
    skip_bad: bool,
    /// Of a folder: hide the documents of the same repository and type that it does not have
    #[arg(long)]
    prune: bool,
    /// Read and check everything, and load nothing
    #[arg(long)]
    dry_run: bool,
}

/// Loads and says what came of it.
///
/// # Errors
/// A refusal where documents are bad; a failure where the server refuses.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    let request = Request {
        target: Endpoint::parse(&arguments.target)?,
        input: arguments.input,
        repo: arguments.repo,
        source_type: arguments.source_type,
        skip_bad: arguments.skip_bad,
        prune: arguments.prune,
        dry_run: arguments.dry_run,
    };
    let loaded = load(&request, &ui.story()).await?;
    match ui.format() {
        Format::Json => ui.json(&loaded)?,
        Format::Text => ui.data(&text(&loaded, arguments.dry_run)),
    }
    if loaded.refused_count == 0 {
        return Ok(());
    }
    let what = match loaded.committed {
        true => "the others were loaded",
        false => "nothing was loaded",
    };
    let count = ui::count(loaded.refused_count);
    let failure = Failure::refused(format!("{count} documents are bad; {what}"));
    Err(match loaded.committed {
        true => failure.hint("SELECT * FROM rag_dead_letters has those that could be named"),
        false => failure.hint("mend them, or pass --skip-bad to load the others"),
    }
    .into())
}

fn text(loaded: &Loaded, dry_run: bool) -> String {
    let mut lines: Vec<String> =
        loaded.refused.iter().map(|bad| format!("{}: {}", bad.place, bad.reason)).collect();
    let untold = loaded.refused_count - loaded.refused.len() as u64;
    if untold > 0 {
        lines.push(format!("and {} more", ui::count(untold)));
    }
    lines.extend(loaded.gone.iter().map(|gone| format!("{gone}: not in the folder any more")));
    let untold = loaded.gone_count - loaded.gone.len() as u64;
    if untold > 0 {
        lines.push(format!("and {} more that are gone", ui::count(untold)));
    }
    let what = format!(
        "{} documents, {} chunks, {} with an embedding",
        ui::count(loaded.documents),
        ui::count(loaded.chunks),
        ui::count(loaded.embedded)
    );
    lines.push(match loaded.committed {
        true => format!(
            "{what}: {} chunks written, {} removed, {} documents hidden, in {}",
            ui::count(loaded.chunks_written),
            ui::count(loaded.chunks_removed),
            ui::count(loaded.gone_count),
            ui::duration(loaded.seconds * 1000.0)
        ),
        false if dry_run => format!("{what}: read and checked, not loaded"),
        false => format!("{what}: not loaded"),
    });
    lines.join("\n")
}
