//! Containers that cannot be made. Their status is written once and never again, so that only time tells.

use std::time::Duration;

use super::{Fails, Scene, Sign};
use crate::verdict::answers::{Answer, Question, lacks};
use crate::verdict::cause::{Cause, Rule};
use crate::verdict::pods::Part;

/// An object that is made together with the pod may come a moment later.
const CONFIG: Duration = Duration::from_secs(2);
/// Caches of a kubelet under load catch up by then.
const UNCLEAR: Duration = Duration::from_mins(1);
const CREATION: Duration = Duration::from_secs(5);

pub(super) fn sign(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    if let Some((reason, text)) = part.waits_for(&["CreateContainerConfigError"]) {
        return Some(config(scene, part, reason, text));
    }
    let (reason, text) = part.waits_for(&["CreateContainerError", "PreCreateHookError"])?;
    let cause = Cause::new(Rule::ContainerCreation, reason, text, "the container runtime cannot make the container")
        .of_part(part)
        .advise("mend what the message names: a profile, a mount, a device or a hook");
    Some(Sign::of_part(part, cause, Fails::After(CREATION)))
}

fn config(scene: &Scene<'_>, part: &Part<'_>, reason: &str, text: &str) -> Sign {
    let cause = |meaning: String| Cause::new(Rule::ContainerConfig, reason, text, meaning).of_part(part);
    let namespace = part.pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(named) = Named::read(text) {
        let question = [named.question(namespace)];
        let cause = match (lacks(&question, scene.answers), named.key) {
            (Some(false), _) if scene.answer(&question[0]) == Some(&Answer::Present) => {
                cause(format!("the kubelet does not find {named}, and yet it is there"))
            }
            (_, None) => cause(format!("the container's environment comes from {named}, which does not exist"))
                .advise(format!("create it in the namespace {namespace}, or put it into the manifests")),
            (_, Some(_)) => cause(format!("the container's environment comes from {named}, which is not there"))
                .advise("add the key, or mend the name in the manifest"),
        };
        let fails = Fails::Missing { questions: question.into(), after: CONFIG, else_after: Some(UNCLEAR) };
        return Sign::of_part(part, cause, fails);
    }
    if text.contains("runAsNonRoot") || text.contains("non-root") || text.contains("runAsUser") {
        let cause = cause("the pod must not run as root, and the image would".to_owned())
            .advise("set securityContext.runAsUser to a number, or USER in the Dockerfile to one");
        return Sign::of_part(part, cause, Fails::After(CONFIG));
    }
    Sign::of_part(part, cause("the kubelet cannot prepare the container".to_owned()), Fails::After(UNCLEAR))
}

/// A ConfigMap or Secret that a message names.
pub(super) struct Named<'a> {
    kind: &'static str,
    name: &'a str,
    key: Option<&'a str>,
}

impl<'a> Named<'a> {
    /// `secret "a" not found`, `couldn't find key k in ConfigMap n/a`.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        if let Some((_, rest)) = text.split_once("couldn't find key ") {
            let (key, rest) = rest.split_once(" in ")?;
            let (kind, object) = rest.split_once(' ')?;
            let name = object.split_once('/').map_or(object, |(_, name)| name).trim();
            return Some(Self { kind: kind_of(kind)?, name, key: Some(key) });
        }
        let (before, _) = text.split_once("\" not found")?;
        let (before, name) = before.rsplit_once(" \"").or_else(|| before.rsplit_once('"'))?;
        let kind = kind_of(before.rsplit([' ', ':']).find(|word| !word.is_empty())?)?;
        Some(Self { kind, name, key: None })
    }

    pub(super) fn question(&self, namespace: &str) -> Question {
        Question::object(self.kind, namespace, self.name, self.key)
    }
}

fn kind_of(word: &str) -> Option<&'static str> {
    match word.to_lowercase().as_str() {
        "secret" => Some("Secret"),
        "configmap" => Some("ConfigMap"),
        _ => None,
    }
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key {
            Some(key) => write!(f, "the key {key} of the {} {}", self.kind, self.name),
            None => write!(f, "the {} {}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_keys_are_read_from_the_kubelets_words() {
        let of = |text| Named::read(text).map(|named| named.to_string());
        assert_eq!(of("secret \"late\" not found").as_deref(), Some("the Secret late"));
        assert_eq!(
            of("MountVolume.SetUp failed for volume \"v\" : configmap \"app-config\" not found").as_deref(),
            Some("the ConfigMap app-config")
        );
        assert_eq!(of("couldn't find key a in Secret n/s").as_deref(), Some("the key a of the Secret s"));
        assert_eq!(of("failed to sync secret cache: timed out waiting for the condition"), None);
        assert!(of("\" not found").is_none());
    }
}
