//! What a run did, for whoever was not there: Markdown, JSON and one page of HTML, from the
//! journals alone. No server is asked, and the same journals give the same bytes.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cutover::lineage::Lineage;
use crate::cutover::samples;
use crate::failure::Failure;
use crate::pg::folder::private_folder;

mod chart;
mod facts;
pub mod figures;
mod fold;
mod page;
#[cfg(test)]
mod tests;
mod verdict;
mod wording;

/// Where a report was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// The run that it is about.
    pub run: String,
    /// The verdict in one sentence.
    pub verdict: String,
    /// For a terminal, a ticket or a wiki.
    pub markdown: PathBuf,
    /// For programs.
    pub json: PathBuf,
    /// For people: one file, which loads nothing.
    pub html: PathBuf,
}

/// Writes the report of a run, with those before and after it; of the newest run where none is
/// named.
///
/// # Errors
/// There is no such journal, or one is damaged; or the folder cannot be written.
pub fn write(journals: &Path, run: Option<&str>, out: &Path) -> Result<Written> {
    let lineage = Lineage::read(journals, run)?.ok_or_else(|| {
        let message = format!("there is no journal in {}", journals.display());
        Failure::usage(message)
            .hint("cargo xtask cutover adopt --source … --target … rebuilds it from the servers")
    })?;
    let watched = lineage.runs.iter().map(|run| samples::watched(journals, &run.header.run));
    let report = fold::fold(&lineage, watched.flatten().collect());
    private_folder(out)?;
    let name = |kind: &str| out.join(format!("{}.report.{kind}", report.root));
    let (markdown, json, html) = (name("md"), name("json"), name("html"));
    write_private(&markdown, &page::markdown(&report)?)?;
    write_private(&json, &format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    write_private(&html, &page::html(&report)?)?;
    let (run, verdict) = (report.run, report.verdict.sentence);
    Ok(Written { run, verdict, markdown, json, html })
}

/// Replaces a file as a whole. It holds names of objects and, where rows differ, their values: it
/// is for its owner only, as the journal is.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let describe = || format!("write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(describe)?;
    file.write_all(text.as_bytes()).with_context(describe)?;
    file.as_file().sync_all().with_context(describe)?;
    file.persist(path).map_err(|error| error.error).with_context(describe)?;
    Ok(())
}
