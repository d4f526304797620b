//! The program as a process, and what can happen to one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use xtask::cutover::step::Step;
use xtask::process::Invocation;

use super::{Tail, a_moment};

/// How long a verb may take on a busy machine.
const VERB_LIMIT: Duration = Duration::from_secs(180);

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A running verb.
pub struct Tool {
    child: Child,
    told: PathBuf,
    tail: Tail,
}

/// A verb that has ended.
pub struct Ended {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it told on standard error.
    pub told: String,
}

impl Tool {
    /// Starts it; its journals are in the folder.
    pub fn spawn(invocation: Invocation, folder: &Path) -> Tool {
        let tail = Tail::of(folder);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let told = folder.join(format!("tool-{number}.told"));
        let child = invocation.spawn(&told, false).expect("the program starts");
        Tool { child, told, tail }
    }

    /// Waits until the journal shows that a step has begun. No, where the verb ended without it.
    pub async fn reaches(&mut self, step: Step) -> bool {
        self.writes(&format!("\"event\":\"step_started\",\"step\":\"{step}\"")).await
    }

    /// Waits until its journal shows a text. No, where the verb ended without it.
    pub async fn writes(&mut self, text: &str) -> bool {
        let began = Instant::now();
        loop {
            if self.tail.shows(text) {
                return true;
            }
            if self.child.try_wait().expect("it is our child").is_some() {
                return self.tail.shows(text);
            }
            a_moment(began, VERB_LIMIT, text).await;
        }
    }

    /// Waits until it has told a text on standard error.
    pub async fn tells(&self, text: &str) {
        let began = Instant::now();
        while !self.told().contains(text) {
            a_moment(began, VERB_LIMIT, text).await;
        }
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.told).unwrap_or_default()
    }

    /// Sends a signal; one that has ended by itself gets none.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = self.child.id() {
            let id = i32::try_from(id).expect("a process id");
            kill_process(Pid::from_raw(id).expect("a process id"), signal).expect("it is ours");
        }
    }

    /// Kills it as nothing can be more killed, and buries it.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.expect("it is our child");
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        let ended = tokio::time::timeout(VERB_LIMIT, self.child.wait()).await;
        let told = self.told();
        let status = ended.unwrap_or_else(|_| panic!("it does not end; it told:\n{told}"));
        Ended { code: status.expect("it is our child").code(), told: self.told() }
    }
}
