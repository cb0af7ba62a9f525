//! What pods need of others: Secrets, ConfigMaps, pull secrets, ServiceAccounts, claims.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Object, images};
use crate::model::ObjectKey;

/// Something that a pod cannot start without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The object.
    pub key: ObjectKey,
    /// A key in its data, when a single one is needed.
    pub data_key: Option<String>,
    /// Keys that it has in the manifests, when it stands there without that one.
    pub has: Option<Vec<String>>,
    /// Whether it is a Secret with which images are pulled.
    pub is_for_pulls: bool,
    /// Who needs it.
    pub by: Vec<ObjectKey>,
}

/// What the pods of `objects` need and `objects` themselves do not provide.
pub fn needs(objects: &[Object]) -> Vec<Need> {
    let mut needs: BTreeMap<(ObjectKey, Option<String>), BTreeSet<ObjectKey>> = BTreeMap::new();
    for object in objects {
        let by = object.key();
        for spec in images::pod_specs(&object.value) {
            for (kind, name, data_key) in of_pod(spec) {
                let key =
                    ObjectKey { api_version: "v1".into(), kind: kind.into(), namespace: by.namespace.clone(), name };
                if !provided(objects, &key, data_key.as_deref()) {
                    needs.entry((key, data_key)).or_default().insert(object.known_as());
                }
            }
        }
    }
    let need = |((key, data_key), by): ((ObjectKey, _), BTreeSet<_>)| Need {
        has: keys(objects, &key),
        is_for_pulls: key.kind == "Secret" && objects.iter().any(|object| pulls_with(object, &key)),
        key,
        data_key,
        by: by.into_iter().collect(),
    };
    needs.into_iter().map(need).collect()
}

fn pulls_with(object: &Object, key: &ObjectKey) -> bool {
    let specs = images::pod_specs(&object.value);
    object.key().namespace == key.namespace
        && specs.into_iter().flat_map(|spec| list(&spec["imagePullSecrets"])).any(|secret| secret["name"] == *key.name)
}

/// Whether the pods of `object` use the ConfigMap or Secret `key`.
pub fn reads(object: &Object, key: &ObjectKey) -> bool {
    let specs = images::pod_specs(&object.value);
    object.key().namespace == key.namespace
        && specs.into_iter().flat_map(of_pod).any(|(kind, name, _)| kind == key.kind && name == key.name)
}

fn keys(objects: &[Object], key: &ObjectKey) -> Option<Vec<String>> {
    let object = objects.iter().find(|object| object.key() == *key)?;
    let data = ["data", "binaryData"].into_iter().filter_map(|field| object.value[field].as_object());
    Some(data.flat_map(|data| data.keys().cloned()).collect())
}

fn provided(objects: &[Object], key: &ObjectKey, data_key: Option<&str>) -> bool {
    let Some(object) = objects.iter().find(|object| object.key() == *key) else { return false };
    let has = |field: &str, name: &str| object.value[field].get(name).is_some();
    data_key.is_none_or(|name| has("data", name) || has("binaryData", name))
}

type Found = (&'static str, String, Option<String>);

fn of_pod(spec: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    for secret in list(&spec["imagePullSecrets"]) {
        add(&mut found, "Secret", secret, "name", None);
    }
    // The account called default comes with every namespace.
    if spec["serviceAccountName"].as_str().is_some_and(|name| name != "default") {
        add(&mut found, "ServiceAccount", spec, "serviceAccountName", None);
    }
    for field in ["containers", "initContainers"] {
        for container in list(&spec[field]) {
            of_container(container, &mut found);
        }
    }
    for volume in list(&spec["volumes"]) {
        of_volume(volume, &mut found);
    }
    found
}

fn of_container(container: &Value, found: &mut Vec<Found>) {
    for from in list(&container["envFrom"]) {
        add(found, "ConfigMap", &from["configMapRef"], "name", None);
        add(found, "Secret", &from["secretRef"], "name", None);
    }
    for variable in list(&container["env"]) {
        for (kind, field) in [("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")] {
            let reference = &variable["valueFrom"][field];
            add(found, kind, reference, "name", reference["key"].as_str());
        }
    }
}

fn of_volume(volume: &Value, found: &mut Vec<Found>) {
    add(found, "PersistentVolumeClaim", &volume["persistentVolumeClaim"], "claimName", None);
    let sources = list(&volume["projected"]["sources"]);
    for (kind, field, name) in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")] {
        with_items(found, kind, &volume[field], name);
        for source in sources {
            with_items(found, kind, &source[field], "name");
        }
    }
}

