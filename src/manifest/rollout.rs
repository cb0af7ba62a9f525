//! What keeps a rollout from ending well, whatever the cluster does.

use serde_json::Value;

use super::Object;
use super::budget::{self, list};
use super::images::pod_specs;

/// Annotation of a workload of which two may never run at once.
const SINGLETON: &str = "hdeploy.dev/singleton";
/// What Kubernetes takes for `progressDeadlineSeconds` when the manifest has none.
const DEADLINE: i64 = 600;
/// A finished Job that goes sooner is run again by the next deploy.
const KEPT: i64 = 600;

/// Everything that is wrong with how `object` rolls out, beside `others`; each as `path: why`.
pub fn lint(object: &Object, others: &[Object]) -> Vec<String> {
    match (object.key().group(), object.kind()) {
        ("apps", "Deployment") => deployment(object, others),
        ("batch", "Job") => job(&object.value["spec"]),
        _ => Vec::new(),
    }
}

/// The containers of a workload that say nothing about when they are ready.
pub fn unprobed(object: &Object) -> Vec<&str> {
    if !super::is_workload(&object.key()) {
        return Vec::new();
    }
    let specs = pod_specs(&object.value).into_iter();
    let containers = specs.flat_map(|spec| list(&spec["containers"]));
    containers.filter(|c| c["readinessProbe"].is_null()).filter_map(|c| c["name"].as_str()).collect()
}

fn deployment(object: &Object, others: &[Object]) -> Vec<String> {
    let spec = &object.value["spec"];
    let mut findings = Vec::new();
    if spec["paused"] == true {
        findings.push("spec.paused: a paused Deployment never rolls out; take it out".to_owned());
    }
    let recreate = spec["strategy"]["type"] == "Recreate";
    if let Some(claim) = claim_of_one_node(object, others).filter(|_| !recreate) {
        findings.push(format!(
            "spec.strategy.type: the claim {claim} can be mounted on one node only, so that the new pod may wait for the old one for ever; set Recreate"
        ));
    }
    if object.annotation(SINGLETON) == Some("true") {
        if !recreate {
            findings
                .push(format!("spec.strategy.type: two would run at once, and {SINGLETON} says never; set Recreate"));
        }
        if spec["replicas"].as_i64().unwrap_or(1) > 1 {
            findings.push(format!("spec.replicas: more than one, and {SINGLETON} says never two at once"));
        }
    }
    let grace = if recreate { budget::grace(&object.value) + 1 } else { 0 };
    let needed = budget::of_pod(&object.value, None) + grace;
    let deadline = spec["progressDeadlineSeconds"].as_i64().unwrap_or(DEADLINE);
    if deadline < needed {
        findings.push(format!(
            "spec.progressDeadlineSeconds: {deadline} s are over before a pod must be ready, which may take {needed} s"
        ));
    }
    findings
}

/// Of the claims that the pods mount and `others` make, the first that one node alone can have.
fn claim_of_one_node(object: &Object, others: &[Object]) -> Option<String> {
    let namespace = object.key().namespace;
    let specs = pod_specs(&object.value).into_iter();
    let mut names = specs
        .flat_map(|spec| list(&spec["volumes"]))
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    let of_one_node = |name: &&str| {
        let claim = others.iter().find(|other| {
            other.kind() == "PersistentVolumeClaim" && other.name() == *name && other.key().namespace == namespace
        });
        claim.is_some_and(|claim| {
            let modes = list(&claim.value["spec"]["accessModes"]);
            !modes.is_empty() && !modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany")
        })
    };
    names.find(of_one_node).map(str::to_owned)
}

