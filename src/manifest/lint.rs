//! What is wrong in an object whatever the cluster says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::images::pod_specs;
use super::quantity::is_quantity;
use super::scalar::base64;
use super::substitute::decoded;
use crate::model::ImageRef;
use crate::text::beginning;

/// Letters of a path in a finding.
const LONGEST_PATH: usize = 200;

/// Everything that is wrong in `object`, each as `path: why`.
pub fn lint(object: &Value, left_over: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    placeholders(object, left_over, &mut Vec::new(), &mut findings);
    if object["kind"] == "Secret" {
        not_base64(&object["data"], &mut findings);
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let text = decoded(value).unwrap_or_default().into();
            placeholders(&text, left_over, &mut vec![Step::Key("data"), Step::Key(key)], &mut findings);
        }
    }
    for spec in pod_specs(object) {
        pod(spec, &mut findings);
    }
    for claim in claims(object) {
        quantities(&claim["spec"]["resources"], "spec.resources", &mut findings);
    }
    match object["kind"].as_str() {
        Some("ResourceQuota") => named_quantities(&object["spec"]["hard"], "spec.hard", &mut findings),
        Some("HorizontalPodAutoscaler") => targets(&object["spec"]["metrics"], &mut findings),
        _ => {}
    }
    if object["kind"] == "Service" {
        twice(&object["spec"]["ports"], "spec.ports", &["port", "protocol"], &mut findings);
    }
    findings
}

/// The object itself when it is a claim, and the claims that a StatefulSet makes.
fn claims(object: &Value) -> impl Iterator<Item = &Value> {
    let itself = (object["kind"] == "PersistentVolumeClaim").then_some(object);
    itself.into_iter().chain(object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten())
}

/// `requests` and `limits` of `resources`.
fn quantities(resources: &Value, path: &str, findings: &mut Vec<String>) {
    for field in ["requests", "limits"] {
        named_quantities(&resources[field], &format!("{path}.{field}"), findings);
    }
}

fn named_quantities(map: &Value, path: &str, findings: &mut Vec<String>) {
    for (name, value) in map.as_object().into_iter().flatten() {
        quantity(value, &format!("{path}.{name}"), findings);
    }
}

/// What an autoscaler aims at.
fn targets(metrics: &Value, findings: &mut Vec<String>) {
    for (index, metric) in metrics.as_array().into_iter().flatten().enumerate() {
        for (source, value) in metric.as_object().into_iter().flatten() {
            for field in ["value", "averageValue"] {
                if let Some(aim) = value["target"].get(field) {
                    quantity(aim, &format!("spec.metrics[{index}].{source}.target.{field}"), findings);
                }
            }
        }
    }
}

fn quantity(value: &Value, path: &str, findings: &mut Vec<String>) {
    if !is_quantity(value) {
        findings.push(format!("{path}: {value} is no quantity; write 2, 0.5, 100m, 64Mi or 1Gi"));
    }
}

fn pod(spec: &Value, findings: &mut Vec<String>) {
    twice(&spec["volumes"], "volumes", &["name"], findings);
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        if let Some(limit) = volume["emptyDir"].get("sizeLimit") {
            let name = volume["name"].as_str().unwrap_or("?");
            quantity(limit, &format!("volumes[{name}].emptyDir.sizeLimit"), findings);
        }
    }
    for field in ["containers", "initContainers"] {
        twice(&spec[field], field, &["name"], findings);
        for container in spec[field].as_array().into_iter().flatten() {
            let name = beginning(container["name"].as_str().unwrap_or("?"), LONGEST_PATH);
            quantities(&container["resources"], &format!("{field}[{name}].resources"), findings);
            for (list, keys) in [
                ("env", &["name"][..]),
                ("ports", &["containerPort", "protocol"]),
                ("volumeMounts", &["mountPath"]),
                ("volumeDevices", &["devicePath"]),
            ] {
                twice(&container[list], &format!("{field}[{name}].{list}"), keys, findings);
            }
        }
    }
}

