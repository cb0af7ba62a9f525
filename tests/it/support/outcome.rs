//! What a run of the program showed.

use std::process::{Command, Output};

/// Exit code and streams of one run.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A program that was killed has the code -1.
impl From<Output> for Outcome {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        Self {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.output().expect("the program starts"))
    }

    /// Everything that was said.
    pub fn text(&self) -> String {
        format!("{}{}", self.stderr, self.stdout)
    }

    /// Asserts the exit code, and shows everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n--- stderr\n{}\n--- stdout\n{}", self.stderr, self.stdout);
        self
    }

    /// Asserts that `text` was said.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.text().contains(text), "{text:?} is not in\n{}", self.text());
        self
    }

    /// Asserts that `text` was not said.
    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        assert!(!self.text().contains(text), "{text:?} is in\n{}", self.text());
        self
    }
}
