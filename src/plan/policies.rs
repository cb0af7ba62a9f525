//! Network policies while pods of the old and the new release run side by side: what one of the two needs stays allowed
//! until everything has settled.

use serde_json::{Value, json};

use super::changes::{Action, Changes};
use crate::manifest::rendered::APPLIED;
use crate::manifest::{Object, Wave, WaveKind};

/// What the annotation says while the rules of both releases hold: never the hash of anything.
const BOTH: &str = "both";

/// Takes policies that will allow less than they do out of `waves`: they get the rules of both releases where they
/// stood, and their own in a wave behind all others.
pub fn narrowed_last(waves: Vec<Wave>, changes: &Changes) -> Vec<Wave> {
    let mut last = Vec::new();
    let mut sorted = Vec::new();
    for wave in waves {
        let (narrowed, objects): (Vec<Object>, Vec<Object>) = wave
            .objects
            .into_iter()
            .partition(|object| live(object, changes).is_some_and(|live| narrows(live, object)));
        let both =
            |object: &Object| Some(Object { value: both(live(object, changes)?, &object.value)?, ..object.clone() });
        push(&mut sorted, WaveKind::WidenedPolicies, narrowed.iter().filter_map(both).collect());
        push(&mut sorted, wave.kind, objects);
        last.extend(narrowed);
    }
    push(&mut sorted, WaveKind::NarrowedPolicies, last);
    sorted
}

fn push(waves: &mut Vec<Wave>, kind: WaveKind, objects: Vec<Object>) {
    if !objects.is_empty() {
        waves.push(Wave { kind, objects });
    }
}

/// The live policy that `object` changes.
fn live<'a>(object: &Object, changes: &'a Changes) -> Option<&'a Value> {
    let key = object.key();
    let changed = changes.get(&key).filter(|changed| changed.action == Action::Change)?;
    changed.live.as_ref().filter(|_| key.kind == "NetworkPolicy" && key.group() == "networking.k8s.io")
}

/// Whether something that `live` allows may not be allowed any more.
fn narrows(live: &Value, new: &Object) -> bool {
    let (old, new) = (Policy::of(live), Policy::of(&new.value));
    let kept = |before: &[Value], after: &[Value]| before.iter().all(|rule| after.contains(rule));
    old.selector != new.selector
        || new.types.iter().any(|kind| !old.types.contains(kind))
        || new.types.contains(&"Ingress") && !kept(&old.ingress, &new.ingress)
        || new.types.contains(&"Egress") && !kept(&old.egress, &new.egress)
}

/// `new` with the rules of `live` beside its own; `None` when no single policy allows what both allow.
fn both(live: &Value, new: &Value) -> Option<Value> {
    let (old, own) = (Policy::of(live), Policy::of(new));
    // What only one of them restricts is free.
    let types: Vec<&str> = own.types.iter().copied().filter(|kind| old.types.contains(kind)).collect();
    if old.selector != own.selector || types.is_empty() {
        return None;
    }
    let rules = |kind: &str, own: Vec<Value>, old: Vec<Value>| {
        let more: Vec<Value> = old.into_iter().filter(|rule| !own.contains(rule)).collect();
        if types.contains(&kind) { [own, more].concat() } else { Vec::new() }
    };
    let mut both = new.clone();
    both["metadata"]["annotations"][APPLIED] = json!(BOTH);
    both["spec"]["ingress"] = json!(rules("Ingress", own.ingress, old.ingress));
    both["spec"]["egress"] = json!(rules("Egress", own.egress, old.egress));
    both["spec"]["policyTypes"] = json!(types);
    Some(both)
}

/// A policy with its defaults.
struct Policy<'a> {
    selector: Value,
    types: Vec<&'a str>,
    ingress: Vec<Value>,
    egress: Vec<Value>,
}

impl<'a> Policy<'a> {
    fn of(policy: &'a Value) -> Self {
        let spec = &policy["spec"];
        let rules = |field: &str| spec[field].as_array().into_iter().flatten().map(rule).collect::<Vec<_>>();
        let (ingress, egress) = (rules("ingress"), rules("egress"));
        let types = match spec["policyTypes"].as_array() {
            Some(types) => types.iter().filter_map(Value::as_str).collect(),
            None if egress.is_empty() => vec!["Ingress"],
            None => vec!["Ingress", "Egress"],
        };
        let selector = spec.get("podSelector").cloned().unwrap_or_else(|| json!({}));
        Self { selector, types, ingress, egress }
    }
}

fn rule(rule: &Value) -> Value {
    let mut rule = rule.clone();
    for port in rule.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("protocol").is_none() {
            port["protocol"] = json!("TCP");
        }
    }
    if let Some(fields) = rule.as_object_mut() {
        fields.retain(|_, list| list.as_array().is_none_or(|list| !list.is_empty()));
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    fn policy(spec: &Value) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a", "annotations": {}}, "spec": spec})
    }

    fn object(spec: &Value) -> Object {
        Object { value: policy(spec), source: Source { file: "a".into(), document: 1, line: 1 } }
    }

    #[test]
    fn o1_a_policy_narrows_when_anything_it_allowed_is_missing() {
        let port = |port: u16| json!({"ports": [{"port": port}]});
        let live = policy(&json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}]}));
        let selector = json!({"matchLabels": {"app": "api"}});
        for (spec, narrow) in [
            (json!({"podSelector": selector, "ingress": [port(80)]}), false),
            (json!({"podSelector": selector, "ingress": [port(80), port(90)]}), false),
            (json!({"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [port(90)]}), true),
            (json!({"podSelector": selector, "policyTypes": ["Ingress"], "ingress": []}), true),
            (json!({"podSelector": selector, "policyTypes": ["Ingress", "Egress"], "ingress": [port(80)]}), true),
            (json!({"podSelector": {}, "ingress": [port(80)]}), true),
        ] {
            assert_eq!(narrows(&live, &object(&spec)), narrow, "{spec}");
        }
    }

    #[test]
    fn o1_both_releases_keep_what_they_need() {
        let live = policy(&json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}], "egress": []}));
        let new =
            policy(&json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 90}]}]}));
        let spec = both(&live, &new).expect("one policy can say it")["spec"].clone();
        let port = |port: u16| json!({"ports": [{"port": port, "protocol": "TCP"}]});
        assert_eq!(spec["ingress"], json!([port(90), port(80)]));
        assert_eq!(spec["policyTypes"], json!(["Ingress"]));
        let other = policy(&json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress"]}));
        assert_eq!(both(&live, &other), None);
    }
}
