//! The operator's own Docker credentials, for base images.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use crate::model::ImageRef;

/// The host at which BuildKit asks for Docker Hub's credentials, and the key under which Docker keeps them.
const HUB: (&str, &str) = ("registry-1.docker.io", "https://index.docker.io/v1/");

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
    for registry in registries(images) {
        let (host, keys) = if registry == HUB.0 {
            (registry, vec![HUB.1.to_owned()])
        } else {
            let keys = vec![registry.clone(), format!("https://{registry}"), format!("https://{registry}/v1/")];
            (registry, keys)
        };
        match keys.iter().find_map(|key| lookup(key).transpose()) {
            Some(Ok(credential)) => drop(found.credentials.insert(host, credential)),
            Some(Err(why)) => found.complaints.push(format!("no credentials for {host}: {why}")),
            None => {}
        }
    }
    found
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

fn registries(images: &[String]) -> BTreeSet<String> {
    images
        .iter()
        .filter_map(|image| image.parse::<ImageRef>().ok())
        .map(|image| match image.registry {
            Some(host) if !["docker.io", "index.docker.io"].contains(&host.as_str()) => host,
            _ => HUB.0.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_is_asked_for_once() {
        let images = ["go:1", "library/x", "docker.io/a/b", "registry.example:5000/a", "registry.example:5000/b", "!"];
        let found = registries(&images.map(str::to_owned));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["registry-1.docker.io", "registry.example:5000"]);
    }
}
