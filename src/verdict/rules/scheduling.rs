//! Pods that get no node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::{Fails, Scene, Sign};
use crate::verdict::cause::{Cause, Rule};
use crate::verdict::pods::{condition, is_terminating, phase};
use crate::verdict::reports::{about, latest, message, reason};

const NOTHING_MATCHES: Duration = Duration::from_secs(30);
const FULL: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_mins(2);
const TAINTS: &str = "add a toleration, or take the taint from a node: kubectl describe nodes";
const ROOM: &str = "lower the requests, make room, or let old pods go first (maxUnavailable): kubectl describe nodes";
const LABELS: &str = "mend nodeSelector or affinity, or label a node: kubectl get nodes --show-labels";
const SOON: u64 = 5;
const LATER: u64 = 15;

pub(super) fn sign(scene: &Scene<'_>, pod: &Pod) -> Option<Sign> {
    let spec = pod.spec.as_ref()?;
    if phase(pod) != "Pending" || spec.node_name.is_some() {
        return None;
    }
    match condition(pod, "PodScheduled") {
        Some(("False", text)) => Some(unschedulable(scene, pod, spec, text)),
        Some(_) => None,
        None => waits_for_claim(scene, pod, spec),
    }
}

fn unschedulable(scene: &Scene<'_>, pod: &Pod, spec: &PodSpec, text: &str) -> Sign {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    // What follows speaks of preemption.
    let text = text.split_once(" no new claims").map_or(text, |(before, _)| before);
    let has = |words: &str| text.contains(words);
    let sign = |rule, meaning: &str, advice: &str, after, warns| {
        let cause = Cause::new(rule, "Unschedulable", text, meaning).of_pod(pod).advise(advice);
        Sign::of_pod(pod, cause, Fails::After(after), warns)
    };
    if has("persistentvolumeclaim \"") && has("\" not found") {
        return sign(
            Rule::NoNodeMatches,
            "the pod mounts a claim that does not exist",
            "put the claim into the manifests, or mend its name",
            NOTHING_MATCHES,
            SOON,
        );
    }
    if has("unbound immediate PersistentVolumeClaims") {
        return match without_class(scene, spec) {
            Some(said) => {
                let mut sign = sign(
                    Rule::NoNodeMatches,
                    "the pod's claim asks for a storage class that does not exist",
                    "mend storageClassName: kubectl get storageclass",
                    NOTHING_MATCHES,
                    SOON,
                );
                sign.cause.message = said;
                sign
            }
            None => sign(
                Rule::NotScheduled,
                "the pod waits for a volume, and nothing has made it yet",
                &format!("see what the claim waits for: kubectl -n {namespace} describe pvc"),
                PATIENCE,
                LATER,
            ),
        };
    }
    let has_no_room = has("Insufficient") || has("anti-affinity") || has("free ports") || has("Too many pods");
    let lacks_labels = has("node affinity/selector") || has("node(s) didn't match Pod's node affinity");
    if has("taint") {
        // Some nodes: the scheduler does not say what else the tainted ones lack.
        let others = [(has_no_room, "no room", ROOM), (lacks_labels, "not the labels that it asks for", LABELS)];
        let others = others.into_iter().filter(|(applies, ..)| *applies);
        let (lacking, advice): (Vec<&str>, Vec<&str>) = others.map(|(_, lacking, advice)| (lacking, advice)).unzip();
        let meaning = match &lacking[..] {
            [] => "no node takes the pod, because of taints".to_owned(),
            _ => format!("no node takes the pod: some have taints, the others {}", lacking.join(", or ")),
        };
        let mut sign = sign(Rule::NotScheduled, &meaning, TAINTS, PATIENCE, LATER);
        sign.cause.advice.extend(advice.into_iter().map(str::to_owned));
        return sign;
    }
    if has_no_room {
        let after = if scene.standing.needs_room_of_its_own && !ends_something(scene) { FULL } else { PATIENCE };
        return sign(Rule::NoRoom, "no node has room for the pod", ROOM, after, LATER);
    }
    if lacks_labels {
        return sign(
            Rule::NoNodeMatches,
            &format!("no node has the labels that the pod asks for{}", selected(spec)),
            LABELS,
            NOTHING_MATCHES,
            SOON,
        );
    }
    sign(Rule::NotScheduled, "no node takes the pod", "kubectl describe nodes", PATIENCE, LATER)
}

/// The labels that a node must have, as far as they are a plain list.
fn selected(spec: &PodSpec) -> String {
    let labels: Vec<String> =
        spec.node_selector.iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    if labels.is_empty() { String::new() } else { format!(": {}", labels.join(", ")) }
}

/// Room may come free.
fn ends_something(scene: &Scene<'_>) -> bool {
    scene.snapshot.pods.iter().any(is_terminating)
}

fn claims(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).map(|claim| claim.claim_name.as_str())
}

/// What is said about a claim whose storage class does not exist.
fn without_class(scene: &Scene<'_>, spec: &PodSpec) -> Option<String> {
    let uids = claims(spec).filter_map(|name| scene.snapshot.claims.get(name)?.metadata.uid.as_deref());
    let mut events = uids.flat_map(|uid| about(scene.snapshot, uid));
    let told = events.find(|event| {
        reason(event) == "ProvisioningFailed"
            && message(event).contains("storageclass")
            && message(event).contains("not found")
    })?;
    Some(message(told).to_owned())
}

/// The scheduler waits for a volume that nobody makes, and says nothing.
fn waits_for_claim(scene: &Scene<'_>, pod: &Pod, spec: &PodSpec) -> Option<Sign> {
    let pending = claims(spec)
        .filter_map(|name| scene.snapshot.claims.get(name))
        .find(|claim| claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending"))?;
    let said = latest(about(scene.snapshot, pending.metadata.uid.as_deref().unwrap_or_default())).map(message);
    let name = pending.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let cause = Cause::new(
        Rule::NotScheduled,
        "Pending",
        said.unwrap_or("the claim is pending"),
        format!("the pod waits for the volume of the claim {name}, and nothing has made it yet"),
    )
    .of_pod(pod)
    .advise(format!("see whether the storage class's provisioner runs: kubectl -n {namespace} describe pvc {name}"));
    Some(Sign::of_pod(pod, cause, Fails::After(PATIENCE), LATER))
}
