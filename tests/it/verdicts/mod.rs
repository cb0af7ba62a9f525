//! What is said of rollouts on a real kubelet: which of them have failed, of what, and what only looks like a failure.
//!
//! What is printed about a failure is a snapshot each: it is read by somebody who was woken by it.

mod admission;
mod containers;
mod gates;
mod images;
mod others;
mod probes;

use insta::Settings;
use serde_json::{Value, json};

use crate::support::{Outcome, Project, Sandbox};

/// A timeout that no good rollout needs, for what only a timeout ends.
const SHORT: [&str; 3] = ["--timeout", "20", "--force-timeout"];

/// What starts without a readiness probe counts as ready at once, and what ends at once is seen to do so a second later.
const SOAK: [&str; 2] = ["--soak", "10"];

/// A Deployment called `api` with one pod that runs and does nothing, but for `change`.
fn api(change: impl FnOnce(&mut Value)) -> Value {
    let container = json!({"name": "api", "image": Sandbox::get().busybox, "command": ["sleep", "3600"]});
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"},
        "spec": {
            "selector": {"matchLabels": {"app": "api"}},
            "template": {"metadata": {"labels": {"app": "api"}}, "spec": pod(&container)},
        },
    });
    change(&mut value);
    value
}

/// The same, its container running `script`.
fn running(script: &str, change: impl FnOnce(&mut Value)) -> Value {
    api(|api| {
        container(api)["command"] = json!(["sh", "-c", script]);
        change(api);
    })
}

/// A Job called `migrate` that runs `script` once.
fn migrate(script: &str) -> Value {
    let image = Sandbox::get().busybox;
    let container = json!({"name": "migrate", "image": image, "command": ["sh", "-c", script]});
    let mut pod = pod(&container);
    pod["restartPolicy"] = json!("Never");
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"},
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 300, "template": {"spec": pod}}})
}

fn pod(container: &Value) -> Value {
    json!({"terminationGracePeriodSeconds": 0, "imagePullSecrets": [{"name": "pull"}], "containers": [container]})
}

/// The first container of a workload.
fn container(workload: &mut Value) -> &mut Value {
    &mut workload["spec"]["template"]["spec"]["containers"][0]
}

/// A probe that asks every second.
fn probe(what: &Value, failures: u32) -> Value {
    let mut probe = what.clone();
    probe["periodSeconds"] = json!(1);
    probe["failureThreshold"] = json!(failures);
    probe
}

/// Documents of one file.
fn text(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

/// A product that is nothing but `objects`, with a pull Secret in its namespace.
fn product(name: &str, objects: &[Value]) -> Project {
    let project = Project::bare(name, &text(objects));
    let Sandbox { registry, user, password, .. } = project.sandbox();
    project.pull_secret("pull", registry, user, password);
    project
}

/// Deploys `objects` as a product of their own.
#[track_caller]
fn deployed(name: &str, objects: &[Value], arguments: &[&str]) -> Outcome {
    product(name, objects).deploy_with(arguments, &[])
}

/// Waits until a container of a pod with these labels runs, and returns the pod's name.
#[track_caller]
fn until_running(project: &Project, labels: &str, kind: &str) -> String {
    let running =
        format!("{{range .items[*]}}{{.metadata.name}} {{.status.{kind}[*].state.running}}{{\"\\n\"}}{{end}}");
    let path = format!("jsonpath={running}");
    let found = project.until(&["pods", "-l", labels, "-o", &path], |found| found.contains("startedAt"));
    let line = found.lines().find(|line| line.contains("startedAt")).expect("a pod");
    line.split(' ').next().expect("a name").to_owned()
}

/// What was printed from the first failure on, against the snapshot called `name`.
#[track_caller]
fn reads(outcome: &Outcome, name: &str) {
    let begins = |line: &&str| line.split_whitespace().nth(2) == Some("failed:") || line.starts_with("error: ");
    let lines: Vec<&str> = outcome.stderr.lines().skip_while(|line| !begins(line)).collect();
    let mut settings = Settings::clone_current();
    settings.set_omit_expression(true);
    for (pattern, name) in [
        (r"(?m)^\d\d:\d\d:\d\d ", ""),
        (r"t-[a-z]+-\d+-\d+", "NAMESPACE"),
        (r"api-[0-9a-f]{8,10}-[a-z0-9]{5}\b", "api-HASH-POD"),
        (r"migrate-[0-9a-f]{10}\b", "migrate-HASH"),
        (r"(migrate-HASH)-[a-z0-9]{5}\b", "$1-POD"),
        (r"sha256:[0-9a-f]{64}", "sha256:DIGEST"),
        (r"127\.0\.0\.1:\d+/", "REGISTRY/"),
        (r"\b10\.\d+\.\d+\.\d+:", "POD-IP:"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
        (r"\(after (\d+ m )?[\d.]+ m?s\)", "(after TIME)"),
        // Whichever of both the kubelet says at that moment.
        ("ImagePullBackOff", "ErrImagePull"),
    ] {
        settings.add_filter(pattern, name);
    }
    settings.bind(|| insta::assert_snapshot!(name, lines.join("\n")));
}
