//! The reference stack, whole, in a namespace of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Project, kubectl};

/// Manifests and configuration get the project's own names.
fn renamed(name: &str, text: &str) -> String {
    text.replace("namespace: honeydue", &format!("namespace: {name}"))
        .replace("\n  name: honeydue\n", &format!("\n  name: {name}\n"))
        .replace("names: [honeydue]", &format!("names: [{name}]"))
        .replace("cluster: honeydue", &format!("cluster: {name}"))
        .replace("admin/honeydue-", &format!("admin/{name}-"))
        .replace("image: honeydue-", &format!("image: {name}-"))
        // Lies in a namespace that all share.
        .replace("name: traefik\n  namespace: kube-system", &format!("name: {name}\n  namespace: kube-system"))
}

/// The sources, the configuration and the Secrets of the stack, in a namespace that holds nothing else yet.
pub fn stack(name: &str) -> Project {
    let mut project = Project::empty(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = |text: &str| renamed(&project.name, text);
    project.copy(&root.join("tests/fixtures/honeydue/honeydue-api"), "product", &named);
    project.copy(&root.join("tests/fixtures/honeydue/honeydue-web"), "honeydue-web", &named);
    project.copy(&root.join("deploy-k3s"), "product/deploy-k3s", &named);
    project.commit("product");
    project.commit("honeydue-web");
    let secrets = Command::new(root.join("scripts/demo-secrets")).arg(&project.name).status().expect("the script");
    assert!(secrets.success());
    project.delete_in_the_end();
    project
}

/// Waits until the metrics store answers `query` with `least` or more: targets are scraped one after another.
fn await_metric(query: &str, least: f64) {
    let url = format!("{}/api/v1/query", std::env::var("SANDBOX_METRICS_QUERY_URL").expect("the sandbox"));
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let output = Command::new("curl")
            .args(["-sS", "--get", &url, "--data-urlencode", &format!("query={query}")])
            .output()
            .expect("curl");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
        match value.and_then(|text| text.parse::<f64>().ok()) {
            Some(value) if value >= least => return,
            _ => assert!(Instant::now() < end, "no metric: {answer}"),
        }
    }
}

#[test]
fn the_example_is_refused_as_long_as_its_own_values_stand() {
    let project = Project::empty("example");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    project.copy(&root.join("deploy-k3s"), "deploy-k3s", &str::to_owned);
    let example = std::fs::read_to_string(root.join("deploy-k3s/config.yaml.example")).expect("the example");
    project.write("deploy-k3s/config.yaml", &example);
    project.hdeploy(&["all"]).exits(4).says("registry-password does not exist");
    project.write("deploy-k3s/registry-password", "made-up-password");
    let outcome = project.hdeploy(&["all"]).exits(4).says("6 findings").says("next: ");
    outcome.says("DB_HOST still has the placeholder \"ep-example\"").says("APNS_TEAM_ID");
}

#[test]
fn o6_the_reference_stack_runs_and_its_metrics_arrive() {
    let project = stack("stack");
    let configuration = ["all", "--config", "deploy-k3s/sandbox.yaml"];

    // Without the token, the agent's file is left out and the rest runs.
    let first = project.hdeploy(&configuration).exits(0).says("no value for TOKEN_PLACEHOLDER");
    first.says("schema is up to date").says("worker");
    let images = project.kubectl(&["get", "deployments,jobs", "-o", "jsonpath={..image}"]);
    assert!(images.split_whitespace().all(|image| image.contains("@sha256:")), "{images}");
    assert!(!project.kubectl(&["get", "deployments", "-o", "name"]).contains("vmagent"));

    // With it, the agent delivers what it scrapes, and nobody else is restarted.
    let token = std::env::var("SANDBOX_METRICS_TOKEN").expect("the sandbox");
    project.write("product/deploy/prod.env", &format!("OBS_INGEST_TOKEN={token}\n"));
    let before = project.kubectl(&["get", "pods", "-l", "app.kubernetes.io/name=api", "-o", "name"]);
    project.hdeploy(&configuration).exits(0).says("vmagent").never_says(&token);
    assert_eq!(before, project.kubectl(&["get", "pods", "-l", "app.kubernetes.io/name=api", "-o", "name"]));
    let up = format!("sum(up{{job=\"api\",cluster=\"{}\"}})", project.name);
    await_metric(&up, 3.0);

    // The token is in the cluster and nowhere else; the placeholder is nowhere at all.
    let objects = project.kubectl(&["get", "secrets,configmaps,deployments", "-o", "json"]);
    assert!(!objects.contains("TOKEN_PLACEHOLDER") && !objects.contains("VE9LRU5fUExBQ0VIT0xERVI"));

    // The file lost again: what runs of it is left alone.
    project.write("product/deploy/prod.env", "");
    project.hdeploy(&configuration).exits(0).says("left alone");
    assert!(project.kubectl(&["get", "deployments", "-o", "name"]).contains("vmagent"));
    kubectl(&["-n", "kube-system", "delete", "helmchartconfig", &project.name]);
}
