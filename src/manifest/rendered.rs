//! The objects exactly as they are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::needs::{self, Need};
use super::wave::{self, Wave};
use super::{Object, is_namespaced};
use crate::error::Result;
use crate::model::{Digest, Identity, ObjectKey};

/// Annotation that holds the hash of the object as it was sent.
pub const APPLIED: &str = "hdeploy.dev/applied";
/// Label that holds a Job's name as the manifests have it.
pub const JOB_LABEL: &str = "hdeploy.dev/job";

/// Objects without holes.
#[derive(Clone, Debug)]
pub struct Rendered {
    objects: Vec<Object>,
    wanted: BTreeSet<Identity>,
    /// Kind, name and namespace of what autoscalers scale, with the least replicas that they allow.
    scaled: BTreeMap<(String, String, Option<String>), i64>,
}

impl Rendered {
    /// Objects that have everything already.
    #[cfg(test)]
    pub fn of(objects: Vec<Object>) -> Self {
        let wanted = objects.iter().map(|object| object.key().identity()).collect();
        Self::new(objects, wanted)
    }

    pub(super) fn new(objects: Vec<Object>, wanted: BTreeSet<Identity>) -> Self {
        let scaled = scaled(&objects);
        Self { objects, wanted, scaled }
    }

    /// Whether the manifests define `key`, be it among these objects or not.
    pub fn is_wanted(&self, key: &ObjectKey) -> bool {
        self.wanted.contains(&key.identity())
    }

    /// The objects in the order of the manifests.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// What identifies them.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.objects.iter().map(Object::key).collect()
    }

    /// Puts objects whose kind only the cluster knows into `namespace` when they name none and need one, names Jobs after
    /// their content, leaves out replicas that an autoscaler sets, and notes on each object the hash of what is sent.
    pub fn complete(&mut self, namespace: &str, namespaced: impl Fn(&ObjectKey) -> Option<bool>) {
        let own_kinds = scopes(&self.objects);
        for object in &mut self.objects {
            let key = object.key();
            let own = own_kinds.get(&(key.group().to_owned(), key.kind.clone())).copied();
            let known = is_namespaced(&key).or(own).or_else(|| namespaced(&key));
            if key.namespace.is_none() && known == Some(true) {
                object.value["metadata"]["namespace"] = json!(namespace);
            }
            if object.kind() == "Job" {
                name_after_content(&mut object.value);
            }
        }
        self.scaled = scaled(&self.objects);
        self.leave_scaled_replicas();
        for object in &mut self.objects {
            stamp(&mut object.value);
        }
    }

    /// The objects of which only the cluster knows whether they lie in a namespace: the manifest names none, and neither
    /// is the kind known here nor defined among the objects.
    pub fn of_unknown_scope(&self) -> Vec<ObjectKey> {
        let own_kinds = scopes(&self.objects);
        let own = |key: &ObjectKey| own_kinds.contains_key(&(key.group().to_owned(), key.kind.clone()));
        let unknown = |key: &ObjectKey| key.namespace.is_none() && is_namespaced(key).is_none() && !own(key);
        self.keys().into_iter().filter(unknown).collect()
    }

    /// Replicas that an autoscaler sets are not sent; one that does not exist yet begins with the least that it allows.
    fn leave_scaled_replicas(&mut self) {
        let scaled: Vec<bool> = self.objects.iter().map(|o| self.minimum_replicas(&o.key()).is_some()).collect();
        for (object, _) in self.objects.iter_mut().zip(scaled).filter(|(_, scaled)| *scaled) {
            if let Some(spec) = object.value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.shift_remove("replicas");
            }
        }
    }

    /// The waves in which the objects are applied.
    ///
    /// # Errors
    /// When the order names what is not there, or runs in a circle.
    pub fn waves(&self, order: &BTreeMap<String, Vec<String>>) -> Result<Vec<Wave>> {
        wave::waves(&self.objects, order)
    }

    /// What pods need and these objects do not provide.
    pub fn needs(&self) -> Vec<Need> {
        needs::needs(&self.objects)
    }

    /// The objects whose pods read `key` when they start.
    pub fn readers(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        self.objects.iter().filter(|object| needs::reads(object, key)).map(Object::key).collect()
    }

    /// Namespaces that are among the objects.
    pub fn created_namespaces(&self) -> BTreeSet<&str> {
        self.objects.iter().filter(|object| object.kind() == "Namespace").map(Object::name).collect()
    }

    /// Whether a CustomResourceDefinition among the objects defines the kind of `key`.
    pub fn defines(&self, key: &ObjectKey) -> bool {
        self.objects.iter().filter(|object| object.kind() == "CustomResourceDefinition").any(|object| {
            let spec = &object.value["spec"];
            spec["group"] == key.group() && spec["names"]["kind"] == key.kind.as_str()
        })
    }

    /// The least replicas that an autoscaler allows `key`; `None` when none scales it.
    pub fn minimum_replicas(&self, key: &ObjectKey) -> Option<i64> {
        self.scaled.get(&(key.kind.clone(), key.name.clone(), key.namespace.clone())).copied()
    }
}

