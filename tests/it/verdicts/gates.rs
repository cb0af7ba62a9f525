//! Jobs that the workloads wait for.

use hdeploy::model::Digest;
use serde_json::json;

use super::{api, container, migrate, product, reads};
use crate::support::{Outcome, Project, Sandbox};

#[track_caller]
fn none(project: &Project, kind: &str) {
    assert_eq!(project.kubectl(&["get", kind, "-o", "name"]), "");
}

/// Its log comes as it is written: most of it before the Job has failed, some maybe after.
fn without_log(outcome: Outcome) -> Outcome {
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| !line.contains(" | ")).collect();
    let stderr = lines.join("\n");
    Outcome { stderr, ..outcome }
}

#[test]
fn o5_d2_a_migration_that_fails_says_why_and_leaves_the_workloads_alone() {
    let project =
        product("migration", &[migrate("echo 0001_init; echo 'fatal: relation exists'; exit 3"), api(|_| {})]);
    let outcome = project.deploy().exits(2).says("exit code 3").says("fatal: relation exists");
    none(&project, "deployments");
    reads(&without_log(outcome), "migration");
}

#[test]
fn o10_a_migration_whose_image_does_not_exist_is_deleted_and_never_runs_later() {
    let mut job = migrate("true");
    let busybox = Sandbox::get().busybox;
    let (repository, _) = busybox.split_once('@').expect("a digest");
    container(&mut job)["image"] = json!(format!("{repository}@{}", Digest::of(b"nobody pushed this either")));
    let project = product("nomigration", &[job, api(|_| {})]);
    let outcome = project.deploy().exits(2).says("it never ran, and is deleted");
    none(&project, "jobs");
    none(&project, "pods");
    none(&project, "deployments");
    reads(&outcome, "migration-without-image");
}
