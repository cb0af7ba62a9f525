//! One deploy at a time, and what a killed one leaves behind.

use crate::support::Project;

/// A pod that needs a while until it is ready.
const SLOW: &str = "readinessProbe:\n            initialDelaySeconds: 60";

#[test]
fn c1_c2_a_second_deploy_is_told_who_holds_the_lock_and_a_killed_one_holds_none() {
    let project = Project::new("lock");
    project.edit("product/deploy-k3s/manifests/api.yaml", "readinessProbe:", SLOW);
    let mut first = project.start(&["all"]);
    project.until(&["deployment", "api"], |found| !found.is_empty());
    let written = project.sandbox().writes(&project.name).len();
    let second = project.hdeploy(&["all"]).exits(5);
    second.says("another deploy to the namespace").says(&format!("process {}", first.id())).says("release ");
    assert!(project.sandbox().writes(&project.name).len() <= written + 1, "the first one renews at most");

    // Killed, it holds the lock no longer, and what it changed is put back before anything else.
    first.kill();
    project.edit("product/deploy-k3s/manifests/api.yaml", "            initialDelaySeconds: 60\n", "");
    project.hdeploy(&["all"]).exits(0).says("was not finished").says("settled with 1 replica");
    assert_eq!(project.served("api"), "api one\n");
    project.hdeploy(&["all"]).exits(0).says("no objects changed");
    let left = project.kubectl(&["get", "secrets", "-o", "name"]);
    assert!(!left.contains("journal"), "{left}");
}

#[test]
fn c2_a_killed_deploy_is_undone_by_the_next_one() {
    let project = Project::new("undone");
    project.hdeploy(&["all"]).exits(0);
    let spec = |kind: &str, name: &str, path: &str| {
        project.kubectl(&["get", kind, name, "-o", &format!("jsonpath={{{path}}}")])
    };
    let before = spec("deployment", "api", ".spec.template.spec.containers[0].env");
    assert_eq!(before, "");

    // A release that brings a Service, changes a ConfigMap and a Deployment, and never gets ready.
    let api = "product/deploy-k3s/manifests/api.yaml";
    project.edit(api, "envFrom:", "env: [{name: NEW, value: \"1\"}]\n          envFrom:");
    project.edit(api, "path: /,", "path: /never,");
    project.edit("product/deploy-k3s/config.yaml", "COLOUR: blue", "COLOUR: green");
    let more = "apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {ports: [{port: 80}]}\n";
    project.write("product/deploy-k3s/manifests/more.yaml", more);
    let mut killed = project.start(&["all"]);
    project.until(&["deployment", "api", "-o", "jsonpath={.spec.template.spec.containers[0].env}"], |found| {
        !found.is_empty()
    });
    killed.kill();
    assert_eq!(spec("configmap", "settings", ".data.COLOUR"), "green");

    // Without that release, everything is as it was, in the order in which it was written.
    project.hdeploy(&["recover"]).exits(0).says("put back as it was").says("deleted: it was not there before");
    assert_eq!(spec("deployment", "api", ".spec.template.spec.containers[0].env"), "");
    assert_eq!(spec("configmap", "settings", ".data.COLOUR"), "blue");
    assert_eq!(project.kubectl(&["get", "service", "more", "--ignore-not-found"]), "");
    project.hdeploy(&["recover"]).exits(0).says("nothing to recover");
}
