//! What is typed.

use super::{CONFIG, Refused};
use crate::support::Project;

#[test]
fn names_that_are_not_there() {
    let project = Project::new("names");
    let refused = |arguments: &[&str], words: &[&str]| drop(Refused::of(&project).arguments(arguments).says(words));
    refused(&["all", "--only", "sitee"], &["sitee", "did you mean \"site\"?", "api, job, site"]);
    refused(&["--tag", "v9"], &["release v9", "holds no image at all", "hdeploy all"]);

    project.hdeploy(&["all"]).exits(0);
    let revision = project.commit_of("product");
    let wrong = format!("{revision}0");
    let nearest = |service| format!("{} has no tag {wrong}; the nearest are {revision}\n", project.image(service));
    let words = ["api", "job", "site"].map(nearest);
    refused(&["--tag", &wrong], &words.each_ref().map(String::as_str));

    project.edit(CONFIG, "namespace:", "namspace:");
    refused(&["all"], &["config.yaml:1:1", "\"namspace\", did you mean \"namespace\"?", "hdeploy render"]);
}

#[test]
fn a_configuration_that_is_not_there() {
    let project = Project::new("noconfig");
    let named = ["all", "--config", "no-such.yaml"];
    Refused::of(&project).arguments(&named).says(&["cannot read no-such.yaml", "--config"]);
    std::fs::remove_file(project.path(CONFIG)).expect("the configuration");
    let looked = format!("no deploy-k3s/config.yaml in {} or any folder above", project.path("product").display());
    Refused::of(&project).says(&[&looked, "--config FILE"]);
    project.write(&format!("{CONFIG}.example"), "");
    Refused::of(&project).says(&[&looked, "cp deploy-k3s/config.yaml.example deploy-k3s/config.yaml"]);
}

#[test]
fn a_release_without_a_name() {
    let project = Project::new("nameless");
    std::fs::remove_dir_all(project.path("product/.git")).expect("the repository");
    let folder = format!("{}/deploy-k3s lies in no git repository", project.path("product").display());
    Refused::of(&project).says(&[&folder, "--tag NAME"]);
}

#[test]
fn words_that_mean_nothing() {
    let project = Project::empty("usage");
    for (arguments, words) in [
        (&["al"][..], &["'al'", "'all'", "hdeploy --help"][..]),
        (&["depoly"], &["'depoly'", "hdeploy --help"]),
        (&["--skip-biuld"], &["--skip-build", "hdeploy --help"]),
        (&["all", "--skip-biuld"], &["--skip-build", "hdeploy --help"]),
        (&["all", "--tag", "Upper"], &["\"Upper\" is not an image tag", "lower-case"]),
        (&["--skip-build", "all"], &["before the verb", "hdeploy all --skip-build"]),
        (&["--only", "api"], &["need a verb", "hdeploy all"]),
        (&["all", "--mixed"], &["--skip-build", "hdeploy --help"]),
    ] {
        Refused::of(&project).arguments(arguments).says(words);
    }
}
