//! Where documents come from: a file of JSON Lines, or a folder of Markdown. Either is read as a
//! stream, so that memory does not grow with it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::failure::Failure;
use crate::rag::document::{Document, Reader, Rejected};

/// Bytes of one line or one file, at most: what is longer is no document.
const DOCUMENT_LIMIT: usize = 64 << 20;
/// How the names of Markdown files end.
const MARKDOWN: [&str; 2] = ["md", "markdown"];
/// The file that marks a folder as a cache, by which programs know what not to read.
const CACHE_MARK: &str = "CACHEDIR.TAG";

/// One document that was read, or why it is none.
pub(super) struct Item {
    /// Where it stands: a line's number or a file's path.
    pub(super) place: String,
    /// Bytes that were read for it.
    pub(super) bytes: u64,
    /// What it is.
    pub(super) content: Result<Document, Box<Rejected>>,
}

/// A stream of documents.
pub(super) enum Input {
    /// One document a line.
    Lines { file: BufReader<File>, number: u64, changed: Timestamp, bytes: u64 },
    /// One document a file.
    Files { folder: PathBuf, files: std::vec::IntoIter<PathBuf>, bytes: u64 },
}

impl Input {
    /// Opens a file or a folder.
    pub(super) fn open(path: &Path) -> Result<Input> {
        let metadata = std::fs::metadata(path).map_err(|error| {
            Failure::usage(format!("{} cannot be read: {error}", path.display()))
        })?;
        if metadata.is_dir() {
            return Input::files(path.to_path_buf(), markdown_below(path)?);
        }
        if is_markdown(path) {
            let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
            return Input::files(folder, vec![path.to_path_buf()]);
        }
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let changed = changed(&metadata);
        Ok(Input::Lines { file: BufReader::new(file), number: 0, changed, bytes: metadata.len() })
    }

    fn files(folder: PathBuf, files: Vec<PathBuf>) -> Result<Input> {
        if files.is_empty() {
            let message = format!("{} has no Markdown", folder.display());
            return Err(Failure::usage(message).hint("name a folder with .md files").into());
        }
        let mut bytes = 0;
        for file in &files {
            bytes += std::fs::metadata(file)
                .with_context(|| format!("look at {}", file.display()))?
                .len();
        }
        Ok(Input::Files { folder, files: files.into_iter(), bytes })
    }

    /// All of its bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Input::Lines { bytes, .. } | Input::Files { bytes, .. } => *bytes,
        }
    }

    /// Whether it is a folder, whose documents say nothing about themselves.
    pub(super) fn is_markdown(&self) -> bool {
        matches!(self, Input::Files { .. })
    }

    /// The next document; `None` at the end.
    pub(super) fn next(&mut self, reader: &Reader) -> Result<Option<Item>> {
        match self {
            Input::Lines { file, number, changed, .. } => {
                while let Some(line) = next_line(file).context("read the file")? {
                    *number += 1;
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    let content = match line.len() > DOCUMENT_LIMIT {
                        true => Err(too_long(&line)),
                        false => reader.line(&line, *changed),
                    };
                    let place = format!("line {number}");
                    return Ok(Some(Item { place, bytes: line.len() as u64, content }));
                }
                Ok(None)
            }
            Input::Files { folder, files, .. } => {
                let Some(file) = files.next() else { return Ok(None) };
                let metadata = std::fs::metadata(&file);
                let metadata = metadata.with_context(|| format!("look at {}", file.display()))?;
                let content = std::fs::read(&file);
                let content = content.with_context(|| format!("read {}", file.display()))?;
                let name = file.strip_prefix(&*folder).unwrap_or(&file);
                let place = name.to_string_lossy().replace('\\', "/");
                let document = reader.markdown(&place, &content, changed(&metadata));
                Ok(Some(Item { place, bytes: content.len() as u64, content: document }))
            }
        }
    }
}

fn too_long(line: &[u8]) -> Box<Rejected> {
    let head = String::from_utf8_lossy(&line[..100]).into_owned();
    Box::new(Rejected {
        reason: format!("a line has more than {} MiB", DOCUMENT_LIMIT >> 20),
        identity: None,
        payload: serde_json::Value::String(head),
    })
}

/// The next line without its end. Of one that is too long only a little more than the limit is
/// kept, and the rest is passed over.
fn next_line(file: &mut BufReader<File>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = file.by_ref().take(DOCUMENT_LIMIT as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > DOCUMENT_LIMIT {
        file.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// When a file was written, to the second, so that it reads the same when it is stored.
fn changed(metadata: &std::fs::Metadata) -> Timestamp {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let modified = Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_second(modified.as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn is_markdown(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    ending.is_some_and(|ending| MARKDOWN.contains(&ending.as_str()))
}

/// All Markdown below a folder, in order of its names. What is hidden, linked or a cache is not
/// part of the documents.
fn markdown_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("read the folder {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let kind = entry.file_type().with_context(reading)?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() && !path.join(CACHE_MARK).exists() {
                folders.push(path);
            } else if kind.is_file() && is_markdown(&path) {
                all.push(path);
            }
        }
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_folders_caches_and_links_hold_no_documents() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "# One").unwrap();
        };
        for name in ["b.md", "a/c.Markdown", ".git/d.md", "target/e.md", "f.txt"] {
            write(name);
        }
        write("target/CACHEDIR.TAG");
        std::os::unix::fs::symlink(folder.path().join("b.md"), folder.path().join("l.md")).unwrap();
        let found = markdown_below(folder.path()).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a/c.Markdown", "b.md"]);
    }

    #[test]
    fn a_last_line_without_an_end_is_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"one\n\ntwo").unwrap();
        let mut reader = BufReader::new(File::open(file.path()).unwrap());
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["one", "", "two"]);
    }
}
