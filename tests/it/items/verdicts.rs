//! The table of verdicts: each row by what a real kubelet, scheduler or controller says of it.

use std::thread;

use serde_json::{Value, json};

use crate::support::Outcome;
use crate::support::sim::{Product, Recording, workload};

/// A machine under load may be so many seconds late.
const LATE: f64 = 20.0;

const JSON: [&str; 7] = ["all", "--tag", "v1", "--output", "json", "--soak", "10"];

/// What programs read.
pub(super) fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The one failure of a run that has ended with exit code 2: its workload, its cause and the seconds until it was told.
#[track_caller]
fn failure(outcome: Outcome) -> (Value, Value, f64) {
    let outcome = outcome.exits(2);
    let lines = lines(&outcome);
    let failures: Vec<&Value> = lines.iter().filter(|line| line["event"] == "workload_failed").collect();
    let [failure] = failures[..] else { panic!("{} failures: {}", failures.len(), outcome.text()) };
    (failure["workload"].clone(), failure["cause"].clone(), failure["took"].as_f64().expect("seconds"))
}

/// Asserts rule, words and time of a failure; returns its cause.
#[track_caller]
fn failed(outcome: Outcome, rule: &str, words: &str, seconds: f64) -> Value {
    failed_between(outcome, rule, words, seconds, seconds + LATE)
}

#[track_caller]
fn failed_between(outcome: Outcome, rule: &str, words: &str, from: f64, to: f64) -> Value {
    let text = outcome.text();
    let (_, cause, took) = failure(outcome);
    assert_eq!(cause["rule"], rule, "{text}");
    assert!(cause["message"].as_str().is_some_and(|message| message.contains(words)), "{words:?} is not in {cause}");
    // It began to wait a moment after the apply.
    assert!((from - 1.0..=to).contains(&took), "after {took} s in place of {from} to {to} s\n{text}");
    cause
}

/// A deploy, and what happens while its gate holds the workloads back.
fn behind_a_gate(product: &Product, work: impl FnOnce()) -> Outcome {
    product.job("migrate", "sim/done:6");
    thread::scope(|scope| {
        let deploy = scope.spawn(|| product.hdeploy(&JSON));
        product.until(&["pods", "-o", "jsonpath={.items[*].status.phase}"], |phases| phases.contains("Running"));
        work();
        deploy.join().expect("a deploy")
    })
}

/// The namespace, before the first deploy.
fn with_namespace(name: &str) -> Product {
    let product = Product::new(name);
    let namespace = product.path("deploy-k3s/manifests/namespace.yaml");
    product.sim.kubectl(&["create", "-f", &namespace.display().to_string()]);
    product
}

fn create(product: &Product, object: &Value) {
    product.file("object.json", &object.to_string());
    product.kubectl(&["apply", "-f", &product.path("object.json").display().to_string()]);
}

/// A ConfigMap or Secret with these keys.
fn holder(kind: &str, name: &str, keys: &[&str]) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {}});
    if keys.contains(&".dockerconfigjson") {
        object["type"] = json!("kubernetes.io/dockerconfigjson");
        object["data"][".dockerconfigjson"] = json!("e30=");
        return object;
    }
    for key in keys {
        object["data"][*key] = json!("bWFkZSB1cA==");
    }
    object
}

