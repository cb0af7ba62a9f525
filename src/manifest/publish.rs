//! What pods read when they start, published under the hash of its content.
//!
//! A pod reads its ConfigMaps and Secrets when it starts. Changed in place they reach nobody until something restarts,
//! and then also old pods that were rolled out with other values. So each is published once more, immutable and named
//! after its content, and pods read that copy: a change rolls exactly its users, and a pod of an old ReplicaSet that
//! starts again finds what it was rolled out with. The object itself stays beside its copies, for people and for
//! everybody else who reads it by its name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::rendered::canonical;
use super::{Object, images};
use crate::model::{Digest, ObjectKey};

/// Label of a copy: the name of what it was made of, or the beginning of a long one.
pub const PUBLISHED: &str = "hdeploy.dev/published";
/// Annotation of a ConfigMap or Secret that pods are to read by its own name, for programs that look at it while they
/// run.
pub const IN_PLACE: &str = "hdeploy.dev/in-place";

/// What makes up the content of a ConfigMap or Secret.
const CONTENT: [&str; 4] = ["data", "binaryData", "stringData", "type"];
/// As long as a name may be.
const LONGEST: usize = 253;

/// Adds a copy of everything that pods of `objects` read, and lets them read the copies.
pub fn publish(objects: &mut Vec<Object>) {
    let mut read = BTreeSet::new();
    for object in objects.iter_mut() {
        references(object, &mut |key, _| {
            read.insert(key);
        });
    }
    let copies: Vec<(ObjectKey, Object)> =
        objects.iter().filter(|object| read.contains(&object.key())).filter_map(copy).collect();
    let names: BTreeMap<ObjectKey, String> =
        copies.iter().map(|(key, copy)| (key.clone(), copy.name().to_owned())).collect();
    for object in objects.iter_mut() {
        references(object, &mut |key, name| {
            if let Some(copy) = names.get(&key) {
                *name = json!(copy);
            }
        });
    }
    objects.extend(copies.into_iter().map(|(_, copy)| copy));
}

/// Whether `object` is a copy.
pub fn is_copy(object: &Value) -> bool {
    object["metadata"]["labels"].get(PUBLISHED).is_some()
}

/// The name under which the content of `object` is published; `None` when it is not such an object, or is one that is
/// read by its own name.
pub fn name_of_copy(object: &Object) -> Option<String> {
    let reads = matches!(object.kind(), "ConfigMap" | "Secret") && object.value["apiVersion"] == "v1";
    if !reads || is_copy(&object.value) || object.annotation(IN_PLACE) == Some("true") {
        return None;
    }
    let content: BTreeMap<&str, &Value> =
        CONTENT.iter().filter_map(|field| Some((*field, object.value.get(*field)?))).collect();
    let digest = Digest::of(canonical(&json!(content)).as_bytes());
    let hash = &digest.short()[..10];
    let kept: String = object.name().chars().take(LONGEST - hash.len() - 1).collect();
    Some(format!("{}-{hash}", kept.trim_end_matches(['-', '.'])))
}

fn copy(object: &Object) -> Option<(ObjectKey, Object)> {
    let name = name_of_copy(object)?;
    // A label has room for 63 characters.
    let label: String = object.name().chars().take(63).collect();
    let mut value = json!({
        "apiVersion": "v1",
        "kind": object.kind(),
        "metadata": {"name": name, "labels": {PUBLISHED: label.trim_end_matches(['-', '.'])}},
        "immutable": true,
    });
    if let Some(namespace) = object.value["metadata"].get("namespace") {
        value["metadata"]["namespace"] = namespace.clone();
    }
    for field in CONTENT {
        if let Some(content) = object.value.get(field) {
            value[field] = content.clone();
        }
    }
    Some((object.key(), Object { value, source: object.source.clone() }))
}

/// Visits the name of every ConfigMap and Secret that pods of `object` read. What images are pulled with is read by the
/// kubelet each time, and a Pod of its own cannot change: both stay as they are.
fn references(object: &mut Object, visit: &mut impl FnMut(ObjectKey, &mut Value)) {
    if object.kind() == "Pod" {
        return;
    }
    let namespace = object.key().namespace;
    let mut named = |kind: &str, reference: Option<&mut Value>, field: &str| {
        if let Some(name @ Value::String(_)) = reference.and_then(|reference| reference.get_mut(field)) {
            let called = name.as_str().unwrap_or_default().to_owned();
            let (api_version, kind) = ("v1".to_owned(), kind.to_owned());
            visit(ObjectKey { api_version, kind, namespace: namespace.clone(), name: called }, name);
        }
    };
    if let Some(spec) = images::pod_spec_mut(&mut object.value) {
        for field in images::CONTAINERS {
            for container in items(spec, field) {
                for from in items(container, "envFrom") {
                    named("ConfigMap", from.get_mut("configMapRef"), "name");
                    named("Secret", from.get_mut("secretRef"), "name");
                }
                for variable in items(container, "env") {
                    named("ConfigMap", variable.pointer_mut("/valueFrom/configMapKeyRef"), "name");
                    named("Secret", variable.pointer_mut("/valueFrom/secretKeyRef"), "name");
                }
            }
        }
        for volume in items(spec, "volumes") {
            named("ConfigMap", volume.get_mut("configMap"), "name");
            named("Secret", volume.get_mut("secret"), "secretName");
            for source in volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut).into_iter().flatten() {
                named("ConfigMap", source.get_mut("configMap"), "name");
                named("Secret", source.get_mut("secret"), "name");
            }
        }
    }
}

