//! `rag`: the knowledge store, one file a verb.

use anyhow::Result;
use clap::Subcommand;

use crate::ui::Ui;

mod export;
mod load;
mod search;
mod size;

/// Search the knowledge store, fill it, and say what it costs
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Load documents: JSON Lines, or a folder of Markdown
    Load(load::Arguments),
    /// Export the store to Qdrant, to Weaviate, or to a file
    Export(export::Arguments),
    /// Search by keywords, by meaning, or by both
    Search(search::Arguments),
    /// Say what a store of so many chunks needs: disk, WAL and memory
    Size(size::Arguments),
}

/// Runs the verb that was asked for.
///
/// # Errors
/// The verb's own.
pub async fn run(arguments: Arguments, ui: &Ui) -> Result<()> {
    match arguments.verb {
        Verb::Load(arguments) => load::run(arguments, ui).await,
        Verb::Export(arguments) => export::run(arguments, ui).await,
        Verb::Search(arguments) => search::run(arguments, ui).await,
        Verb::Size(arguments) => size::run(arguments, ui).await,
    }
}
