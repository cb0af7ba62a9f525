//! The command line itself.

use crate::support::Project;

#[test]
fn bare_hdeploy_prints_help_and_deploys_nothing() {
    let outcome = Project::empty("bare").hdeploy(&[]).exits(0);
    assert!(outcome.stdout.starts_with("Build, push and roll out"), "{}", outcome.stdout);
    outcome.says("--skip-build").says("Usage: hdeploy");
}
