//! StatefulSets.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::lean::Fingerprint;
use super::pods::{is_live, label, of_controller, ready};
use super::snapshot::Snapshot;
use super::standing::{Early, Standing, live, refused_by_event};
use super::{Expectation, superseded};

const REVISION: &str = "controller-revision-hash";
pub(super) const BY_HAND: &str = "its pods are replaced only when somebody deletes them (OnDelete)";

pub(super) fn standing<'a>(expectation: &'a Expectation, snapshot: &'a Snapshot) -> Result<Standing<'a>, Early> {
    let set: &StatefulSet = live(expectation, snapshot)?;
    let (Some(spec), Some(status)) = (&set.spec, &set.status) else {
        return Err(Early::Unobserved);
    };
    superseded(expectation, Fingerprint::of(spec.template.clone()))?;
    if status.observed_generation < set.metadata.generation {
        return Err(Early::Unobserved);
    }
    let pods = of_controller(snapshot, &expectation.uid);
    let mut standing = rolled_out(spec, status, pods);
    standing.refused = refused_by_event(&expectation.uid, snapshot).filter(|_| status.replicas < standing.desired);
    let by_hand = is_on_delete(spec).then(|| BY_HAND.to_owned());
    Ok(standing.told(by_hand, snapshot))
}

fn rolled_out<'a>(spec: &StatefulSetSpec, status: &StatefulSetStatus, pods: Vec<&'a Pod>) -> Standing<'a> {
    let desired = spec.replicas.unwrap_or(1);
    let wanted = updated_wanted(spec, desired);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let all_ready = ready(&pods) == desired;
    let (new_pods, old_pods): (Vec<&Pod>, Vec<&Pod>) = pods.into_iter().partition(|pod| is_updated(pod, status));
    let revised = new_pods.iter().filter(|pod| is_live(pod)).count();
    let complete = updated >= wanted
        && i32::try_from(revised).is_ok_and(|revised| revised >= wanted)
        && (wanted < desired || status.current_revision == status.update_revision)
        && status.replicas == desired
        && status.ready_replicas.unwrap_or(0) == desired
        && available == desired
        && all_ready;
    Standing {
        ready: status.ready_replicas.unwrap_or(0),
        complete,
        new_pods,
        old_pods,
        ..Standing::counted(updated, wanted, available)
    }
}

/// Pods below the partition keep the earlier revision, as the manifest asks.
fn updated_wanted(spec: &StatefulSetSpec, desired: i32) -> i32 {
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    desired.saturating_sub(partition).max(0)
}

fn is_updated(pod: &Pod, status: &StatefulSetStatus) -> bool {
    status.update_revision.is_some() && label(&pod.metadata, REVISION) == status.update_revision.as_deref()
}

fn is_on_delete(spec: &StatefulSetSpec) -> bool {
    spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
}
