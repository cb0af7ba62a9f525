//! What the scheduler, the controllers and the API server say of pods that they do not take, and who takes pods away.

use std::thread;

use serde_json::json;

use super::{JSON, behind_a_gate, create, failed, with_namespace};
use crate::support::meanwhile;
use crate::support::sim::{Product, workload};

/// Files of a product whose only workload is `api`, changed as text.
fn api(image: &str, change: impl FnOnce(String) -> String) -> String {
    change(workload("api", image))
}

/// The workload with more in its pod.
fn pod(more: &str) -> String {
    let pod = "    spec:\n      terminationGracePeriodSeconds: 1\n";
    api("sim/ok:v1", |text| text.replace(pod, &format!("{pod}      {more}\n")))
}

/// The workload with more in its container.
fn container(more: &str) -> String {
    api("sim/ok:v1", |text| text.replace("          ports:", &format!("          {more}\n          ports:")))
}

/// A manifest, the words of its failure, and what is done behind its gate.
type Case<'a> = (&'a str, &'a str, Box<dyn Fn(&Product) + Send + Sync + 'a>);

/// Deploys these beside each other. Each fails by `rule`, after so many seconds.
fn fail_beside_each_other(rule: &str, seconds: f64, cases: Vec<Case<'_>>) {
    thread::scope(|scope| {
        let started: Vec<_> = cases
            .into_iter()
            .map(|(manifest, words, work)| {
                let deploy = scope.spawn(move || {
                    let product = with_namespace("refused");
                    product.manifest("api", manifest);
                    behind_a_gate(&product, || work(&product))
                });
                (words, deploy)
            })
            .collect();
        for (words, deploy) in started {
            failed(deploy.join().expect("a deploy"), rule, words, seconds, seconds);
        }
    });
}

#[test]
fn v12_w11_pods_that_the_api_server_refuses_fail_after_five_seconds() {
    let (plain, limited) = (workload("api", "sim/ok:v1"), container("resources: {limits: {memory: 64Mi}}"));
    let served = pod("serviceAccountName: api");
    let security = |product: &Product| {
        let level = |mode: &str, level: &str| format!("pod-security.kubernetes.io/{mode}={level}");
        let (enforce, warn) = (level("enforce", "restricted"), level("warn", "privileged"));
        product.sim.kubectl(&["label", "namespace", &product.name, &enforce, &warn]);
    };
    let must_specify = |product: &Product| {
        product.kubectl(&["create", "quota", "memory", "--hard", "limits.memory=1Gi"]);
        product.until(&["quota", "memory", "-o", "jsonpath={.status.hard}"], |hard| hard.contains("memory"));
    };
    let limit_range = |product: &Product| {
        create(
            product,
            &json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"},
                "spec": {"limits": [{"type": "Container", "max": {"memory": "16Mi"}}]}}),
        );
    };
    thread::scope(|scope| {
        // Its account is there until everything was checked.
        let served = scope.spawn(|| {
            let product = with_namespace("account");
            product.manifest("api", &served);
            product.kubectl(&["create", "serviceaccount", "api"]);
            behind_a_gate(&product, || drop(product.kubectl(&["delete", "serviceaccount", "api"])))
        });
        fail_beside_each_other(
            "pods_forbidden",
            5.0,
            vec![
                (&plain, "violates PodSecurity", Box::new(security)),
                (&plain, "must specify limits.memory", Box::new(must_specify)),
                (&limited, "maximum memory usage per Container is 16Mi", Box::new(limit_range)),
            ],
        );
        failed(served.join().expect("a deploy"), "pods_forbidden", "serviceaccount \"api\" not found", 5.0, 5.0);
    });
}

#[test]
fn v13_w11_a_quota_that_is_used_up_fails_after_three_quarters_of_a_minute() {
    let product = with_namespace("quota");
    product.kubectl(&["create", "quota", "no-pods", "--hard", "pods=0"]);
    product.until(&["quota", "no-pods", "-o", "jsonpath={.status.hard}"], |hard| hard.contains("pods"));
    product.workload("api", "sim/ok:v1");
    failed(product.hdeploy(&JSON), "quota_exceeded", "exceeded quota: no-pods", 45.0, 45.0);
}

#[test]
fn v14_w11_a_webhook_that_does_not_answer_fails_after_a_minute_and_a_half() {
    let product = with_namespace("webhook");
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": product.name}});
    let webhook = json!({
        "name": "pods.example.test", "namespaceSelector": selector, "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/"}, "timeoutSeconds": 1,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    });
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": product.name}, "webhooks": [webhook]});
    product.delete_in_the_end("validatingwebhookconfiguration", &product.name);
    product.workload("api", "sim/ok:v1");
    // Behind the gate, whose own pods it would refuse as well.
    let outcome = behind_a_gate(&product, || create(&product, &configuration));
    failed(outcome, "admission_fails", "failed calling webhook \"pods.example.test\"", 90.0, 90.0);
}

/// A claim of this storage class.
fn claim(class: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data}}\nspec: {{storageClassName: {class}, \
         accessModes: [ReadWriteMany], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    )
}

const MOUNTED: &str = "volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]";

