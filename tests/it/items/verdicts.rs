//! The table of verdicts: each row by what a real kubelet, scheduler or controller says of it.

use std::thread;

use serde_json::{Value, json};

use crate::support::Outcome;
use crate::support::sim::{Product, Recording};

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

/// Deploys what was recorded. What it lacks is taken away after everything was checked.
fn replayed(name: &str) -> Outcome {
    let recording = Recording::read(name);
    let (deployment, row) = (recording.deployment(), recording.row());
    let product = with_namespace("replay");
    product.manifest("app", &deployment.to_string());
    create(&product, &holder("Secret", "gitea-credentials", &[".dockerconfigjson"]));
    let lacking: Vec<_> = row.objects().into_iter().filter(|(.., name, _)| *name != "gitea-credentials").collect();
    let without_pull_secret =
        row.objects().iter().any(|(how, _, name, _)| (*how, *name) == ("missing", "gitea-credentials"));
    if lacking.is_empty() && !without_pull_secret {
        return product.hdeploy(&JSON);
    }
    let mut asked = Vec::new();
    keys(&deployment, &mut asked);
    for (_, kind, name, _) in &lacking {
        create(&product, &holder(kind, name, &asked));
    }
    behind_a_gate(&product, || {
        if without_pull_secret {
            product.kubectl(&["delete", "secret", "gitea-credentials"]);
        }
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
            eprintln!("{name}: {row:?}\n{}", outcome.stderr);
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
    assert!(trouble["fails_in"].as_f64().is_some_and(|seconds| seconds > 100.0), "{trouble}");
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
