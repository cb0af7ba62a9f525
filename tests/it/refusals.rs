//! What is refused, before anything is built or written.

use crate::support::{Outcome, Project};

/// Deploys, and asserts that it was refused in these words with nothing built and nothing written.
#[track_caller]
fn refused(project: &Project, environment: &[(&str, &str)], words: &[&str]) -> Outcome {
    let mut outcome = project.hdeploy_with(&["all"], environment).exits(4).never_says("build started");
    for text in words {
        outcome = outcome.says(text);
    }
    assert_eq!(project.sandbox().writes(&project.name), Vec::<String>::new());
    outcome
}

const MANIFEST: &str = "product/deploy-k3s/manifests/api.yaml";
const CONFIG: &str = "product/deploy-k3s/config.yaml";

#[test]
fn another_cluster_than_the_expected_one() {
    let project = Project::new("context");
    project.edit(CONFIG, "registry:", "context: production\nregistry:");
    refused(&project, &[], &["production", "sandbox"]);
}

#[test]
fn a_daemon_or_a_cluster_that_is_not_there() {
    let project = Project::new("absent");
    refused(&project, &[("DOCKER_HOST", "unix:///nowhere/docker.sock")], &["/nowhere/docker.sock"]);
    refused(&project, &[("KUBECONFIG", "/nowhere/kubeconfig")], &["/nowhere/kubeconfig"]);
}

#[test]
fn objects_that_the_api_server_would_refuse_all_at_once() {
    let project = Project::new("objects");
    project.edit(MANIFEST, "replicas: 1", "replcas: 1");
    project.edit("product/deploy-k3s/manifests/site.yaml", "cpu: 5m", "cpu: 5mm");
    project.write(
        "product/deploy-k3s/manifests/thing.yaml",
        "apiVersion: example.test/v1\nkind: Thing\nmetadata: {name: thing}\n",
    );
    refused(&project, &[], &["api.yaml:11", "replcas", "site.yaml:11", "quantity", "thing.yaml:1", "Thing"]);
}

#[test]
fn manifests_that_nobody_can_mean() {
    let project = Project::new("manifests");
    project.edit(MANIFEST, "  name: api\n  namespace", "  name: api\n  name: twice\n  namespace");
    refused(&project, &[], &["api.yaml:5", "\"name\" stands here and in line 4"]);

    let project = Project::new("outside");
    project.edit(MANIFEST, &format!("namespace: {}", project.name), "namespace: elsewhere");
    refused(&project, &[], &["elsewhere", "allowedNamespaces"]);
}

#[test]
fn a_build_that_cannot_begin() {
    let project = Project::new("target");
    project.edit(CONFIG, "target: job", "target: jobb");
    refused(&project, &[], &["jobb", "api, job"]);
}

#[test]
fn fields_that_somebody_else_owns() {
    let project = Project::new("foreign");
    project.hdeploy(&["all"]).exits(0);
    project.kubectl(&["scale", "deployment", "site", "--replicas=2"]);
    project.hdeploy(&["all"]).exits(4).says(".spec.replicas").says("kubectl").says("--force-conflicts");
    assert_eq!(project.kubectl(&["get", "deployment", "site", "-o", "jsonpath={.spec.replicas}"]), "2");
    project.hdeploy(&["all", "--force-conflicts"]).exits(0);
    assert_eq!(project.kubectl(&["get", "deployment", "site", "-o", "jsonpath={.spec.replicas}"]), "1");
}
