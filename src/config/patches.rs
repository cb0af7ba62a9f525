//! `patches:` as typed operations. What stands in them has the numbers and booleans that kubectl would read.

use serde_json::{Map, Value};

use super::fields::{Fields, items};
use super::tree::{Node, Yaml};
use super::value::{Values, is_reference};
use super::{Patch, PatchOperation, PatchTarget};
use crate::manifest::scalar;

/// `patches:`, in order.
pub(super) fn patches(root: &Fields<'_>, values: &Values<'_>) -> Vec<Patch> {
    root.list("patches").iter().filter_map(|node| patch(node, values)).collect()
}

fn patch(node: &Node, values: &Values<'_>) -> Option<Patch> {
    let fields = Fields::open(values, node, "patch", &["json", "merge", "target"])?;
    let target = target(&fields, values);
    let operation = operation(&fields, values);
    Some(Patch { target: target?, operation: operation?, origin: values.sources.origin(node.place) })
}

fn target(fields: &Fields<'_>, values: &Values<'_>) -> Option<PatchTarget> {
    let known = ["apiVersion", "kind", "name", "namespace"];
    let target = Fields::open(values, fields.required("target")?, "patch.target", &known)?;
    let (kind, name) = (target.required_text("kind"), target.required_text("name"));
    let (api_version, namespace) = (target.text("apiVersion"), target.text("namespace"));
    Some(PatchTarget { api_version, kind: kind?, name: name?, namespace })
}

fn operation(fields: &Fields<'_>, values: &Values<'_>) -> Option<PatchOperation> {
    match (fields.get("merge"), fields.get("json")) {
        (Some(merge), None) if merge.map().is_some() => Some(PatchOperation::Merge(value(merge, "merge", values)?)),
        (Some(merge), None) => {
            fields.report("merge", format!("patch.merge is a map; this is {}", merge.what()));
            None
        }
        (None, Some(json)) => Some(PatchOperation::Json(json_patch(json, values)?)),
        _ => {
            values.sources.report(fields.place(), "a patch has either merge or json");
            None
        }
    }
}

fn json_patch(node: &Node, values: &Values<'_>) -> Option<json_patch::Patch> {
    let operations: Vec<_> = items(values, node, "patch.json").iter().map(|item| one(item, values)).collect();
    operations.into_iter().collect::<Option<Vec<_>>>().map(json_patch::Patch)
}

fn one(node: &Node, values: &Values<'_>) -> Option<json_patch::PatchOperation> {
    let known = ["from", "op", "path", "value"];
    Fields::open(values, node, "patch.json", &known)?;
    let operation = serde_json::from_value(value(node, "json", values)?);
    operation.map_err(|error| values.sources.report(node.place, format!("no operation of RFC 6902: {error}"))).ok()
}

/// `node` as JSON, with values from elsewhere put in.
fn value(node: &Node, name: &str, values: &Values<'_>) -> Option<Value> {
    if is_reference(node) {
        return values.text(node, name).map(Value::String);
    }
    match &node.value {
        Yaml::Text { .. } => scalar(node, name, values),
        Yaml::List(items) => {
            let items: Vec<_> = items.iter().map(|item| value(item, name, values)).collect();
            items.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Yaml::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| Some((entry.key.clone(), value(&entry.value, &entry.key, values)?)))
                .collect();
            entries.into_iter().collect::<Option<Map<_, _>>>().map(Value::Object)
        }
    }
}

fn scalar(node: &Node, name: &str, values: &Values<'_>) -> Option<Value> {
    let Yaml::Text { text, plain } = &node.value else { return None };
    if node.is_null() {
        return Some(Value::Null);
    }
    let typed = if *plain { scalar::plain(text) } else { Ok(Value::String(text.clone())) };
    let typed = typed.map_err(|message| values.sources.report(node.place, format!("{name}: {message}"))).ok()?;
    if typed.is_string() {
        values.learn_promised(name, text);
        values.refuse_placeholder(node.place, name, text);
    }
    Some(typed)
}
