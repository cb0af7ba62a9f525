//! Who owns the fields of a live object, and what may be done about it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::FieldSet;

/// Whether `manager` has applied what stands in this entry.
pub(super) fn is_applied_by(entry: &Value, manager: &str) -> bool {
    entry["manager"] == manager && entry["operation"] == "Apply" && entry.get("subresource").is_none()
}

/// The entries of `metadata.managedFields`.
pub fn entries(object: &Value) -> &[Value] {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Fields that stay although others lost some of theirs to `manager` between `before` and `after`: theirs alone, by who
/// set them.
pub fn left_by_others(before: &Value, after: &Value, manager: &str) -> BTreeMap<String, Vec<String>> {
    let own = FieldSet::applied_by(after, manager);
    let identity = |entry: &Value| ["manager", "operation", "subresource"].map(|field| entry[field].clone());
    let mut left = BTreeMap::new();
    let others = |entry: &&Value| !is_applied_by(entry, manager) && entry["subresource"] != "status";
    for had in entries(before).iter().filter(others) {
        let Some(has) = entries(after).iter().find(|entry| identity(entry) == identity(had)) else { continue };
        let (had, set) = (FieldSet::parse(&had["fieldsV1"]), FieldSet::parse(&has["fieldsV1"]));
        let (lost, stays) = (had.beside(&set), set.beside(&own));
        if !lost.is_empty() && !stays.is_empty() {
            left.insert(has["manager"].as_str().unwrap_or_default().to_owned(), stays);
        }
    }
    left
}

/// Names under which `kubectl apply` without `--server-side` and the first server-side apply after it write.
const CLIENT_SIDE: [&str; 2] = ["kubectl-client-side-apply", "before-first-apply"];

/// The `managedFields` of the live `object` after everything that `kubectl apply` owns went over to `manager`; `None`
/// when it owns nothing. No value changes by it.
///
/// Without this, what the manifests leave out later would stay for ever: two owners have to let go of a field.
pub fn taken_over(object: &Value, manager: &str) -> Option<Vec<Value>> {
    let entries = entries(object);
    let foreign = |entry: &&Value| {
        let name = entry["manager"].as_str().unwrap_or_default();
        let last_applied = "/fieldsV1/f:metadata/f:annotations/f:kubectl.kubernetes.io~1last-applied-configuration";
        entry["operation"] == "Update"
            && entry.get("subresource").is_none()
            && (CLIENT_SIDE.contains(&name) || entry.pointer(last_applied).is_some())
    };
    let taken: Vec<&Value> = entries.iter().filter(foreign).collect();
    let first = *taken.first()?;
    let fields = taken
        .iter()
        .fold(FieldSet::applied_by(object, manager), |set, entry| set.union(FieldSet::parse(&entry["fieldsV1"])));
    let own = |entry: &&Value| is_applied_by(entry, manager);
    let mut kept: Vec<Value> = entries.iter().filter(|entry| !foreign(entry) && !own(entry)).cloned().collect();
    kept.push(json!({
        "manager": manager,
        "operation": "Apply",
        "apiVersion": first["apiVersion"],
        "time": first["time"],
        "fieldsType": "FieldsV1",
        "fieldsV1": fields.to_value(),
    }));
    Some(kept)
}

/// Holds replicas that hdeploy lets go of, until whoever scales takes them.
pub const HOLDER: &str = "hdeploy-replicas";
/// Names under which Kubernetes' own autoscaler writes, in k3s too.
const AUTOSCALERS: [&str; 2] = ["kube-controller-manager", "k3s"];

/// Who holds the replicas of an object in place of its manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled {
    /// An autoscaler set them; otherwise they are held for one only.
    pub by_autoscaler: bool,
    /// The `managedFields` without these holders. No value changes by it.
    pub others: Vec<Value>,
}

