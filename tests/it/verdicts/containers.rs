//! Containers that do not start, or do not stay.

use serde_json::{Value, json};

use super::{SOAK, api, container, deployed, product, reads, running, until_running};
use crate::support::{Outcome, meanwhile};

#[test]
fn v8_d2_a_program_that_crashes_at_once_fails_with_its_last_words() {
    let crashing = running("echo reading settings; echo 'fatal: no such table'; exit 7", |_| {});
    let outcome = deployed("crash", &[crashing], &SOAK).exits(2).says("fatal: no such table");
    reads(&outcome, "crash");
}

#[test]
fn v8_w17_a_program_that_crashes_four_seconds_after_it_was_ready_never_passes() {
    let project = product("late", &[running("sleep 4; echo 'fatal: lost the database'; exit 1", |_| {})]);
    let outcome = project.deploy_with(&SOAK, &[]).exits(2).never_says("settled");
    reads(&outcome, "crash-after-ready");
}

#[test]
fn v8_d4_a_program_that_needs_more_memory_than_it_may_have_is_named_with_its_limit() {
    let greedy = api(|api| {
        container(api)["command"] = json!(["dd", "if=/dev/zero", "of=/dev/null", "bs=128M"]);
        container(api)["resources"] = json!({"limits": {"memory": "16Mi"}});
    });
    let outcome = deployed("oom", &[greedy], &SOAK).exits(2).says("16Mi");
    reads(&outcome, "out-of-memory");
}

/// A container whose environment comes `from` what is `taken` away before it starts.
fn vanishing(name: &str, from: &Value, created: &[&str], taken: &[&str]) -> Outcome {
    let image = crate::support::Sandbox::get().busybox;
    let waits = json!([{
        "name": "wait", "image": image, "command": ["sh", "-c", "until [ -e /go ]; do sleep 0.1; done"],
    }]);
    let change = |api: &mut Value| {
        container(api)["env"] = json!([{"name": "COLOUR", "valueFrom": from}]);
        api["spec"]["template"]["spec"]["initContainers"] = waits;
    };
    let project = product(name, &[api(change)]);
    project.kubectl(created);
    let outcome = meanwhile(
        || project.deploy_with(&[], &[]),
        || {
            let pod = until_running(&project, "app=api", "initContainerStatuses");
            project.kubectl(taken);
            project.kubectl(&["exec", &pod, "-c", "wait", "--", "touch", "/go"]);
        },
    );
    outcome.exits(2)
}

#[test]
fn v5_a_config_map_that_vanishes_before_the_container_starts_is_named() {
    let from = json!({"configMapKeyRef": {"name": "colours", "key": "front"}});
    let created = ["create", "configmap", "colours", "--from-literal", "front=blue"];
    let outcome = vanishing("vanish", &from, &created, &["delete", "configmap", "colours"]);
    reads(&outcome, "config-map-vanished");
}

#[test]
fn v5_a_key_of_a_secret_that_vanishes_before_the_container_starts_is_named() {
    let from = json!({"secretKeyRef": {"name": "colours", "key": "front"}});
    let created = ["create", "secret", "generic", "colours", "--from-literal", "front=made-up-blue"];
    let without = r#"--patch=[{"op": "remove", "path": "/data/front"}]"#;
    let outcome = vanishing("lostkey", &from, &created, &["patch", "secret", "colours", "--type=json", without]);
    reads(&outcome.never_says("made-up-blue"), "secret-key-vanished");
}

#[test]
fn v8_d4_a_program_that_writes_to_a_read_only_root_fails_with_its_own_words() {
    let writing = running("echo one > /data.txt", |api| {
        container(api)["securityContext"] = json!({"readOnlyRootFilesystem": true});
    });
    let outcome = deployed("readonly", &[writing], &SOAK).exits(2).says("Read-only file system");
    reads(&outcome, "read-only-root");
}

#[test]
fn v7_a_command_that_the_image_does_not_have_fails() {
    let outcome = deployed("nocommand", &[api(|api| container(api)["command"] = json!(["no-such-program"]))], &SOAK);
    reads(&outcome.exits(2), "command-not-found");
}

#[test]
fn v8_w9_an_init_container_that_fails_is_named_with_its_last_words() {
    let image = crate::support::Sandbox::get().busybox;
    let behind = api(|api| {
        api["spec"]["template"]["spec"]["initContainers"] = json!([{
            "name": "schema", "image": image, "command": ["sh", "-c", "echo 'no database'; exit 3"],
        }]);
    });
    let outcome = deployed("init", &[behind], &SOAK).exits(2).says("no database");
    reads(&outcome, "init-container");
}
