//! What must never be shown of a Secret.

use serde_json::Value;

use super::substitute::decoded;
use crate::config::is_secret_name;

/// The values of `object` when it is a Secret, as its author wrote them; of those that are JSON, such as the logins of a
/// pull secret, also what stands in them under names that promise secrets.
pub fn secrets(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if object["kind"] != "Secret" {
        return found;
    }
    let values = |field: &str| object[field].as_object().into_iter().flatten().map(|(_, value)| value);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    found.extend(values("data").filter_map(|value| decoded(value).or_else(|| text(value))));
    found.extend(values("stringData").filter_map(text));
    let inner: Vec<Value> = found.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    for value in &inner {
        promised(value, &mut found);
    }
    found
}

fn promised(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.extend(value.as_str().filter(|_| is_secret_name(key)).map(str::to_owned));
                promised(value, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                promised(item, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use serde_json::json;

    #[test]
    fn every_value_of_a_secret_is_one_and_so_is_a_password_inside() {
        let logins = json!({"auths": {"registry.example": {"username": "robot", "password": "made-up-password"}}});
        let secret = json!({
            "kind": "Secret",
            "data": {"token": STANDARD.encode("made-up-token"), "key": STANDARD.encode([0xff, 0xfe])},
            "stringData": {".dockerconfigjson": logins.to_string()},
        });
        assert_eq!(secrets(&secret), ["made-up-token", "//4=", &logins.to_string(), "made-up-password"]);
        assert!(secrets(&json!({"kind": "ConfigMap", "data": {"password": "shown"}})).is_empty());
    }
}
