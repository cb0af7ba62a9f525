//! StatefulSets.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::pods::{is_live, label, of_controller, ready};
use super::snapshot::Snapshot;
use super::words::troubled;
use super::{Expectation, Verdict, live, superseded, waiting};

const REVISION: &str = "controller-revision-hash";

pub(super) fn judge(expectation: &Expectation, snapshot: &Snapshot) -> Verdict {
    decide(expectation, snapshot).unwrap_or_else(|verdict| verdict)
}

fn decide(expectation: &Expectation, snapshot: &Snapshot) -> Result<Verdict, Verdict> {
    let set: &StatefulSet = live(expectation, snapshot)?;
    let (Some(spec), Some(status)) = (&set.spec, &set.status) else {
        return Err(Verdict::Progressing("the controller has not begun".to_owned()));
    };
    if let Some(verdict) = superseded(expectation, &spec.template) {
        return Err(verdict);
    }
    if status.observed_generation < set.metadata.generation {
        return Err(Verdict::Progressing("the controller has not seen the change yet".to_owned()));
    }
    let pods = of_controller(snapshot, &expectation.uid);
    rolled_out(spec, status, &pods, snapshot)
}

fn rolled_out(
    spec: &StatefulSetSpec,
    status: &StatefulSetStatus,
    pods: &[&Pod],
    snapshot: &Snapshot,
) -> Result<Verdict, Verdict> {
    let desired = spec.replicas.unwrap_or(1);
    let wanted = updated_wanted(spec, desired);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let revised = pods.iter().filter(|pod| is_live(pod) && is_updated(pod, status)).count();
    let done = updated >= wanted
        && i32::try_from(revised).is_ok_and(|revised| revised >= wanted)
        && (wanted < desired || status.current_revision == status.update_revision)
        && status.replicas == desired
        && status.ready_replicas.unwrap_or(0) == desired
        && available == desired
        && ready(pods) == desired;
    if done {
        return Ok(Verdict::Settled { replicas: desired });
    }
    let by_hand = is_on_delete(spec) && updated < wanted;
    let why = by_hand.then(|| "its pods are replaced only when somebody deletes them (OnDelete)".to_owned());
    Err(waiting(updated, wanted, available, why.or_else(|| troubled(pods, snapshot))))
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
