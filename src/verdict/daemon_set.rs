//! DaemonSets.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};

use super::pods::{of_controller, ready};
use super::snapshot::Snapshot;
use super::words::troubled;
use super::{Expectation, Verdict, live, superseded, waiting};

pub(super) fn judge(expectation: &Expectation, snapshot: &Snapshot) -> Verdict {
    decide(expectation, snapshot).unwrap_or_else(|verdict| verdict)
}

fn decide(expectation: &Expectation, snapshot: &Snapshot) -> Result<Verdict, Verdict> {
    let set: &DaemonSet = live(expectation, snapshot)?;
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
    let desired = status.desired_number_scheduled;
    if is_everywhere(status) && ready(&pods) >= desired {
        return Ok(Verdict::Settled { replicas: desired });
    }
    let count = |number: Option<i32>| number.unwrap_or(0);
    let by_hand = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
    let why = by_hand.then(|| "its pods are replaced only when somebody deletes them (OnDelete)".to_owned());
    let why = troubled(&pods, snapshot).or(why);
    Err(waiting(count(status.updated_number_scheduled), desired, count(status.number_available), why))
}

fn is_everywhere(status: &DaemonSetStatus) -> bool {
    let desired = status.desired_number_scheduled;
    status.current_number_scheduled == desired
        && status.updated_number_scheduled.unwrap_or(0) == desired
        && status.number_available.unwrap_or(0) == desired
        && status.number_unavailable.unwrap_or(0) == 0
}