fn scaled(objects: &[Object]) -> BTreeMap<(String, String, Option<String>), i64> {
    let of = |object: &Object| {
        let target = &object.value["spec"]["scaleTargetRef"];
        let name = |field: &str| target[field].as_str().map(str::to_owned);
        let least = object.value["spec"]["minReplicas"].as_i64().unwrap_or(1);
        Some(((name("kind")?, name("name")?, object.key().namespace), least))
    };
    objects.iter().filter(|object| object.kind() == "HorizontalPodAutoscaler").filter_map(of).collect()
}

/// Scopes of the kinds that the manifests themselves define.
pub(super) fn scopes(objects: &[Object]) -> BTreeMap<(String, String), bool> {
    let of = |object: &Object| {
        let spec = &object.value["spec"];
        let name = (spec["group"].as_str()?.to_owned(), spec["names"]["kind"].as_str()?.to_owned());
        Some((name, spec["scope"] == "Namespaced"))
    };
    objects.iter().filter(|object| object.kind() == "CustomResourceDefinition").filter_map(of).collect()
}

/// A Job's template cannot change, so another content is another Job: its name ends in the hash of what it is.
fn name_after_content(job: &mut Value) {
    let base = job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let label: String = base.chars().take(63).collect();
    job["metadata"]["labels"][JOB_LABEL] = json!(label.trim_end_matches(['-', '.']));
    let hash = Digest::of(canonical(job).as_bytes()).short()[..10].to_owned();
    // The pods of a Job carry its name in a label, which has room for 63 characters.
    let kept: String = base.chars().take(63 - 11).collect();
    job["metadata"]["name"] = json!(format!("{}-{hash}", kept.trim_end_matches(['-', '.'])));
}

/// Notes on the object what it is sent as, so that the next deploy sees whether it would send the same.
fn stamp(object: &mut Value) {
    let hash = Digest::of(canonical(object).as_bytes());
    object["metadata"]["annotations"][APPLIED] = json!(hash.short());
}

/// JSON with sorted keys: the same content gives the same text.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (number, (key, value)) in fields.into_iter().enumerate() {
                let comma = if number > 0 { "," } else { "" };
                let _ = write!(text, "{comma}{key:?}:");
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    fn job(name: &str, image: &str) -> Value {
        let value = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"spec": {"containers": [{"image": image}]}}}});
        let mut rendered =
            Rendered::of(vec![Object { value, source: Source { file: "a".into(), document: 1, line: 1 } }]);
        rendered.complete("shop", |_| None);
        rendered.objects[0].value.clone()
    }

    #[test]
    fn a_job_is_named_after_its_content() {
        let first = job("migrate", "a");
        assert_eq!(first["metadata"]["name"], job("migrate", "a")["metadata"]["name"]);
        assert_ne!(first["metadata"]["name"], job("migrate", "b")["metadata"]["name"]);
        assert!(
            first["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("migrate-") && name.len() == 18)
        );
        assert_eq!(first["metadata"]["labels"][JOB_LABEL], "migrate");
        let long = job(&"x".repeat(70), "a");
        assert_eq!(long["metadata"]["name"].as_str().map(str::len), Some(63));
    }
}
