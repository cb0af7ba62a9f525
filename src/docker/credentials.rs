//! The operator's own Docker credentials, for base images.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde_json::Value;

use crate::model::ImageRef;

/// The registry of images that name none, as far as the operator has logged in there: Docker keeps its credentials
/// under `https://index.DOMAIN/v1/`, and BuildKit asks for them at `registry-1.DOMAIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DefaultRegistry {
    key: String,
    domain: String,
}

/// What was found for the registries of a build.
#[derive(Default)]
pub(super) struct Found {
    pub(super) credentials: HashMap<String, DockerCredentials>,
    /// One sentence for each that could not be read. The pull is then tried without.
    pub(super) complaints: Vec<String>,
}

/// Docker's own folder.
pub(super) fn config_folder() -> PathBuf {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("DOCKER_CONFIG").or_else(|| of("HOME").map(|home| home.join(".docker"))).unwrap_or_default()
}

/// Looks up what Docker would use for `images`. Runs credential helpers, so it blocks.
pub(super) fn find(images: &[String]) -> Found {
    let mut found = Found::default();
    for (host, keys) in places(images, default_registry(&config_folder()).as_ref()) {
        match keys.iter().find_map(|key| lookup(key).transpose()) {
            Some(Ok(credential)) => drop(found.credentials.insert(host, credential)),
            Some(Err(why)) => found.complaints.push(format!("no credentials for {host}: {why}")),
            None => {}
        }
    }
    found
}

/// Credential stores leave an empty entry in the same place.
fn default_registry(folder: &Path) -> Option<DefaultRegistry> {
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).ok()?).ok()?;
    config["auths"].as_object()?.keys().find_map(|key| {
        let domain = key.strip_prefix("https://index.")?.strip_suffix("/v1/")?;
        Some(DefaultRegistry { key: key.clone(), domain: domain.to_owned() })
    })
}

fn lookup(key: &str) -> Result<Option<DockerCredentials>, String> {
    match docker_credential::get_credential(key) {
        Ok(DockerCredential::IdentityToken(token)) => {
            Ok(Some(DockerCredentials { identitytoken: Some(token), ..DockerCredentials::default() }))
        }
        Ok(DockerCredential::UsernamePassword(username, password)) => Ok(Some(DockerCredentials {
            username: Some(username),
            password: Some(password),
            ..DockerCredentials::default()
        })),
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError,
        ) => Ok(None),
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("not found") => Ok(None),
        // What a helper printed may be a secret.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(format!("{helper} failed")),
        Err(other) => Err(other.to_string()),
    }
}

/// Where BuildKit will ask, and the keys under which Docker may keep the answer.
fn places(images: &[String], default: Option<&DefaultRegistry>) -> BTreeMap<String, Vec<String>> {
    let is_default =
        |host: &str, default: &DefaultRegistry| host.strip_prefix("index.").unwrap_or(host) == default.domain;
    images
        .iter()
        .filter_map(|image| image.parse::<ImageRef>().ok())
        .filter_map(|image| match (image.registry, default) {
            (Some(host), default) if !default.is_some_and(|default| is_default(&host, default)) => {
                let keys = vec![host.clone(), format!("https://{host}"), format!("https://{host}/v1/")];
                Some((host, keys))
            }
            (_, Some(default)) => Some((format!("registry-1.{}", default.domain), vec![default.key.clone()])),
            (_, None) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_is_asked_for_once() {
        let images =
            ["go:1", "library/x", "hub.example/a/b", "registry.example:5000/a", "registry.example:5000/b", "!"];
        let images = images.map(str::to_owned);
        let hosts = |default: Option<&DefaultRegistry>| places(&images, default).into_keys().collect::<Vec<_>>();
        assert_eq!(hosts(None), ["hub.example", "registry.example:5000"]);

        let folder = tempfile::tempdir().expect("folder");
        let config = r#"{"auths": {"registry.example:5000": {}, "https://index.hub.example/v1/": {}}}"#;
        std::fs::write(folder.path().join("config.json"), config).expect("config.json");
        let default = default_registry(folder.path()).expect("default");
        assert_eq!(hosts(Some(&default)), ["registry-1.hub.example", "registry.example:5000"]);
        let places = places(&images, Some(&default));
        assert_eq!(places["registry-1.hub.example"], ["https://index.hub.example/v1/"]);
    }
}
