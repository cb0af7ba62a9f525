//! What the manifests hold no longer is told, and deleted only when that was asked for.

use crate::support::{Outcome, Project};

const MORE: &str = "product/deploy-k3s/manifests/more.yaml";

/// A ConfigMap, a claim that nobody uses, and a Service, in one file.
const OBJECTS: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: extra}
data: {a: \"1\"}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], storageClassName: local-path, resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: extra}
spec: {ports: [{port: 80}]}
";

/// A deployed product with further objects, whose manifests have lost their file since.
fn without_its_file(name: &str) -> Project {
    let project = Project::new(name);
    project.write(MORE, OBJECTS);
    project.hdeploy(&["all"]).exits(0);
    std::fs::remove_file(project.path(MORE)).expect("a file");
    project
}

fn there(project: &Project) -> String {
    let names =
        project.kubectl(&["get", "configmap/extra", "service/extra", "pvc/kept", "--ignore-not-found", "-o", "name"]);
    names.lines().map(|name| name.rsplit_once('/').map_or(name, |(kind, _)| kind)).collect::<Vec<_>>().join(" ")
}

fn deploy(project: &Project, arguments: &[&str]) -> Outcome {
    project.hdeploy(&[&["all"], arguments].concat())
}

#[test]
fn what_left_the_manifests_is_told_and_deleted_on_demand_but_never_a_claim() {
    let project = without_its_file("prune");
    let written = project.sandbox().writes(&project.name).len();
    let told = deploy(&project, &[]).exits(0).says("Service").says("no longer in the manifests; --prune deletes it");
    told.says("no longer in the manifests; it is never deleted by hdeploy");
    assert_eq!(there(&project), "configmap service persistentvolumeclaim");
    assert_eq!(project.sandbox().writes(&project.name).len(), written, "telling writes nothing");

    // Somebody else's object of the same name is not ours to delete.
    project.kubectl(&["delete", "configmap", "extra"]);
    project.kubectl(&["create", "configmap", "extra"]);
    deploy(&project, &["--prune"]).exits(0).says("/extra deleted").says("1 object changed");
    assert_eq!(there(&project), "configmap persistentvolumeclaim");
    deploy(&project, &["--prune"]).exits(0).says("no objects changed").never_says("/extra");

    // What somebody else has made theirs in place is left, too.
    project.write(MORE, &OBJECTS.replace("extra", "taken"));
    deploy(&project, &[]).exits(0);
    std::fs::remove_file(project.path(MORE)).expect("a file");
    let theirs = project.path("theirs.yaml");
    let taken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: taken}\ndata: {a: theirs}\n";
    project.write("theirs.yaml", taken);
    let file = theirs.display().to_string();
    project.kubectl(&["apply", "--server-side", "--force-conflicts", "--field-manager=others", "-f", &file]);
    deploy(&project, &["--prune"]).exits(0).says("/taken deleted").says("1 object changed");
    assert_eq!(project.kubectl(&["get", "configmap", "taken", "-o", "jsonpath={.data.a}"]), "theirs");

    // Back in the manifests, it is made anew.
    project.write(MORE, OBJECTS);
    deploy(&project, &["--force-conflicts"]).exits(0);
    assert_eq!(there(&project), "configmap service persistentvolumeclaim");
}

#[test]
fn what_was_pruned_comes_back_when_the_deploy_is_killed() {
    let project = without_its_file("unprune");
    // The deploy goes on until the Service's deletion is held up by a finalizer.
    let hold = "{\"metadata\": {\"finalizers\": [\"example.test/hold\"]}}";
    project.kubectl(&["patch", "service", "extra", "--type=merge", "-p", hold]);
    let mut deploy = project.start(&["all", "--prune"]);
    project.until(&["service", "extra", "-o", "jsonpath={.metadata.deletionTimestamp}"], |time| !time.is_empty());
    deploy.kill();
    let free = "{\"metadata\": {\"finalizers\": null}}";
    project.kubectl(&["patch", "service", "extra", "--type=merge", "-p", free]);
    project.hdeploy(&["recover"]).exits(0).says("Service").says("put back as it was");
    assert_eq!(there(&project), "configmap service persistentvolumeclaim");
    // As it was, finalizer and all: the namespace could not go.
    project.kubectl(&["patch", "service", "extra", "--type=merge", "-p", free]);
}

#[test]
fn a_file_that_is_skipped_and_services_that_are_left_count_as_wanted() {
    let project = Project::new("wanted");
    project.write(MORE, &OBJECTS.replace("\"1\"", "TOKEN_HERE"));
    let with = |value: &str| project.config(&format!("substitutions:\n  TOKEN_HERE: {value}\n"));
    project.write("product/deploy-k3s/config.yaml", &with("made-up"));
    project.hdeploy(&["all"]).exits(0);
    project.write("product/deploy-k3s/config.yaml", &with("{env: NOT_SET_HERE}"));
    deploy(&project, &["--prune"]).exits(0).says("skipped").never_says("no longer in the manifests");
    deploy(&project, &["--only", "site"]).exits(0).never_says("no longer in the manifests");
    deploy(&project, &["--only", "site", "--prune"]).exits(4);
    assert_eq!(there(&project), "configmap service persistentvolumeclaim");
}
