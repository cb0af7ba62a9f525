//! What a kubelet says, as it was recorded.

use std::thread;

use serde_json::{Value, json};

use super::{JSON, behind_a_gate, create, failed, lines, with_namespace};
use crate::support::Outcome;
use crate::support::sim::{Product, Recording};

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
pub fn recorded(recording: &Recording) -> Product {
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
pub fn replayed(name: &str) -> Outcome {
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
    // More of them at a time would only wait for each other.
    for recordings in recordings.chunks(4) {
        thread::scope(|scope| {
            let deploys: Vec<_> = recordings.iter().map(|(name, _)| scope.spawn(|| replayed(name))).collect();
            for ((name, words), deploy) in recordings.iter().zip(deploys) {
                fails_as_recorded(name, words, deploy.join().expect("a deploy"));
            }
        });
    }
}

#[track_caller]
fn fails_as_recorded(name: &str, words: &str, outcome: Outcome) {
    let row = Recording::read(name).row();
    let cause = failed(outcome, &row.rule, words, row.from, row.to);
    assert!(cause["pod"].is_string(), "{cause}");
    // A volume is the pod's, not a container's.
    if row.rule != "volume_missing" {
        assert!(cause["container"].is_string(), "{cause}");
        assert_eq!(cause["image"], format!("sim/replay:{name}"));
    }
    // Not at a later end either.
    if row.rule == "exits" {
        assert!(cause["meaning"].as_str().is_some_and(|text| text.contains("3 times")), "{cause}");
    }
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
    let told = |line: &Value| line["elapsed"].as_f64().expect("seconds");
    assert!(told(lines.last().expect("an end")) - told(trouble) > 100.0, "{trouble}");
    let cause = failed(outcome, "pull_fails", "connection refused", 180.0, 190.0);
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
        ("07c-armsingle-foreign", "exec format error"),
        ("07d-execformat", "exec format error"),
        ("07e-noexec-shebang", "126"),
    ]);
}

#[test]
fn v8_w7_a_program_that_ends_again_and_again_fails_at_its_third_end() {
    fail_as_recorded(&[
        ("09-exit1", "DATABASE_URL missing"),
        ("09b-exit1-3s", "exit 1 (Error)"),
        ("10-exit0", "exit 0 (Completed)"),
        ("11-oom", "exit 137 (OOMKilled)"),
        ("11b-oom-child", "exit 3 (OOMKilled)"),
        ("12f-poststart", "exit 137"),
        ("13-rofs", "Read-only file system"),
        ("28c-flake3", "exit 1 (Error)"),
    ]);
}

#[test]
fn v8_w9_an_init_container_and_one_beside_the_others_fail_like_any_other() {
    fail_as_recorded(&[
        ("20-initcrash", "exit 2 (Error)"),
        ("20b-initimage", "not found"),
        ("20c-sidecarcrash", "exit 5 (Error)"),
    ]);
}

#[test]
fn v8_w17_a_program_that_ends_seconds_after_it_was_ready_fails_at_its_third_end() {
    fail_as_recorded(&[("27-crash3s", "exit 1 (Error)")]);
}

#[test]
fn v9_a_startup_probe_that_gives_up_fails_at_the_first_kill() {
    fail_as_recorded(&[
        ("17-startup", "Startup probe failed"),
        ("17b-startup-term", "Startup probe failed"),
        ("17c-startup-404", "Startup probe failed"),
    ]);
}

#[test]
fn v10_a_liveness_probe_that_kills_twice_fails() {
    fail_as_recorded(&[("19-liveness", "statuscode: 404")]);
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
