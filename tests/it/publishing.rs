//! A change of configuration restarts exactly its users, and old pods keep what they were rolled out with.

use crate::support::{Project, pods};

const CONFIG: &str = "product/deploy-k3s/config.yaml";
const API: &str = "product/deploy-k3s/manifests/api.yaml";
const SITE: &str = "product/deploy-k3s/manifests/site.yaml";

/// A product whose service `api` reads the ConfigMap and a Secret, and whose service `site` reads neither.
fn project(name: &str) -> Project {
    let project = Project::new(name);
    project.edit(SITE, "          envFrom: [{configMapRef: {name: settings}}]\n", "");
    project.edit(
        API,
        "[{configMapRef: {name: settings}}]",
        "[{configMapRef: {name: settings}}, {secretRef: {name: token}}]",
    );
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {TOKEN: made-up-token-1}\n";
    project.write("product/deploy-k3s/manifests/token.yaml", secret);
    project
}

/// Names of the pods of `service` that are there to stay.
fn running(project: &Project, service: &str) -> Vec<String> {
    let is_its = |pod: &&serde_json::Value| {
        pod["metadata"]["labels"]["app.kubernetes.io/name"] == service && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let name = |pod: &serde_json::Value| pod["metadata"]["name"].as_str().expect("a name").to_owned();
    pods(&project.name).values().filter(is_its).map(name).collect()
}

/// The ReplicaSet that runs pods of `service`.
fn replica_set(project: &Project, service: &str) -> String {
    let pods = running(project, service);
    assert_eq!(pods.len(), 1, "{pods:?}");
    pods[0].rsplit_once('-').expect("a ReplicaSet's pod").0.to_owned()
}

fn variable(project: &Project, pod: &str, name: &str) -> String {
    project.kubectl(&["exec", pod, "--", "sh", "-c", &format!("echo ${name}")]).trim().to_owned()
}

#[test]
fn a13_a_changed_value_restarts_its_users_alone_and_changed_back_their_old_replica_set_runs_again() {
    let project = project("publish");
    project.hdeploy(&["all"]).exits(0);
    let (blue, site) = (replica_set(&project, "api"), running(&project, "site"));
    assert_eq!(project.kubectl(&["get", "configmap", "settings", "-o", "jsonpath={.data.COLOUR}"]), "blue");

    project.edit(CONFIG, "COLOUR: blue", "COLOUR: green");
    project.hdeploy(&["all"]).exits(0);
    let green = replica_set(&project, "api");
    assert_ne!(green, blue);
    assert_eq!(running(&project, "site"), site);
    assert_eq!(variable(&project, &running(&project, "api")[0], "COLOUR"), "green");
    // Beside its copies it stays for people.
    assert_eq!(project.kubectl(&["get", "configmap", "settings", "-o", "jsonpath={.data.COLOUR}"]), "green");

    project.edit(CONFIG, "COLOUR: green", "COLOUR: blue");
    project.hdeploy(&["all"]).exits(0);
    assert_eq!(replica_set(&project, "api"), blue);

    project.edit("product/deploy-k3s/manifests/token.yaml", "made-up-token-1", "made-up-token-2");
    project.hdeploy(&["all"]).exits(0);
    assert_ne!(replica_set(&project, "api"), blue);
    assert_eq!(running(&project, "site"), site);
    assert_eq!(variable(&project, &running(&project, "api")[0], "TOKEN"), "made-up-token-2");
}

#[test]
fn a14_an_old_pod_that_starts_again_in_the_middle_of_a_rollout_has_its_old_values() {
    let project = project("keep");
    project.hdeploy(&["all"]).exits(0);
    let old = running(&project, "api");

    project.edit(CONFIG, "COLOUR: blue", "COLOUR: green");
    project.edit(API, "path: /,", "path: /never,");
    let mut deploy = project.start(&["all"]);
    let both = "jsonpath={.items[*].metadata.name}";
    project.until(&["pods", "-l", "app.kubernetes.io/name=api", "-o", both], |names| names.split(' ').count() == 2);
    project.kubectl(&["delete", "pod", &old[0]]);
    let of_old = old[0].rsplit_once('-').expect("a ReplicaSet's pod").0;
    let ready = "jsonpath={range .items[?(@.status.containerStatuses[0].ready==true)]}{.metadata.name}{\"\\n\"}{end}";
    let ready = project.until(&["pods", "-l", "app.kubernetes.io/name=api", "-o", ready], |names| {
        names.lines().any(|name| name.starts_with(of_old) && name != old[0])
    });
    let again = ready.lines().find(|name| name.starts_with(of_old)).expect("it is ready");
    assert_eq!(variable(&project, again, "COLOUR"), "blue");
    deploy.kill();
}

#[test]
fn a14_copies_go_when_no_replica_set_can_need_them() {
    let project = project("collect");
    let copies = || {
        let names = project.kubectl(&["get", "configmaps", "-l", "hdeploy.dev/published=settings", "-o", "name"]);
        names.lines().count()
    };
    project.hdeploy(&["all"]).exits(0);
    project.edit(CONFIG, "COLOUR: blue", "COLOUR: green");
    project.hdeploy(&["all"]).exits(0);
    assert_eq!(copies(), 2, "the old ReplicaSet may be used again");

    project.edit(API, "spec:\n  replicas: 1", "spec:\n  revisionHistoryLimit: 0\n  replicas: 1");
    project.edit(CONFIG, "COLOUR: green", "COLOUR: red");
    project.hdeploy(&["all"]).exits(0);
    // The controller takes old ReplicaSets away when it gets to it.
    project.until(&["replicasets", "-l", "app.kubernetes.io/name=api", "-o", "name"], |sets| sets.lines().count() == 1);
    project.edit(CONFIG, "COLOUR: red", "COLOUR: white");
    project.hdeploy(&["all"]).exits(0);
    let values = ["configmaps", "-l", "hdeploy.dev/published=settings", "-o", "jsonpath={.items[*].data.COLOUR}"];
    let left = project.kubectl(&[&["get"], values.as_slice()].concat());
    assert!(!left.contains("blue") && !left.contains("green") && left.contains("white"), "{left}");
    assert!(variable(&project, &running(&project, "api")[0], "COLOUR") == "white");
}
