//! Pods that are not made, or get no node.

use serde_json::json;

use super::{SHORT, api, deployed, migrate, product, reads, until_running};
use crate::support::{kubectl, meanwhile};

#[test]
fn w11_d4_a_quota_that_is_used_up_is_named() {
    let project = product("quota", &[api(|_| {})]);
    project.kubectl(&["create", "quota", "no-pods", "--hard", "pods=0"]);
    project.until(&["quota", "no-pods", "-o", "jsonpath={.status.hard}"], |hard| hard.contains("pods"));
    let outcome = project.deploy_with(&SHORT, &[]).exits(2).says("exceeded quota: no-pods");
    reads(&outcome, "quota");
}

#[test]
fn v12_pods_that_pod_security_refuses_since_a_moment_ago_fail_with_what_they_violate() {
    // What was so before is refused before anything is written.
    let project = product("podsec", &[migrate("until [ -e /go ]; do sleep 0.1; done"), api(|_| {})]);
    let outcome = meanwhile(
        || project.deploy_with(&[], &[]),
        || {
            let pod = until_running(&project, "job-name", "containerStatuses");
            let labels =
                ["enforce=restricted", "warn=privileged"].map(|level| format!("pod-security.kubernetes.io/{level}"));
            kubectl(&["label", "namespace", &project.name, &labels[0], &labels[1]]);
            project.kubectl(&["exec", &pod, "--", "touch", "/go"]);
        },
    );
    reads(&outcome.exits(2), "pod-security");
}

#[test]
fn v15_a_node_selector_that_no_node_has_fails() {
    let picky = api(|api| api["spec"]["template"]["spec"]["nodeSelector"] = json!({"example.test/disk": "fast"}));
    reads(&deployed("nodes", &[picky], &[]).exits(2), "no-node-matches");
}
