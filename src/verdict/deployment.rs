//! Deployments.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::lean::{Fingerprint, ReplicaSet};
use super::limits::portion;
use super::pods::{is_live, is_terminating, of_controller, ready};
use super::snapshot::Snapshot;
use super::standing::{Early, Meddling, Refused, Rollout, Standing, live};
use super::words::old_pods;
use super::{Expectation, superseded};

pub(super) fn standing<'a>(expectation: &'a Expectation, snapshot: &'a Snapshot) -> Result<Standing<'a>, Early> {
    let deployment: &Deployment = live(expectation, snapshot)?;
    let (Some(spec), Some(status)) = (&deployment.spec, &deployment.status) else {
        return Err(Early::Unobserved);
    };
    if spec.paused == Some(true) {
        return Err(Early::Superseded(Meddling::Paused));
    }
    let template = Fingerprint::of(spec.template.clone());
    superseded(expectation, template)?;
    // Before that, the status speaks of an earlier change.
    if status.observed_generation < deployment.metadata.generation {
        return Err(Early::Unobserved);
    }
    let sets = ReplicaSets::of(&expectation.uid, spec, template, snapshot);
    Ok(rolled_out(spec, status, sets).told(None, snapshot))
}

/// The ReplicaSet with the applied template, and the pods of all others.
struct ReplicaSets<'a> {
    new: Option<&'a ReplicaSet>,
    new_pods: Vec<&'a Pod>,
    old_pods: Vec<&'a Pod>,
}

impl<'a> ReplicaSets<'a> {
    fn of(deployment: &'a str, spec: &'a DeploymentSpec, template: Fingerprint, snapshot: &'a Snapshot) -> Self {
        let owned = || snapshot.replica_sets.of(deployment);
        // Two can have the same template after a hash collision; the controller takes the older one.
        let same = owned().filter(|set| set.template == Some(template));
        let new = same.min_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let uid = |set: &'a ReplicaSet| set.metadata.uid.as_deref().unwrap_or_default();
        let new_pods = new.map(|set| of_controller(snapshot, uid(set))).unwrap_or_default();
        let is_new = |set: &ReplicaSet| new.is_some_and(|new| new.metadata.uid == set.metadata.uid);
        let others = owned().filter(|set| !is_new(set)).flat_map(|set| snapshot.pods.of(uid(set)));
        // Theirs is gone already (`revisionHistoryLimit: 0`): the selector says whose they are.
        let orphans = snapshot.orphans().filter(|pod| is_selected(pod, spec));
        let old_pods = others.chain(orphans).collect();
        Self { new, new_pods, old_pods }
    }
}

fn is_selected(pod: &Pod, spec: &DeploymentSpec) -> bool {
    let own = pod.metadata.labels.as_ref();
    spec.selector.match_labels.as_ref().is_some_and(|labels| {
        !labels.is_empty() && labels.iter().all(|(name, value)| own.and_then(|own| own.get(name)) == Some(value))
    })
}

fn rolled_out<'a>(spec: &'a DeploymentSpec, status: &'a DeploymentStatus, sets: ReplicaSets<'a>) -> Standing<'a> {
    let desired = spec.replicas.unwrap_or(1);
    let count = |number: Option<i32>| number.unwrap_or(0);
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    let runs = sets.new.is_some_and(|new| agrees(new, desired))
        && counts.iter().all(|number| count(*number) == desired)
        && count(status.unavailable_replicas) == 0
        && ready(&sets.new_pods) == desired;
    let remaining = remaining(spec, desired, &sets);
    let lacks_set = sets.new.is_none_or(|new| new.replicas == 0 && desired > 0);
    let recreate = is_recreate(spec);
    let why = if runs {
        format!("{desired} of {desired} available; {}", old_pods(&remaining))
    } else if lacks_set {
        held_up_by_old(&sets, recreate).unwrap_or_else(|| "the new ReplicaSet is not there yet".to_owned())
    } else {
        let old = held_up_by_old(&sets, recreate).filter(|_| sets.new_pods.is_empty());
        let counted = Standing::counted(count(status.updated_replicas), desired, count(status.available_replicas)).why;
        old.map_or(counted.clone(), |old| format!("{counted}; {old}"))
    };
    let conditions = status.conditions.iter().flatten();
    Standing {
        ready: count(status.ready_replicas),
        complete: runs && remaining.is_empty(),
        why,
        refused: sets.new.and_then(refused),
        needs_room_of_its_own: !recreate && max_unavailable(spec, desired) == 0,
        rollout: Some(Rollout {
            progress: conditions.into_iter().find(|condition| condition.type_ == "Progressing"),
            set: sets.new.and_then(|set| set.metadata.name.as_deref()),
            lacks_set,
            recreate,
        }),
        new_pods: sets.new_pods,
        old_pods: sets.old_pods,
        ..Standing::counted(count(status.updated_replicas), desired, count(status.available_replicas))
    }
}

/// As the controller rounds it.
fn max_unavailable(spec: &DeploymentSpec, desired: i32) -> i64 {
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let value = match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        Some(IntOrString::Int(number)) => (*number).into(),
        Some(IntOrString::String(text)) => text.as_str().into(),
        None => serde_json::Value::Null,
    };
    portion(&value, desired.into(), false)
}

/// The new ReplicaSet says itself that all its pods are available, and has seen its own last change.
fn agrees(set: &ReplicaSet, desired: i32) -> bool {
    let Some(status) = &set.status else { return false };
    set.replicas == desired
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

fn held_up_by_old(sets: &ReplicaSets<'_>, recreate: bool) -> Option<String> {
    let old: Vec<&Pod> =
        sets.old_pods.iter().copied().filter(|pod| is_live(pod) || recreate && is_terminating(pod)).collect();
    (!old.is_empty()).then(|| old_pods(&old))
}

/// Why the ReplicaSet cannot make pods. What the Deployment says may be about another one.
fn refused(set: &ReplicaSet) -> Option<Refused<'_>> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(Refused {
        uid: set.metadata.uid.as_deref().unwrap_or_default(),
        message: failure.message.as_deref().unwrap_or_default(),
    })
}
