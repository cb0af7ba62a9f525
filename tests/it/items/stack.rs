//! The reference stack, as somebody ran it by `kubectl apply` before.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{container, managers, text, text_of};
use crate::stack::stack;
use crate::support::{Project, kubectl, pods};

const CONFIGURATION: [&str; 2] = ["--config", "deploy-k3s/sandbox.yaml"];

/// The objects as hdeploy would send them, before it ever did: the images are there, nothing else is.
fn rendered(project: &Project) -> Vec<Value> {
    // Built and pushed, and then kept from going on.
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "hdeploy"},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": "2999-01-01T00:00:00.000000Z"}});
    project.kubectl_with(&["create"], &lease.to_string());
    project.hdeploy(&[&["all"], &CONFIGURATION[..]].concat()).exits(5).says("somebody holds it");
    project.kubectl(&["delete", "lease", "hdeploy"]);
    let shown = project.hdeploy(&[&["render", "--output", "json"], &CONFIGURATION[..]].concat()).exits(0).stdout;
    let list: Value = serde_json::from_str(&shown).expect("a List");
    list["items"].as_array().expect("objects").clone()
}

/// What runs before: the same without hdeploy's own notes, and with what the manifests do not hold any more.
fn earlier(mut object: Value) -> Option<Value> {
    if object["kind"] == "Job" {
        return None;
    }
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.remove("annotations");
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    labels["example.test/left"] = json!("over");
    match (text_of(&object["kind"]).to_owned().as_str(), text_of(&object["metadata"]["name"])) {
        // Its port has another number, and what asks for it went by the number.
        ("Deployment", "admin") => {
            let admin = container(&mut object);
            admin["env"].as_array_mut().expect("env").push(json!({"name": "LEFT", "value": "over"}));
            for probe in ["startupProbe", "readinessProbe"] {
                admin[probe]["httpGet"]["port"] = json!(3000);
            }
            admin["ports"] = json!([{"name": "http", "containerPort": 3009}, {"containerPort": 9090}]);
        }
        ("Deployment", "worker") => {
            let env = container(&mut object)["env"].as_array_mut().expect("env");
            env.push(json!({"name": "LEFT", "value": "over"}));
        }
        ("Service", "web") => object["spec"]["ports"][0]["port"] = json!(3009),
        ("Service", "admin") => {
            object["spec"]["ports"].as_array_mut().expect("ports").push(json!({"name": "left", "port": 9090}));
        }
        _ => {}
    }
    Some(object)
}

/// Uids of the pods of a service.
fn uids(project: &Project, service: &str) -> BTreeSet<String> {
    let pods = pods(&project.name).into_values();
    let of_service = pods.filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/name"] == service);
    let live = of_service.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    live.map(|pod| text_of(&pod["metadata"]["uid"]).to_owned()).collect()
}

#[test]
fn a3_a4_a8_the_whole_stack_is_taken_over_and_only_pods_restart_that_changed() {
    let project = stack("over");
    // One pod of each leaves room on the node for the other tests.
    let fewer = "patches:\n  - {target: {kind: HorizontalPodAutoscaler, name: api}, merge: {spec: {minReplicas: 1}}}\n  \
                 - {target: {kind: Deployment, name: web}, merge: {spec: {replicas: 1}}}\n";
    project.edit("product/deploy-k3s/sandbox.yaml", "patches:\n", fewer);
    project.commit("product");
    let objects = rendered(&project);
    let before: Vec<Value> = objects.iter().cloned().filter_map(earlier).collect();
    project.write("before.yaml", &text(&before));
    let file = project.path("before.yaml").display().to_string();
    kubectl(&["apply", "-f", &file]);
    let services = ["redis", "admin", "web", "worker"];
    for service in services {
        project.kubectl(&["rollout", "status", &format!("deployment/{service}"), "--timeout=120s"]);
    }
    let pods = services.map(|service| uids(&project, service));
    // How many pods of the api there are is up to its autoscaler, at any time.
    let api = || project.kubectl(&["get", "replicasets", "-l", "app.kubernetes.io/name=api", "-o", "name"]);
    let sets = api();

    project.hdeploy(&[&["all"], &CONFIGURATION[..]].concat()).exits(0);
    for (service, before) in services.iter().zip(&pods) {
        let after = uids(&project, service);
        match *service {
            "admin" | "worker" => assert!(before.is_disjoint(&after), "{service} has another template"),
            _ => assert_eq!(*before, after, "{service} has the template that it had"),
        }
    }
    assert_eq!((api(), 1), (sets.clone(), sets.lines().count()), "the api has the template that it had");
    let live: Value =
        serde_json::from_str(&kubectl(&["get", "-f", &file, "--show-managed-fields", "-o", "json"])).expect("a List");
    let live = live["items"].as_array().expect("objects");
    assert_eq!(live.len(), before.len());
    for live in live {
        let (kind, name) = (text_of(&live["kind"]), text_of(&live["metadata"]["name"]));
        assert_eq!(live["metadata"]["labels"].get("example.test/left"), None, "{kind} {name}");
        assert!(!live.to_string().contains("last-applied"), "{kind} {name}");
        let managers = managers(live);
        assert!(managers.iter().all(|manager| !manager.starts_with("kubectl")), "{kind} {name}: {managers:?}");
    }
    let mut admin = project.live("deployment/admin");
    assert_eq!(container(&mut admin)["ports"], json!([{"name": "http", "containerPort": 3000, "protocol": "TCP"}]));
    for name in ["admin", "worker"] {
        let env = container(&mut project.live(&format!("deployment/{name}")))["env"].clone();
        assert!(env.as_array().is_some_and(|env| env.iter().all(|entry| entry["name"] != "LEFT")), "{env}");
    }
    let ports = |name: &str| {
        let service = project.live(&format!("service/{name}"));
        service["spec"]["ports"].as_array().expect("ports").iter().map(|port| port["port"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((ports("web"), ports("admin").len()), (vec![json!(3000)], 1));
    project.hdeploy(&[&["all"], &CONFIGURATION[..]].concat()).exits(0).says("no objects changed");
    kubectl(&["-n", "kube-system", "delete", "helmchartconfig", &project.name]);
}