/// Who holds the replicas of the live `object`; `None` when no autoscaler does, and nobody for one.
pub fn scaled(object: &Value) -> Option<Scaled> {
    let is_autoscaler =
        |entry: &Value| entry["subresource"] == "scale" && AUTOSCALERS.iter().any(|name| entry["manager"] == *name);
    let holds = |entry: &&Value| {
        entry.pointer("/fieldsV1/f:spec/f:replicas").is_some() && (is_autoscaler(entry) || is_applied_by(entry, HOLDER))
    };
    let (held, others): (Vec<&Value>, Vec<&Value>) = entries(object).iter().partition(holds);
    let by_autoscaler = held.iter().any(|entry| is_autoscaler(entry));
    (!held.is_empty()).then(|| Scaled { by_autoscaler, others: others.into_iter().cloned().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_scaled_by_autoscalers_and_by_nobody_else() {
        let entry = |manager: &str, operation: &str, subresource: Option<&str>| {
            json!({"manager": manager, "operation": operation, "subresource": subresource,
                "fieldsV1": {"f:spec": {"f:replicas": {}}}})
        };
        let of = |entries: &[&Value]| scaled(&json!({"metadata": {"managedFields": entries}}));
        let hand = entry("kubectl", "Update", Some("scale"));
        let status = json!({"manager": "k3s", "operation": "Update", "subresource": "status", "fieldsV1": {}});
        assert_eq!(of(&[&hand, &status]), None);
        let held = json!({"manager": HOLDER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let others = vec![hand.clone(), status.clone()];
        assert_eq!(of(&[&held, &hand, &status]), Some(Scaled { by_autoscaler: false, others: others.clone() }));
        for name in AUTOSCALERS {
            let all = [&entry(name, "Update", Some("scale")), &held, &hand, &status];
            assert_eq!(of(&all), Some(Scaled { by_autoscaler: true, others: others.clone() }));
        }
    }

    #[test]
    fn what_stays_of_somebody_who_lost_a_field_is_named_as_high_up_as_it_is_theirs() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "fieldsV1": fields});
        let object = |entries: Value| json!({"metadata": {"managedFields": entries}});
        let item = json!({".": {}, "f:name": {}, "f:value": {}});
        let edited = |value: Value| {
            let env = json!({"k:{\"name\":\"A\"}": value, "k:{\"name\":\"B\"}": item});
            entry("kubectl-edit", "Update", json!({"f:spec": {"f:env": env}}))
        };
        let other = entry("somebody", "Update", json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
        let own = entry("hdeploy", "Apply", json!({"f:spec": {"f:env": {"k:{\"name\":\"A\"}": item}}}));
        let before = object(json!([own, edited(item.clone()), other]));
        let after = object(json!([own, edited(json!({})), other]));
        let left = left_by_others(&before, &after, "hdeploy");
        assert_eq!(left, [("kubectl-edit".to_owned(), vec![".spec.env[name=\"B\"]".to_owned()])].into());
        assert!(left_by_others(&before, &before, "hdeploy").is_empty());
    }

    #[test]
    fn what_kubectl_apply_owns_goes_over_and_nothing_else() {
        let entry = |manager: &str, operation: &str, fields: Value| {
            json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": fields})
        };
        let last_applied =
            json!({"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/last-applied-configuration": {}}}});
        let mut status = entry("kube-controller-manager", "Update", json!({"f:status": {}}));
        status["subresource"] = json!("status");
        let object = json!({"metadata": {"managedFields": [
            entry("kubectl-client-side-apply", "Update", json!({"f:data": {".": {}, "f:a": {}}})),
            entry("an-old-tool", "Update", last_applied),
            entry("kubectl-edit", "Update", json!({"f:data": {"f:b": {}}})),
            status,
            entry("hdeploy", "Apply", json!({"f:data": {"f:c": {}}})),
        ]}});
        let entries = taken_over(&object, "hdeploy").expect("something to take over");
        let managers: Vec<&str> = entries.iter().filter_map(|entry| entry["manager"].as_str()).collect();
        assert_eq!(managers, ["kubectl-edit", "kube-controller-manager", "hdeploy"]);
        let own = FieldSet::parse(&entries[2]["fieldsV1"]);
        assert_eq!(
            own.paths(),
            [".data.a", ".data.c", ".metadata.annotations.kubectl.kubernetes.io/last-applied-configuration"]
        );
        assert!(entries[2]["fieldsV1"]["f:data"].get(".").is_some());
        assert_eq!(taken_over(&json!({"metadata": {"managedFields": [entries[2]]}}), "hdeploy"), None);
    }
}
