//! What a pod waits for, in few words.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use super::pods::{condition, has_mounted, is_live, is_ready, is_terminating, uid};
use super::reports::{about, latest_of, message, reason};
use super::snapshot::Snapshot;
use crate::text::both_ends;

/// Letters of a message from a kubelet or a scheduler that are shown.
const LONGEST: usize = 90;

/// What the first of the `pods` that is not ready waits for: "api-6d…-x2k1p: `ContainerCreating` (pulling image)".
pub(super) fn troubled(pods: &[&Pod], snapshot: &Snapshot) -> Option<String> {
    let unready = pods.iter().find(|pod| is_live(pod) && !is_ready(pod))?;
    let text = state(unready, snapshot)?;
    Some(format!("{}: {text}", short_name(unready)))
}

/// "2 old pods are still ending" or "1 old pod is still running".
pub(super) fn old_pods(pods: &[&Pod]) -> String {
    let what = if pods.iter().all(|pod| is_terminating(pod)) { "ending" } else { "running" };
    match pods.len() {
        1 => format!("1 old pod is still {what}"),
        several => format!("{several} old pods are still {what}"),
    }
}

fn state(pod: &Pod, snapshot: &Snapshot) -> Option<String> {
    if let Some(reason) = unscheduled(pod) {
        return Some(reason);
    }
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten().find(|container| !is_done(container));
    let main = status.container_statuses.iter().flatten().find(|container| !container.ready);
    let container = init.or(main)?;
    let text = container_state(container, pod, snapshot);
    Some(if init.is_some() { format!("init container {}: {text}", container.name) } else { text })
}

/// An init container that has done its part: ended well, or runs on as a sidecar.
fn is_done(container: &ContainerStatus) -> bool {
    let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == 0) || container.started == Some(true) && container.ready
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let (status, message) = condition(pod, "PodScheduled")?;
    (status == "False").then(|| {
        let (message, _) = message.split_once(" no new claims").unwrap_or((message, ""));
        format!("not scheduled ({})", shortened(message))
    })
}

fn container_state(container: &ContainerStatus, pod: &Pod, snapshot: &Snapshot) -> String {
    let text = match container.state.as_ref() {
        Some(ContainerState { waiting: Some(waiting), .. }) => {
            let reason = waiting.reason.as_deref().unwrap_or("waiting");
            let why = waiting.message.as_deref().map(shortened).or_else(|| preparing(pod, container, snapshot));
            why.map_or_else(|| reason.to_owned(), |why| format!("{reason} ({why})"))
        }
        Some(ContainerState { terminated: Some(ended), .. }) => {
            format!("exited {} ({})", ended.exit_code, ended.reason.as_deref().unwrap_or("no reason given"))
        }
        Some(ContainerState { running: Some(_), .. }) => {
            let probe = latest_of(snapshot, pod, "Unhealthy").map(message);
            probe.map_or_else(
                || "running, not ready yet".to_owned(),
                |message| format!("not ready ({})", shortened(message)),
            )
        }
        _ => "being created".to_owned(),
    };
    match container.restart_count {
        0 => text,
        1 => format!("{text}, restarted once"),
        times => format!("{text}, restarted {times} times"),
    }
}

/// What the kubelet does before a container can start; only events say it.
fn preparing(pod: &Pod, container: &ContainerStatus, snapshot: &Snapshot) -> Option<String> {
    if let Some(mount) = latest_of(snapshot, pod, "FailedMount").filter(|_| !has_mounted(pod)) {
        return Some(shortened(message(mount)));
    }
    let place = format!("{{{}}}", container.name);
    let said = |wanted: &str| {
        about(snapshot, uid(pod)).any(|event| {
            reason(event) == wanted
                && event.involved_object.field_path.as_deref().is_some_and(|path| path.ends_with(&place))
        })
    };
    (said("Pulling") && !said("Pulled") && !said("Failed")).then(|| "pulling image".to_owned())
}

/// `api-6d7f9c9b5d-x2k1p` as `api-6d…-x2k1p`.
fn short_name(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or("a pod");
    let parts: Vec<&str> = name.rsplitn(3, '-').collect();
    match parts[..] {
        [suffix, hash, base] if hash.len() > 5 && hash.is_ascii() => format!("{base}-{}…-{suffix}", &hash[..2]),
        _ => name.to_owned(),
    }
}

/// The first line, cut in the middle: causes stand at the end.
pub(super) fn shortened(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
    both_ends(line, LONGEST)
}
