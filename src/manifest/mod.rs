//! Manifests: read as kubectl reads them, drafted with holes for images, rendered, ordered into waves.

pub mod budget;
pub mod draft;
pub mod images;
mod json;
mod lint;
pub mod needs;
mod normal;
mod patch;
pub mod pod_security;
pub mod publish;
mod quantity;
pub mod read;
pub mod rendered;
mod rollout;
pub(crate) mod scalar;
mod secrets;
pub mod substitute;
pub mod wave;
pub mod write;
mod yaml;

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

pub use draft::{Draft, Skipped, Warning};
pub use quantity::amount;
use rendered::JOB_LABEL;
pub use rendered::Rendered;
pub use secrets::secrets;
pub use wave::{Wave, WaveKind};

use crate::model::ObjectKey;

/// Where an object was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The file as a person at the working directory would name it.
    pub file: PathBuf,
    /// Which of its documents, from 1.
    pub document: usize,
    /// The line on which the document begins, from 1.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}", self.file.display());
        }
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// An object as the manifests have it. It has `apiVersion`, `kind` and `metadata.name`.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The object itself.
    pub value: Value,
    /// Where it was read.
    pub source: Source,
}

impl Object {
    /// What identifies it.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(&self.value).expect("reading refuses objects without identity")
    }

    /// The same as people know it: a Job is called as in the manifests.
    pub fn known_as(&self) -> ObjectKey {
        let mut key = self.key();
        if let (Some(name), "Job") = (self.value["metadata"]["labels"][JOB_LABEL].as_str(), self.kind()) {
            name.clone_into(&mut key.name);
        }
        key
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.value["metadata"]["annotations"][name].as_str()
    }
}

/// Whether `key` is of a kind that runs pods for good.
pub fn is_workload(key: &ObjectKey) -> bool {
    key.group() == "apps" && matches!(key.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet")
}

/// Whether hdeploy never deletes `key`: what it holds would be lost with it.
pub fn is_never_deleted(key: &ObjectKey) -> bool {
    matches!(
        (key.group(), key.kind.as_str()),
        ("", "PersistentVolumeClaim" | "PersistentVolume" | "Namespace")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

/// Kinds that lie in no namespace, of the API groups that every cluster has.
const CLUSTER_SCOPED: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("admissionregistration.k8s.io", ""),
    ("apiextensions.k8s.io", ""),
    ("apiregistration.k8s.io", ""),
    ("certificates.k8s.io", ""),
    ("flowcontrol.apiserver.k8s.io", ""),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", ""),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("scheduling.k8s.io", ""),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
];

/// API groups that every cluster has and whose other kinds are namespaced.
const BUILT_IN: &[&str] = &[
    "",
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
];

/// Whether objects like `key` lie in a namespace; `None` when only the cluster knows.
pub fn is_namespaced(key: &ObjectKey) -> Option<bool> {
    let group = key.group();
    let cluster = |(of, kind): &(&str, &str)| *of == group && (kind.is_empty() || *kind == key.kind);
    if CLUSTER_SCOPED.iter().any(cluster) {
        return Some(false);
    }
    BUILT_IN.contains(&group).then_some(true)
}
