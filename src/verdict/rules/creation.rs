//! Pods that the API server refuses: there is none to look at, only the controller says so.

use std::time::Duration;

use super::{Fails, Scene, Sign};
use crate::verdict::cause::{Cause, Rule};
use crate::verdict::standing::Refused;

const FORBIDDEN: Duration = Duration::from_secs(5);
/// The controller tries at 20.5 and 41 s.
const QUOTA: Duration = Duration::from_secs(45);
/// And at 82 s.
const ADMISSION: Duration = Duration::from_secs(90);

pub(super) fn sign(scene: &Scene<'_>, refused: &Refused<'_>) -> Sign {
    let namespace = scene.expectation.key.namespace.as_deref().unwrap_or_default();
    let text = refused.message.trim_start_matches("Error creating: ");
    let has = |words: &str| text.contains(words);
    let cause = |rule, meaning: &str, advice: &str| Cause::new(rule, "FailedCreate", text, meaning).advise(advice);
    let (cause, after) = if has("exceeded quota") {
        let cause = cause(
            Rule::QuotaExceeded,
            "the namespace's quota is used up, so no pod can be made",
            &format!("raise the quota, or lower the requests: kubectl -n {namespace} describe quota"),
        );
        (cause, QUOTA)
    } else if has("failed calling webhook") || has("Internal error occurred") {
        let cause = cause(
            Rule::AdmissionFails,
            "the API server cannot have the pods checked, so it makes none",
            "see whether the webhook's Service has running pods",
        );
        (cause, ADMISSION)
    } else {
        let limit_range = format!("mend resources: kubectl -n {namespace} describe limitrange");
        let (meaning, advice) = if has("violates PodSecurity") {
            (
                "the namespace's PodSecurity level does not allow these pods",
                "mend what the message lists in the pod's securityContext",
            )
        } else if has("service account") {
            ("the pods name a service account that does not exist", "create it, or mend serviceAccountName")
        } else if has("must specify") {
            ("a quota wants requests and limits that the pods do not name", "name them in resources")
        } else if has("usage per") {
            ("a LimitRange does not allow what the pods ask for", &*limit_range)
        } else {
            ("the API server does not allow these pods", "mend what the message names")
        };
        (cause(Rule::PodsForbidden, meaning, advice), FORBIDDEN)
    };
    Sign::of_set(refused.uid, cause, Fails::After(after))
}
