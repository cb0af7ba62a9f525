//! Which image is meant: by revision, by release, by what runs.

use crate::support::Project;

#[test]
fn a_release_is_found_by_its_tag_and_a_wrong_one_is_refused_with_the_nearest() {
    let project = Project::new("release");
    let first = project.commit_of("product");
    project.hdeploy(&["all"]).exits(0);
    project.edit("product/www/index.html", "one", "two");
    project.commit("product");
    project.hdeploy(&["all"]).exits(0);
    assert_eq!(project.served("api"), "api two\n");

    let wrong = format!("{}0", &first[..first.len() - 1]);
    if wrong != first {
        project.hdeploy(&["--tag", &wrong]).exits(4).says(&wrong).says(&first);
    }
    project.hdeploy(&["--tag", &first]).exits(0).says(&first);
    assert_eq!(project.served("api"), "api one\n");
}

#[test]
fn without_building_it_uses_the_revision_or_what_runs_and_no_mixture() {
    let project = Project::new("skip");
    project.hdeploy(&["--skip-build"]).exits(4).says("no image for every service");
    project.hdeploy(&["all"]).exits(0);
    project.hdeploy(&["--skip-build"]).exits(0).says("the registry has it");

    // The product moves on without a build: no image is of the new release.
    project.edit("product/www/index.html", "one", "two");
    project.commit("product");
    project.hdeploy(&["--skip-build"]).exits(0).says("the live pods run it");
    assert_eq!(project.served("api"), "api one\n");
}

#[test]
fn a_dirty_tree_gets_a_tag_of_its_own_and_says_so() {
    let project = Project::new("dirty");
    let revision = project.commit_of("product");
    project.edit("product/www/index.html", "one", "unsaved");
    project.hdeploy(&["all"]).exits(0).says("uncommitted changes").says(&format!("{revision}-"));
    assert_eq!(project.sandbox().digest(&project.image("api"), &revision), None);
    assert_eq!(project.served("api"), "api unsaved\n");
}

#[test]
fn other_build_arguments_never_move_a_tag() {
    let project = Project::new("recipe");
    project.hdeploy(&["all"]).exits(0);
    let product = project.commit_of("product");
    let site = project.commit_of("site");
    let tag = format!("{product}-{site}");
    let before = project.sandbox().digest(&project.image("site"), &tag).expect("the first image");

    project.edit("product/deploy-k3s/config.yaml", "good day", "good evening");
    project.hdeploy(&["all"]).exits(0).says("was built otherwise");
    assert_eq!(project.sandbox().digest(&project.image("site"), &tag), Some(before));
    assert_eq!(project.fetch("site", "/greeting"), "good evening\n");
}
