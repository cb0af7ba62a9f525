//! Whose pod it is, and whether it lives.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::snapshot::Snapshot;

/// The pods whose controller has this uid.
pub(super) fn of_controller<'a>(snapshot: &'a Snapshot, uid: &str) -> Vec<&'a Pod> {
    snapshot.pods.iter().filter(|pod| owned_by(&pod.metadata, uid)).collect()
}

pub(super) fn owned_by(metadata: &ObjectMeta, uid: &str) -> bool {
    controller(metadata).is_some_and(|owner| owner.uid == uid)
}

pub(super) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither being deleted nor ended: an evicted pod stays as an object long after its containers.
pub(super) fn is_live(pod: &Pod) -> bool {
    !is_terminating(pod) && !matches!(phase(pod), "Succeeded" | "Failed")
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(super) fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// How many live pods are ready.
pub(super) fn ready(pods: &[&Pod]) -> i32 {
    i32::try_from(pods.iter().filter(|pod| is_live(pod) && is_ready(pod)).count()).unwrap_or(i32::MAX)
}
