//! Pod Security admission: pods that a namespace would refuse.
//!
//! The API server accepts a Deployment whose pods it will refuse. It warns of it, but by another level than the one that
//! it enforces: a stricter one hides what the enforced one says, a laxer one says nothing, and levels for the whole
//! cluster stand in no label. So a pod like those of the template is asked for, and the warning counts only where that
//! cannot be asked.

use serde_json::{Value, json};

use super::Object;

/// Label of a Namespace: the level that pods are held to.
pub const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// A pod as the controller of `object` would make it, as far as Pod Security looks at it; `None` when it makes none.
pub fn pod(object: &Object) -> Option<Value> {
    let templates = ["/spec/template", "/spec/jobTemplate/spec/template"];
    let template = templates
        .iter()
        .find_map(|place| object.value.pointer(place).filter(|t| t["spec"]["containers"].is_array()))?;
    let mut spec = template["spec"].clone();
    // What is named here may be made by this very run.
    for field in ["serviceAccountName", "serviceAccount", "priorityClassName"] {
        spec.as_object_mut()?.shift_remove(field);
    }
    let of = |field: &str| template["metadata"][field].clone();
    let metadata = json!({
        "generateName": "hdeploy-", "namespace": object.key().namespace, "labels": of("labels"), "annotations": of("annotations"),
    });
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

/// Whether `text`, an answer for a pod or a warning for its template, says that a namespace which enforces `level`
/// refuses the pod.
pub fn refuses(text: &str, level: &str) -> bool {
    violated(text).and_then(rank).is_some_and(|violated| rank(level).is_some_and(|enforced| violated <= enforced))
}

/// The level that `text` is about.
pub fn violated(text: &str) -> Option<&str> {
    let (before, rest) = text.split_once(" PodSecurity \"")?;
    let violates = before.ends_with("violates") || before.ends_with("violate");
    rest.split([':', '"']).next().filter(|_| violates)
}

fn rank(level: &str) -> Option<usize> {
    ["privileged", "baseline", "restricted"].iter().position(|known| *known == level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    #[test]
    fn a_stricter_level_than_the_enforced_one_refuses_nothing() {
        let warning =
            |level: &str| format!("would violate PodSecurity \"{level}:latest\": privileged (container \"a\")");
        let answer = |level: &str| format!("pods \"a\" is forbidden: violates PodSecurity \"{level}:v1.34\": x");
        for (said, enforced, refused) in [
            ("restricted", "restricted", true),
            ("baseline", "restricted", true),
            ("baseline", "baseline", true),
            ("restricted", "baseline", false),
            ("restricted", "privileged", false),
            ("restricted", "no such level", false),
        ] {
            assert_eq!(refuses(&warning(said), enforced), refused, "{said} {enforced}");
            assert_eq!(refuses(&answer(said), enforced), refused, "{said} {enforced}");
        }
        assert!(!refuses("spec.x: deprecated since v1.30", "restricted"));
        assert_eq!(violated("pods \"a\" is forbidden: exceeded quota: PodSecurity"), None);
    }

    #[test]
    fn a_pod_is_asked_for_without_what_this_run_may_bring() {
        let of = |value: Value| pod(&Object { value, source: Source { file: "a".into(), document: 1, line: 1 } });
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"serviceAccountName": "new", "containers": []}});
        let metadata = json!({"name": "a", "namespace": "shop"});
        let workload = json!({"kind": "Deployment", "metadata": metadata, "spec": {"template": template}});
        let cron =
            json!({"kind": "CronJob", "metadata": metadata, "spec": {"jobTemplate": {"spec": {"template": template}}}});
        for object in [workload, cron] {
            let mut object = object;
            object["apiVersion"] = json!("v1");
            let pod = of(object).expect("a pod");
            assert_eq!(pod["spec"], json!({"containers": []}));
            assert_eq!((&pod["metadata"]["labels"]["a"], &pod["metadata"]["namespace"]), (&json!("b"), &json!("shop")));
        }
        assert!(of(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}})).is_none());
    }
}
