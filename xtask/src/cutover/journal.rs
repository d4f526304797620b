//! The journal of a run: one append-only file of JSON Lines, synced record by record.
//!
//! The first line is the header, which says what the run is about and never changes. Records are
//! mirrored to both servers in the background, so that another machine can rebuild the file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::cutover::drive::Log;
use crate::cutover::event::{Event, Record, Story};
use crate::cutover::header::{FORMAT, Header, Line};
use crate::cutover::plan::hex;
use crate::cutover::samples::Samples;
use crate::cutover::step::Step;
use crate::failure::{Failure, tolerate};
use crate::pg::folder::private_folder;

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Whether the last record waited for the disk.
    is_synced: bool,
    header: Header,
    records: Vec<Record>,
    story: Story,
    samples: Samples,
    mirrors: Vec<UnboundedSender<Line>>,
}

impl Journal {
    /// Makes the journal of a new run, which begins with its plan. A crash leaves all of it or
    /// nothing: a journal without a plan would stand in the way of every verb.
    ///
    /// # Errors
    /// The folder or the file cannot be written, or a run of that name exists.
    pub fn create(folder: &Path, header: Header, plan: Value, story: Story) -> Result<Journal> {
        private_folder(folder)?;
        let path = file_of(folder, &header.run);
        let describe = || format!("create journal {}", path.display());
        let planned = Record::now(Event::Planned { plan });
        // Made 0600, under a name that no reader takes for a journal.
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(describe)?;
        for line in [serde_json::to_string(&header)?, serde_json::to_string(&planned)?] {
            writeln!(file, "{line}").with_context(describe)?;
        }
        file.as_file().sync_all().with_context(describe)?;
        file.persist_noclobber(&path).map_err(|error| error.error).with_context(describe)?;
        // The name must survive as well as the bytes.
        File::open(folder)?.sync_all().context("sync the journal folder")?;
        let file = std::fs::OpenOptions::new().append(true).open(&path).with_context(describe)?;
        story.tell(&planned);
        let (records, samples, mirrors) = (vec![planned], Samples::default(), Vec::new());
        Ok(Journal { path, file, is_synced: true, header, records, story, samples, mirrors })
    }

    /// Opens the journal of a run for reading and writing. A last line that was torn by a crash is
    /// cut off; damage anywhere else is refused.
    ///
    /// # Errors
    /// There is no such journal, it is of another format, or it is damaged.
    pub fn open(folder: &Path, run: &str, story: Story) -> Result<Journal> {
        let path = file_of(folder, run);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("read journal {}", path.display()))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let (header, records) = parse(&text[..whole], &path)?;
        let file = std::fs::OpenOptions::new().append(true).open(&path)?;
        if whole < text.len() {
            file.set_len(whole as u64).context("cut off the torn last line")?;
            file.sync_data()?;
            story.warning("the last line of the journal was torn by a crash and was cut off");
        }
        let (samples, mirrors) = (Samples::default(), Vec::new());
        Ok(Journal { path, file, is_synced: true, header, records, story, samples, mirrors })
    }

    /// Reads a journal without touching it.
    ///
    /// # Errors
    /// As [`Journal::open`]; a torn last line is left out.
    pub fn read(path: &Path) -> Result<(Header, Vec<Record>)> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read journal {}", path.display()))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        parse(&text[..whole], path)
    }

    /// What the run is about.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The story of the run, from which the journal takes its curves.
    pub fn story(&self) -> Story {
        self.samples.listen(self.story.clone())
    }

    /// Sends what there is, and each further record, to one more mirror on a server.
    pub fn mirror_to(&mut self, mirror: UnboundedSender<Line>) {
        if let Ok(header) = serde_json::to_string(&self.header) {
            self.send(&mirror, 0, header);
        }
        for (index, record) in self.records.iter().enumerate() {
            if let Ok(line) = serde_json::to_string(record) {
                self.send(&mirror, index + 1, line);
            }
        }
        self.mirrors.push(mirror);
    }

    /// Stops mirroring; the receivers then see the end of the stream.
    pub fn end_mirrors(&mut self) {
        self.mirrors.clear();
    }

    fn send(&self, mirror: &UnboundedSender<Line>, number: usize, line: String) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let sent = mirror.send((self.header.run.clone(), number, line));
        tolerate(sent, "the mirror is a convenience; the file is the truth");
    }
}