fn with_items(found: &mut Vec<Found>, kind: &'static str, reference: &Value, field: &str) {
    add(found, kind, reference, field, None);
    for item in list(&reference["items"]) {
        add(found, kind, reference, field, item["key"].as_str());
    }
}

/// Notes the object that `reference` names, unless the pod starts without it.
fn add(found: &mut Vec<Found>, kind: &'static str, reference: &Value, field: &str, data_key: Option<&str>) {
    if let (Some(name), false) = (reference[field].as_str(), reference["optional"] == true) {
        found.push((kind, name.to_owned(), data_key.map(str::to_owned)));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object { value, source: Source { file: "a".into(), document: 1, line: 1 } }
    }

    #[test]
    fn what_pods_need_is_found_wherever_they_name_it() {
        let pod = object(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": {
            "serviceAccountName": "api", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "a", "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "maybe", "optional": true}}],
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "secrets", "key": "x"}}}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "files", "items": [{"key": "k", "path": "p"}]}},
                {"name": "w", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "t", "projected": {"sources": [{"configMap": {"name": "more"}}]}}]}}),
        );
        let settings = object(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}}),
        );
        let found: Vec<String> = needs(&[pod, settings])
            .into_iter()
            .map(|need| {
                let pulls = if need.is_for_pulls { "(pulls)" } else { "" };
                format!("{} {}{pulls}", need.key, need.data_key.unwrap_or_default()).trim().to_owned()
            })
            .collect();
        assert_eq!(
            found,
            [
                "ConfigMap shop/more",
                "PersistentVolumeClaim shop/data",
                "Secret shop/files",
                "Secret shop/files k",
                "Secret shop/pull (pulls)",
                "Secret shop/secrets x",
                "ServiceAccount shop/api"
            ]
        );
    }

    /// What a Pod with `spec` needs, in words.
    fn needs_of(spec: &Value, others: &[Value]) -> Vec<String> {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}});
        json_patch::merge(&mut pod, &json!({"spec": spec}));
        let objects: Vec<Object> = [pod].iter().chain(others).cloned().map(object).collect();
        let words = |need: Need| format!("{} {}", need.key, need.data_key.unwrap_or_default()).trim().to_owned();
        needs(&objects).into_iter().map(words).collect()
    }

    #[test]
    fn each_way_to_need_something_counts() {
        for (spec, need) in [
            (json!({"containers": [{"envFrom": [{"configMapRef": {"name": "a"}}]}]}), "ConfigMap a"),
            (json!({"containers": [{"envFrom": [{"secretRef": {"name": "a"}}]}]}), "Secret a"),
            (
                json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "a", "key": "k"}}}]}]}),
                "Secret a k",
            ),
            (
                json!({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "a", "key": "k"}}}]}]}),
                "ConfigMap a k",
            ),
            (json!({"volumes": [{"configMap": {"name": "a"}}]}), "ConfigMap a"),
            (json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "a"}}]}}]}), "Secret a"),
        ] {
            assert_eq!(needs_of(&spec, &[]), [need]);
        }
    }

    #[test]
    fn what_is_there_anyway_is_no_need() {
        assert_eq!(needs_of(&json!({"serviceAccountName": "default"}), &[]), [""; 0]);
        let spec = json!({"volumes": [{"configMap": {"name": "a", "items": [{"key": "k", "path": "p"}]}}]});
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "binaryData": {"k": "AA=="}});
        assert_eq!(needs_of(&spec, &[map]), [""; 0]);
    }

    #[test]
    fn a_provided_object_without_the_needed_key_is_still_a_need() {
        let pod = object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "a", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "gone"}}}]}]}}));
        let map =
            object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"here": "1"}}));
        assert_eq!(needs(&[pod, map])[0].data_key.as_deref(), Some("gone"));
    }
}
