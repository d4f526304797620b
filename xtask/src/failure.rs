//! The one error type that `main` reads: what kind of "no" it is, and what to do next.
//!
//! Everything else is plain `anyhow`. A [`Failure`] is put into the chain where the kind is known;
//! an error without one counts as [`Kind::Failed`].

use std::fmt;

/// What an error means to a script that runs the tool. Each kind is one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The answer is no, and nothing was changed: a refused plan, differences found.
    Refused,
    /// The question is wrong: usage, configuration, a missing prerequisite.
    Usage,
    /// It failed, and nothing is left half-done: the source serves.
    Failed,
    /// A human decides: unknown about the decision, or differences at certify.
    Undecided,
    /// Interrupted before anything had begun.
    Interrupted,
}

impl Kind {
    /// The process exit code; the table stands in README.md.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Refused => 1,
            Kind::Usage => 2,
            Kind::Failed => 3,
            Kind::Undecided => 4,
            Kind::Interrupted => 130,
        }
    }
}

/// An error with its kind and, where there is one, the next command.
#[derive(Debug)]
pub struct Failure {
    /// Which exit code this is.
    pub kind: Kind,
    /// A lower-case fragment without a final full stop.
    pub message: String,
    /// What the reader can do about it, often a command to paste.
    pub hint: Option<String>,
}

impl Failure {
    /// A refusal: nothing was changed.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Refused, message: message.into(), hint: None }
    }

    /// A wrong question.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Usage, message: message.into(), hint: None }
    }

    /// A failure that left nothing half-done.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Failed, message: message.into(), hint: None }
    }

    /// A state that a human must decide about.
    pub fn undecided(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Undecided, message: message.into(), hint: None }
    }

    /// A request to stop that came before anything had begun.
    pub fn interrupted(message: impl Into<String>) -> Failure {
        Failure { kind: Kind::Interrupted, message: message.into(), hint: None }
    }

    /// Adds what the reader can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Drops an error on purpose. The only way to do so: the reason stands where it happens.
pub fn tolerate<T, E>(result: Result<T, E>, _reason: &'static str) {
    drop(result);
}

/// The [`Failure`] in an error's chain, if there is one.
pub fn find(error: &anyhow::Error) -> Option<&Failure> {
    error.downcast_ref::<Failure>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}

/// The kind of an error: that of its [`Failure`], else [`Kind::Failed`].
pub fn kind(error: &anyhow::Error) -> Kind {
    find(error).map_or(Kind::Failed, |failure| failure.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn kind_survives_context() {
        let error = Err::<(), _>(anyhow::Error::new(Failure::refused("no")))
            .context("plan")
            .context("start")
            .unwrap_err();
        assert_eq!(kind(&error), Kind::Refused);
    }

    #[test]
    fn an_unclassified_error_is_a_failure() {
        assert_eq!(kind(&anyhow::anyhow!("disk on fire")).exit_code(), 3);
    }
}
