//! What is refused: in its own words, within seconds, before anything is built and before anything is written.

mod cluster;
mod command_line;
mod daemon;
mod objects;
mod registry;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::{Outcome, Project};

const CONFIG: &str = "product/deploy-k3s/config.yaml";
const MANIFESTS: &str = "product/deploy-k3s/manifests";

/// Nothing listens there.
const CLOSED: &str = "127.0.0.1:9";

/// Nobody waits longer than this to hear that something is wrong.
const SOON: Duration = Duration::from_secs(5);

/// A deploy that has to be refused.
struct Refused<'a> {
    project: &'a Project,
    arguments: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
    /// What earlier deploys wrote.
    written: Vec<String>,
}

impl<'a> Refused<'a> {
    fn of(project: &'a Project) -> Self {
        let written = project.sandbox().writes(&project.name);
        Self { project, arguments: &["all"], environment: &[], written }
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
        let began = Instant::now();
        let outcome = self.run();
        let elapsed = began.elapsed();
        assert!(elapsed < SOON, "it took {elapsed:?}\n{}", outcome.text());
        self.asserted(outcome.never_says("build started"), words)
    }

    /// The same of what only a build brings to light, which takes as long as that build.
    #[track_caller]
    fn says_after_a_build(self, words: &[&str]) -> Outcome {
        self.asserted(self.run().says("build started"), words)
    }

    fn run(&self) -> Outcome {
        self.project.hdeploy_with(self.arguments, self.environment)
    }

    #[track_caller]
    fn asserted(&self, outcome: Outcome, words: &[&str]) -> Outcome {
        let outcome = words.iter().fold(outcome.exits(4).says("\nnext: "), |outcome, text| outcome.says(text));
        assert_eq!(self.project.sandbox().writes(&self.project.name), self.written, "{}", outcome.text());
        outcome
    }
}

/// Somebody who listens and never says a word, and where.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}
