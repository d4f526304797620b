//! The tool as a child of the sweep, which it may kill or freeze, and what its journal says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::draw::Moment;
use crate::process::Invocation;

/// How long a verb may take.
pub const VERB_LIMIT: Duration = Duration::from_secs(180);
/// How often the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How many of the newest journals are looked at: the present run is one of them.
const NEWEST: usize = 2;

/// A running verb.
pub struct Tool {
    child: Child,
    told: PathBuf,
    tail: Tail,
    begun: Instant,
}

/// A verb that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it told on standard error.
    pub told: String,
}

impl Tool {
    /// Starts it. Its journals are in the folder, and what it tells goes into a file there.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(invocation: Invocation, folder: &Path, name: &str) -> Result<Tool> {
        let tail = Tail::of(folder)?;
        let told = folder.join(format!("{name}.told"));
        let child = invocation.spawn(&told, false)?;
        Ok(Tool { child, told, tail, begun: Instant::now() })
    }

    /// Waits for a moment. No, where the verb ended without it.
    ///
    /// # Errors
    /// It neither comes nor ends.
    pub async fn reaches(&mut self, moment: Moment) -> Result<bool> {
        let (text, by) = match moment {
            Moment::Before => return Ok(true),
            Moment::After(by) => (None, by),
            Moment::Begun(step, by) => {
                (Some(format!("\"event\":\"step_started\",\"step\":\"{step}\"")), by)
            }
            Moment::Done(step, by) => {
                (Some(format!("\"event\":\"step_done\",\"step\":\"{step}\"")), by)
            }
        };
        if let Some(text) = text
            && !self.writes(&text).await?
        {
            return Ok(false);
        }
        let ends = tokio::time::timeout(by, self.child.wait()).await;
        Ok(ends.is_err())
    }

    async fn writes(&mut self, text: &str) -> Result<bool> {
        loop {
            if self.tail.shows(text)? {
                return Ok(true);
            }
            if self.child.try_wait().context("look at the tool")?.is_some() {
                return self.tail.shows(text);
            }
            if self.begun.elapsed() > VERB_LIMIT {
                bail!("it neither came to {text} nor ended within {VERB_LIMIT:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends a signal; one that has ended by itself gets none.
    ///
    /// # Errors
    /// It is not ours any more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(id) = self.child.id() else { return Ok(()) };
        let id = Pid::from_raw(i32::try_from(id)?).context("read the process id")?;
        kill_process(id, signal).context("send the tool a signal")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within its limit; it is killed then.
    pub async fn ended(mut self) -> Result<Ended> {
        let ended = tokio::time::timeout(VERB_LIMIT, self.child.wait()).await;
        let told = std::fs::read_to_string(&self.told).unwrap_or_default();
        let Ok(status) = ended else {
            self.signal(Signal::KILL)?;
            bail!("it did not end within {VERB_LIMIT:?}; it told: {told}");
        };
        Ok(Ended { code: status.context("wait for the tool")?.code(), told })
    }
}

/// What was appended to the journals of a folder since a moment.
struct Tail {
    folder: PathBuf,
    seen: BTreeMap<PathBuf, usize>,
    text: String,
}

impl Tail {
    /// From now on.
    fn of(folder: &Path) -> Result<Tail> {
        let mut tail = Tail { folder: folder.into(), seen: BTreeMap::new(), text: String::new() };
        tail.read()?;
        tail.text.clear();
        Ok(tail)
    }

    fn read(&mut self) -> Result<()> {
        let entries = std::fs::read_dir(&self.folder).context("list the journals")?;
        let mut journals: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        // Their names sort by time.
        journals.sort();
        for path in journals.into_iter().rev().take(NEWEST) {
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let seen = self.seen.get(&path).copied().unwrap_or(0);
            if usize::try_from(length)? <= seen {
                continue;
            }
            let bytes = std::fs::read(&path).context("read a journal")?;
            self.text.push_str(&String::from_utf8_lossy(&bytes[seen..]));
            self.seen.insert(path, bytes.len());
        }
        Ok(())
    }

    /// Whether this text has been written by now.
    fn shows(&mut self, text: &str) -> Result<bool> {
        self.read()?;
        Ok(self.text.contains(text))
    }
}
