//! What is promised, item by item: the name of each test begins with its items.

mod apply;
mod client;
mod connection;
mod interrupted;
mod secrecy;
mod stack;
mod verdicts;
mod waiting;
mod waves;

use serde_json::{Value, json};

use crate::support::Project;

/// A Deployment called `name`, without pods unless `change` gives it some.
fn deployment(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let image = std::env::var("SANDBOX_MIRROR_BUSYBOX").expect("the sandbox");
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": name, "image": image, "command": ["sleep", "3600"]}],
                },
            },
        },
    });
    change(&mut value);
    value
}

/// The first container of a Deployment.
fn container(deployment: &mut Value) -> &mut Value {
    &mut deployment["spec"]["template"]["spec"]["containers"][0]
}

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn secret(name: &str, more: &Value) -> Value {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    for (field, value) in more.as_object().expect("fields") {
        secret[field] = value.clone();
    }
    secret
}

/// Documents of one file. What begins like JSON, kubectl takes for a single one.
fn text(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

/// A product that is nothing but `objects`, put into the cluster by `kubectl apply` already.
fn applied_before(name: &str, objects: &[Value]) -> Project {
    let project = Project::bare(name, &text(objects));
    project.kubectl_with(&["apply"], &text(objects));
    project
}

/// What a rollout must not move unless it says so: values and generation, by the names of `objects`.
fn values(project: &Project, objects: &[&str]) -> Vec<Value> {
    let value = |name: &&str| {
        let mut live = project.live(name);
        let metadata = live["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|field, _| !matches!(field.as_str(), "managedFields" | "resourceVersion"));
        live.as_object_mut().expect("an object").remove("status");
        live
    };
    objects.iter().map(value).collect()
}

/// Managers of the fields of a live object, with how they set them; those of the status left out.
fn managers(live: &Value) -> Vec<String> {
    let entries = live["metadata"]["managedFields"].as_array().expect("owners");
    let entries = entries.iter().filter(|entry| entry["subresource"] != "status");
    let name = |entry: &Value| format!("{}:{}", text_of(&entry["manager"]), text_of(&entry["operation"]));
    entries.map(name).collect()
}

/// Uids of the ReplicaSets of the Deployment called `name`: another one means that pods restart.
fn replica_sets(project: &Project, name: &str) -> String {
    project.kubectl(&["get", "replicasets", "-l", &format!("app={name}"), "-o", "jsonpath={.items[*].metadata.uid}"])
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Writes to `project`'s objects, without the journal.
fn writes(project: &Project) -> Vec<String> {
    let writes = project.sandbox().writes(&project.name).into_iter();
    writes.filter(|write| !write.contains("/secrets/hdeploy-journal")).collect()
}
