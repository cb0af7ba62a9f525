//! `hdeploy render`.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Outcome, Project};

const MANIFESTS: &str = "product/deploy-k3s/manifests";
const SECRET: &str = "made-up-secret-for-tests";
/// Neither a daemon nor a cluster.
const NOTHING: [(&str, &str); 2] = [("DOCKER_HOST", "unix:///nowhere/docker.sock"), ("KUBECONFIG", "/nowhere/config")];

fn project(name: &str) -> Project {
    let project = Project::new(name);
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: own}}\nstringData: {{key: {SECRET}}}\n");
    project.write(&format!("{MANIFESTS}/secret.yaml"), &secret);
    project.write(&format!("{MANIFESTS}/hpa.yaml"), include_str!("../fixtures/product/hpa.yaml"));
    project.commit("product");
    project
}

/// What kubectl finds different between `manifests`, applied as hdeploy applies them, and the live objects.
fn kubectl_diff(project: &Project, manifests: &str) -> Outcome {
    let file = project.path("rendered.yaml");
    std::fs::write(&file, manifests).expect("a file");
    let mut command = Command::new("kubectl");
    command.args(["diff", "--server-side", "--field-manager=hdeploy", "-f"]).arg(file).stdin(Stdio::null());
    Outcome::of(&mut command)
}

#[test]
fn what_is_rendered_is_what_was_sent() {
    let project = project("render");
    project.hdeploy(&["all"]).exits(0);
    let before = project.sandbox().writes(&project.name).len();
    let rendered = project.hdeploy_with(&["render", "--show-secrets"], &NOTHING).exits(0);
    kubectl_diff(&project, &rendered.stdout).exits(0);
    assert_eq!(project.sandbox().writes(&project.name).len(), before);

    let edited = rendered.stdout.replace("maxReplicas: 2", "maxReplicas: 3");
    kubectl_diff(&project, &edited).exits(1).says("maxReplicas: 3");
}

#[test]
fn objects_come_in_the_order_of_a_deploy_and_secrets_are_masked() {
    let project = project("rendered");
    let digest = format!("sha256:{}", "0a".repeat(32));
    let given = ["api", "job", "site"].map(|service| format!("--digest={service}={digest}"));
    let mut arguments = vec!["render", "--output", "json"];
    arguments.extend(given.iter().map(String::as_str));
    // With every digest given, not even the registry is needed.
    project.edit("product/deploy-k3s/config.yaml", &project.sandbox().registry, "127.0.0.1:9");
    let rendered = project.hdeploy_with(&arguments, &NOTHING).exits(0).never_says(SECRET).says("--show-secrets");

    let list: Value = serde_json::from_str(&rendered.stdout).expect("JSON");
    let items = list["items"].as_array().expect("items");
    let kinds: Vec<&str> = items.iter().filter_map(|item| item["kind"].as_str()).collect();
    let place = |kind: &str| kinds.iter().position(|known| *known == kind).expect(kind);
    let order = ["Namespace", "ConfigMap", "Service", "Job", "Deployment", "HorizontalPodAutoscaler"].map(place);
    assert!(order.is_sorted(), "{kinds:?}");

    let api = items.iter().find(|item| item["kind"] == "Deployment" && item["metadata"]["name"] == "api").expect("api");
    let image = api["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image");
    assert_eq!(image, format!("127.0.0.1:9/{}/{}@{digest}", project.sandbox().owner, project.image("api")));
    assert_eq!(api["spec"].get("replicas"), None, "an autoscaler sets them");

    let arguments: Vec<&str> = arguments.iter().copied().chain(["--show-secrets"]).collect();
    project.hdeploy_with(&arguments, &NOTHING).exits(0).says("bWFkZS11cC1zZWNyZXQtZm9yLXRlc3Rz");
}

#[test]
fn what_cannot_be_rendered_says_why() {
    let project = project("unrendered");
    let render = |arguments: &[&str]| {
        project.hdeploy_with(&[&["render"], arguments].concat(), &NOTHING).exits(4).never_says(SECRET)
    };
    render(&[]).says("api: ").says("has nothing for").says("--digest").says("hdeploy all");
    let digest = format!("apii=sha256:{}", "0a".repeat(32));
    render(&["--digest", &digest]).says("did you mean \"api\"?");
    render(&["--digest", "api=latest"]).says("64 lower-case hexadecimal digits");
    render(&["--tag", "v9"]).says("v9");
    assert_eq!(project.sandbox().writes(&project.name), Vec::<String>::new());
}
