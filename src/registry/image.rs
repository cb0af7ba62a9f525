//! What manifests and configuration blobs say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::{Digest, Invalid};
use crate::text::has_more_values;

/// An image for linux/amd64.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Digest of the image's manifest, never of an index.
    pub digest: Digest,
    /// What has to be downloaded to run it, in bytes: layers as they are packed, and the configuration.
    pub size: u64,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// The container configuration: command, environment, user and the like. Without labels.
    pub config: Value,
    /// When it was built, as RFC 3339 text; `None` when it does not say.
    pub created: Option<String>,
}

/// Values in one answer: a page with as many tags is a long one.
const MOST_VALUES: usize = 200_000;

/// What `bytes` say of `name`.
pub fn json(name: &str, bytes: &[u8]) -> Result<Value> {
    if has_more_values(bytes, MOST_VALUES) {
        return Err(Error::refused(format!("{name} holds more than {MOST_VALUES} values")));
    }
    serde_json::from_slice(bytes).map_err(|error| Error::refused(format!("{name} is not JSON")).because(error))
}

/// The media type that a manifest says of itself.
pub fn media_type(bytes: &[u8]) -> Option<String> {
    let manifest = json("the manifest", bytes).ok()?;
    let said = manifest["mediaType"].as_str().map(str::to_owned);
    said.or_else(|| manifest["manifests"].is_array().then(|| "application/vnd.oci.image.index.v1+json".to_owned()))
        .or_else(|| manifest["config"].is_object().then(|| "application/vnd.oci.image.manifest.v1+json".to_owned()))
}

/// The one linux/amd64 entry of an index; `None` when `bytes` are an image's own manifest.
///
/// # Errors
/// When an index holds no such entry, or several.
pub fn platform_entry(name: &str, bytes: &[u8]) -> Result<Option<Digest>> {
    let manifest = json(name, bytes)?;
    let Some(entries) = manifest["manifests"].as_array() else { return Ok(None) };
    let mut fitting = entries.iter().filter(|entry| platform(&entry["platform"]) == WANTED);
    match (fitting.next(), fitting.next()) {
        (Some(entry), None) => digest(name, entry).map(Some),
        _ => Err(wrong_platform(name, entries.iter().map(|entry| platform(&entry["platform"])))),
    }
}

const WANTED: &str = "linux/amd64";

/// `os/architecture` as `value` says it; attestations are `unknown/unknown`.
fn platform(value: &Value) -> String {
    let text = |key: &str| value[key].as_str().unwrap_or("unknown");
    format!("{}/{}", text("os"), text("architecture"))
}

fn digest(name: &str, descriptor: &Value) -> Result<Digest> {
    let text = descriptor["digest"].as_str().unwrap_or_default();
    text.parse().map_err(|error: Invalid| Error::refused(format!("{name} cannot be followed")).because(error))
}

fn wrong_platform(name: &str, have: impl Iterator<Item = String>) -> Error {
    let mut have: Vec<String> = have.filter(|text| text != "unknown/unknown").collect();
    have.sort();
    let have = if have.is_empty() { "no platform that it names".to_owned() } else { have.join(", ") };
    Error::refused(format!("{name} is not one image for {WANTED}, but for {have}"))
        .hint(format!("build it for {WANTED}: docker build --platform {WANTED}, or hdeploy all"))
}

/// Where the configuration of the image lies.
///
/// # Errors
/// When `bytes` are no image's manifest.
pub fn config_digest(name: &str, bytes: &[u8]) -> Result<Digest> {
    let manifest = json(name, bytes)?;
    if manifest["config"].is_object() {
        return digest(name, &manifest["config"]);
    }
    Err(Error::refused(format!("{name} is no image manifest")).hint("push it again: hdeploy all"))
}

/// The image with this manifest, whose configuration is `blob`.
///
/// # Errors
/// When it is for another platform than linux/amd64.
pub fn read(name: &str, manifest: &[u8], blob: &[u8]) -> Result<Image> {
    let digest = Digest::of(manifest);
    let (manifest, mut blob) = (json(name, manifest)?, json(name, blob)?);
    if platform(&blob) != WANTED {
        return Err(wrong_platform(name, std::iter::once(platform(&blob))));
    }
    let labels = blob["config"].as_object_mut().and_then(|config| config.shift_remove("Labels")).unwrap_or_default();
    let labels = labels.as_object().into_iter().flatten();
    let diff_ids = blob["rootfs"]["diff_ids"].as_array().into_iter().flatten();
    Ok(Image {
        digest,
        size: size(&manifest),
        labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        diff_ids: diff_ids.filter_map(|id| id.as_str()?.parse().ok()).collect(),
        created: blob["created"].as_str().map(str::to_owned),
        config: blob["config"].take(),
    })
}

fn size(manifest: &Value) -> u64 {
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers.chain([&manifest["config"]]).filter_map(|part| part["size"].as_u64()).fold(0, u64::saturating_add)
}

/// The tags in one page of a list.
pub fn tags(name: &str, bytes: &[u8]) -> Result<Vec<String>> {
    let page = json(name, bytes)?;
    let tags = page["tags"].as_array().into_iter().flatten();
    Ok(tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(os: &str, architecture: &str, content: &str) -> Value {
        json!({"digest": Digest::of(content.as_bytes()), "platform": {"os": os, "architecture": architecture}})
    }

    fn index(entries: &[Value]) -> Vec<u8> {
        json!({ "manifests": entries }).to_string().into_bytes()
    }

    #[test]
    fn an_index_is_its_one_linux_amd64_entry_and_attestations_do_not_count() {
        let bytes =
            index(&[entry("linux", "amd64", "a"), entry("unknown", "unknown", "b"), entry("linux", "arm64", "c")]);
        assert_eq!(platform_entry("x", &bytes).expect("one"), Some(Digest::of(b"a")));
        assert_eq!(platform_entry("x", b"{\"config\": {}}").expect("no index"), None);
    }

    #[test]
    fn an_index_without_the_platform_names_those_that_it_has() {
        let error = platform_entry("x", &index(&[entry("linux", "arm64", "a"), entry("unknown", "unknown", "b")]));
        assert!(error.expect_err("no amd64").message.ends_with("for linux/arm64"));
        let none = platform_entry("x", &index(&[entry("unknown", "unknown", "b")]));
        assert!(none.expect_err("only an attestation").message.ends_with("for no platform that it names"));
        let twice = index(&[entry("linux", "amd64", "a"), entry("linux", "amd64", "b")]);
        assert!(platform_entry("x", &twice).is_err());
    }

    fn blob(architecture: &str) -> Vec<u8> {
        json!({"os": "linux", "architecture": architecture, "created": "2026-01-02T03:04:05Z",
            "config": {"Labels": {"a": "b"}, "Cmd": ["/api"]}, "rootfs": {"diff_ids": [Digest::of(b"layer")]}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn an_image_is_what_its_manifest_and_configuration_say() {
        let manifest = json!({"config": {"size": 7}, "layers": [{"size": 100}, {"size": 20}]}).to_string();
        let image = read("x", manifest.as_bytes(), &blob("amd64")).expect("the right platform");
        let expected = Image {
            digest: Digest::of(manifest.as_bytes()),
            size: 127,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            diff_ids: vec![Digest::of(b"layer")],
            config: json!({"Cmd": ["/api"]}),
            created: Some("2026-01-02T03:04:05Z".to_owned()),
        };
        assert_eq!(image, expected);
    }

    #[test]
    fn an_image_for_another_platform_is_refused() {
        assert!(read("x", b"{}", &blob("arm64")).expect_err("arm").message.contains("linux/arm64"));
    }
}