/// Every key of a ConfigMap or Secret that `value` asks for.
fn keys<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("key").and_then(Value::as_str));
            fields.values().for_each(|value| keys(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

/// A product that plays a recording. Whatever its pods may need is there.
pub(super) fn recorded(recording: &Recording) -> Product {
    let deployment = recording.deployment();
    let mut asked = Vec::new();
    keys(&deployment, &mut asked);
    let product = with_namespace("replay");
    product.manifest("app", &deployment.to_string());
    create(&product, &holder("Secret", "gitea-credentials", &[".dockerconfigjson"]));
    create(&product, &holder("ConfigMap", "app-config", &asked));
    for name in ["app-secret", "late"] {
        create(&product, &holder("Secret", name, &asked));
    }
    product
}

/// Deploys what was recorded. What it lacked is taken away after everything was checked.
pub(super) fn replayed(name: &str) -> Outcome {
    let recording = Recording::read(name);
    let (product, row) = (recorded(&recording), recording.row());
    let lacking: Vec<_> = row
        .objects()
        .into_iter()
        .filter(|(how, .., keys)| *how == "missing" || !keys.contains(&".dockerconfigjson"))
        .collect();
    if lacking.is_empty() {
        return product.hdeploy(&JSON);
    }
    behind_a_gate(&product, || {
        for (how, kind, name, keys) in &lacking {
            product.kubectl(&["delete", kind, name]);
            if *how == "present" {
                create(&product, &holder(kind, name, keys));
            }
        }
    })
}

/// Deploys these recordings beside each other. Each fails by its row of the table of verdicts, in its time, and names
/// pod, container, image and the recorded words.
#[track_caller]
fn fail_as_recorded(recordings: &[(&str, &str)]) {
    thread::scope(|scope| {
        let deploys: Vec<_> =
            recordings.iter().map(|(name, words)| (name, words, scope.spawn(|| replayed(name)))).collect();
        for (name, words, deploy) in deploys {
            let row = Recording::read(name).row();
            let outcome = deploy.join().expect("a deploy");
            let cause = failed_between(outcome, &row.rule, words, row.from, row.to + LATE);
            assert!(cause["pod"].as_str().is_some_and(|pod| pod.starts_with("app-")), "{cause}");
            if row.rule != "volume_missing" {
                assert_eq!(cause["image"], format!("sim/replay:{name}"));
                assert!(cause["container"].is_string(), "{cause}");
            }
        }
    });
}

#[test]
fn v1_an_image_that_can_never_be_used_fails_at_once() {
    fail_as_recorded(&[
        ("08-invalidname", "couldn't parse image name"),
        ("08b-nevrpull", "is not present with pull policy of Never"),
    ]);
}

#[test]
fn v2_w6_an_image_that_the_registry_does_not_have_fails_at_once() {
    fail_as_recorded(&[
        ("01-tag", "not found"),
        ("02-digest", "not found"),
        ("03-repo", "not found"),
        ("06x-nolayer", "could not fetch content descriptor"),
        ("06x-tok404", "not found"),
        ("07b-armindex", "no match for platform in manifest"),
    ]);
}

#[test]
fn v3_a_registry_that_refuses_the_pull_fails_at_the_second_attempt_or_for_want_of_the_secret_at_once() {
    fail_as_recorded(&[("04-badpw", "401 Unauthorized"), ("04b-nosecret", "401 Unauthorized")]);
}

#[test]
fn v4_a_registry_that_does_not_answer_fails_after_three_minutes_and_is_told_before() {
    let product = Product::new("refused");
    product.workload("api", "sim/refused:v1");
    let outcome = product.hdeploy(&JSON);
    let lines = lines(&outcome);
    let trouble = lines.iter().find(|line| line["event"] == "trouble").expect("a warning");
    assert_eq!(trouble["cause"]["rule"], "pull_fails");
    assert!(trouble["elapsed"].as_f64().is_some_and(|seconds| seconds < 20.0), "{trouble}");
    let cause = failed(outcome, "pull_fails", "connection refused", 180.0);
    assert_eq!(cause["image"], "sim/refused:v1");
}

#[test]
fn v5_w8_a_container_whose_configuration_is_not_there_fails_after_two_seconds() {
    fail_as_recorded(&[
        ("14-nonroot", "image will run as root"),
        ("14b-nonroot-named", "non-numeric user (nobody)"),
        ("14c-nonroot-uid0", "runAsUser breaks non-root policy"),
        ("15a-cm-envfrom", "configmap \"app-config\" not found"),
        ("15b-secret-envfrom", "secret \"app-secret\" not found"),
        ("15c-cm-key", "couldn't find key missing in ConfigMap"),
        ("15d-secret-key", "couldn't find key missing in Secret"),
    ]);
}

#[test]
fn v6_a_container_that_cannot_be_made_fails_after_five_seconds() {
    fail_as_recorded(&[("12g-seccomp", "cannot load seccomp profile")]);
}

#[test]
fn v7_a_program_that_cannot_be_started_fails_at_the_second_attempt() {
    fail_as_recorded(&[
        ("12a-cmdnotfound", "/no/such/binary"),
        ("12b-permdenied", "permission denied"),
        ("12c-shell127", "127"),
        ("12e-workdir-denied", "mkdir /proc/1/x"),
        ("12h-filemount-dir", "error mounting"),
        ("07c-armsingle-foreign", ""),
        ("07e-noexec-shebang", "126"),
    ]);
}

#[test]
fn v8_w7_a_program_that_ends_again_and_again_fails_at_its_third_end() {
    fail_as_recorded(&[
        ("09-exit1", "DATABASE_URL missing"),
        ("09b-exit1-3s", ""),
        ("10-exit0", ""),
        ("11-oom", ""),
        ("11b-oom-child", ""),
        ("12f-poststart", ""),
        ("13-rofs", "Read-only file system"),
        ("28c-flake3", ""),
    ]);
}

#[test]
fn v8_w9_an_init_container_and_one_beside_the_others_fail_like_any_other() {
    fail_as_recorded(&[("20-initcrash", ""), ("20b-initimage", "not found"), ("20c-sidecarcrash", "")]);
}

#[test]
fn v8_w17_a_program_that_ends_seconds_after_it_was_ready_fails_at_its_third_end() {
    fail_as_recorded(&[("27-crash3s", "")]);
}

#[test]
fn v9_a_startup_probe_that_gives_up_fails_at_the_first_kill() {
    fail_as_recorded(&[("17-startup", ""), ("17b-startup-term", ""), ("17c-startup-404", "")]);
}

#[test]
fn v10_a_liveness_probe_that_kills_twice_fails() {
    fail_as_recorded(&[("19-liveness", "")]);
}

#[test]
fn v11_a_probe_whose_command_does_not_exist_fails_at_the_third_time() {
    fail_as_recorded(&[("18b-ready-execfail", "no such file")]);
}

#[test]
fn v18_a_volume_whose_source_is_not_there_fails_after_five_seconds() {
    fail_as_recorded(&[
        ("16-secretvol", "secret \"app-secret\" not found"),
        ("16b-cmvol", "configmap \"app-config\" not found"),
        ("16c-cmvol-item", "non-existent config key"),
    ]);
}

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
            failed(deploy.join().expect("a deploy"), rule, words, seconds);
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
        failed(served.join().expect("a deploy"), "pods_forbidden", "serviceaccount \"api\" not found", 5.0);
    });
}