/// What runs once and is waited for has to end, and to stay until it was seen.
fn job(spec: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    if spec["suspend"] == true {
        findings.push("spec.suspend: a Job that is suspended never ends, and is waited for".to_owned());
    }
    if spec["activeDeadlineSeconds"].is_null() {
        findings.push("spec.activeDeadlineSeconds: without it, a Job whose pods cannot start never fails".to_owned());
    }
    if spec["template"]["spec"]["restartPolicy"] != "Never" {
        findings.push(
            "spec.template.spec.restartPolicy: OnFailure starts and kills one more attempt when the Job fails; set Never".to_owned(),
        );
    }
    if let Some(seconds) = spec["ttlSecondsAfterFinished"].as_i64().filter(|seconds| *seconds < KEPT) {
        findings.push(format!(
            "spec.ttlSecondsAfterFinished: after {seconds} s nobody knows any more that it has run; {KEPT} at least, or none"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::Source;

    fn object(value: Value) -> Object {
        Object { value, source: Source { file: "a".into(), document: 1, line: 1 } }
    }

    fn deployment(spec: &Value) -> Object {
        let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "annotations": {}},
            "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:1", "readinessProbe": {}}]}}}});
        json_patch::merge(&mut value["spec"], spec);
        object(value)
    }

    fn paths(object: &Object, others: &[Object]) -> Vec<String> {
        lint(object, others).iter().filter_map(|finding| Some(finding.split_once(": ")?.0.to_owned())).collect()
    }

    #[test]
    fn o8_a_claim_of_one_node_and_a_singleton_need_recreate() {
        let claim = |modes: &[&str]| {
            object(
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {"accessModes": modes}}),
            )
        };
        let volumes =
            json!({"template": {"spec": {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}}});
        let mounts = deployment(&volumes);
        assert_eq!(paths(&mounts, &[claim(&["ReadWriteOnce"])]), ["spec.strategy.type"]);
        assert!(paths(&mounts, &[claim(&["ReadWriteMany"])]).is_empty() && paths(&mounts, &[]).is_empty());
        let mut recreated = volumes;
        recreated["strategy"] = json!({"type": "Recreate"});
        assert!(paths(&deployment(&recreated), &[claim(&["ReadWriteOnce"])]).is_empty());

        let mut single = deployment(&json!({"replicas": 2}));
        single.value["metadata"]["annotations"][SINGLETON] = json!("true");
        assert_eq!(paths(&single, &[]), ["spec.strategy.type", "spec.replicas"]);
    }

    #[test]
    fn o8_the_deadline_is_longer_than_a_pod_may_take() {
        // 241 for the start, 11 until it is ready, 120 for its image, 30.
        let slow = json!({"name": "a", "image": "a:1", "startupProbe": {"failureThreshold": 24}, "readinessProbe": {}});
        let of = |deadline: i64, strategy: &str| {
            let spec = json!({"progressDeadlineSeconds": deadline, "strategy": {"type": strategy},
                "template": {"spec": {"containers": [slow]}}});
            paths(&deployment(&spec), &[]).len()
        };
        assert_eq!((of(401, "RollingUpdate"), of(402, "RollingUpdate")), (1, 0));
        assert_eq!((of(432, "Recreate"), of(433, "Recreate")), (1, 0));
        let many = json!({"template": {"spec": {"initContainers": [{"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}, {"name": "d", "image": "d:1"}]}}});
        assert_eq!(paths(&deployment(&many), &[]), ["spec.progressDeadlineSeconds"], "600 is what it is without one");
    }

    #[test]
    fn o8_a_job_ends_and_stays_until_it_was_seen() {
        let of = |spec: Value| {
            paths(
                &object(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": spec})),
                &[],
            )
        };
        let template = |policy: &str| json!({"spec": {"restartPolicy": policy, "containers": []}});
        assert!(of(json!({"activeDeadlineSeconds": 60, "template": template("Never")})).is_empty());
        assert_eq!(
            of(json!({"suspend": true, "ttlSecondsAfterFinished": 599, "template": template("OnFailure")})),
            [
                "spec.suspend",
                "spec.activeDeadlineSeconds",
                "spec.template.spec.restartPolicy",
                "spec.ttlSecondsAfterFinished"
            ]
        );
    }

    #[test]
    fn o8_a_paused_deployment_is_refused_and_a_container_without_probe_is_told() {
        assert_eq!(paths(&deployment(&json!({"paused": true})), &[]), ["spec.paused"]);
        let two = deployment(
            &json!({"template": {"spec": {"containers": [{"name": "a", "readinessProbe": {}}, {"name": "b"}]}}}),
        );
        assert_eq!(unprobed(&two), ["b"]);
    }
}
