//! What is wrong in an object whatever the cluster says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::images::pod_specs;
use super::substitute::decoded;
use crate::model::ImageRef;

/// Everything that is wrong in `object`, each as `path: why`.
pub fn lint(object: &Value, left_over: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    placeholders(object, left_over, "", &mut findings);
    if object["kind"] == "Secret" {
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let text = decoded(value).unwrap_or_default();
            placeholders(&text.into(), left_over, &format!("data.{key}"), &mut findings);
        }
    }
    for spec in pod_specs(object) {
        pod(spec, &mut findings);
    }
    if object["kind"] == "Service" {
        twice(&object["spec"]["ports"], "spec.ports", &["port", "protocol"], &mut findings);
    }
    findings
}

fn pod(spec: &Value, findings: &mut Vec<String>) {
    twice(&spec["volumes"], "volumes", &["name"], findings);
    for field in ["containers", "initContainers"] {
        twice(&spec[field], field, &["name"], findings);
        for container in spec[field].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or("?");
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

/// Texts that somebody meant to fill in.
fn placeholders(value: &Value, left_over: &[&str], path: &str, findings: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if let Some(word) = placeholder(text, left_over) {
                findings.push(format!("{path}: {word} was left in"));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                placeholders(item, left_over, &format!("{path}[{index}]"), findings);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let dot = if path.is_empty() { "" } else { "." };
                placeholders(item, left_over, &format!("{path}{dot}{key}"), findings);
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
