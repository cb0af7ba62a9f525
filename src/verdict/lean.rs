//! Objects as they are followed: without what nobody reads of them. Who manages which field is most of many an object, and
//! decoding it costs more than all the rest; of events, which have few fields, it is dropped afterwards.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    self as apps, DaemonSet, DaemonSetSpec, DaemonSetStatus, Deployment, DeploymentSpec, DeploymentStatus,
    ReplicaSetSpec, ReplicaSetStatus, StatefulSet, StatefulSetSpec, StatefulSetStatus,
};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{
    Event, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, Pod, PodSpec, PodStatus,
    PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::manifest::amount;

/// A kind that can be read so.
pub trait Read: Sized {
    /// As the API server knows it.
    type Kind;
    /// What is read of it.
    type Parts: DeserializeOwned;
    /// The object that these are of.
    fn of(parts: Self::Parts) -> Self;
}

/// An object that is read so.
#[derive(Clone, Debug)]
pub struct Lean<K>(
    /// The object.
    pub K,
);

impl<'de, K: Read> Deserialize<'de> for Lean<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        K::Parts::deserialize(deserializer).map(|parts| Self(K::of(parts)))
    }
}

/// What most kinds are made of.
#[derive(Deserialize)]
pub struct Parts<S, T> {
    metadata: Metadata,
    spec: Option<S>,
    status: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl From<Metadata> for ObjectMeta {
    fn from(read: Metadata) -> Self {
        Self {
            name: read.name,
            namespace: read.namespace,
            uid: read.uid,
            resource_version: read.resource_version,
            generation: read.generation,
            creation_timestamp: read.creation_timestamp,
            deletion_timestamp: read.deletion_timestamp,
            labels: read.labels,
            annotations: read.annotations,
            owner_references: read.owner_references,
            ..Self::default()
        }
    }
}

macro_rules! read {
    ($($kind:ident, $spec:ty, $status:ty;)*) => {
        $(impl Read for $kind {
            type Kind = Self;
            type Parts = Parts<$spec, $status>;
            fn of(Parts { metadata, spec, status }: Self::Parts) -> Self {
                Self { metadata: metadata.into(), spec, status }
            }
        })*
    };
}

read! {
    Deployment, DeploymentSpec, DeploymentStatus;
    StatefulSet, StatefulSetSpec, StatefulSetStatus;
    DaemonSet, DaemonSetSpec, DaemonSetStatus;
    Job, JobSpec, JobStatus;
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus;
}

/// A ReplicaSet. A Deployment keeps ten old ones, each with a whole template: all that is asked of it is whether it is the
/// applied one.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSet {
    /// Without labels and annotations.
    pub metadata: ObjectMeta,
    /// How many pods it is to have.
    pub replicas: i32,
    /// Of its template.
    pub template: Option<Fingerprint>,
    /// What its controller says.
    pub status: Option<ReplicaSetStatus>,
}

impl Read for ReplicaSet {
    type Kind = apps::ReplicaSet;
    type Parts = Parts<ReplicaSetSpec, ReplicaSetStatus>;
    fn of(Parts { metadata, spec, status }: Self::Parts) -> Self {
        let metadata = Metadata { labels: None, annotations: None, ..metadata };
        let spec = spec.unwrap_or_default();
        let template = spec.template.map(Fingerprint::of);
        Self { metadata: metadata.into(), replicas: spec.replicas.unwrap_or(1), template, status }
    }
}

/// Tells pod templates apart: but for the label by which the controller of Deployments tells pods apart, for fields that
/// nobody knows, for the order of keys, for what is null or missing, and for the units of [`quantities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a template.
    pub fn of(mut template: PodTemplateSpec) -> Self {
        template.metadata.get_or_insert_default().labels.get_or_insert_default().remove("pod-template-hash");
        template.spec.iter_mut().flat_map(quantities).for_each(|quantity| {
            // The API server keeps the unit, but to it and to the controller of Deployments only the amount is a change.
            if let Some(amount) = amount(&quantity.0) {
                quantity.0 = amount.to_string();
            }
        });
        let json = serde_json::to_vec(&template).expect("a template is JSON");
        Self(Sha256::digest(json).into())
    }
}