/// The API server merges these lists by key and answers duplicates with an internal error.
fn twice(list: &Value, path: &str, keys: &[&str], findings: &mut Vec<String>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, item) in list.as_array().into_iter().flatten().enumerate() {
        let text = |key: &&str| match (*key, &item[*key]) {
            ("protocol", Value::Null) => "TCP".to_owned(),
            (_, Value::String(text)) => text.clone(),
            (_, value) => value.to_string(),
        };
        let identity = keys.iter().map(text).collect::<Vec<_>>().join("/");
        if let Some(first) = seen.insert(identity.clone(), index) {
            findings.push(format!("{path}: {identity} stands here twice, as entries {first} and {index}"));
        }
    }
}

/// A text that its author forgot to encode.
fn not_base64(data: &Value, findings: &mut Vec<String>) {
    let fails = |value: &Value| value.as_str().is_some_and(|text| base64(text).is_none());
    for (key, _) in data.as_object().into_iter().flatten().filter(|(_, value)| fails(value)) {
        findings.push(format!("data.{key}: it is no base64; plain text belongs under stringData"));
    }
}

/// A step on the way from an object to a value inside it.
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// `a[0].b`
fn path(way: &[Step]) -> String {
    let mut path = String::new();
    for step in way {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.extend([".", key]),
            Step::Index(index) => path.extend(["[", &index.to_string(), "]"]),
        }
    }
    beginning(&path, LONGEST_PATH)
}

/// Texts that somebody meant to fill in.
fn placeholders<'a>(value: &'a Value, left_over: &[&str], way: &mut Vec<Step<'a>>, findings: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if let Some(word) = placeholder(text, left_over) {
                findings.push(format!("{}: {word} was left in", path(way)));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                way.push(Step::Index(index));
                placeholders(item, left_over, way, findings);
                way.pop();
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                way.push(Step::Key(key));
                placeholders(item, left_over, way, findings);
                way.pop();
            }
        }
        _ => {}
    }
}

