//! Work that several workers share, and how far it has come.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cutover::event::Story;
use crate::pg::digest::Range;

/// A part of one table.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// The table's place in the list.
    pub table: usize,
    pub range: Range,
    /// Its share of the table's bytes, for the bar.
    pub bytes: u64,
}

/// Tasks in order, taken by whoever is free.
pub(super) struct Queue {
    tasks: Mutex<VecDeque<Task>>,
    done: AtomicU64,
    total: u64,
    story: Story,
}

impl Queue {
    pub(super) fn new(tasks: Vec<Task>, story: &Story) -> Queue {
        let total = tasks.iter().map(|task| task.bytes).sum();
        let tasks = Mutex::new(tasks.into());
        Queue { tasks, done: AtomicU64::new(0), total, story: story.clone() }
    }

    /// The next task, if there is one.
    pub(super) fn take(&self) -> Option<Task> {
        self.lock().pop_front()
    }

    /// Puts a task back that could not be done.
    pub(super) fn put_back(&self, task: Task) {
        self.lock().push_front(task);
    }

    /// The tables that still have work.
    pub(super) fn unfinished(&self) -> Vec<usize> {
        self.lock().iter().map(|task| task.table).collect()
    }

    /// Tells that a task is done.
    pub(super) fn finish(&self, task: &Task) {
        let done = self.done.fetch_add(task.bytes, Ordering::Relaxed) + task.bytes;
        self.story.progress("verify", done, self.total, "bytes");
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Task>> {
        // A list of tasks is whole after every push and pop, so a panic elsewhere cannot bend it.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