fn items<'v>(value: &'v mut Value, field: &str) -> std::slice::IterMut<'v, Value> {
    value.get_mut(field).and_then(Value::as_array_mut).map_or([].iter_mut(), |items| items.iter_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    fn object(value: Value) -> Object {
        Object { value, source: Source { file: "a".into(), document: 1, line: 1 } }
    }

    fn map(name: &str, colour: &str) -> Object {
        object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop",
            "labels": {"dashboard": "1"}}, "data": {"colour": colour}}))
    }

    fn workload(kind: &str, spec: &Value) -> Object {
        object(json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "api", "namespace": "shop"},
            "spec": {"template": {"spec": spec}}}))
    }

    fn published(mut objects: Vec<Object>) -> Vec<Object> {
        publish(&mut objects);
        objects
    }

    #[test]
    fn a13_every_reference_of_a_pod_leads_to_the_copy() {
        let secret = object(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "token", "namespace": "shop"}, "data": {"key": "QQ=="}}));
        let spec = json!({
            "imagePullSecrets": [{"name": "token"}],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "token", "optional": true}}]}],
            "containers": [{"name": "a", "envFrom": [{"configMapRef": {"name": "settings"}}], "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "of-others", "key": "key"}}}]}],
            "volumes": [{"name": "v", "configMap": {"name": "settings"}}, {"name": "w", "secret": {"secretName": "token"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "settings"}}, {"secret": {"name": "token"}}]}}],
        });
        let objects = published(vec![map("settings", "blue"), secret, workload("Deployment", &spec)]);
        let (settings, token) = (objects[3].name().to_owned(), objects[4].name().to_owned());
        assert_eq!((objects[3].kind(), objects[4].kind()), ("ConfigMap", "Secret"));
        assert!(settings.starts_with("settings-") && token.starts_with("token-"));
        let text = spec.to_string();
        let wanted = text.replace("\"name\":\"settings\"", &format!("\"name\":\"{settings}\""));
        let wanted = wanted.replace("\"name\":\"token\"", &format!("\"name\":\"{token}\""));
        let wanted = wanted.replace("\"secretName\":\"token\"", &format!("\"secretName\":\"{token}\""));
        let wanted = wanted.replacen(&format!("[{{\"name\":\"{token}\"}}]"), "[{\"name\":\"token\"}]", 1);
        assert_eq!(objects[2].value["spec"]["template"]["spec"].to_string(), wanted);
    }

    #[test]
    fn a13_a_copy_is_immutable_and_named_after_its_content_alone() {
        let spec = json!({"containers": [{"name": "a", "envFrom": [{"configMapRef": {"name": "settings"}}]}]});
        let copy = |map: Object| published(vec![map, workload("Deployment", &spec)]).pop().expect("a copy");
        let (first, again) = (copy(map("settings", "blue")), copy(map("settings", "blue")));
        assert_eq!(first, again);
        assert_eq!(first.value["immutable"], true);
        assert_eq!(first.value["data"], json!({"colour": "blue"}));
        assert_eq!(first.value["metadata"]["labels"], json!({PUBLISHED: "settings"}));
        assert_ne!(first.name(), copy(map("settings", "green")).name());
        let mut labelled = map("settings", "blue");
        labelled.value["metadata"]["labels"]["more"] = json!("x");
        assert_eq!(first.name(), copy(labelled).name());
        let long = copy(object(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {},
            "metadata": {"name": "settings", "namespace": "shop"}})));
        assert!(long.name().len() <= LONGEST);
    }

    #[test]
    fn what_no_pod_reads_or_is_to_be_read_in_place_is_not_published() {
        let spec = json!({"containers": [{"name": "a", "envFrom": [{"configMapRef": {"name": "hot"}}]}]});
        let mut hot = map("hot", "blue");
        hot.value["metadata"]["annotations"] = json!({IN_PLACE: "true"});
        let before = vec![map("unread", "blue"), hot, workload("Deployment", &spec)];
        assert_eq!(published(before.clone()), before);
    }
}
