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

/// `stringData` becomes `data`: the server never removes a key that was sent as `stringData`. What is no map of texts is
/// left for the server to refuse.
fn string_data(object: &mut Value) {
    let is_text = |value: &Value| value.is_string() || value.is_null();
    let texts = object["stringData"].as_object().filter(|texts| texts.values().all(is_text)).cloned();
    let data = object.get("data").filter(|data| !data.is_null());
    let (Some(texts), true) = (texts, data.is_none_or(Value::is_object)) else { return };
    let mut data = data.and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, text) in texts {
        data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
    }
    if let Some(map) = object.as_object_mut() {
        map.remove("stringData");
    }
    object["data"] = Value::Object(data);
}

/// The fields of a rolling update are always sent, or a later change of strategy cannot take them back. What is no
/// strategy is left for the server to refuse.
fn explicit_rolling_update(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let mut strategy = match spec.get("strategy") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(strategy)) => strategy.clone(),
        Some(_) => return,
    };
    let mut rolling = match strategy.get("rollingUpdate") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(rolling)) => rolling.clone(),
        Some(_) => return,
    };
    let kind = strategy.entry("type").or_insert_with(|| json!("RollingUpdate"));
    if kind != "RollingUpdate" {
        return;
    }
    for name in ["maxUnavailable", "maxSurge"] {
        rolling.entry(name).or_insert_with(|| json!("25%"));
    }
    strategy.insert("rollingUpdate".into(), Value::Object(rolling));
    spec.insert("strategy".into(), Value::Object(strategy));
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
    fn what_is_wrong_stays_for_the_server_to_refuse() {
        for wrong in [
            json!({"kind": "Secret", "stringData": "a: b"}),
            json!({"kind": "Secret", "stringData": {"a": 1}}),
            json!({"kind": "Secret", "data": "text", "stringData": {"a": "b"}}),
            json!({"kind": "Deployment", "spec": {"strategy": "Recreate"}}),
            json!({"kind": "Deployment", "spec": {"strategy": {"type": "recreate"}}}),
            json!({"kind": "Deployment", "spec": {"strategy": {"rollingUpdate": "25%"}}}),
        ] {
            assert_eq!(normal(wrong.clone()), wrong);
        }
        let typo = normal(json!({"kind": "Deployment", "spec": {"strategy": {"rollingUpdate": {"maxUnavailble": 0}}}}));
        assert_eq!(typo["spec"]["strategy"]["rollingUpdate"]["maxUnavailble"], 0);
        let empty = normal(json!({"kind": "Secret", "stringData": {"a": null}}));
        assert_eq!(empty, json!({"kind": "Secret", "data": {"a": ""}}));
    }

    #[test]
    fn a_rolling_update_is_always_explicit_and_a_recreate_has_none() {
        let strategy = |strategy: Value| normal(json!({"kind": "Deployment", "spec": {"strategy": strategy}}));
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}});
        assert_eq!(strategy(json!({"rollingUpdate": {"maxUnavailable": 0}}))["spec"]["strategy"], rolling);
        assert_eq!(strategy(json!({"type": "Recreate"}))["spec"]["strategy"], json!({"type": "Recreate"}));
    }
}