fn placeholder<'a>(text: &'a str, left_over: &[&'a str]) -> Option<&'a str> {
    if let Some(known) = left_over.iter().find(|known| text.contains(*known)) {
        return Some(known);
    }
    let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let marked = |text: &&str| {
        text.ends_with("_PLACEHOLDER") || matches!(*text, "CHANGEME" | "CHANGE_ME" | "REPLACE_ME" | "REPLACEME")
    };
    text.split(|c| !word(c)).find(marked)
}

/// Why `reference` must not reach a cluster, when it is not one of ours.
pub fn foreign_image(reference: &str) -> Option<String> {
    match reference.parse::<ImageRef>() {
        Err(invalid) => Some(invalid.to_string()),
        Ok(image) if image.digest.is_some() => None,
        Ok(image) => match image.tag.as_deref() {
            None | Some("latest") => Some(format!(
                "the image {reference} may be another one tomorrow: give it a digest, or name it in `images` of the configuration"
            )),
            Some(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stands_twice_is_told_with_both_places() {
        let object = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [
            {"name": "api", "env": [{"name": "A"}, {"name": "B"}, {"name": "A"}],
             "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80, "protocol": "TCP"}]}]}}}});
        let findings = lint(&object, &[]);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(findings[0], "containers[api].env: A stands here twice, as entries 0 and 2");
    }

    #[test]
    fn every_list_that_the_api_server_merges_is_looked_through() {
        for (list, place) in [
            (json!({"volumes": [{"name": "v"}, {"name": "v"}]}), "volumes: v"),
            (json!({"containers": [{"name": "c"}, {"name": "c"}]}), "containers: c"),
            (json!({"initContainers": [{"name": "i"}, {"name": "i"}]}), "initContainers: i"),
            (
                json!({"containers": [{"name": "c", "volumeMounts": [{"mountPath": "/m"}, {"mountPath": "/m"}]}]}),
                "containers[c].volumeMounts: /m",
            ),
            (
                json!({"initContainers": [{"name": "i", "volumeDevices": [{"devicePath": "/d"}, {"devicePath": "/d"}]}]}),
                "initContainers[i].volumeDevices: /d",
            ),
        ] {
            let mut spec = json!({"containers": []});
            json_patch::merge(&mut spec, &list);
            let findings = lint(&json!({"kind": "Pod", "spec": spec}), &[]);
            assert_eq!(findings, [format!("{place} stands here twice, as entries 0 and 1")]);
        }
        let ports = json!([{"port": 53}, {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
        let findings = lint(&json!({"kind": "Service", "spec": {"ports": ports}}), &[]);
        assert_eq!(findings, ["spec.ports: 53/TCP stands here twice, as entries 0 and 2"]);
    }

    #[test]
    fn every_word_for_something_to_fill_in_is_known() {
        for word in ["CHANGEME", "CHANGE_ME", "REPLACE_ME", "REPLACEME", "URL_PLACEHOLDER"] {
            assert_eq!(lint(&json!({"a": format!("x/{word}/y")}), &[]), [format!("a: {word} was left in")]);
        }
    }

    #[test]
    fn quantities_are_checked_wherever_they_stand() {
        let resources = json!({"requests": {"cpu": "5mm"}, "limits": {"memory": "64Mi"}});
        let deployment = json!({"kind": "Deployment", "spec": {"template": {"spec": {
            "initContainers": [{"name": "first", "resources": resources}],
            "containers": [{"name": "api", "resources": {"limits": {"memory": "64MB"}}}],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "lots"}}, {"name": "none", "emptyDir": {}}]}}}});
        let paths = |object: &Value| -> Vec<String> {
            lint(object, &[]).iter().filter_map(|finding| Some(finding.split_once(": ")?.0.to_owned())).collect()
        };
        assert_eq!(
            paths(&deployment),
            [
                "volumes[tmp].emptyDir.sizeLimit",
                "containers[api].resources.limits.memory",
                "initContainers[first].resources.requests.cpu"
            ]
        );
        let claim = json!({"spec": {"resources": {"requests": {"storage": "5G i"}}}});
        let set = json!({"kind": "StatefulSet", "spec": {"volumeClaimTemplates": [claim]}});
        assert_eq!(paths(&set), ["spec.resources.requests.storage"]);
        let quota = json!({"kind": "ResourceQuota", "spec": {"hard": {"pods": "10", "limits.cpu": "ten"}}});
        assert_eq!(paths(&quota), ["spec.hard.limits.cpu"]);
        let metric = json!({"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"averageValue": "1kk"}}});
        let scaler = json!({"kind": "HorizontalPodAutoscaler", "spec": {"metrics": [metric]}});
        assert_eq!(paths(&scaler), ["spec.metrics[0].pods.target.averageValue"]);
        let claim = json!({"kind": "PersistentVolumeClaim", "spec": claim["spec"]});
        assert_eq!(paths(&claim), ["spec.resources.requests.storage"]);
    }

    #[test]
    fn what_was_left_in_is_told_with_its_path() {
        let object =
            json!({"a": [{"b": "x TOKEN_PLACEHOLDER y"}], "c": "CHANGEME", "d": "EXCHANGEMENT", "e": "see HERE"});
        let findings = lint(&object, &["HERE"]);
        let expected = ["a[0].b: TOKEN_PLACEHOLDER was left in", "c: CHANGEME was left in", "e: HERE was left in"];
        assert_eq!(findings, expected);
    }

    #[test]
    fn a_foreign_image_needs_a_name_that_stays() {
        for (reference, fine) in [
            ("redis:7", true),
            ("redis", false),
            ("redis:latest", false),
            (&format!("redis:latest@sha256:{}", "0".repeat(64)), true),
            ("Not An Image", false),
        ] {
            assert_eq!(foreign_image(reference).is_none(), fine, "{reference}");
        }
    }
}
