//! What goes into manifests and beside them: folders, the ConfigMap, substitutions and third-party images.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::fields::Fields;
use super::tree::Entry;
use super::value::{Found, Lack, Values};
use super::{ConfigMap, Substitution};
use crate::model::{ImageRef, is_dns_subdomain};
use crate::redact::Secret;

/// `manifests:`.
pub(super) fn manifests(root: &Fields<'_>, values: &Values<'_>) -> Vec<PathBuf> {
    root.required("manifests");
    let mut paths = Vec::new();
    for (place, text) in root.texts("manifests") {
        let path = values.sources.path(place, &text);
        if !path.exists() {
            values.sources.report(place, format!("{} does not exist", values.sources.shown(&path)));
        }
        paths.push(path);
    }
    paths
}

/// `configMap:`.
pub(super) fn config_map(root: &Fields<'_>, values: &Values<'_>) -> Option<ConfigMap> {
    let fields = Fields::open(values, root.get("configMap")?, "configMap", &["envFile", "name", "values"])?;
    let name = fields.required_text("name");
    if let Some(name) = name.as_deref().filter(|name| !is_dns_subdomain(name)) {
        fields.report(
            "name",
            format!("{name:?} is not the name of a ConfigMap: lower-case letters, digits, '-' and '.'"),
        );
    }
    let mut data = from_env_file(&fields, values);
    for entry in fields.map("values") {
        refuse_key(entry, values);
        if let Some(text) = values.product_text(entry) {
            data.insert(entry.key.clone(), text);
        }
    }
    Some(ConfigMap { name: name?, values: data })
}

fn from_env_file(fields: &Fields<'_>, values: &Values<'_>) -> BTreeMap<String, String> {
    let Some(node) = fields.get("envFile") else { return BTreeMap::new() };
    if node.text().is_none() {
        fields.report("envFile", format!("configMap.envFile is a path; this is {}", node.what()));
        return BTreeMap::new();
    }
    let variables = values.env_file(node).map_err(|message| fields.report("envFile", message)).unwrap_or_default();
    let overridden = fields.map("values");
    let ours = variables.iter().filter(|variable| !overridden.iter().any(|entry| entry.key == variable.name));
    ours.map(|variable| {
        values.learn_promised(&variable.name, &variable.value);
        values.refuse_placeholder(variable.place, &variable.name, &variable.value);
        (variable.name.clone(), variable.value.clone())
    })
    .collect()
}

fn refuse_key(entry: &Entry, values: &Values<'_>) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let key = &entry.key;
    if !(1..=253).contains(&key.len()) || !key.bytes().all(allowed) || key == "." || key.starts_with("..") {
        let message = format!("{key:?} is not a key of a ConfigMap: letters, digits, '-', '_' and '.'");
        values.sources.report(entry.place, message);
    }
}

/// `substitutions:`. A value that is missing or empty is none, and no finding.
pub(super) fn substitutions(root: &Fields<'_>, values: &Values<'_>) -> Vec<Substitution> {
    let entries = root.map("substitutions");
    refuse_nested(entries, values);
    entries.iter().filter_map(|entry| substitution(entry, values)).collect()
}

fn substitution(entry: &Entry, values: &Values<'_>) -> Option<Substitution> {
    let (origin, text) = match values.find(&entry.value, &entry.key) {
        Ok(Found { text, origin }) => (origin, Some(text).filter(|text| !text.trim().is_empty())),
        Err(Lack::Missing { origin, .. }) => (origin, None),
        Err(Lack::Wrong) => return None,
    };
    if let Some(text) = &text {
        values.learn(text);
    }
    let origin = if origin.is_empty() { values.sources.origin(entry.place) } else { origin };
    Some(Substitution { placeholder: entry.key.clone(), origin, value: text.map(Secret::new) })
}

/// One placeholder inside another would be replaced in an order that nobody wrote down.
fn refuse_nested(entries: &[Entry], values: &Values<'_>) {
    for entry in entries {
        if entry.key.trim().is_empty() {
            values.sources.report(entry.place, "a placeholder is a text to look for; this one is empty");
            continue;
        }
        let outer = entries.iter().find(|other| other.key != entry.key && other.key.contains(&entry.key));
        if let Some(outer) = outer {
            let message = format!("the placeholder {:?} is part of the placeholder {:?}", entry.key, outer.key);
            values.sources.report_both(outer.place, entry.place, message);
        }
    }
}

/// `images:`.
pub(super) fn images(root: &Fields<'_>, values: &Values<'_>) -> Vec<(String, ImageRef)> {
    root.map("images").iter().filter_map(|entry| image(entry, values)).collect()
}

fn image(entry: &Entry, values: &Values<'_>) -> Option<(String, ImageRef)> {
    match entry.key.parse::<ImageRef>() {
        Ok(key) if key.tag.is_some() || key.digest.is_some() => {
            values.sources.report(entry.place, format!("{:?} is a repository: without tag and digest", entry.key));
        }
        Ok(_) => {}
        Err(error) => values.sources.report(entry.place, error.to_string()),
    }
    let text = values.text(&entry.value, &format!("images.{}", entry.key))?;
    match text.parse::<ImageRef>() {
        Ok(image) if image.digest.is_some() => return Some((entry.key.clone(), image)),
        Ok(_) => values.sources.report(entry.value.place, format!("{text:?} has no digest: …@sha256:… is expected")),
        Err(error) => values.sources.report(entry.value.place, error.to_string()),
    }
    None
}