impl Journal {
    fn store(&mut self, event: Event) -> Result<()> {
        let record = Record::now(event);
        self.story.tell(&record);
        let line = serde_json::to_string(&record)?;
        self.is_synced = !may_wait(&record.event);
        self.records.push(record);
        for mirror in &self.mirrors {
            self.send(mirror, self.records.len(), line.clone());
        }
        self.write(&line).with_context(|| format!("write journal {}", self.path.display()))
    }

    /// One write, so that a crash tears at most the last line, and one sync.
    fn write(&mut self, line: &str) -> Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())?;
        if self.is_synced {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Writes the curves that a step has left. Not in the pause: each record costs a sync.
    fn store_samples(&mut self, event: &Event) {
        let is_due = match event {
            Event::StepDone { step, .. } | Event::StepFailed { step, .. } => {
                !(Step::Gate..=Step::Release).contains(step)
            }
            Event::Ended { .. } => true,
            _ => false,
        };
        if !is_due {
            return;
        }
        for samples in self.samples.take() {
            tolerate(self.store(samples), "curves are for the report; no step depends on one");
        }
    }
}

impl Log for Journal {
    fn append(&mut self, event: Event) -> Result<()> {
        self.store_samples(&event);
        self.store(event)
    }

    fn records(&self) -> &[Record] {
        &self.records
    }
}

/// Whether a record may wait for the disk until the next one: in the pause each sync is time that
/// clients wait. It tells what was done already, so a crash that takes it leaves what a crash a
/// moment before it would have left; and no further act begins before its own record is synced, and
/// with it this one.
fn may_wait(event: &Event) -> bool {
    match event {
        Event::StepDone { step, .. } => (Step::Hold..Step::Release).contains(step),
        Event::Pinned { .. } | Event::Restored { .. } => true,
        _ => false,
    }
}

/// Where the journal of a run stands.
pub fn file_of(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!("{run}.jsonl"))
}

/// Reads a journal from its lines, as the servers keep them. `path` is what an error names.
///
/// # Errors
/// As [`Journal::open`].
pub fn parse(text: &str, path: &Path) -> Result<(Header, Vec<Record>)> {
    let mut lines = text.lines();
    let damaged = |number: usize| {
        Failure::usage(format!("journal {} is damaged at line {number}", path.display()))
            .hint("rebuild it from the servers: cargo xtask cutover adopt --source … --target …")
    };
    let first = lines.next().ok_or_else(|| damaged(1))?;
    let header: Header = serde_json::from_str(first).map_err(|_| damaged(1))?;
    if header.format != FORMAT {
        let message = format!("journal {} has format {}", path.display(), header.format);
        return Err(Failure::usage(message)
            .hint(format!("this tool reads format {FORMAT}; use the version that wrote it"))
            .into());
    }
    let mut records = Vec::new();
    for (index, line) in lines.enumerate() {
        records.push(serde_json::from_str(line).map_err(|_| damaged(index + 2))?);
    }
    Ok((header, records))
}

/// A name for a new run that sorts by time and is short enough for what is named after it.
pub fn new_run_name() -> String {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%S%3f");
    format!("{time}-{}", hex(&rand::random::<[u8; 3]>()))
}

/// The names of all runs in a folder, oldest first.
///
/// # Errors
/// The folder exists and cannot be read.
pub fn runs(folder: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("read {}", folder.display()));
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".jsonl").map(str::to_string));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
/// Tests, and an example that other tests use.
pub mod tests {
    use super::*;
    use crate::cutover::header::{Direction, Identity};

