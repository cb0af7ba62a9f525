//! Images that cannot be pulled. The reason is the same for a registry that restarts and for an image that never was: only
//! the words tell.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;

use super::{Fails, Scene, Sign};
use crate::verdict::answers::{Question, lacks};
use crate::verdict::cause::{Cause, Rule};
use crate::verdict::pods::{Part, is_live, parts, uid};
use crate::verdict::reports::{about, about_part, fresh, latest, message, reason};

const PULLED: &str = "Failed to pull image";
const NEVER: [&str; 3] = ["InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed"];
const FAILING: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"];
/// Tries, and how long they take, until a registry that does not answer is a failure.
const ATTEMPTS: i32 = 5;
const PATIENCE: Duration = Duration::from_mins(3);
/// The event that the kubelet could not read the Secret, so that the next attempt may pass, comes before the refusal, but by
/// another watch.
const UNREAD: Duration = Duration::from_secs(1);
/// Another pod has the image: the registry may just have lost it for a moment.
const RUNS_ELSEWHERE: Duration = Duration::from_mins(1);

/// What the text of a failed pull says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Missing,
    Denied,
    Other,
}

pub(super) fn sign(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    if let Some((reason, text)) = part.waits_for(&NEVER) {
        return Some(unusable(part, reason, text));
    }
    if !is_waiting(part) {
        return None;
    }
    if let Some(event) = unusable_by_event(scene, part) {
        return Some(event);
    }
    let failed = latest(failures(scene, part));
    let status = part.waits_for(&FAILING);
    let text = match (failed, status) {
        (Some(event), _) => message(event),
        (None, Some((_, text))) => text,
        (None, None) => return None,
    };
    let attempts = attempts(scene, part);
    let reason = status.map_or("ErrImagePull", |(reason, _)| reason);
    Some(match said(text) {
        Said::Missing => missing(scene, part, reason, text, attempts),
        Said::Denied => denied(scene, part, reason, text, attempts),
        Said::Other => failing(part, reason, text, attempts),
    })
}

/// For its image: what failed before a container ran says nothing once it has.
fn is_waiting(part: &Part<'_>) -> bool {
    let never_ran = part.status.restart_count == 0 && part.last_end().is_none();
    part.waits_for(&FAILING).is_some() || part.waiting().is_some() && never_ran
}

fn failures<'a>(scene: &'a Scene<'_>, part: &Part<'a>) -> impl Iterator<Item = &'a Event> {
    about_part(scene.snapshot, part).filter(|event| reason(event) == "Failed" && message(event).starts_with(PULLED))
}

fn unusable_by_event(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    let newest = latest(about_part(scene.snapshot, part).filter(|event| reason(event) == "InspectFailed"))?;
    (fresh(newest, &scene.baseline.events) > 0).then(|| unusable(part, "InvalidImageName", message(newest)))
}

/// Since the workload was touched. Events count them, as long as they come; the status shows each one late.
fn attempts(scene: &Scene<'_>, part: &Part<'_>) -> i32 {
    let key = (uid(part.pod).to_owned(), part.spec.name.clone());
    let seen = scene.pulls.get(&key).map_or(0, |pulls| pulls.attempts);
    let mut counted = failures(scene, part).map(|event| fresh(event, &scene.baseline.events)).peekable();
    if counted.peek().is_none() {
        return seen;
    }
    counted.sum::<i32>().max(seen - 1)
}

fn said(text: &str) -> Said {
    let lower = text.to_lowercase();
    let code = code(&lower);
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if code == Some(404)
        || has(&[
            "not found",
            "manifest unknown",
            "invalid reference format",
            "no match for platform",
            "no matching manifest",
        ]) && !has(&["no such host"])
    {
        Said::Missing
    } else if matches!(code, Some(401 | 403)) || code.is_none() && has(&["unauthorized", "denied"]) {
        Said::Denied
    } else {
        Said::Other
    }
}

