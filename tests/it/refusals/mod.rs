//! What is refused: in its own words, within seconds, before anything is built and before anything is written.

mod cluster;
mod command_line;
mod daemon;
mod objects;
mod registry;

use std::time::{Duration, Instant};

use crate::support::{Outcome, Project};

const CONFIG: &str = "product/deploy-k3s/config.yaml";
const MANIFESTS: &str = "product/deploy-k3s/manifests";

/// Nobody waits longer than this to hear that something is wrong.
const SOON: Duration = Duration::from_secs(5);

/// A deploy that has to be refused.
struct Refused<'a> {
    project: &'a Project,
    arguments: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
}

impl<'a> Refused<'a> {
    fn of(project: &'a Project) -> Self {
        Self { project, arguments: &["all"], environment: &[] }
    }

    fn with(self, environment: &'a [(&'a str, &'a str)]) -> Self {
        Self { environment, ..self }
    }

    fn arguments(self, arguments: &'a [&'a str]) -> Self {
        Self { arguments, ..self }
    }

    /// Deploys, and asserts that it was refused in time, in these words and with advice, with nothing built and nothing
    /// written.
    #[track_caller]
    fn says(self, words: &[&str]) -> Outcome {
        let written = self.project.sandbox().writes(&self.project.name);
        let began = Instant::now();
        let outcome = self.project.hdeploy_with(self.arguments, self.environment);
        let elapsed = began.elapsed();
        let mut outcome = outcome.exits(4).says("next: ").never_says("build started");
        for text in words {
            outcome = outcome.says(text);
        }
        assert!(elapsed < SOON, "it took {elapsed:?}\n{}", outcome.text());
        assert_eq!(self.project.sandbox().writes(&self.project.name), written);
        outcome
    }
}
