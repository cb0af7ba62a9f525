//! A deploy from sources to pods that run.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Project, pods};

/// Image ids of the pods whose `app.kubernetes.io/name` is `service`.
fn image_ids(project: &Project, service: &str) -> BTreeSet<String> {
    pods(&project.name)
        .values()
        .filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == service)
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod.pointer("/status/containerStatuses/0/imageID")?.as_str().map(str::to_owned))
        .collect()
}

fn uids(project: &Project, service: &str) -> BTreeSet<String> {
    pods(&project.name)
        .values()
        .filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == service)
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| pod["metadata"]["uid"].to_string())
        .collect()
}

/// A patch that has pods read the ConfigMap itself.
const IN_PLACE: &str = "patches:
  - target: {kind: ConfigMap, name: settings}
    merge: {metadata: {annotations: {hdeploy.dev/in-place: \"true\"}}}
settle:";

#[test]
fn from_sources_to_pods_by_digest_and_then_only_what_changed() {
    let project = Project::new("walk");
    let first = project.hdeploy(&["all"]).exits(0);
    assert!(project.sandbox().writes(&project.name).iter().any(|write| write.contains("/deployments/api?")));

    // The pods run the very digests that were printed.
    for service in ["api", "site"] {
        let ids = image_ids(&project, service);
        assert_eq!(ids.len(), 1, "{ids:?}");
        let digest = ids.first().and_then(|id| id.split_once('@')).expect("an image id by digest").1.to_owned();
        assert!(first.stdout.contains(&digest), "{digest} is not in\n{}", first.stdout);
    }
    first.says("the job ran");

    // Nothing changed: nothing is built, written anew or restarted, and the Job does not run again.
    let before = (uids(&project, "api"), uids(&project, "site"));
    let written = project.sandbox().writes(&project.name);
    project.hdeploy(&["all"]).exits(0).says("already complete").says("no objects changed").never_says("RUN");
    assert_eq!(project.sandbox().writes(&project.name), written);
    assert_eq!(before, (uids(&project, "api"), uids(&project, "site")));

    // The other repository changes: its service restarts, and no other.
    project.edit("site/www/index.html", "one", "two");
    project.commit("site");
    project.hdeploy(&["all"]).exits(0);
    assert_eq!(before.0, uids(&project, "api"));
    assert!(before.1.is_disjoint(&uids(&project, "site")));

    // A change that only one stage of the Dockerfile sees restarts only that one.
    let before = (uids(&project, "api"), uids(&project, "site"));
    project.edit("product/www/index.html", "one", "two");
    project.commit("product");
    project.hdeploy(&["all"]).exits(0);
    assert!(before.0.is_disjoint(&uids(&project, "api")));
    assert_eq!(before.1, uids(&project, "site"));
    assert!(!live_text(&project).contains(":latest"));

    // Configuration that is read in place changes: it is said who has not read it yet.
    project.edit("product/deploy-k3s/config.yaml", "settle:", IN_PLACE);
    project.hdeploy(&["all"]).exits(0);
    project.edit("product/deploy-k3s/config.yaml", "COLOUR: blue", "COLOUR: green");
    project.hdeploy(&["all"]).exits(0).says("pods of api, site keep the old values until they restart");
}

/// Everything that hdeploy applied, as the API server has it.
fn live_text(project: &Project) -> String {
    let list = project.kubectl(&["get", "deployments,jobs,pods", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).expect("objects");
    let images = |value: &Value| -> Vec<String> {
        let containers = value.pointer("/spec/template/spec/containers").or_else(|| value.pointer("/spec/containers"));
        let containers = containers.and_then(Value::as_array).cloned().unwrap_or_default();
        containers.iter().map(|container| container["image"].to_string()).collect()
    };
    list["items"].as_array().expect("a list").iter().flat_map(images).collect::<Vec<_>>().join("\n")
}

#[test]
fn o5_a_failing_gate_leaves_every_workload_untouched() {
    let project = Project::new("gate");
    project.hdeploy(&["all"]).exits(0);
    let generation = project.kubectl(&["get", "deployment", "api", "-o", "jsonpath={.metadata.generation}"]);

    project.edit("product/Dockerfile", "CMD [\"cat\", \"/job.txt\"]", "CMD [\"cat\", \"/no-such-file\"]");
    project.edit("product/www/index.html", "one", "two");
    project.commit("product");
    project.hdeploy(&["all"]).exits(2).says("no-such-file").says("were not touched");
    assert_eq!(generation, project.kubectl(&["get", "deployment", "api", "-o", "jsonpath={.metadata.generation}"]));

    // Mended, it runs again and the rest follows.
    project.edit("product/Dockerfile", "/no-such-file", "/job.txt");
    project.commit("product");
    project.hdeploy(&["all"]).exits(0).says("the job ran");
}

#[test]
fn only_names_services_and_leaves_the_rest() {
    let project = Project::new("only");
    project.hdeploy(&["all"]).exits(0);
    let before = (uids(&project, "api"), uids(&project, "site"));
    project.edit("site/www/index.html", "one", "two");
    project.commit("site");
    project.edit("product/www/index.html", "one", "two");
    project.commit("product");

    project.hdeploy(&["all", "--only", "site"]).exits(0).says("left as it is");
    assert_eq!(before.0, uids(&project, "api"));
    assert!(before.1.is_disjoint(&uids(&project, "site")));
}

#[test]
fn a_secret_never_leaves() {
    let project = Project::new("secret");
    let password = project.sandbox().password.clone();
    project.edit("site/Dockerfile", "RUN echo", &format!("RUN echo {password}; false && echo"));
    project.commit("site");
    project.hdeploy(&["all"]).exits(4).never_says(&password);
}

#[test]
fn the_log_of_a_job_shows_no_secret_of_the_cluster_the_manifests_or_the_configuration() {
    let project = Project::new("masked");
    project.kubectl(&["create", "secret", "generic", "live", "--from-literal", "token=made-up-live-0123"]);
    project.edit("product/deploy-k3s/config.yaml", "{COLOUR: blue}", "{API_TOKEN: made-up-written-0123}");
    let manifest = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: own, namespace: {}}}\nstringData: {{token: made-up-own-0123}}\n",
        project.name
    );
    project.write("product/deploy-k3s/manifests/secret.yaml", &manifest);
    let job = "          resources:\n";
    let prints = "          command: [sh, -c, 'echo \"it says $LIVE $OWN $API_TOKEN\"; exit 3']\n          env:\n\
                  \x20           - {name: LIVE, valueFrom: {secretKeyRef: {name: live, key: token}}}\n\
                  \x20           - {name: OWN, valueFrom: {secretKeyRef: {name: own, key: token}}}\n\
                  \x20         envFrom: [{configMapRef: {name: settings}}]\n";
    project.edit("product/deploy-k3s/manifests/job.yaml", job, &format!("{prints}{job}"));
    project.commit("product");
    project.hdeploy(&["all"]).exits(2).says("it says ••••• ••••• •••••").never_says("made-up");
}
