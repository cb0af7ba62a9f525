//! StatefulSets.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::lean::Fingerprint;
use super::pods::{REVISION, is_live, is_ready, label, name, of_controller, ready};
use super::snapshot::Snapshot;
use super::standing::{Early, Standing, live, refused_by_event};
use super::{Expectation, superseded};

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
    let more = if is_on_delete(spec) { Some(BY_HAND.to_owned()) } else { held_up(spec, &standing) };
    Ok(standing.told(more, snapshot))
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
        && (wanted < desired || is_on_delete(spec) || status.current_revision == status.update_revision)
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

/// One pod after the other: the controller does not replace a pod, not even a broken one, before all ahead of it are ready,
/// and neither does it replace this one.
fn held_up(spec: &StatefulSetSpec, standing: &Standing<'_>) -> Option<String> {
    let in_order = spec.pod_management_policy.as_deref() != Some("Parallel");
    let broken = standing.old_pods.iter().find(|pod| in_order && is_live(pod) && !is_ready(pod))?;
    Some(format!(
        "{} of an earlier release is not ready, and the controller waits for it; if it stays so, delete that pod",
        name(broken)
    ))
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