/// The code behind the word "status": "unexpected status: 401", "failed with status code [manifests v1]: 429".
fn code(lower: &str) -> Option<u16> {
    let (_, behind) = lower.rsplit_once("status")?;
    let behind = behind.split_once(']').map_or(behind, |(_, behind)| behind);
    // A port may be such a number, and digests often hold one.
    let words = behind.split_whitespace().filter(|word| !word.contains("://"));
    let mut words =
        words.flat_map(|word| word.split(|c: char| !c.is_ascii_alphanumeric())).filter(|word| word.len() == 3);
    words.find_map(|word| word.parse().ok().filter(|code| (400..600).contains(code)))
}

fn unusable(part: &Part<'_>, reason: &str, text: &str) -> Sign {
    let (meaning, advice) = match reason {
        "ErrImageNeverPull" => (
            "the image is not on the node, and the pod says that it must never be pulled",
            "set imagePullPolicy to IfNotPresent, or load the image onto the node",
        ),
        "SignatureValidationFailed" => {
            ("the node does not trust the image's signature", "sign the image, or change the node's policy")
        }
        _ => ("the image's name is no valid reference", "mend the image in the manifest: repositories are lower case"),
    };
    let cause = Cause::new(Rule::ImageUnusable, reason, text, meaning).of_part(part).advise(advice);
    Sign::of_part(part, cause, Fails::NOW)
}

fn missing(scene: &Scene<'_>, part: &Part<'_>, reason: &str, text: &str, attempts: i32) -> Sign {
    let platform = text.contains("no match for platform") || text.contains("no matching manifest");
    let layer = text.contains("httpReadSeeker") || text.contains("content descriptor");
    let (meaning, advice) = if platform {
        (
            "the image has no variant for the node's platform",
            "build it for the node's platform: kubectl get nodes -o wide",
        )
    } else if layer {
        ("the registry lists the image but lacks one of its layers", "push the image again")
    } else {
        (
            "the registry has no such repository, or the repository has no such tag or digest",
            "compare repository and tag with what the registry has, or push the image",
        )
    };
    let fails = match attempts {
        // What had failed before is not this release's failure: it may be mended by now.
        ..1 => Fails::Never,
        _ if runs_elsewhere(scene, part) => Fails::After(RUNS_ELSEWHERE),
        _ => Fails::NOW,
    };
    let cause = Cause::new(Rule::ImageMissing, reason, text, meaning).of_part(part).advise(advice);
    Sign::of_part(part, cause, fails)
}

fn runs_elsewhere(scene: &Scene<'_>, part: &Part<'_>) -> bool {
    let same = |other: &Part<'_>| other.image() == part.image() && other.is_running();
    scene.snapshot.pods.iter().filter(|pod| is_live(pod) && uid(pod) != uid(part.pod)).flat_map(parts).any(|p| same(&p))
}

fn denied(scene: &Scene<'_>, part: &Part<'_>, reason: &str, text: &str, attempts: i32) -> Sign {
    let spec = part.pod.spec.as_ref();
    let names: Vec<&str> =
        spec.into_iter().flat_map(|s| s.image_pull_secrets.iter().flatten()).map(|s| s.name.as_str()).collect();
    let namespace = part.pod.metadata.namespace.as_deref().unwrap_or_default();
    let questions: Vec<Question> = names.iter().map(|name| Question::object("Secret", namespace, name, None)).collect();
    let is_missing = lacks(&questions, scene.answers) == Some(true);
    let unread = about(scene.snapshot, uid(part.pod))
        .any(|event| event.reason.as_deref() == Some("FailedToRetrieveImagePullSecret"));
    let else_after = (!unread && denied_elsewhere(scene, part)).then_some(UNREAD);
    let (meaning, advice) = match &names[..] {
        [] => (
            "the registry wants credentials, and the pod names no pull Secret".to_owned(),
            "add imagePullSecrets to the pod, or to its service account".to_owned(),
        ),
        [name, ..] if is_missing => (
            format!("the registry wants credentials, and the pull Secret {name} does not exist"),
            format!("create the Secret {name} in the namespace {namespace}"),
        ),
        [name, ..] => (
            format!(
                "the registry does not accept the credentials of the pull Secret {name}, or they may not read this repository"
            ),
            format!("make the Secret {name} anew with a valid token that may read packages"),
        ),
    };
    let fails = match attempts {
        2.. => Fails::NOW,
        1 if questions.is_empty() => else_after.map_or(Fails::Never, Fails::After),
        1 => Fails::Missing { questions, after: Duration::ZERO, else_after },
        _ => Fails::Never,
    };
    let cause = Cause::new(Rule::PullDenied, reason, text, meaning).of_part(part).advise(advice);
    Sign::of_part(part, cause, fails)
}

