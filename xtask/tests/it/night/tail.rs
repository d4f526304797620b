//! What the verbs of a night have written into their journals since a moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was appended to the journals of a folder since a moment.
pub struct Tail {
    folder: PathBuf,
    seen: BTreeMap<PathBuf, usize>,
    text: String,
}

impl Tail {
    /// From now on.
    pub fn of(folder: &Path) -> Tail {
        let mut tail = Tail { folder: folder.into(), seen: BTreeMap::new(), text: String::new() };
        tail.read();
        tail.text.clear();
        tail
    }

    fn read(&mut self) {
        for entry in std::fs::read_dir(&self.folder).expect("the folder can be listed").flatten() {
            let path = entry.path();
            let is_journal = path.extension().is_some_and(|extension| extension == "jsonl");
            let length = entry.metadata().map_or(0, |metadata| metadata.len());
            let seen = self.seen.get(&path).copied().unwrap_or(0);
            if !is_journal || usize::try_from(length).expect("a small file") <= seen {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a journal can be read");
            self.text.push_str(&String::from_utf8_lossy(&bytes[seen..]));
            self.seen.insert(path, bytes.len());
        }
    }

    /// Whether this text has been written by now.
    pub fn shows(&mut self, text: &str) -> bool {
        self.read();
        self.text.contains(text)
    }
}
