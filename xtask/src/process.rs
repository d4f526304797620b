//! The only owner of child processes.
//!
//! A child gets a deadline, a process group of its own (so that Ctrl-C reaches the tool first),
//! its secrets by environment and never by argument, and its standard error captured for the
//! message of a failure.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;

use crate::failure::tolerate;

/// How many of the last bytes of standard error a failure shows.
const SHOWN_STDERR: usize = 4000;

/// One program to run: what, with which secrets, as whom, for how long.
#[derive(Clone)]
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    cleared: bool,
    input: Option<Vec<u8>>,
    deadline: Duration,
    user: Option<(u32, u32)>,
    folder: Option<PathBuf>,
}

/// What a finished child said.
#[derive(Debug)]
pub struct Output {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Invocation {
    /// A program with no arguments and a deadline of one minute.
    pub fn new(program: impl AsRef<Path>) -> Invocation {
        Invocation {
            program: program.as_ref().to_path_buf(),
            arguments: Vec::new(),
            environment: Vec::new(),
            cleared: false,
            input: None,
            deadline: Duration::from_secs(60),
            user: None,
            folder: None,
        }
    }

    /// Adds one argument. Never a secret: arguments are public to the whole machine.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Invocation {
        self.arguments.push(argument.as_ref().to_os_string());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, all: impl IntoIterator<Item = A>) -> Invocation {
        self.arguments.extend(all.into_iter().map(|one| one.as_ref().to_os_string()));
        self
    }

    /// Sets a variable in the child's environment; the way for secrets.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> Invocation {
        self.environment.push((name.into(), value.as_ref().to_os_string()));
        self
    }

    /// Starts from an empty environment but for `PATH`.
    #[must_use]
    pub fn clear_environment(mut self) -> Invocation {
        self.cleared = true;
        self
    }

    /// What the child reads on standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Invocation {
        self.input = Some(input.into());
        self
    }

    /// How long it may take before it is killed.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Invocation {
        self.deadline = deadline;
        self
    }

    /// The user and group to run as; only root may change them.
    #[must_use]
    pub fn user(mut self, user: Option<(u32, u32)>) -> Invocation {
        self.user = user;
        self
    }

    /// The child's working folder.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Invocation {
        self.folder = Some(folder.as_ref().to_path_buf());
        self
    }

    /// Runs to the end, whatever the exit code.
    ///
    /// # Errors
    /// The program cannot be started, or it outlived its deadline and was killed.
    pub async fn output(mut self) -> Result<Output> {
        let input = self.input.take();
        let deadline = self.deadline;
        let name = self.name();
        let mut command = self.command()?;
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start `{name}`"))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let feed = child.stdin.take().zip(input);
        let work = async move {
            let write = async {
                if let Some((mut pipe, bytes)) = feed {
                    let written = pipe.write_all(&bytes).await;
                    tolerate(
                        written,
                        "a child that exits early closes the pipe; its exit code tells",
                    );
                }
            };
            let ((), output) = tokio::join!(write, child.wait_with_output());
            output
        };
        let output = tokio::time::timeout(deadline, work)
            .await
            .with_context(|| format!("`{name}` was killed after {deadline:?}"))?
            .with_context(|| format!("wait for `{name}`"))?;
        // It has ended by itself: what it may have started apart is its own.
        group.0 = None;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs to the end and returns standard output.
    ///
    /// # Errors
    /// As [`Invocation::output`], and a non-zero exit code, with the end of standard error.
    pub async fn run(self) -> Result<String> {
        let name = self.name();
        let output = self.output().await?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        let code = output.code.map_or("a signal".into(), |code| format!("exit code {code}"));
        bail!("`{name}` ended with {code}: {}", tail(&output.stderr))
    }

    /// Starts it and leaves it running, with pipes for standard input and output; standard error
    /// goes to `log`. The child is killed when the handle is dropped, unless `survives`.
    ///
    /// # Errors
    /// The program or the log file cannot be opened.
    pub fn spawn(self, log: &Path, survives: bool) -> Result<tokio::process::Child> {
        let name = self.name();
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let mut command = self.command()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        command.kill_on_drop(!survives);
        command.spawn().with_context(|| format!("start `{name}`"))
    }

    /// Starts it apart from the tool: it belongs to no runtime, says nothing, survives the tool,
    /// and reads on standard input a pipe that ends when the tool does, however that happens.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn_apart(self) -> Result<std::process::Child> {
        let name = self.name();
        let mut command = self.command()?.into_std();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("start `{name}`"))
    }

    /// The program's file name, for messages; arguments are left out because they are long.
    fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "the one owner of child processes")]
    fn command(self) -> Result<tokio::process::Command> {
        let shell = xshell::Shell::new().context("read the working folder")?;
        let mut command = shell.cmd(&self.program).args(&self.arguments);
        if self.cleared {
            command = command.env_clear();
            if let Some(path) = crate::config::variable("PATH") {
                command = command.env("PATH", path);
            }
        }
        command = command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut command = std::process::Command::from(command);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        {
            use std::os::unix::process::CommandExt;
            command.process_group(0);
            if let Some((user, group)) = self.user {
                command.uid(user).gid(group);
            }
        }
        Ok(command.into())
    }
}

/// A child with everything that it has started, as a shell does. It dies with whoever waits for it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            tolerate(kill_process_group(group, Signal::KILL), "it may be gone by now");
        }
    }
}

/// The end of a child's standard error, in whole lines.
fn tail(text: &str) -> &str {
    let text = text.trim();
    let mut start = text.len().saturating_sub(SHOWN_STDERR);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    match (start, text[start..].find('\n')) {
        (0, _) | (_, None) => &text[start..],
        (_, Some(line)) => &text[start + line + 1..],
    }
}

/// The first executable file of this name on `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = crate::config::variable("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_and_input() {
        let said = Invocation::new("cat").input("hello").run().await.unwrap();
        assert_eq!(said, "hello");
    }

    #[tokio::test]
    async fn a_failure_shows_standard_error() {
        let error = Invocation::new("sh")
            .arguments(["-c", "echo bad >&2; exit 7"])
            .run()
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "`sh` ended with exit code 7: bad");
    }

    #[tokio::test]
    async fn a_deadline_kills() {
        let sleeper = Invocation::new("sleep").argument("60").deadline(Duration::from_millis(50));
        let error = sleeper.run().await.unwrap_err();
        assert!(error.to_string().contains("was killed after 50ms"), "{error}");
    }

    #[tokio::test]
    async fn a_deadline_kills_what_a_shell_has_started_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let script = "sleep 60 & echo $! > begun; wait";
        let shell = Invocation::new("sh").arguments(["-c", script]).folder(folder.path());
        let begun = folder.path().join("begun");
        let waiting = async {
            while !std::fs::read_to_string(&begun).is_ok_and(|text| text.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            said = shell.run() => panic!("{said:?}"),
            () = waiting => {}
        }
        let process = std::fs::read_to_string(&begun).unwrap().trim().to_string();
        let process = std::path::Path::new("/proc").join(process).join("cmdline");
        // A zombie has no command line.
        while std::fs::read(&process).is_ok_and(|line| !line.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
