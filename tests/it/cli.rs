//! The command line itself.

use crate::support::Project;

#[test]
fn bare_hdeploy_prints_help_and_deploys_nothing() {
    let outcome = Project::empty("bare").hdeploy(&[]).exits(0);
    assert!(outcome.stdout.starts_with("Build, push and roll out"), "{}", outcome.stdout);
    outcome.says("--skip-build").says("Usage: hdeploy");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let project = Project::empty("usage");
    for (arguments, says) in [
        (&["--skip-biuld"][..], "--skip-build"),
        (&["al"][..], "all"),
        (&["--skip-build", "all"][..], "before the verb"),
        (&["--only", "api"][..], "need a verb"),
        (&["all", "--mixed"][..], "--skip-build"),
        (&["--tag", "A B"][..], "not an image tag"),
    ] {
        project.hdeploy(arguments).exits(4).says(says);
    }
}

#[test]
fn without_a_configuration_it_says_where_it_looked() {
    Project::empty("nowhere").hdeploy(&["all"]).exits(4).says("deploy-k3s/config.yaml");
}
