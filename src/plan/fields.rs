//! Which fields of an object belong to whom, as `metadata.managedFields` says it.
//!
//! A set of fields is a tree. How a list is keyed is known to the API server alone; the tree that it wrote tells it,
//! and is therefore what objects are compared with and cut to. What it does not tell is whether a leaf that holds a map
//! is a map which belongs together, as a selector does, or one that was empty: the former is assumed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::owners::{entries, is_applied_by};

/// A set of fields. What is in the set and has nothing below it belongs to it with everything that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Written as `.`: the map or item itself belongs to the set, beside what is listed below it.
    itself: bool,
    below: BTreeMap<Step, FieldSet>,
}

/// One step down, as the API server writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// `f:name`: a field of an object.
    Field(String),
    /// `k:{…}`: the item of a list that has these values.
    Keys(String),
    /// `v:…`: this item of a list.
    Item(String),
    /// `i:3`: an item by its place.
    Index(usize),
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Self::Field(rest.to_owned()),
            "k" => Self::Keys(rest.to_owned()),
            "v" => Self::Item(rest.to_owned()),
            "i" => Self::Index(rest.parse().ok()?),
            _ => return None,
        })
    }

    fn text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Keys(keys) => format!("k:{keys}"),
            Self::Item(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// `path`, for people, one step further.
    fn after(&self, path: &str) -> String {
        match self {
            Self::Field(name) => format!("{path}.{name}"),
            Self::Keys(keys) => format!("{path}{}", in_brackets(keys)),
            Self::Item(value) => format!("{path}[={value}]"),
            Self::Index(index) => format!("{path}[{index}]"),
        }
    }

    /// What the step leads to in `value`.
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Field(name) => value.get(name),
            Self::Index(index) => value.get(index),
            Self::Keys(keys) => {
                let keys = serde_json::from_str::<Map<String, Value>>(keys).ok()?;
                let items = value.as_array()?;
                let exact = items.iter().find(|item| keys.iter().all(|(key, wanted)| item.get(key) == Some(wanted)));
                exact.or_else(|| items.iter().find(|item| has_keys(item, &keys)))
            }
            Self::Item(item) => {
                let item: Value = serde_json::from_str(item).ok()?;
                value.as_array()?.iter().find(|have| **have == item)
            }
        }
    }
}

/// Keys that an author left out have their default, whatever that is.
fn has_keys(item: &Value, keys: &Map<String, Value>) -> bool {
    let mut named = 0;
    let fits = keys.iter().all(|(key, wanted)| match item.get(key) {
        Some(have) => {
            named += 1;
            have == wanted
        }
        None => true,
    });
    fits && named > 0
}

impl FieldSet {
    /// Reads a `fieldsV1`.
    pub fn parse(fields: &Value) -> Self {
        let mut set = Self { itself: fields.get(".").is_some(), below: BTreeMap::new() };
        for (key, below) in fields.as_object().into_iter().flatten() {
            if let Some(step) = Step::parse(key) {
                set.below.insert(step, Self::parse(below));
            }
        }
        set
    }

    /// The fields that `manager` owns of the live `object` by applying; nothing when it never did.
    pub fn applied_by(object: &Value, manager: &str) -> Self {
        entries(object)
            .iter()
            .find(|entry| is_applied_by(entry, manager))
            .map(|entry| Self::parse(&entry["fieldsV1"]))
            .unwrap_or_default()
    }