#[test]
fn v13_w11_a_quota_that_is_used_up_fails_after_three_quarters_of_a_minute() {
    let product = with_namespace("quota");
    product.kubectl(&["create", "quota", "no-pods", "--hard", "pods=0"]);
    product.until(&["quota", "no-pods", "-o", "jsonpath={.status.hard}"], |hard| hard.contains("pods"));
    product.workload("api", "sim/ok:v1");
    failed(product.hdeploy(&JSON), "quota_exceeded", "exceeded quota: no-pods", 45.0);
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
    failed(outcome, "admission_fails", "failed calling webhook \"pods.example.test\"", 90.0);
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
        failed(lost.join().expect("a deploy"), "no_node_matches", "persistentvolumeclaim \"data\" not found", 30.0);
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
            failed(deploy.join().expect("a deploy"), "not_scheduled", words, 120.0);
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
    failed_between(outcome, "disrupted", "5 of its pods were taken away", 0.0, 60.0);
}

/// As `kubectl drain` does.
pub(super) fn evict(product: &Product, pod: &str) {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    product.file("eviction.json", &eviction.to_string());
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", product.name);
    product.kubectl(&["create", "--raw", &path, "-f", &product.path("eviction.json").display().to_string()]);
}

/// The manifests' own deadline has to leave the pods their time; somebody shortens the live one.
pub(super) fn short_deadline(product: &Product) {
    product.until(&["deployments", "-o", "name"], |found| !found.is_empty());
    product.kubectl(&["patch", "deployment", "api", "-p", r#"{"spec":{"progressDeadlineSeconds":5}}"#]);
}

#[test]
fn v20_a_deployment_that_its_controller_gives_up_fails_at_once_with_what_it_waits_for() {
    let product = with_namespace("deadline");
    product.workload("api", "sim/never:v1");
    let outcome = thread::scope(|scope| {
        let deploy = scope.spawn(|| product.hdeploy(&JSON));
        short_deadline(&product);
        deploy.join().expect("a deploy")
    });
    let cause = failed_between(outcome, "deadline", "HTTP probe failed with statuscode: 404", 5.0, 40.0);
    assert!(cause["meaning"].as_str().is_some_and(|text| text.contains("progressDeadlineSeconds")), "{cause}");
}
