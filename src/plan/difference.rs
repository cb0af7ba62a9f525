//! What differs between an object as it is and as it would be, field by field.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::manifest::rendered::APPLIED;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// For example `spec.template.spec.containers[name=api].image`.
    pub path: String,
    /// What it was; absent when the field is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it becomes; absent when the field goes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

const BOOKKEEPING: [&str; 6] =
    ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"];
const NOTES: [&str; 2] = [APPLIED, "kubectl.kubernetes.io/last-applied-configuration"];
/// What items of lists are told apart by, in the order in which it is tried.
const KEYS: [&str; 8] = ["name", "mountPath", "containerPort", "port", "key", "type", "host", "path"];

/// What people mean by `object`: without status, the server's bookkeeping and controllers' notes.
pub fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.shift_remove("status");
    }
    let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) else { return content };
    metadata.retain(|name, _| !BOOKKEEPING.contains(&name.as_str()));
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !name.starts_with("deployment.kubernetes.io/"));
        if annotations.is_empty() {
            metadata.shift_remove("annotations");
        }
    }
    content
}

/// What differs in the content, but for what tools note on objects for themselves.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(&without_notes(before)), Some(&without_notes(after)), &mut found);
    found
}

fn without_notes(object: &Value) -> Value {
    let mut content = content(object);
    if let Some(annotations) = content.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !NOTES.contains(&name.as_str()));
    }
    content
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => maps(path, before, after, found),
        // A map that comes or goes is its fields.
        (Some(Value::Object(before)), None) if !before.is_empty() => maps(path, before, &Map::new(), found),
        (None, Some(Value::Object(after))) if !after.is_empty() => maps(path, &Map::new(), after, found),
        (Some(Value::Array(before)), Some(Value::Array(after))) => lists(path, before, after, found),
        (before, after) => found.push(Difference {
            path: path.trim_start_matches('.').to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn maps(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Vec<Difference>) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let step = if name.contains(['.', '/']) { format!("{path}[{name}]") } else { format!("{path}.{name}") };
        compare(&step, before.get(name), after.get(name), found);
    }
}

fn lists(path: &str, before: &[Value], after: &[Value], found: &mut Vec<Difference>) {
    if let Some(key) = KEYS.iter().find(|key| tells_apart(key, before) && tells_apart(key, after)) {
        let of = |items: &'_ [Value], wanted: &Value| items.iter().position(|item| item[*key] == *wanted);
        for item in before {
            let other = of(after, &item[*key]).map(|place| &after[place]);
            compare(&format!("{path}[{key}={}]", bare(&item[*key])), Some(item), other, found);
        }
        for item in after.iter().filter(|item| of(before, &item[*key]).is_none()) {
            compare(&format!("{path}[{key}={}]", bare(&item[*key])), None, Some(item), found);
        }
        return;
    }
    for place in 0..before.len().max(after.len()) {
        compare(&format!("{path}[{place}]"), before.get(place), after.get(place), found);
    }
}

fn tells_apart(key: &str, items: &[Value]) -> bool {
    let values: BTreeSet<String> = items.iter().filter_map(|item| item.get(key)).map(bare).collect();
    values.len() == items.len()
}

/// A text without quotes, anything else as JSON.
pub fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let side = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        let told = |d: Difference| format!("{} {} {}", d.path, side(&d.before), side(&d.after));
        differences(before, after).into_iter().map(told).collect()
    }

    #[test]
    fn fields_are_named_and_items_of_lists_by_what_tells_them_apart() {
        let object = |image: &str, env: Value| {
            json!({"metadata": {"name": "api", "resourceVersion": image, "annotations": {APPLIED: image}},
            "spec": {"containers": [{"name": "api", "image": image, "env": env, "args": ["a", "b"]}]}, "status": {"x": image}})
        };
        let before = object("a", json!([{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]));
        let after = object("b", json!([{"name": "B", "value": "2"}, {"name": "C", "valueFrom": {"x": 1}}]));
        assert_eq!(
            told(&before, &after),
            [
                "spec.containers[name=api].env[name=A].name \"A\" -",
                "spec.containers[name=api].env[name=A].value \"1\" -",
                "spec.containers[name=api].env[name=B].value \"1\" \"2\"",
                "spec.containers[name=api].env[name=C].name - \"C\"",
                "spec.containers[name=api].env[name=C].valueFrom.x - 1",
                "spec.containers[name=api].image \"a\" \"b\"",
            ]
        );
        assert_eq!(told(&before, &before), [""; 0]);
    }

    #[test]
    fn what_tools_note_for_themselves_is_no_difference() {
        let noted = |hash: &str| json!({"metadata": {"annotations": {APPLIED: hash, "deployment.kubernetes.io/revision": hash}}});
        assert_eq!(told(&noted("a"), &noted("b")), [""; 0]);
        let labels = |value: &str| json!({"metadata": {"labels": {"app.kubernetes.io/name": value}}});
        assert_eq!(told(&labels("a"), &labels("b")), ["metadata.labels[app.kubernetes.io/name] \"a\" \"b\""]);
    }
}
