//! Placeholders and the texts that take their place, in values only: a text with quotes or newlines cannot break
//! the manifest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::scalar::base64;

/// Whether `object` holds `placeholder` anywhere, also inside the base64 of a Secret.
pub fn holds(object: &Value, placeholder: &str) -> bool {
    let mut found = false;
    let mut copy = object.clone();
    each_text(&mut copy, &mut |text| {
        found |= text.contains(placeholder);
        None
    });
    found
}

/// Puts `value` in place of `placeholder`.
pub fn put(object: &mut Value, placeholder: &str, value: &str) {
    each_text(object, &mut |text| text.contains(placeholder).then(|| text.replace(placeholder, value)));
}

/// A value of a Secret's data as its author wrote it, when that is text.
pub fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(base64(value.as_str()?)?).ok()
}

/// Shows every text to `change`, which returns what replaces it.
pub fn each_text(object: &mut Value, change: &mut impl FnMut(&str) -> Option<String>) {
    if object["kind"] == "Secret"
        && let Some(data) = object.get_mut("data").and_then(Value::as_object_mut)
    {
        for value in data.values_mut() {
            if let Some(new) = decoded(value).and_then(|text| change(&text)) {
                *value = Value::String(STANDARD.encode(new));
            }
        }
    }
    texts(object, change);
}

fn texts(value: &mut Value, change: &mut impl FnMut(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = change(text) {
                *text = new;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, change)),
        Value::Object(map) => map.values_mut().for_each(|value| texts(value, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_replaced_in_texts_and_inside_the_base64_of_secrets() {
        let encoded = STANDARD.encode("Bearer HOLE!");
        let mut object = json!({"kind": "Secret", "data": {"a": encoded}, "x": ["HOLE", 1], "HOLE": true});
        assert!(holds(&object, "HOLE"));
        put(&mut object, "HOLE", "a\"b\n");
        let expected = STANDARD.encode("Bearer a\"b\n!");
        assert_eq!(object, json!({"kind": "Secret", "data": {"a": expected}, "x": ["a\"b\n", 1], "HOLE": true}));
        assert!(!holds(&object, "HOLE"));
    }
}