    /// A header for tests of what reads one.
    pub fn example_header() -> Header {
        let identity =
            Identity { system: "7".into(), database_oid: 5, database: "rbsdb".into(), timeline: 1 };
        Header {
            format: FORMAT,
            run: "20261122T201500-ab12cd".into(),
            root: "20261122T201500-ab12cd".into(),
            parent: None,
            direction: Direction::Forward,
            plan_digest: "00".into(),
            source: identity.clone(),
            target: Identity { system: "8".into(), ..identity },
            source_endpoint: "postgresql://a@b:1/c".into(),
            target_endpoint: "postgresql://a@b:2/c".into(),
            argv: Vec::new(),
        }
    }

    fn example(folder: &Path) -> Journal {
        Journal::create(folder, example_header(), Value::Null, Story::silent()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = example(folder.path());
        journal.append(Event::StepStarted { step: Step::Copy }).unwrap();
        let again =
            Journal::open(folder.path(), "20261122T201500-ab12cd", Story::silent()).unwrap();
        assert_eq!(again.records(), journal.records());
        assert_eq!(again.header(), journal.header());
        assert_eq!(runs(folder.path()).unwrap(), ["20261122T201500-ab12cd"]);
    }

    #[test]
    fn curves_are_written_when_their_step_ends_and_not_in_the_pause() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = example(folder.path());
        let done = |step| Event::StepDone { step, evidence: Default::default(), milliseconds: 1.0 };
        let story = journal.story();
        story.progress("copy", 1, 2, "bytes");
        journal.append(done(Step::Fence)).unwrap();
        assert_eq!(journal.records().len(), 2, "nothing but the step");
        journal.append(done(Step::Copy)).unwrap();
        assert!(matches!(journal.records()[2].event, Event::Samples { .. }));
        assert_eq!(journal.records().len(), 4);
        assert_eq!(Journal::read(journal.path()).unwrap().1, journal.records());
    }

    #[test]
    fn no_act_begins_before_all_records_are_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = example(folder.path());
        let done = |step| Event::StepDone { step, evidence: Default::default(), milliseconds: 1.0 };
        for step in Step::ALL {
            journal.append(Event::StepStarted { step }).unwrap();
            assert!(journal.is_synced, "{step}");
            journal.append(done(step)).unwrap();
            let is_followed = (Step::Hold..Step::Release).contains(&step);
            assert_eq!(journal.is_synced, !is_followed, "{step}");
        }
        let failed = Event::StepFailed { step: Step::Drain, error: "late".into() };
        journal.append(failed).unwrap();
        assert!(journal.is_synced, "what is no success is the last that is heard of it");
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = example(folder.path());
        journal.append(Event::StepStarted { step: Step::Copy }).unwrap();
        journal.file.write_all(b"{\"at\":\"2026-").unwrap();
        let mut again =
            Journal::open(folder.path(), "20261122T201500-ab12cd", Story::silent()).unwrap();
        assert_eq!(again.records().len(), 2);
        again.append(Event::Interrupted).unwrap();
        assert_eq!(Journal::read(again.path()).unwrap().1.len(), 3);
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = example(folder.path());
        journal.file.write_all(b"garbage\n").unwrap();
        journal.append(Event::Interrupted).unwrap();
        let error = Journal::read(journal.path()).unwrap_err();
        assert!(error.to_string().contains("damaged at line 3"), "{error}");
    }

    #[test]
    fn a_foreign_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let header = Header { format: 99, ..example_header() };
        let journal = Journal::create(folder.path(), header, Value::Null, Story::silent()).unwrap();
        let error = Journal::read(journal.path()).unwrap_err();
        assert!(error.to_string().contains("has format 99"), "{error}");
    }

    #[test]
    fn object_names_are_short_enough_for_postgres() {
        assert_eq!(example_header().object(Direction::Backward, 3), "xtask_ab12cd_backward_3");
    }
}
