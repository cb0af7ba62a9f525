//! What manifests and configuration blobs say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::Digest;

/// An image for linux/amd64.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Digest of the image's manifest, never of an index.
    pub digest: Digest,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// The container configuration: command, environment, user and the like.
    pub config: Value,
}

fn json(name: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| Error::refused(format!("{name} is not JSON")).because(error))
}

/// The media type that a manifest says of itself.
pub fn media_type(bytes: &[u8]) -> Option<String> {
    let manifest: Value = serde_json::from_slice(bytes).ok()?;
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
    let platform = |entry: &Value| {
        let text = |key: &str| entry["platform"][key].as_str().unwrap_or("unknown").to_owned();
        format!("{}/{}", text("os"), text("architecture"))
    };
    let fitting: Vec<&Value> = entries.iter().filter(|entry| platform(entry) == "linux/amd64").collect();
    if let [entry] = fitting[..] {
        Ok(entry["digest"].as_str().and_then(|text| text.parse().ok()))
    } else {
        let mut have: Vec<String> = entries.iter().map(platform).filter(|text| text != "unknown/unknown").collect();
        have.sort();
        Err(wrong_platform(name, &have.join(", ")))
    }
}

fn wrong_platform(name: &str, have: &str) -> Error {
    Error::refused(format!("{name} is not one image for linux/amd64, but for {have}"))
        .hint("build it for linux/amd64: docker build --platform linux/amd64, or hdeploy all")
}

/// Where the configuration of the image lies.
pub fn config_digest(name: &str, bytes: &[u8]) -> Result<Digest> {
    let manifest = json(name, bytes)?;
    let digest = manifest["config"]["digest"].as_str().and_then(|text| text.parse().ok());
    digest.ok_or_else(|| Error::refused(format!("{name} is no image manifest")))
}

/// The image whose configuration is `blob`.
///
/// # Errors
/// When it is for another platform than linux/amd64.
pub fn read(name: &str, digest: Digest, blob: &[u8]) -> Result<Image> {
    let blob = json(name, blob)?;
    let text = |key: &str| blob[key].as_str().unwrap_or("unknown");
    let platform = format!("{}/{}", text("os"), text("architecture"));
    if platform != "linux/amd64" {
        return Err(wrong_platform(name, &platform));
    }
    let labels = blob["config"]["Labels"].as_object().into_iter().flatten();
    let diff_ids = blob["rootfs"]["diff_ids"].as_array().into_iter().flatten();
    Ok(Image {
        digest,
        labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        diff_ids: diff_ids.filter_map(|id| id.as_str()?.parse().ok()).collect(),
        config: blob["config"].clone(),
    })
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
        let twice = index(&[entry("linux", "amd64", "a"), entry("linux", "amd64", "b")]);
        assert!(platform_entry("x", &twice).is_err());
    }

    #[test]
    fn an_image_for_another_platform_is_refused() {
        let blob = |architecture: &str| {
            json!({"os": "linux", "architecture": architecture, "config": {"Labels": {"a": "b"}},
            "rootfs": {"diff_ids": [Digest::of(b"layer")]}})
            .to_string()
            .into_bytes()
        };
        let image = read("x", Digest::of(b"m"), &blob("amd64")).expect("the right one");
        assert_eq!((image.labels["a"].as_str(), image.diff_ids.len()), ("b", 1));
        assert!(read("x", Digest::of(b"m"), &blob("arm64")).expect_err("arm").message.contains("linux/arm64"));
    }
}
