//! What was so before, and what others do meanwhile.

use serde_json::json;

use super::{SOAK, api, container, probe, product, reads, running, text, until_running};
use crate::support::meanwhile;

const BROKEN: &str = "echo 'fatal: no such table'; exit 7";

#[test]
fn w13_a_broken_release_does_not_pass_when_it_is_deployed_again_and_a_mended_one_does() {
    let project = product("again", &[running(BROKEN, |_| {})]);
    project.deploy_with(&SOAK, &[]).exits(2);
    let again = project
        .deploy_with(&["--soak", "10", "--timeout", "15", "--force-timeout"], &[])
        .exits(2)
        .never_says("changed");
    again.says("exit code 7").says("fatal: no such table").says("next: read its log").never_says("settled with 1");
    project.objects(&text(&[api(|_| {})]));
    project.deploy().exits(0).says("settled with 1 replica");
}

#[test]
fn w3_w13_old_pods_that_crash_are_no_failure_of_what_mends_them() {
    let project = product("mended", &[api(|_| {})]);
    project.kubectl_with(&["apply"], &text(&[running(BROKEN, |_| {})]));
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    project.until(&["pods", "-o", restarts], |count| count.parse::<u32>().is_ok_and(|count| count >= 2));
    project.deploy().exits(0).says("settled with 1 replica").never_says("error:").never_says("no such table");
}

#[test]
fn w13_what_crashed_for_want_of_an_earlier_wave_is_no_failure_of_its_own() {
    let waiting = running("wget -q -O /dev/null http://base:8080/ || exit 7; exec sleep 3600", |api| {
        api["metadata"]["annotations"] = json!({"hdeploy.dev/exits": "1"});
    });
    let serves = "mkdir /tmp/www; touch /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";
    let base = running(serves, |base| {
        base["metadata"]["name"] = json!("base");
        base["spec"]["selector"]["matchLabels"]["app"] = json!("base");
        base["spec"]["template"]["metadata"]["labels"]["app"] = json!("base");
        container(base)["readinessProbe"] = probe(&json!({"exec": {"command": ["test", "-e", "/tmp/up"]}}), 300);
    });
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "base"},
        "spec": {"selector": {"app": "base"}, "ports": [{"port": 8080}]}});
    let project = product("waves", &[service, waiting.clone(), base]);
    project.edit("deploy-k3s/config.yaml", "settle:", "order: {api: [base]}\nsettle:");
    project.kubectl_with(&["apply"], &text(&[waiting]));
    let pauses = |after: u32| {
        let state = "{.items[0].status.containerStatuses[0].state";
        let count = "{.items[0].status.containerStatuses[0].restartCount}";
        let path =
            format!("jsonpath={count} {state}.running.startedAt}}{state}.terminated.reason}}{state}.waiting.reason}}");
        // The kubelet tells an end at once, and the pause that follows only when half of it is over.
        let ended = |found: &str| found.ends_with(" Error") || found.ends_with(" CrashLoopBackOff");
        let times = |found: &str| found.split(' ').next()?.parse::<u32>().ok().filter(|_| ended(found));
        let is_later = |found: &str| times(found).is_some_and(|count| count > after);
        let found = project.until(&["pods", "-l", "app=api", "-o", &path], is_later);
        times(&found).expect("a number")
    };
    let before = pauses(0);
    let outcome = meanwhile(
        || project.deploy_with(&[], &[]),
        || {
            let pod = until_running(&project, "app=base", "containerStatuses");
            pauses(before);
            // It pauses for twenty seconds at least before it is started again.
            project.kubectl(&["exec", &pod, "--", "touch", "/tmp/up"]);
        },
    );
    outcome.exits(0).says("api            settled with 1 replica").never_says("error:");
}

#[test]
fn w12_a_pod_that_somebody_deletes_in_the_middle_of_a_rollout_is_no_failure() {
    let slow = running("sleep 5; touch /tmp/up; sleep 3600", |api| {
        api["spec"]["replicas"] = json!(2);
        container(api)["readinessProbe"] = probe(&json!({"exec": {"command": ["test", "-e", "/tmp/up"]}}), 30);
    });
    let project = product("deletedpod", &[slow]);
    let outcome = meanwhile(
        || project.deploy_with(&[], &[]),
        || {
            let pod = until_running(&project, "app=api", "containerStatuses");
            project.kubectl(&["delete", "pod", &pod]);
        },
    );
    outcome.exits(0).says("settled with 2 replicas").never_says("error:");
}

/// Its pods run, and are never ready.
fn never_ready() -> serde_json::Value {
    running("sleep 3600", |api| {
        container(api)["readinessProbe"] = probe(&json!({"exec": {"command": ["false"]}}), 3);
    })
}

#[test]
fn w14_a_template_that_somebody_changes_meanwhile_is_neither_called_settled_nor_failed() {
    let project = product("meddled", &[never_ready()]);
    let outcome = meanwhile(
        || project.deploy_with(&[], &[]),
        || {
            until_running(&project, "app=api", "containerStatuses");
            project.kubectl(&["set", "env", "deployment/api", "WHO=me"]);
        },
    );
    let outcome = outcome.exits(3).never_says("settled");
    reads(&outcome, "template-changed");
}

#[test]
fn w15_a_deployment_that_somebody_deletes_meanwhile_fails_as_that() {
    let project = product("deleted", &[never_ready()]);
    let outcome = meanwhile(
        || project.deploy_with(&[], &[]),
        || {
            until_running(&project, "app=api", "containerStatuses");
            project.kubectl(&["delete", "deployment", "api", "--wait=false"]);
        },
    );
    reads(&outcome.exits(2), "deployment-deleted");
}