/// The resources of the pod and its containers, and the sizes of volumes in memory.
fn quantities(spec: &mut PodSpec) -> impl Iterator<Item = &mut Quantity> {
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    let resources = containers.filter_map(|container| container.resources.as_mut()).chain(&mut spec.resources);
    let lists = resources.flat_map(|resources| [&mut resources.limits, &mut resources.requests]).flatten();
    let volumes = spec.volumes.iter_mut().flatten().filter_map(|volume| volume.empty_dir.as_mut());
    lists.flat_map(BTreeMap::values_mut).chain(volumes.filter_map(|volume| volume.size_limit.as_mut()))
}

impl Read for Pod {
    type Kind = Self;
    type Parts = Parts<PodSpec, PodStatus>;
    fn of(Parts { metadata, spec, status }: Self::Parts) -> Self {
        Self { metadata: metadata.into(), spec: spec.map(without_surroundings), status: status.map(compact) }
    }
}

/// A list that is read has room for four at least.
fn compact(mut status: PodStatus) -> PodStatus {
    let containers = [&mut status.container_statuses, &mut status.init_container_statuses];
    containers.into_iter().flatten().for_each(Vec::shrink_to_fit);
    status.conditions.iter_mut().for_each(Vec::shrink_to_fit);
    status
}

/// There may be thousands of pods.
fn without_surroundings(mut spec: PodSpec) -> PodSpec {
    (spec.affinity, spec.tolerations) = (None, None);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        (container.env, container.env_from, container.volume_mounts) = (None, None, None);
    }
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(may_be_missing);
        volumes.shrink_to_fit();
    }
    spec
}

/// A rule may ask for its source. The service account's token is in every pod.
fn may_be_missing(volume: &Volume) -> bool {
    volume.config_map.is_some() || volume.secret.is_some() || volume.persistent_volume_claim.is_some()
}

impl Read for Event {
    type Kind = Self;
    type Parts = Self;
    fn of(mut event: Self) -> Self {
        event.metadata.managed_fields = None;
        event
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_with_the_same_amounts_are_the_same() {
        let template = |memory: &str, size: &str| {
            Fingerprint::of(
                serde_json::from_value(json!({ "spec": {
                    "containers": [{ "name": "a", "resources": { "limits": { "memory": memory, "cpu": "500m" } } }],
                    "volumes": [{ "name": "tmp", "emptyDir": { "medium": "Memory", "sizeLimit": size } }],
                } }))
                .expect("a template"),
            )
        };
        assert_eq!(template("128Mi", "1Gi"), template("134217728", "1073741824"));
        assert_ne!(template("128Mi", "1Gi"), template("128M", "1Gi"));
        assert_ne!(template("128Mi", "1Gi"), template("128Mi", "1G"));
    }

    #[test]
    fn what_rules_look_at_is_read() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "1", "resourceVersion": "2", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:00:01Z",
                "labels": { "app": "a" }, "annotations": { "a": "1" },
                "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:spec": {} } }],
                "ownerReferences": [{ "apiVersion": "v1", "kind": "ReplicaSet", "name": "a", "uid": "4", "controller": true }],
            },
            "spec": {
                "containers": [{ "name": "a", "image": "r/a", "env": [{ "name": "A", "value": "1" }] }],
                "tolerations": [{ "operator": "Exists" }],
                "initContainers": [{ "name": "first", "image": "r/a", "envFrom": [{ "configMapRef": { "name": "a" } }] }],
                "volumes": [
                    { "name": "token", "projected": { "sources": [] } },
                    { "name": "config", "configMap": { "name": "a" } },
                    { "name": "secret", "secret": { "secretName": "a" } },
                    { "name": "claim", "persistentVolumeClaim": { "claimName": "a" } },
                ],
            },
            "status": { "phase": "Running" },
        });
        let Lean(lean) = serde_json::from_value::<Lean<Pod>>(pod.clone()).expect("a pod");
        let mut whole: Pod = serde_json::from_value(pod).expect("a pod");
        whole.metadata.managed_fields = None;
        let spec = whole.spec.as_mut().expect("a spec");
        spec.tolerations = None;
        spec.containers[0].env = None;
        spec.init_containers.as_mut().expect("one")[0].env_from = None;
        spec.volumes.as_mut().expect("volumes").remove(0);
        assert_eq!(lean, whole);
    }
}