    /// As the API server writes it.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        if self.itself {
            map.insert(".".into(), json!({}));
        }
        for (step, below) in &self.below {
            map.insert(step.text(), below.to_value());
        }
        Value::Object(map)
    }

    /// Nothing is said about what is below: all of it belongs to the set.
    fn is_whole(&self) -> bool {
        !self.itself && self.below.is_empty()
    }

    /// Whether the field at `path` belongs to the set by itself, or with what holds it.
    pub fn has(&self, path: &[&str]) -> bool {
        match path {
            [] => true,
            [first, rest @ ..] => self
                .below
                .get(&Step::Field((*first).to_owned()))
                .is_some_and(|below| below.is_whole() || below.has(rest)),
        }
    }

    /// Everything that belongs to either.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        self.itself |= other.itself;
        for (step, below) in other.below {
            let joined = match self.below.remove(&step) {
                // A map that one has set empty belongs to both as such.
                Some(known) if known.is_whole() != below.is_whole() => Self { itself: true, ..known.union(below) },
                Some(known) => known.union(below),
                None => below,
            };
            self.below.insert(step, joined);
        }
        self
    }

    /// Whether every field that `body` sets belongs to it. What identifies an object belongs to nobody.
    pub fn covers(&self, body: &Value) -> bool {
        let Some(fields) = body.as_object() else { return false };
        fields.iter().all(|(name, value)| match name.as_str() {
            "apiVersion" | "kind" => true,
            "metadata" => self.covers_metadata(value),
            _ => self.covers_field(name, value),
        })
    }

    fn covers_metadata(&self, metadata: &Value) -> bool {
        let fields = metadata.as_object().into_iter().flatten();
        let own = fields.filter(|(name, _)| !matches!(name.as_str(), "name" | "namespace" | "uid"));
        let below = self.below.get(&Step::Field("metadata".into()));
        let mut own = own.peekable();
        own.peek().is_none() || below.is_some_and(|below| own.all(|(name, value)| below.covers_field(name, value)))
    }

    fn covers_field(&self, name: &str, value: &Value) -> bool {
        // Of an empty list and of nothing the API server notes no owner.
        value.is_null()
            || value.as_array().is_some_and(Vec::is_empty)
            || self.below.get(&Step::Field(name.into())).is_some_and(|below| below.covers_value(value))
    }

    fn covers_value(&self, value: &Value) -> bool {
        if self.is_whole() {
            return true;
        }
        match value {
            Value::Object(fields) => fields.iter().all(|(name, value)| self.covers_field(name, value)),
            Value::Array(items) => items.iter().all(|item| self.covers_item(item, value)),
            _ => false,
        }
    }

    fn covers_item(&self, item: &Value, list: &Value) -> bool {
        let found = |step: &Step| match step {
            Step::Keys(_) | Step::Item(_) => step.of(list) == Some(item),
            _ => false,
        };
        self.below.iter().any(|(step, below)| found(step) && below.covers_value(item))
    }

    /// What of `object` belongs to the set: the fields with the values that they have, and the keys by which items of
    /// lists are told apart.
    pub fn cut(&self, object: &Value) -> Value {
        Value::Object(self.cut_object(object))
    }

    fn cut_value(&self, value: &Value) -> Value {
        if self.is_whole() {
            return value.clone();
        }
        match value {
            Value::Object(_) => Value::Object(self.cut_object(value)),
            Value::Array(_) => {
                Value::Array(self.below.iter().filter_map(|(step, below)| item(step, below, value)).collect())
            }
            other => other.clone(),
        }
    }

    fn cut_object(&self, value: &Value) -> Map<String, Value> {
        let mut kept = Map::new();
        for (step, below) in &self.below {
            if let (Step::Field(name), Some(field)) = (step, step.of(value)) {
                kept.insert(name.clone(), below.cut_value(field));
            }
        }
        kept
    }

    /// The set as dotted paths, for people: `.spec.template.spec.containers[name="api"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    /// Paths of what belongs to the set and not to `other`, each as high up as `other` has nothing of it.
    pub(super) fn beside(&self, other: &Self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_beside(other, "", &mut paths);
        paths
    }

    fn collect_beside(&self, other: &Self, path: &str, paths: &mut Vec<String>) {
        for (step, below) in &self.below {
            let path = step.after(path);
            match other.below.get(step) {
                None => paths.push(path),
                Some(shared) => below.collect_beside(shared, &path, paths),
            }
        }
    }

    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        for (step, below) in &self.below {
            let path = step.after(path);
            if below.below.is_empty() {
                paths.push(path);
            } else {
                below.collect(&path, paths);
            }
        }
    }
}

fn item(step: &Step, below: &FieldSet, list: &Value) -> Option<Value> {
    let found = step.of(list)?;
    let mut kept = below.cut_value(found);
    if let (Step::Keys(keys), Some(map)) = (step, kept.as_object_mut()) {
        for (key, value) in serde_json::from_str::<Map<String, Value>>(keys).ok()? {
            map.insert(key, value);
        }
    }
    Some(kept)
}