#[test]
fn v15_what_no_node_can_ever_take_fails_after_half_a_minute() {
    let (selects, mounts) = (pod("nodeSelector: {example.test/disk: fast}"), pod(MOUNTED));
    let nowhere = format!("{}{}", pod(MOUNTED), claim("nobody-made-this"));
    thread::scope(|scope| {
        // The claim is there until everything was checked.
        let lost = scope.spawn(|| {
            let product = with_namespace("claim");
            product.manifest("api", &mounts);
            product.file("claim.yaml", &claim("nobody-made-this"));
            product.kubectl(&["create", "-f", &product.path("claim.yaml").display().to_string()]);
            behind_a_gate(&product, || drop(product.kubectl(&["delete", "pvc", "data"])))
        });
        let nothing = || Box::new(|_: &Product| {});
        fail_beside_each_other(
            "no_node_matches",
            30.0,
            vec![
                (&selects, "didn't match Pod's node affinity/selector", nothing()),
                (&nowhere, "storageclass.storage.k8s.io \"nobody-made-this\" not found", nothing()),
            ],
        );
        failed(
            lost.join().expect("a deploy"),
            "no_node_matches",
            "persistentvolumeclaim \"data\" not found",
            30.0,
            30.0,
        );
    });
}

#[test]
fn v16_w11_pods_that_no_node_has_room_for_fail_after_a_minute_where_no_old_one_has_to_go_first() {
    let large = container("resources: {requests: {cpu: \"2000\"}}");
    let apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, \
                 labelSelector: {matchLabels: {app.kubernetes.io/name: api}}}]}}";
    let two = pod(apart).replace("replicas: 1", "replicas: 2");
    let nothing = || Box::new(|_: &Product| {});
    fail_beside_each_other(
        "no_room",
        60.0,
        vec![(&large, "Insufficient cpu", nothing()), (&two, "anti-affinity", nothing())],
    );
}

#[test]
fn v17_a_volume_that_nobody_makes_fails_after_two_minutes() {
    let classes: Vec<(String, &str)> = ["Immediate", "WaitForFirstConsumer"]
        .into_iter()
        .map(|mode| (format!("t-{}-{}", mode.to_lowercase(), std::process::id()), mode))
        .collect();
    thread::scope(|scope| {
        let deploys: Vec<_> = classes
            .iter()
            .map(|(class, mode)| {
                scope.spawn(move || {
                    let product = with_namespace("volume");
                    product.delete_in_the_end("storageclass", class);
                    create(
                        &product,
                        &json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
                            "provisioner": "example.test/nobody", "volumeBindingMode": mode}),
                    );
                    product.manifest("api", &format!("{}{}", pod(MOUNTED), claim(class)));
                    product.hdeploy(&JSON)
                })
            })
            .collect();
        for (deploy, words) in deploys.into_iter().zip(["unbound immediate PersistentVolumeClaims", ""]) {
            failed(deploy.join().expect("a deploy"), "not_scheduled", words, 120.0, 120.0);
        }
    });
}

#[test]
fn v19_w5_pods_that_are_taken_away_faster_than_they_come_up_fail_at_the_fifth() {
    let product = with_namespace("evicted");
    product.workload("api", "sim/never:v1");
    let outcome = thread::scope(|scope| {
        let deploy = scope.spawn(|| product.hdeploy(&JSON));
        let mut evicted = Vec::new();
        while evicted.len() < 5 {
            assert!(!deploy.is_finished(), "only {evicted:?} were evicted");
            let pods = product.kubectl(&["get", "pods", "--field-selector=status.phase=Running", "-o", "name"]);
            let fresh = pods
                .lines()
                .filter_map(|pod| pod.strip_prefix("pod/"))
                .find(|pod| !evicted.contains(&(*pod).to_owned()));
            if let Some(pod) = fresh {
                evict(&product, pod);
                evicted.push(pod.to_owned());
            }
        }
        deploy.join().expect("a deploy")
    });
    failed(outcome, "disrupted", "5 of its pods were taken away", 0.0, 60.0);
}

/// As `kubectl drain` does.
pub fn evict(product: &Product, pod: &str) {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    product.file("eviction.json", &eviction.to_string());
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", product.name);
    product.kubectl(&["create", "--raw", &path, "-f", &product.path("eviction.json").display().to_string()]);
}

/// The manifests' own deadline has to leave the pods their time; somebody shortens the live one.
pub fn short_deadline(product: &Product) {
    product.until(&["deployments", "-o", "name"], |found| !found.is_empty());
    product.kubectl(&["patch", "deployment", "api", "-p", r#"{"spec":{"progressDeadlineSeconds":15}}"#]);
}

#[test]
fn v20_a_deployment_that_its_controller_gives_up_fails_at_once_with_what_it_waits_for() {
    let product = with_namespace("deadline");
    product.workload("api", "sim/never:v1");
    let outcome = meanwhile(|| product.hdeploy(&JSON), || short_deadline(&product));
    let cause = failed(outcome, "deadline", "HTTP probe failed with statuscode: 404", 14.0, 20.0);
    assert!(cause["meaning"].as_str().is_some_and(|text| text.contains("progressDeadlineSeconds")), "{cause}");
}
