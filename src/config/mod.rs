//! The configuration: as it is written ([`raw`]) and what it means ([`resolve`]).

mod checks;
mod env_file;
mod fields;
mod objects;
mod order;
mod patches;
pub mod raw;
pub mod resolve;
mod secrecy;
mod services;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

pub use secrecy::is_secret_name;
pub(crate) use source::shown;

use crate::error::Result;
use crate::model::{ImageRef, Repository, ServiceName};
use crate::plan::request::Wait;
use crate::redact::{Redactor, Secret};

/// Bytes that a configuration, and any file that it takes values from, may have: as many as fit into a ConfigMap.
const LARGEST: usize = 1 << 20;

/// A validated configuration. Paths are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that was read.
    pub file: PathBuf,
    /// Its folder: the place from which its paths count.
    pub root: PathBuf,
    /// Where the product lives.
    pub namespace: String,
    /// The kubeconfig context that is expected, if the configuration says so.
    pub context: Option<String>,
    /// Where images go.
    pub registry: Registry,
    /// In the order in which they are written.
    pub services: Vec<Service>,
    /// Folders and files with manifests.
    pub manifests: Vec<PathBuf>,
    /// Namespaces besides `namespace` in which objects may lie.
    pub allowed_namespaces: Vec<String>,
    /// The ConfigMap that is made from the configuration.
    pub config_map: Option<ConfigMap>,
    /// Texts that are put into manifests.
    pub substitutions: Vec<Substitution>,
    /// Third-party repositories as manifests name them, and what is used instead.
    pub images: Vec<(String, ImageRef)>,
    /// Changes to single objects, in order.
    pub patches: Vec<Patch>,
    /// Workload name to the names of workloads that must have settled before it is applied.
    pub order: BTreeMap<String, Vec<String>>,
    /// How long is waited for what was applied.
    pub settle: Settle,
}

/// How long is waited for what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// A wave may take so long. Without it, every workload may take as long as its probes and images allow.
    pub timeout: Option<Duration>,
    /// The timeout counts also when good rollouts may need longer.
    pub force_timeout: bool,
    /// So long everything has to run before it counts.
    pub soak: Duration,
}

impl Settle {
    /// With what the command line says instead.
    #[must_use]
    pub fn overridden(self, wait: Wait) -> Self {
        Self {
            timeout: wait.timeout.or(self.timeout),
            force_timeout: wait.force_timeout || self.force_timeout,
            soak: wait.soak.unwrap_or(self.soak),
        }
    }
}

/// The image registry.
#[derive(Clone, Debug)]
pub struct Registry {
    /// `host` or `host:port`.
    pub server: String,
    /// First component of every image's path.
    pub owner: String,
    /// For Basic and token requests; `None` for a registry without login.
    pub credentials: Option<Credentials>,
    /// PEM of the registry's own certificate authority.
    pub ca: Option<PathBuf>,
    /// Plain HTTP instead of TLS.
    pub plain_http: bool,
}

/// A user name and its password or token.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or access token; sent in headers only.
    pub password: Secret,
}

/// One image of the product.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its key in the configuration.
    pub name: ServiceName,
    /// Where its image lies.
    pub repository: Repository,
    /// How its image is made; `None` when somebody else pushes it.
    pub build: Option<Build>,
}

/// How an image is built.
#[derive(Clone, Debug)]
pub struct Build {
    /// The folder that is sent to the daemon.
    pub context: PathBuf,
    /// Relative to the context.
    pub dockerfile: String,
    /// Stage of the Dockerfile; the last one when `None`.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
}

/// The ConfigMap that the configuration defines.
#[derive(Clone, Debug)]
pub struct ConfigMap {
    /// Its name.
    pub name: String,
    /// Its data.
    pub values: BTreeMap<String, String>,
}

/// A placeholder and the text that takes its place in manifests.
#[derive(Clone, Debug)]
pub struct Substitution {
    /// Literal text to look for.
    pub placeholder: String,
    /// Where the value comes from, in words: "OBS_INGEST_TOKEN of ../deploy/prod.env".
    pub origin: String,
    /// `None` when it is missing: files that hold the placeholder are then skipped.
    pub value: Option<Secret>,
}

/// A change to the objects that `target` selects. One that selects none is refused.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Which objects.
    pub target: PatchTarget,
    /// What is done to them.
    pub operation: PatchOperation,
    /// `config.yaml:41`, for messages.
    pub origin: String,
}

/// Selects objects.
#[derive(Clone, Debug)]
pub struct PatchTarget {
    /// Any version of the kind when `None`.
    pub api_version: Option<String>,
    /// For example `Deployment`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// Any namespace when `None`.
    pub namespace: Option<String>,
}

/// What a patch does.
#[derive(Clone, Debug)]
pub enum PatchOperation {
    /// RFC 7396.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
}

impl Config {
    /// Finds, reads and validates the configuration: `file` if given, else `deploy-k3s/config.yaml` (or
    /// `config.yaml` inside a folder of that name) in `from` or the nearest folder above it. Every secret value that
    /// is read is taught to `redactor`.
    ///
    /// # Errors
    /// All findings at once, each with file, line, column and the line itself.
    pub fn load(file: Option<&Path>, from: &Path, redactor: &Redactor) -> Result<Self> {
        let file = match file {
            Some(file) => file.to_owned(),
            None => raw::find(from)?,
        };
        resolve::resolve(&raw::read(&file, from)?, redactor)
    }

    /// The service called `name`.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| &service.name == name)
    }
}
