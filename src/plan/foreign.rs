//! Who else changed an object since it was deployed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::FieldSet;
use super::owners::entries;
use crate::model::ObjectKey;

/// What somebody changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignChange {
    /// Where.
    pub object: ObjectKey,
    /// Under which name of a field manager.
    pub manager: String,
    /// When, in the API server's words.
    pub time: String,
    /// The fields that it owns now.
    pub fields: Vec<String>,
}

/// What others changed of the live object `key` after `manager` applied to it. Status, and what controllers note or scale
/// through subresources, is no change.
pub fn foreign_changes(key: &ObjectKey, live: &Value, manager: &str) -> Vec<ForeignChange> {
    let is_ours = |entry: &&Value| entry["manager"] == manager && entry["operation"] == "Apply";
    let Some(applied) = entries(live).iter().find(is_ours).and_then(|entry| entry["time"].as_str()) else {
        return Vec::new();
    };
    // Times are RFC 3339 in UTC: their order is that of their texts.
    let later = |entry: &&Value| entry["time"].as_str().is_some_and(|time| time > applied);
    let others = entries(live).iter().filter(|entry| !is_ours(entry) && entry.get("subresource").is_none());
    let change = |entry: &Value| {
        let noted = |path: &String| path.contains(".annotations.deployment.kubernetes.io/");
        let paths = FieldSet::parse(&entry["fieldsV1"]).paths();
        let fields: Vec<String> =
            paths.iter().filter(|path| !noted(path)).map(|path| path.trim_start_matches('.').to_owned()).collect();
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let (manager, time) = (text("manager"), text("time"));
        (!fields.is_empty()).then(|| ForeignChange { object: key.clone(), manager, time, fields })
    };
    others.filter(later).filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_others_wrote_later_counts_and_neither_status_nor_notes_of_controllers() {
        let entry = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields});
        let env = json!({"f:spec": {"f:template": {"f:spec": {"f:paused": {}}}}});
        let mut status = entry("kube-controller-manager", "2026-01-01T00:00:09Z", json!({"f:status": {"f:x": {}}}));
        status["subresource"] = json!("status");
        let notes = json!({"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}});
        let live = json!({"metadata": {"managedFields": [
            {"manager": "hdeploy", "operation": "Apply", "time": "2026-01-01T00:00:05Z", "fieldsV1": {"f:data": {}}},
            entry("kubectl-create", "2026-01-01T00:00:01Z", env.clone()),
            entry("kubectl-edit", "2026-01-01T00:00:07Z", env),
            entry("kube-controller-manager", "2026-01-01T00:00:08Z", notes),
            status,
        ]}});
        let key =
            ObjectKey { api_version: "apps/v1".into(), kind: "Deployment".into(), namespace: None, name: "a".into() };
        let found = foreign_changes(&key, &live, "hdeploy");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].manager.as_str(), found[0].time.as_str()), ("kubectl-edit", "2026-01-01T00:00:07Z"));
        assert_eq!(found[0].fields, ["spec.template.spec.paused"]);
        assert!(foreign_changes(&key, &live, "nobody").is_empty());
    }
}
