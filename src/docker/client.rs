//! Which daemon, and whether it is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest};
use serde_json::Value;

use super::Docker;
use crate::error::{Error, Result};
use crate::model::Digest;

/// The API version of Docker 20.10, the oldest that this program is tested with. BuildKit itself came with 1.39.
const OLDEST: (u32, u32) = (1, 41);
const CHECK: Duration = Duration::from_secs(3);
/// bollard counts until the answer begins; that of a build begins after its context was sent.
const LONGEST_SECONDS: u64 = 24 * 60 * 60;
const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";

/// What answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// For example `20.10.24`.
    pub version: String,
    /// For example `1.41`.
    pub api_version: String,
}

/// Where the daemon is, and how that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: String,
    /// "DOCKER_HOST", "Docker context colima".
    origin: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`.
    certificates: Option<PathBuf>,
}

/// The part of the environment that decides.
#[derive(Default)]
struct Environment {
    host: Option<String>,
    context: Option<String>,
    /// Docker's folder.
    config: PathBuf,
    tls: bool,
    certificates: Option<PathBuf>,
}

impl Environment {
    fn read() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let config = super::credentials::config_folder();
        Self {
            host: text("DOCKER_HOST"),
            context: text("DOCKER_CONTEXT"),
            tls: text("DOCKER_TLS_VERIFY").is_some(),
            certificates: text("DOCKER_CERT_PATH").map(PathBuf::from),
            config,
        }
    }

    fn endpoint(&self) -> Result<Endpoint> {
        if let Some(address) = &self.host {
            let certificates = self.tls.then(|| self.certificates.clone().unwrap_or_else(|| self.config.clone()));
            return Ok(Endpoint { address: address.clone(), origin: "DOCKER_HOST".into(), certificates });
        }
        let context = match &self.context {
            Some(context) => Some(context.clone()),
            None => self.current_context()?,
        };
        match context.filter(|context| context != "default") {
            Some(context) => self.of_context(&context),
            None => Ok(Endpoint { address: DEFAULT_ADDRESS.into(), origin: "the default".into(), certificates: None }),
        }
    }

    fn current_context(&self) -> Result<Option<String>> {
        let file = self.config.join("config.json");
        if !file.exists() {
            return Ok(None);
        }
        let config = json(&file)?;
        Ok(config["currentContext"].as_str().filter(|name| !name.is_empty()).map(str::to_owned))
    }

    fn of_context(&self, name: &str) -> Result<Endpoint> {
        let digest = Digest::of(name.as_bytes());
        let id = digest.as_str().trim_start_matches("sha256:");
        let file = self.config.join("contexts/meta").join(id).join("meta.json");
        if !file.exists() {
            return Err(Error::refused(format!("there is no Docker context {name:?}: {} is missing", file.display()))
                .hint("list the contexts with: docker context ls"));
        }
        let meta = json(&file)?;
        let address = meta["Endpoints"]["docker"]["Host"].as_str().unwrap_or(DEFAULT_ADDRESS).to_owned();
        let certificates = self.config.join("contexts/tls").join(id).join("docker");
        let certificates = certificates.is_dir().then_some(certificates);
        Ok(Endpoint { address, origin: format!("Docker context {name}"), certificates })
    }
}

fn json(file: &Path) -> Result<Value> {
    let unreadable = || Error::refused(format!("{} could not be read", file.display()));
    let bytes = std::fs::read(file).map_err(|error| unreadable().because(error))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable().because(error).hint("correct the file: docker info"))
}

pub(super) fn connect() -> Result<Docker> {
    let endpoint = Environment::read().endpoint()?;
    let connected = open(&endpoint)?;
    Ok(Docker { api: connected.with_request_modifier(url_safe_credentials), endpoint })
}

fn open(endpoint: &Endpoint) -> Result<bollard::Docker> {
    let address = endpoint.address.as_str();
    let scheme = address.split_once("://").map_or("", |(scheme, _)| scheme);
    let opened = match (scheme, &endpoint.certificates) {
        ("unix", _) => bollard::Docker::connect_with_unix(address, LONGEST_SECONDS, API_DEFAULT_VERSION),
        ("tcp" | "http", None) => {
            let address = address.trim_end_matches('/');
            bollard::Docker::connect_with_http(address, LONGEST_SECONDS, API_DEFAULT_VERSION)
        }
        ("tcp" | "https", Some(folder)) => bollard::Docker::connect_with_ssl(
            address.trim_end_matches('/'),
            &folder.join("key.pem"),
            &folder.join("cert.pem"),
            &folder.join("ca.pem"),
            LONGEST_SECONDS,
            API_DEFAULT_VERSION,
        ),
        _ => return Err(unsupported(endpoint, scheme)),
    };
    opened.map_err(|error| not_there(endpoint).because(error))
}

fn unsupported(endpoint: &Endpoint, scheme: &str) -> Error {
    let Endpoint { address, origin, .. } = endpoint;
    let error = Error::refused(format!("the Docker daemon at {address} (from {origin}) cannot be reached this way"));
    match scheme {
        "ssh" => error
            .detail("ssh:// addresses are not supported")
            .hint(format!(
                "forward the socket: ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock {}",
                address.trim_start_matches("ssh://")
            ))
            .hint("then run the same command with DOCKER_HOST=unix:///tmp/docker.sock"),
        "https" => error
            .detail("https:// needs client certificates")
            .hint("set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to the folder with ca.pem, cert.pem and key.pem"),
        _ => error
            .detail("addresses begin with unix:// or tcp://")
            .hint("set DOCKER_HOST, for example DOCKER_HOST=unix:///var/run/docker.sock"),
    }
}

/// Nothing answers at `endpoint`.
pub(super) fn not_there(endpoint: &Endpoint) -> Error {
    let Endpoint { address, origin, .. } = endpoint;
    Error::refused(format!("no Docker daemon answers at {address} (from {origin})"))
        .hint("start Docker, or set DOCKER_HOST or DOCKER_CONTEXT to a daemon that runs; see: docker context ls")
}

pub(super) async fn check(docker: &Docker) -> Result<Daemon> {
    let asked = async {
        docker.api.ping().await?;
        docker.api.version().await
    };
    let late = |_| not_there(&docker.endpoint).because(format!("nothing came within {} seconds", CHECK.as_secs()));
    let version = tokio::time::timeout(CHECK, asked).await.map_err(late)?;
    let version = version
        .map_err(|error| not_allowed(docker, &error).unwrap_or_else(|| not_there(&docker.endpoint)).because(error))?;
    let address = &docker.endpoint.address;
    if version.os.as_deref() == Some("windows") {
        return Err(Error::refused(format!(
            "the Docker daemon at {address} runs Windows containers, without BuildKit"
        ))
        .hint("switch it to Linux containers, or set DOCKER_HOST or DOCKER_CONTEXT to a daemon that has them"));
    }
    let parts: Vec<&str> = version.components.iter().flatten().map(|part| part.name.as_str()).collect();
    if let Some(other) = parts.iter().find(|name| name.starts_with("Podman")) {
        return Err(Error::refused(format!("what answers at {address} is {other}, without BuildKit"))
            .hint("set DOCKER_HOST or DOCKER_CONTEXT to a Docker daemon; see: docker context ls"));
    }
    let daemon =
        Daemon { version: version.version.unwrap_or_default(), api_version: version.api_version.unwrap_or_default() };
    if is_too_old(&daemon.api_version) {
        return Err(Error::refused(format!(
            "the Docker daemon at {address} is too old: version {} with API {}, and API {}.{} is needed (Docker 20.10)",
            daemon.version, daemon.api_version, OLDEST.0, OLDEST.1
        ))
        .hint("update Docker on that host, or set DOCKER_HOST or DOCKER_CONTEXT to a newer daemon"));
    }
    Ok(daemon)
}

fn not_allowed(docker: &Docker, error: &bollard::errors::Error) -> Option<Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let denied = |io: &std::io::Error| io.kind() == std::io::ErrorKind::PermissionDenied;
        if cause.downcast_ref().is_some_and(denied) {
            let address = &docker.endpoint.address;
            return Some(
                Error::refused(format!("this user may not use the Docker daemon at {address}"))
                    .hint("join its group and log in again: sudo usermod -aG docker \"$USER\""),
            );
        }
        next = cause.source();
    }
    None
}

fn is_too_old(api_version: &str) -> bool {
    let parts = api_version.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    // A version that cannot be read is no proof of age.
    parts.is_some_and(|version: (u32, u32)| version < OLDEST)
}

/// bollard writes credentials in plain base64, and the daemon reads the URL-safe alphabet: without this a password
/// with `?` or `~` may be refused.
fn url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("x-registry-auth") {
        let safe = value.to_str().map(|text| text.replace('+', "-").replace('/', "_"));
        if let Some(safe) = safe.ok().and_then(|text| text.parse().ok()) {
            *value = safe;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(config: &Path) -> Environment {
        Environment { config: config.to_owned(), ..Environment::default() }
    }

    fn with_context(folder: &Path, name: &str, host: &str) {
        let id = Digest::of(name.as_bytes());
        let meta = folder.join("contexts/meta").join(id.as_str().trim_start_matches("sha256:"));
        std::fs::create_dir_all(&meta).expect("folder");
        let content = serde_json::json!({"Name": name, "Endpoints": {"docker": {"Host": host}}});
        std::fs::write(meta.join("meta.json"), content.to_string()).expect("meta.json");
    }

    #[test]
    fn the_address_comes_from_the_host_then_the_context_then_the_current_context() {
        let folder = tempfile::tempdir().expect("folder");
        with_context(folder.path(), "remote", "tcp://build.example:2375");
        let mut environment = environment(folder.path());
        assert_eq!(environment.endpoint().expect("default").address, DEFAULT_ADDRESS);
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext": "remote"}"#).expect("config.json");
        let endpoint = environment.endpoint().expect("current context");
        assert_eq!(
            (endpoint.address.as_str(), endpoint.origin.as_str()),
            ("tcp://build.example:2375", "Docker context remote")
        );
        environment.context = Some("default".into());
        assert_eq!(environment.endpoint().expect("default").address, DEFAULT_ADDRESS);
        environment.context = Some("gone".into());
        assert!(environment.endpoint().expect_err("no context").message.contains("no Docker context \"gone\""));
        environment.host = Some("unix:///other.sock".into());
        assert_eq!(environment.endpoint().expect("host").address, "unix:///other.sock");
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_advice() {
        for (address, advice) in [
            ("ssh://me@build.example", "ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock me@build.example"),
            ("https://build.example:2376", "DOCKER_CERT_PATH"),
            ("build.example", "DOCKER_HOST=unix"),
            ("unix:///nowhere/docker.sock", "docker context ls"),
        ] {
            let endpoint = Endpoint { address: address.into(), origin: "DOCKER_HOST".into(), certificates: None };
            let error = open(&endpoint).expect_err(address);
            assert!(error.message.contains(address) && error.hints.join("\n").contains(advice), "{error:?}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_too_old("1.40") && is_too_old("1.9"));
        assert!(!is_too_old("1.41") && !is_too_old("1.100") && !is_too_old("2.0") && !is_too_old("?"));
    }
}