fn in_brackets(keys: &str) -> String {
    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
    let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("[{}]", keys.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a v1.34 API server wrote it for a Deployment.
    fn owned() -> FieldSet {
        FieldSet::parse(&json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"api\"}": {
                    ".": {}, "f:name": {}, "f:image": {},
                    "f:ports": {"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                    "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}},
                }}}},
            },
        }))
    }

    fn body() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "api", "namespace": "shop", "labels": {"app": "api"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "api"}}, "template": {"spec": {"containers": [
                {"name": "api", "image": "a", "ports": [{"containerPort": 8080}], "env": [{"name": "A", "value": "1"}]}]}}},
        })
    }

    #[test]
    fn what_was_applied_is_covered_and_nothing_more() {
        assert!(owned().covers(&body()));
        for (pointer, more) in [
            ("/metadata/labels", json!({"app": "api", "tier": "front"})),
            ("/metadata", json!({"name": "api", "annotations": {"a": "b"}})),
            ("/spec", json!({"replicas": 1, "paused": true})),
            ("/spec/template/spec/containers/0/env", json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])),
            ("/spec/template/spec/containers/0/ports", json!([{"containerPort": 8081}])),
            ("/spec/template/spec/containers/0/ports", json!([{"containerPort": 8080, "protocol": "UDP"}])),
        ] {
            let mut body = body();
            *body.pointer_mut(pointer).expect(pointer) = more.clone();
            assert!(!owned().covers(&body), "{pointer} {more}");
        }
        assert!(!FieldSet::default().covers(&json!({"kind": "A", "data": {}})));
        assert!(FieldSet::default().covers(&json!({"kind": "Namespace", "metadata": {"name": "shop"}})));
    }

    #[test]
    fn a_live_object_is_cut_to_what_belongs_to_the_set() {
        let live = json!({
            "metadata": {"labels": {"app": "api", "by": "hand"}, "uid": "1"},
            "spec": {"replicas": 3, "paused": false, "selector": {"matchLabels": {"app": "api"}},
                "template": {"spec": {"dnsPolicy": "ClusterFirst", "containers": [
                    {"name": "side"},
                    {"name": "api", "image": "b", "imagePullPolicy": "Always",
                     "ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http"}],
                     "env": [{"name": "A", "value": "0"}, {"name": "B", "value": "1"}]}]}}},
        });
        assert_eq!(
            owned().cut(&live),
            json!({
                "metadata": {"labels": {"app": "api"}},
                "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "api"}},
                    "template": {"spec": {"containers": [{
                        "name": "api", "image": "b", "env": [{"name": "A", "value": "0"}],
                        "ports": [{"containerPort": 8080, "protocol": "TCP"}]}]}}},
            })
        );
        assert_eq!(owned().cut(&json!({"spec": {"replicas": 2}})), json!({"spec": {"replicas": 2}}));
        assert_eq!(FieldSet::default().cut(&live), json!({}));
    }

    #[test]
    fn items_are_told_apart_by_all_their_keys_before_any_default_is_assumed() {
        let ports = FieldSet::parse(&json!({"f:ports": {
            "k:{\"port\":53,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
            "k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}, "f:protocol": {}},
        }}));
        assert!(ports.covers(&json!({"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]})));
        let live = json!({"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]});
        assert_eq!(ports.cut(&live), live);
    }

    #[test]
    fn a_map_that_was_set_empty_stays_owned_when_another_owner_fills_it() {
        let empty = FieldSet::parse(&json!({"f:annotations": {}}));
        let filled = FieldSet::parse(&json!({"f:annotations": {"f:a": {}}}));
        let both = json!({"f:annotations": {".": {}, "f:a": {}}});
        assert_eq!(empty.clone().union(filled.clone()).to_value(), both);
        assert_eq!(filled.union(empty).to_value(), both);
        assert_eq!(FieldSet::default().union(FieldSet::parse(&both)).to_value(), both);
    }

    #[test]
    fn lists_of_plain_values_are_sets() {
        let set = FieldSet::parse(&json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}}}));
        assert!(set.covers(&json!({"metadata": {"finalizers": ["a"]}})));
        assert!(!set.covers(&json!({"metadata": {"finalizers": ["a", "b"]}})));
        let cut = set.cut(&json!({"metadata": {"finalizers": ["b", "a"]}}));
        assert_eq!(cut, json!({"metadata": {"finalizers": ["a"]}}));
    }
}
