//! What an object has to look like for server-side apply to do what its author means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

const SERVER_SET: &[&str] = &["creationTimestamp", "resourceVersion", "uid", "generation", "managedFields", "selfLink"];
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Brings `object` into the form in which it is sent.
pub fn normalize(object: &mut Value) {
    without_server_fields(object);
    match object["kind"].as_str() {
        Some("Secret") => string_data(object),
        Some("Deployment") => explicit_rolling_update(object),
        _ => {}
    }
}

fn without_server_fields(object: &mut Value) {
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.retain(|key, _| !SERVER_SET.contains(&key.as_str()));
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
}

/// `stringData` becomes `data`: the server never removes a key that was sent as `stringData`.
fn string_data(object: &mut Value) {
    let Some(texts) = object.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    let mut data = object["data"].as_object().cloned().unwrap_or_default();
    for (key, text) in texts.as_object().into_iter().flatten() {
        let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
        data.insert(key.clone(), STANDARD.encode(text).into());
    }
    object["data"] = Value::Object(data);
}

/// The fields of a rolling update are always sent, or a later change of strategy cannot take them back.
fn explicit_rolling_update(object: &mut Value) {
    let strategy = &object["spec"]["strategy"];
    if strategy["type"] == "Recreate" || !object["spec"].is_object() {
        return;
    }
    let given = strategy["rollingUpdate"].as_object().cloned().unwrap_or_default();
    let mut fields = Map::new();
    for name in ["maxUnavailable", "maxSurge"] {
        fields.insert(name.into(), given.get(name).cloned().unwrap_or_else(|| json!("25%")));
    }
    object["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": fields});
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(mut object: Value) -> Value {
        normalize(&mut object);
        object
    }

    #[test]
    fn what_the_server_sets_is_not_sent() {
        let object = json!({"kind": "Service", "metadata": {"name": "a", "uid": "1", "managedFields": [],
            "annotations": {LAST_APPLIED: "{}", "b": "c"}}, "status": {}});
        assert_eq!(normal(object), json!({"kind": "Service", "metadata": {"name": "a", "annotations": {"b": "c"}}}));
    }

    #[test]
    fn the_texts_of_a_secret_become_its_data() {
        let secret = normal(json!({"kind": "Secret", "data": {"a": "QQ=="}, "stringData": {"a": "new", "b": "text"}}));
        assert_eq!(secret, json!({"kind": "Secret", "data": {"a": "bmV3", "b": "dGV4dA=="}}));
    }

    #[test]
    fn a_rolling_update_is_always_explicit_and_a_recreate_has_none() {
        let strategy = |strategy: Value| normal(json!({"kind": "Deployment", "spec": {"strategy": strategy}}));
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}});
        assert_eq!(strategy(json!({"rollingUpdate": {"maxUnavailable": 0}}))["spec"]["strategy"], rolling);
        assert_eq!(strategy(json!({"type": "Recreate"}))["spec"]["strategy"], json!({"type": "Recreate"}));
    }
}
