//! Whose pod it is, whether it lives, and what its containers are.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::snapshot::Snapshot;

/// Label of the pods of StatefulSets and DaemonSets: the revision of their template.
pub(super) const REVISION: &str = "controller-revision-hash";

/// The pods whose controller has this uid.
pub(super) fn of_controller<'a>(snapshot: &'a Snapshot, uid: &str) -> Vec<&'a Pod> {
    snapshot.pods.of(uid).collect()
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

/// Taken away by something that says nothing about the pod itself: an eviction, a preemption, a node that goes.
pub(super) fn is_disrupted(pod: &Pod) -> bool {
    holds(pod, "DisruptionTarget") || pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    holds(pod, "Ready")
}

fn holds(pod: &Pod, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|(status, _)| status == "True")
}

/// Status and message of a condition.
pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status.as_str(), found.message.as_deref().unwrap_or_default()))
}

/// Whether its volumes are there: what failed before says nothing any more. Kubelets since 1.29 have a condition for it.
pub(super) fn has_mounted(pod: &Pod) -> bool {
    match condition(pod, "PodReadyToStartContainers") {
        Some((status, _)) => status == "True",
        None => parts(pod).any(|part| part.is_running() || part.last_end().is_some()),
    }
}

pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(super) fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

pub(super) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// How many live pods are ready.
pub(super) fn ready(pods: &[&Pod]) -> i32 {
    i32::try_from(pods.iter().filter(|pod| is_live(pod) && is_ready(pod)).count()).unwrap_or(i32::MAX)
}

/// A container of a pod with its status.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub pod: &'a Pod,
    pub spec: &'a Container,
    pub status: &'a ContainerStatus,
    /// An init container that runs to its end before the next one starts.
    pub is_step: bool,
}

/// The containers of `pod` that have a status, init containers first.
pub(super) fn parts(pod: &Pod) -> impl Iterator<Item = Part<'_>> {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let init = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten()).filter_map(move |spec| {
        let status = of_name(status?.init_container_statuses.as_deref(), &spec.name)?;
        Some(Part { pod, spec, status, is_step: spec.restart_policy.as_deref() != Some("Always") })
    });
    let main = spec.into_iter().flat_map(|spec| &spec.containers).filter_map(move |spec| {
        let status = of_name(status?.container_statuses.as_deref(), &spec.name)?;
        Some(Part { pod, spec, status, is_step: false })
    });
    init.chain(main)
}

fn of_name<'a>(statuses: Option<&'a [ContainerStatus]>, name: &str) -> Option<&'a ContainerStatus> {
    statuses?.iter().find(|status| status.name == name)
}

impl<'a> Part<'a> {
    /// Reason and message while it waits.
    pub fn waiting(&self) -> Option<(&'a str, &'a str)> {
        let waiting = self.status.state.as_ref()?.waiting.as_ref()?;
        Some((waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref().unwrap_or_default()))
    }

    /// The same, for one of these reasons.
    pub fn waits_for(&self, reasons: &[&str]) -> Option<(&'a str, &'a str)> {
        self.waiting().filter(|(reason, _)| reasons.contains(reason))
    }

    /// Whether it runs now.
    pub fn is_running(&self) -> bool {
        self.status.state.as_ref().is_some_and(|state| state.running.is_some())
    }

    /// Whether it has ended well, as an init container should.
    pub fn is_done(&self) -> bool {
        let ended = self.status.state.as_ref().and_then(|state| state.terminated.as_ref());
        self.is_step && ended.is_some_and(|ended| ended.exit_code == 0)
    }

    /// How often it has ended.
    pub fn exits(&self) -> i32 {
        let state = self.status.state.as_ref();
        let ended = state.and_then(|state| state.terminated.as_ref());
        let between = self.waits_for(&["CrashLoopBackOff", "RunContainerError", "PostStartHookError"]).is_some();
        self.status.restart_count.saturating_add(i32::from(ended.is_some() && !self.is_done() || between))
    }

    /// Reason, exit code and message of its last end.
    pub fn last_end(&self) -> Option<(&'a str, i32, &'a str)> {
        let ended = |state: &'a k8s_openapi::api::core::v1::ContainerState| state.terminated.as_ref();
        let last =
            self.status.state.as_ref().and_then(ended).or_else(|| self.status.last_state.as_ref().and_then(ended))?;
        Some((last.reason.as_deref().unwrap_or_default(), last.exit_code, last.message.as_deref().unwrap_or_default()))
    }

    /// "the container api" or "the init container schema".
    pub fn known_as(&self) -> String {
        format!("the {}container {}", if self.is_step { "init " } else { "" }, self.spec.name)
    }

    /// The image as the pod asks for it.
    pub fn image(&self) -> &'a str {
        self.spec.image.as_deref().unwrap_or_default()
    }
}
