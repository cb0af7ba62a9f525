//! DaemonSets.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::lean::Fingerprint;
use super::pods::{REVISION, is_live, label, of_controller, ready};
use super::snapshot::Snapshot;
use super::standing::{Early, Standing, live, refused_by_event};
use super::stateful_set::BY_HAND;
use super::{Expectation, superseded};

/// The number of the template, in an annotation of the set and a label of its pods.
const OF_SET: &str = "deprecated.daemonset.template.generation";
const OF_POD: &str = "pod-template-generation";

pub(super) fn standing<'a>(expectation: &'a Expectation, snapshot: &'a Snapshot) -> Result<Standing<'a>, Early> {
    let set: &DaemonSet = live(expectation, snapshot)?;
    let (Some(spec), Some(status)) = (&set.spec, &set.status) else {
        return Err(Early::Unobserved);
    };
    superseded(expectation, Fingerprint::of(spec.template.clone()))?;
    if status.observed_generation < set.metadata.generation {
        return Err(Early::Unobserved);
    }
    let pods = of_controller(snapshot, &expectation.uid);
    let desired = status.desired_number_scheduled;
    let number = set.metadata.annotations.as_ref().and_then(|annotations| annotations.get(OF_SET)).map(String::as_str);
    let has_number = |pod: &Pod| number.is_none() || label(&pod.metadata, OF_POD) == number;
    // Where a template comes back, its pods have stayed: their number is an earlier one, but their revision is not.
    let revision = pods.iter().find(|pod| has_number(pod)).and_then(|pod| label(&pod.metadata, REVISION));
    let has_revision = |pod: &Pod| revision.is_some() && label(&pod.metadata, REVISION) == revision;
    let has_kept_all = status.updated_number_scheduled == Some(desired) && !pods.iter().any(|pod| has_number(pod));
    let is_new = |pod: &&Pod| has_number(pod) || has_revision(pod) || has_kept_all && is_live(pod);
    let (new_pods, old_pods): (Vec<&Pod>, Vec<&Pod>) = pods.into_iter().partition(is_new);
    let complete = is_everywhere(status) && ready(&new_pods) >= desired;
    let count = |number: Option<i32>| number.unwrap_or(0);
    let standing = Standing {
        ready: status.number_ready,
        complete,
        new_pods,
        old_pods,
        refused: refused_by_event(&expectation.uid, snapshot).filter(|_| status.current_number_scheduled < desired),
        ..Standing::counted(count(status.updated_number_scheduled), desired, count(status.number_available))
    };
    let by_hand = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
    Ok(standing.told(by_hand.then(|| BY_HAND.to_owned()), snapshot))
}

fn is_everywhere(status: &DaemonSetStatus) -> bool {
    let desired = status.desired_number_scheduled;
    status.current_number_scheduled == desired
        && status.updated_number_scheduled.unwrap_or(0) == desired
        && status.number_available.unwrap_or(0) == desired
        && status.number_unavailable.unwrap_or(0) == 0
}
