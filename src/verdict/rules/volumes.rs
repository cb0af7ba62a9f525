//! Volumes whose source is not there. The pod says `ContainerCreating` all the while.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::start::Named;
use super::{Fails, Scene, Sign};
use crate::verdict::answers::{Answer, Question, lacks};
use crate::verdict::cause::{Cause, Rule};
use crate::verdict::pods::{has_mounted, parts};
use crate::verdict::reports::{fresh, latest_of, message};

const MISSING: Duration = Duration::from_secs(5);
const UNREADABLE: Duration = Duration::from_secs(45);
/// A kubelet's caches are often cold when a pod is new.
const UNCLEAR: u64 = 15;

pub(super) fn sign(scene: &Scene<'_>, pod: &Pod) -> Option<Sign> {
    let waits = |reasons| parts(pod).any(|part| part.waits_for(reasons).is_some());
    if !waits(&["ContainerCreating", "PodInitializing"]) || has_mounted(pod) {
        return None;
    }
    let event = latest_of(scene.snapshot, pod, "FailedMount")?;
    if fresh(event, &scene.baseline.events) < 1 {
        return None;
    }
    let text = message(event);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let questions = match Named::read(text) {
        Some(named) => vec![named.question(namespace)],
        None => keys(pod, text, namespace),
    };
    let forbidden = questions.iter().any(|question| scene.answers.get(question) == Some(&Answer::Forbidden));
    let warns = if questions.is_empty() { UNCLEAR } else { 0 };
    let fails = match lacks(&questions, scene.answers) {
        _ if questions.is_empty() => Fails::Never,
        Some(false) if !forbidden => Fails::Never,
        _ => Fails::Missing { questions, after: MISSING, else_after: forbidden.then_some(UNREADABLE) },
    };
    let cause = Cause::new(
        Rule::VolumeMissing,
        "FailedMount",
        text,
        "a volume of the pod cannot be mounted, so no container starts",
    )
    .of_pod(pod)
    .advise("create what the message names, or mend the volume in the manifest");
    Some(Sign::of_pod(pod, cause, fails, warns))
}

/// "references non-existent config key: k" names no object: the volume does.
fn keys(pod: &Pod, text: &str, namespace: &str) -> Vec<Question> {
    let volume = text.split("for volume \"").nth(1).and_then(|rest| rest.split('"').next());
    let key = text.split_once("key: ").map(|(_, key)| key.trim());
    let (Some(volume), Some(key)) = (volume, key.filter(|_| text.contains("references non-existent"))) else {
        return Vec::new();
    };
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter(|found| found.name == volume)
        .flat_map(sources)
        .map(|(kind, name)| Question::object(kind, namespace, name, Some(key)))
        .collect()
}

fn sources(volume: &Volume) -> Vec<(&'static str, &str)> {
    let config = volume.config_map.as_ref().map(|source| ("ConfigMap", source.name.as_str()));
    let secret = volume.secret.as_ref().and_then(|source| Some(("Secret", source.secret_name.as_deref()?)));
    config.into_iter().chain(secret).collect()
}