/// A second pod was refused as well: that is no cache that was cold.
fn denied_elsewhere(scene: &Scene<'_>, part: &Part<'_>) -> bool {
    let others = scene.standing.new_pods.iter().copied().filter(|pod| is_live(pod) && uid(pod) != uid(part.pod));
    others.flat_map(parts).any(|other| {
        let text = latest(failures(scene, &other)).map(message);
        let text = text.or(other.waits_for(&FAILING).map(|(_, text)| text));
        other.image() == part.image() && text.is_some_and(|text| said(text) == Said::Denied)
    })
}

fn failing(part: &Part<'_>, reason: &str, text: &str, attempts: i32) -> Sign {
    let lower = text.to_lowercase();
    let has = |word: &str| lower.contains(word);
    let meaning = match code(&lower) {
        Some(429) => "the registry is asked too often and turns the node away",
        Some(500..) => "the registry has an error of its own",
        _ if has("no such host") => "the node cannot find the registry by its name",
        _ if has("connection refused") => "nothing listens where the registry should be",
        _ if has("timeout") || has("deadline exceeded") => "the registry does not answer the node",
        _ if has("x509") || has("tls") => "the node does not trust the registry's certificate",
        _ if has("qps exceeded") => "the node pulls too many images at once",
        _ if has("precondition") || has("unexpected commit digest") => {
            "what the registry sends is not the image's content"
        }
        _ => "the node cannot pull the image",
    };
    let fails = if attempts >= ATTEMPTS { Fails::After(PATIENCE) } else { Fails::Never };
    let cause = Cause::new(Rule::PullFails, reason, text, meaning)
        .of_part(part)
        .advise("check from the node that the registry answers; the kubelet goes on trying");
    Sign::of_part(part, cause, fails)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w6_the_words_of_a_failed_pull_decide() {
        let texts = [
            (
                "rpc error: code = NotFound desc = failed to pull and unpack image \"r/a:1\": r/a:1: not found",
                Said::Missing,
            ),
            ("no match for platform in manifest: not found", Said::Missing),
            ("manifest unknown: manifest unknown", Said::Missing),
            ("unexpected status from HEAD request to https://r/v2/a/manifests/1: 404 Not Found", Said::Missing),
            (
                "unexpected status from HEAD request to https://r:443/v2/a/manifests/sha256:0a512b7e: 401 Unauthorized",
                Said::Denied,
            ),
            (
                "unexpected status from HEAD request to https://r/v2/a/manifests/sha256:0b404c7e: 503 Service Unavailable",
                Said::Other,
            ),
            ("unexpected status for r/a@sha256:0a512b7e: 401 Unauthorized", Said::Denied),
            ("failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized", Said::Denied),
            (
                "failed to authorize: failed to fetch oauth token: unexpected status: 500 Internal Server Error",
                Said::Other,
            ),
            ("failed to authorize: failed to fetch anonymous token: dial tcp: i/o timeout", Said::Other),
            ("pulling from host r failed with status code [manifests v1]: 403 Forbidden", Said::Denied),
            ("pull access denied, repository does not exist or may require authorization", Said::Denied),
            ("pulling from host r failed with status code [manifests v401]: 429 Too Many Requests", Said::Other),
            ("dial tcp: lookup r on 10.0.0.1:53: no such host", Said::Other),
            ("pull QPS exceeded", Said::Other),
        ];
        for (text, expected) in texts {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
