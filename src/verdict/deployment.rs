//! Deployments.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};

use super::pods::{controller, is_live, is_terminating, of_controller, owned_by, ready};
use super::snapshot::Snapshot;
use super::words::{old_pods, shortened, troubled};
use super::{Expectation, Verdict, live, superseded, waiting};

const HASH: &str = "pod-template-hash";

pub(super) fn judge(expectation: &Expectation, snapshot: &Snapshot) -> Verdict {
    decide(expectation, snapshot).unwrap_or_else(|verdict| verdict)
}

fn decide(expectation: &Expectation, snapshot: &Snapshot) -> Result<Verdict, Verdict> {
    let deployment: &Deployment = live(expectation, snapshot)?;
    let (Some(spec), Some(status)) = (&deployment.spec, &deployment.status) else {
        return Err(Verdict::Progressing("the controller has not begun".to_owned()));
    };
    if spec.paused == Some(true) {
        return Err(Verdict::Superseded(format!("somebody paused {}", expectation.key)));
    }
    if let Some(verdict) = superseded(expectation, &spec.template) {
        return Err(verdict);
    }
    // Before that, the status speaks of an earlier change.
    if status.observed_generation < deployment.metadata.generation {
        return Err(Verdict::Progressing("the controller has not seen the change yet".to_owned()));
    }
    let sets = ReplicaSets::of(&expectation.uid, spec, snapshot);
    rolled_out(spec, status, &sets, snapshot)
}

/// The ReplicaSet with the applied template, and the pods of all others.
struct ReplicaSets<'a> {
    new: Option<&'a ReplicaSet>,
    new_pods: Vec<&'a Pod>,
    old_pods: Vec<&'a Pod>,
}

impl<'a> ReplicaSets<'a> {
    fn of(deployment: &str, spec: &DeploymentSpec, snapshot: &'a Snapshot) -> Self {
        let owned: Vec<&ReplicaSet> =
            snapshot.replica_sets.iter().filter(|set| owned_by(&set.metadata, deployment)).collect();
        // Two can have the same template after a hash collision; the controller takes the older one.
        let same = owned.iter().copied().filter(|set| has_template(set, &spec.template));
        let new = same.min_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let uid = |set: &'a ReplicaSet| set.metadata.uid.as_deref().unwrap_or_default();
        let new_pods = new.map(|set| of_controller(snapshot, uid(set))).unwrap_or_default();
        let old_pods = snapshot.pods.iter().filter(|pod| is_old(pod, deployment, spec, new, snapshot)).collect();
        Self { new, new_pods, old_pods }
    }
}

/// A pod of this Deployment that another ReplicaSet than `new` made. That ReplicaSet may be gone already
/// (`revisionHistoryLimit: 0`): then the selector decides.
fn is_old(pod: &Pod, deployment: &str, spec: &DeploymentSpec, new: Option<&ReplicaSet>, snapshot: &Snapshot) -> bool {
    let Some(owner) = controller(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else { return false };
    let is_owner = |set: &ReplicaSet| set.metadata.uid.as_deref() == Some(&owner.uid);
    match snapshot.replica_sets.iter().find(|set| is_owner(set)) {
        Some(set) => owned_by(&set.metadata, deployment) && !new.is_some_and(is_owner),
        None => is_selected(pod, spec),
    }
}

fn is_selected(pod: &Pod, spec: &DeploymentSpec) -> bool {
    let own = pod.metadata.labels.as_ref();
    spec.selector.match_labels.as_ref().is_some_and(|labels| {
        !labels.is_empty() && labels.iter().all(|(name, value)| own.and_then(|own| own.get(name)) == Some(value))
    })
}

fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(mut own) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return false };
    if let Some(labels) = own.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(HASH);
    }
    let labelled = |template: &PodTemplateSpec| {
        let mut metadata = template.metadata.clone().unwrap_or_default();
        metadata.labels = metadata.labels.filter(|labels| !labels.is_empty());
        metadata
    };
    own.spec == template.spec && labelled(&own) == labelled(template)
}

fn rolled_out(
    spec: &DeploymentSpec,
    status: &DeploymentStatus,
    sets: &ReplicaSets,
    snapshot: &Snapshot,
) -> Result<Verdict, Verdict> {
    let desired = spec.replicas.unwrap_or(1);
    let count = |number: Option<i32>| number.unwrap_or(0);
    let on_the_way = |why| Verdict::Progressing(why);
    let Some(new) = sets.new else {
        return Err(match held_up_by_old(spec, sets) {
            Some(why) => on_the_way(why),
            None => on_the_way("the new ReplicaSet is not there yet".to_owned()),
        });
    };
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    let done = counts.iter().all(|number| count(*number) == desired)
        && count(status.unavailable_replicas) == 0
        && agrees(new, desired)
        && ready(&sets.new_pods) == desired;
    if !done {
        let why =
            refused_pods(new).or_else(|| troubled(&sets.new_pods, snapshot)).or_else(|| held_up_by_old(spec, sets));
        return Err(waiting(count(status.updated_replicas), desired, count(status.available_replicas), why));
    }
    match remaining(spec, desired, sets) {
        old if old.is_empty() => Ok(Verdict::Settled { replicas: desired }),
        old => Err(on_the_way(format!("{desired} of {desired} available; {}", old_pods(&old)))),
    }
}

/// The new ReplicaSet says itself that all its pods are available, and has seen its own last change.
fn agrees(set: &ReplicaSet, desired: i32) -> bool {
    let Some(status) = &set.status else { return false };
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1) == desired
        && status.observed_generation >= set.metadata.generation
        && status.replicas == desired
        && status.available_replicas.unwrap_or(0) == desired
}

/// Old pods that must be gone. One that is ending still works for a while: where there may be only one, that counts.
fn remaining<'a>(spec: &DeploymentSpec, desired: i32, sets: &ReplicaSets<'a>) -> Vec<&'a Pod> {
    let single = desired <= 1 || is_recreate(spec);
    let counts = |pod: &&&Pod| is_live(pod) || single && is_terminating(pod);
    sets.old_pods.iter().filter(counts).copied().collect()
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn held_up_by_old(spec: &DeploymentSpec, sets: &ReplicaSets) -> Option<String> {
    let old: Vec<&Pod> =
        sets.old_pods.iter().copied().filter(|pod| is_live(pod) || is_recreate(spec) && is_terminating(pod)).collect();
    (!old.is_empty()).then(|| old_pods(&old))
}

/// Why the ReplicaSet cannot create pods: quota, PodSecurity, a webhook.
fn refused_pods(set: &ReplicaSet) -> Option<String> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(format!("no pod: {}", shortened(failure.message.as_deref().unwrap_or("no reason given"))))
}
