//! A backup by somebody else's means: one command, whose word counts.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::cutover::event::Story;
use crate::failure::Failure;
use crate::pg::endpoint::Endpoint;
use crate::process::Invocation;
use crate::servers::programs::with_server;

/// How long the command may take.
const COMMAND_LIMIT: Duration = Duration::from_hours(48);
/// How often it is looked whether somebody asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many of the last characters of what it said are kept.
const KEPT: usize = 2000;
/// What stands in place of a secret.
const HIDDEN: &str = "<hidden>";
/// What a password follows in text that a program may print.
const MARKS: [&str; 3] = ["password=", "PASSWORD=", "PGPASSWORD="];

/// Runs the command by a shell, and returns the end of what it said, without secrets. It gets the
/// database by libpq's own variables, and besides `XTASK_BACKUP_RUN`, `XTASK_BACKUP_HOST`,
/// `XTASK_BACKUP_PORT`, `XTASK_BACKUP_DATABASE` and `XTASK_BACKUP_USER`.
///
/// # Errors
/// It ends with another exit code than 0, or takes too long, or somebody asked to stop.
pub async fn run(
    command: &str,
    source: &Endpoint,
    run: &str,
    is_stopped: &(dyn Fn() -> bool + Sync),
    story: &Story,
) -> Result<String> {
    story.note("the backup is made by the command that was given");
    let invocation = Invocation::new("sh").arguments(["-c", command]).deadline(COMMAND_LIMIT);
    let invocation = with_server(invocation, source)
        .variable("XTASK_BACKUP_RUN", run)
        .variable("XTASK_BACKUP_HOST", &source.host)
        .variable("XTASK_BACKUP_PORT", source.port.to_string())
        .variable("XTASK_BACKUP_DATABASE", &source.database)
        .variable("XTASK_BACKUP_USER", &source.user);
    let output = tokio::select! {
        output = invocation.output() => output.context("run the command of the backup")?,
        () = stopped(is_stopped) => {
            return Err(Failure::interrupted("interrupted: the command was killed").into());
        }
    };
    let said = format!("{}\n{}", output.stdout.trim(), output.stderr.trim());
    let said = ending(&without_secrets(said.trim(), source));
    if output.code == Some(0) {
        return Ok(said);
    }
    let code = output.code.map_or("a signal".into(), |code| format!("exit code {code}"));
    let message = format!("the command of the backup ended with {code}: {said}");
    Err(Failure::failed(message).hint("mend it, or choose another --backup").into())
}

async fn stopped(is_stopped: &(dyn Fn() -> bool + Sync)) {
    while !is_stopped() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A text without the password of the database, or what looks like one.
fn without_secrets(text: &str, source: &Endpoint) -> String {
    let mut text = text.to_string();
    let variables = source.libpq_environment();
    let password = variables.iter().find(|(name, _)| name == "PGPASSWORD");
    if let Some((_, password)) = password.filter(|(_, password)| !password.is_empty()) {
        text = text.replace(password, HIDDEN);
    }
    for mark in MARKS {
        text = hidden_after(&text, mark, &[' ', '\n', '\t', '&', '\'', '"']);
    }
    // What stands between the scheme of a URL and its host.
    let mut shown = String::new();
    for (number, piece) in text.split("://").enumerate() {
        let login = piece.split(['/', ' ', '\n', '\'', '"']).next().unwrap_or_default();
        match login.rfind('@').filter(|_| number > 0) {
            Some(at) => shown.push_str(&format!("://{HIDDEN}{}", &piece[at..])),
            None if number > 0 => shown.push_str(&format!("://{piece}")),
            None => shown.push_str(piece),
        }
    }
    shown
}

fn hidden_after(text: &str, mark: &str, ends: &[char]) -> String {
    let mut pieces = text.split(mark);
    let mut shown = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let end = piece.find(ends).unwrap_or(piece.len());
        shown.push_str(&format!("{mark}{HIDDEN}{}", &piece[end..]));
    }
    shown
}

/// The last characters of a text.
fn ending(text: &str) -> String {
    let count = text.chars().count();
    text.chars().skip(count.saturating_sub(KEPT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let source = Endpoint::new("h", 1, "d", "u", "s3cret");
        let said = "took s3cret; postgresql://me:pw1@h/d and s3://bucket/a@b; password=pw2 next \
                    PGPASSWORD=pw3";
        let shown = without_secrets(said, &source);
        for secret in ["s3cret", "pw1", "pw2", "pw3", "me:"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for kept in ["@h/d", "s3://bucket/a@b", " next "] {
            assert!(shown.contains(kept), "{shown}");
        }
    }

    #[test]
    fn the_end_is_kept() {
        let text = format!("{}é", "x".repeat(KEPT));
        assert_eq!(ending(&text).chars().count(), KEPT);
        assert!(ending(&text).ends_with('é'));
    }
}
