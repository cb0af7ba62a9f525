//! What is typed.

use super::{CONFIG, Refused};
use crate::support::Project;

#[test]
fn names_that_are_not_there() {
    let project = Project::new("names");
    let refused = |arguments: &[&str], words: &[&str]| drop(Refused::of(&project).arguments(arguments).says(words));
    refused(&["all", "--only", "sitee"], &["sitee", "did you mean \"site\"?", "api, job, site"]);
    refused(&["--tag", "v9"], &["release v9", "holds no image at all", "hdeploy all"]);
    refused(&["all", "--config", "no-such.yaml"], &["no-such.yaml", "--config"]);

    project.edit(CONFIG, "namespace:", "namspace:");
    refused(&["all"], &["config.yaml:1:1", "\"namspace\", did you mean \"namespace\"?", "hdeploy render"]);
}

#[test]
fn words_that_mean_nothing() {
    let project = Project::empty("usage");
    for (arguments, word) in [
        (&["al"][..], "all"),
        (&["all", "--skip-biuld"], "--skip-build"),
        (&["all", "--tag", "Upper"], "lower-case"),
        (&["--skip-build", "all"], "behind it"),
        (&["all", "--mixed"], "--skip-build"),
        (&["--plain"], "hdeploy all"),
    ] {
        let outcome = project.hdeploy(arguments);
        if arguments == ["--plain"] {
            // No verb: help, which is no mistake.
            outcome.exits(0).says(word);
        } else {
            outcome.exits(4).says(word);
        }
    }
    project.hdeploy(&["all"]).exits(4).says("no deploy-k3s/config.yaml").says("--config FILE");
}
