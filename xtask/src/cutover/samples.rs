//! What long work told the screen, thinned out and kept: the report draws its curves from it.
//!
//! A journal is no place for every progress bar. Of each thing that is counted some hundred points
//! are kept in memory, and written as one record when the step ends. A crash loses a curve.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::cutover::event::{Event, Record, Story};
use crate::pg::folder::private_folder;

/// How many points of one curve a record holds at most.
const MOST_POINTS: usize = 240;
/// The shortest time between two points of one curve, in milliseconds.
const LEAST_SPACING: i64 = 100;
/// What the lag is called among the things that are counted.
pub const LAG: &str = "lag";

/// The curves of one process that are not written yet. Cheap to clone.
#[derive(Clone, Default)]
pub struct Samples(Arc<Mutex<BTreeMap<String, Curve>>>);

/// One thing that is counted.
struct Curve {
    unit: String,
    total: u64,
    spacing: i64,
    points: Vec<(i64, u64)>,
}

impl Samples {
    /// A story that is kept here as well as told.
    pub fn listen(&self, story: Story) -> Story {
        let samples = self.clone();
        Story::new(move |record| {
            samples.hear(record);
            story.tell(record);
        })
    }

    fn hear(&self, record: &Record) {
        let at = record.at.as_millisecond();
        match &record.event {
            Event::Progress { what, done, total, unit } => self.add(what, unit, *total, at, *done),
            Event::Lag { bytes } => {
                self.add(LAG, "bytes", 0, at, u64::try_from(*bytes).unwrap_or(0));
            }
            _ => {}
        }
    }

    fn add(&self, what: &str, unit: &str, total: u64, at: i64, value: u64) {
        let mut curves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let curve = curves.entry(what.to_string()).or_insert_with(|| Curve {
            unit: unit.to_string(),
            total,
            spacing: LEAST_SPACING,
            points: Vec::new(),
        });
        curve.total = curve.total.max(total);
        curve.add(at, value);
    }

    /// The curves as records, and none is kept any more.
    pub fn take(&self) -> Vec<Event> {
        let mut curves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *curves);
        let to_event = |(what, curve): (String, Curve)| Event::Samples {
            what,
            unit: curve.unit,
            total: curve.total,
            points: curve.points,
        };
        taken.into_iter().map(to_event).collect()
    }
}

impl Curve {
    /// Keeps a point unless it is too close to the one before the last: the last one is always the
    /// newest, so that a curve ends where the work ended.
    fn add(&mut self, at: i64, value: u64) {
        let kept = self.points.len();
        let is_close = kept >= 2 && at - self.points[kept - 2].0 < self.spacing;
        if is_close {
            self.points[kept - 1] = (at, value);
            return;
        }
        self.points.push((at, value));
        if self.points.len() > MOST_POINTS {
            let mut place = 0;
            self.points.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.spacing *= 2;
        }
    }
}

/// Where `watch` keeps what it saw of a run. Not in the journal, whose lines are numbered and
/// mirrored, and which only the owner of the run may write.
pub fn watched_file(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!("{run}.watched"))
}

/// Adds one look at the lag to what was watched of a run.
///
/// # Errors
/// The file cannot be written.
pub fn keep_watched(folder: &Path, run: &str, bytes: i64) -> Result<()> {
    private_folder(folder)?;
    let path = watched_file(folder, run);
    let line = serde_json::to_string(&Record::now(Event::Lag { bytes }))?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(&path)?;
    // One write, so that two who watch do not mix their lines.
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

/// What was watched of a run: milliseconds since 1970 UTC, and bytes. Lines that cannot be read are
/// left out.
pub fn watched(folder: &Path, run: &str) -> Vec<(i64, u64)> {
    let text = std::fs::read_to_string(watched_file(folder, run)).unwrap_or_default();
    let read = |line: &str| {
        let record: Record = serde_json::from_str(line).ok()?;
        let Event::Lag { bytes } = record.event else { return None };
        Some((record.at.as_millisecond(), u64::try_from(bytes).unwrap_or(0)))
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_work_keeps_its_shape_in_few_points() {
        let mut curve =
            Curve { unit: "bytes".into(), total: 0, spacing: LEAST_SPACING, points: Vec::new() };
        for step in 0..100_000 {
            curve.add(step * 10, u64::try_from(step).unwrap_or(0));
        }
        assert!(curve.points.len() <= MOST_POINTS, "{}", curve.points.len());
        assert!(curve.points.len() > MOST_POINTS / 4, "{}", curve.points.len());
        assert_eq!(curve.points[0], (0, 0));
        assert_eq!(curve.points.last(), Some(&(999_990, 99_999)));
        assert!(curve.points.is_sorted());
    }

    #[test]
    fn what_was_watched_is_read_again_but_for_what_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        keep_watched(folder.path(), "run", 7).unwrap();
        let file = watched_file(folder.path(), "run");
        let torn = std::fs::read_to_string(&file).unwrap() + "{\"at\":\"20\n";
        std::fs::write(&file, torn).unwrap();
        keep_watched(folder.path(), "run", -1).unwrap();
        let values: Vec<u64> =
            watched(folder.path(), "run").into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(values, [7, 0]);
    }

    #[test]
    fn what_is_taken_is_gone() {
        let samples = Samples::default();
        let story = samples.listen(Story::silent());
        story.progress("copy", 1, 2, "bytes");
        story.event(Event::Lag { bytes: 7 });
        let taken = samples.take();
        assert_eq!(taken.len(), 2, "{taken:?}");
        assert!(samples.take().is_empty());
    }
}
