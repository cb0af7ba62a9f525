//! One error type: what kind it is (which fixes the exit code), what happened, why, and what to do next.

use std::fmt;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

/// What sort of failure this is. The kind alone decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command line, the configuration or a manifest is wrong; or a part that the deploy needs refused or is
    /// not there. Nothing was written to the cluster.
    Refused,
    /// It failed, and the cluster is as it was before.
    Restored,
    /// It failed after writing, and what was written stands: a person is needed.
    Stranded,
    /// Contact was lost, or somebody else changed what was being watched.
    Unknown,
    /// Another deploy holds the lock.
    Locked,
}

impl Kind {
    /// The number that is the process's exit code; the README's table says the same.
    pub fn code(self) -> u8 {
        match self {
            Self::Restored => 1,
            Self::Stranded => 2,
            Self::Unknown => 3,
            Self::Refused => 4,
            Self::Locked => 5,
        }
    }

    /// The process's exit code.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// An error that a person can act on.
///
/// `message` says what was tried and on what; `source` says why it failed; `details` list the findings when there
/// are several (each names its file and line, or object); `hints` name the next command to try.
#[derive(Debug)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// One sentence without a final full stop.
    pub message: String,
    /// One finding each; may hold several lines.
    pub details: Vec<String>,
    /// What to do next, one advice each.
    pub hints: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new(), hints: Vec::new(), source: None }
    }

    /// One error that tells of several: each with its causes and details below it, every hint once.
    pub fn several(kind: Kind, message: impl Into<String>, errors: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = Self::new(kind, message);
        for error in errors {
            let below = error.causes().into_iter().chain(error.details.clone()).map(|line| line.replace('\n', "\n  "));
            let lines: Vec<String> = std::iter::once(error.message).chain(below).collect();
            whole.details.push(lines.join("\n  "));
            for hint in error.hints {
                if !whole.hints.contains(&hint) {
                    whole.hints.push(hint);
                }
            }
        }
        whole
    }

    /// Nothing, the one refusal, or one that tells of them all.
    pub fn all(mut errors: Vec<Self>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            count => Err(Self::several(Kind::Refused, format!("{count} things stand in the way"), errors)),
        }
    }

    /// The most frequent kind: nothing was written.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// With the error that caused this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// With the next thing to try, once.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// With one finding.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// With findings.
    #[must_use]
    pub fn details(mut self, details: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.details.extend(details.into_iter().map(Into::into));
        self
    }

    /// The same error as another kind: a refusal after the first write is no refusal any more.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The causes, outermost first, each in its own words.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many libraries repeat their cause inside their own text.
            if !causes.iter().any(|said| said.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
