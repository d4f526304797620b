//! Journal files follow what the servers keep of them: another machine may have gone on with the
//! run since, and an old file would have this one undo what serves by now.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cutover::event::Story;
use crate::cutover::header::Header;
use crate::cutover::journal;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::pg::folder::private_folder;
use crate::pg::state;

/// Journals as the servers keep them: run, lines. Where both have one, the longer.
pub type Mirrored = BTreeMap<String, Vec<String>>;

/// What was done to a journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It has everything already.
    Nothing,
    /// It was written with this many lines.
    Written(usize),
    /// It was behind by this many lines, which were added.
    CaughtUp(usize),
}

/// Reads what both servers keep. A server that does not answer, or keeps only parts, is told in
/// the second value.
pub async fn read(endpoints: [&Endpoint; 2], run: Option<&str>) -> (Mirrored, Vec<String>) {
    let mut found = Mirrored::new();
    let mut errors = Vec::new();
    for endpoint in endpoints {
        match mirrored(endpoint, run).await {
            Ok(runs) => {
                for (run, lines) in runs {
                    let kept = found.entry(run).or_default();
                    if lines.len() > kept.len() {
                        *kept = lines;
                    }
                }
            }
            Err(error) => errors.push(format!("{endpoint}: {error:#}")),
        }
    }
    (found, errors)
}

async fn mirrored(endpoint: &Endpoint, run: Option<&str>) -> Result<Vec<(String, Vec<String>)>> {
    let session = endpoint.connect("journal").await?;
    if !state::is_installed(&session).await? {
        return Ok(Vec::new());
    }
    state::mirrored(&session, run).await
}

/// Brings the journals of this folder up to date, with those of later turns of the same runs.
///
/// # Errors
/// A file says something else than the servers, or cannot be written.
pub async fn catch_up(folder: &Path, endpoints: [&Endpoint; 2], story: &Story) -> Result<()> {
    let mut roots = BTreeSet::new();
    for run in journal::runs(folder)? {
        let (header, _) = journal::Journal::read(&journal::file_of(folder, &run))?;
        roots.insert(header.root);
    }
    if roots.is_empty() {
        return Ok(());
    }
    let (found, _) = read(endpoints, None).await;
    for (run, lines) in found {
        let header: Option<Header> = lines.first().and_then(|line| serde_json::from_str(line).ok());
        if !header.is_some_and(|header| roots.contains(&header.root)) {
            continue;
        }
        match bring_up_to_date(folder, &run, &lines)? {
            Change::Nothing => {}
            Change::Written(count) | Change::CaughtUp(count) => story.warning(format!(
                "another machine went on with run {run}: {count} lines of its journal were added"
            )),
        }
    }
    Ok(())
}

/// Writes the journal of one run, or adds what its file lacks.
///
/// # Errors
/// The file says something else than the servers, or cannot be written.
pub fn bring_up_to_date(folder: &Path, run: &str, lines: &[String]) -> Result<Change> {
    private_folder(folder)?;
    let path = journal::file_of(folder, run);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let present: Vec<&str> = text[..whole].lines().collect();
    if present.len() >= lines.len() {
        return Ok(Change::Nothing);
    }
    if !present.iter().zip(lines).all(|(ours, theirs)| ours == theirs) {
        let message = format!("journal {} says something else than the servers", path.display());
        return Err(Failure::refused(message)
            .hint("move it away, then: cargo xtask cutover adopt --source … --target …")
            .into());
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open journal {}", path.display()))?;
    file.set_len(whole as u64).context("cut off the torn last line")?;
    let missing = &lines[present.len()..];
    file.write_all((missing.join("\n") + "\n").as_bytes())?;
    file.sync_all()?;
    Ok(match present.len() {
        0 => Change::Written(missing.len()),
        _ => Change::CaughtUp(missing.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("line {number}")).collect()
    }

    #[test]
    fn a_file_is_written_then_caught_up_then_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let bring = |count| bring_up_to_date(folder.path(), "run", &lines(count)).unwrap();
        assert_eq!(bring(2), Change::Written(2));
        assert_eq!(bring(5), Change::CaughtUp(3));
        assert_eq!(bring(4), Change::Nothing);
        let text = std::fs::read_to_string(folder.path().join("run.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 5);
    }

    #[test]
    fn a_torn_line_is_replaced_and_another_story_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.jsonl");
        std::fs::write(&file, "line 0\nli").unwrap();
        assert_eq!(bring_up_to_date(folder.path(), "run", &lines(2)).unwrap(), Change::CaughtUp(1));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "line 0\nline 1\n");
        std::fs::write(&file, "something else\n").unwrap();
        assert!(bring_up_to_date(folder.path(), "run", &lines(2)).is_err());
    }
}
