//! Rollouts that could not come to a good end, whatever the cluster does.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::manifest::{Object, budget, is_workload};
use crate::plan::changes::{Changed, Changes};
use crate::stage::Context;
use crate::stage::settle::kubectl;
use crate::verdict;

/// Workloads that somebody has paused: what is sent to them never rolls out.
pub fn paused(changes: &Changes) -> Vec<Error> {
    let is_paused = |changed: &&Changed| {
        let resumes = changed.object.value["spec"].get("paused").is_some();
        changed.live.as_ref().is_some_and(|live| live["spec"]["paused"] == true && !resumes)
    };
    let error = |changed: &Changed| {
        let key = changed.object.key();
        Error::refused(format!(
            "{}: {key} is paused in the cluster, so that nothing would roll out",
            changed.object.source
        ))
        .hint(kubectl(&key, "rollout resume", ""))
    };
    changes.writes().filter(is_paused).map(error).collect()
}

/// A timeout that would end rollouts which are as slow as their own manifests allow.
pub fn cut_short(context: &Context, changes: &Changes) -> Vec<Error> {
    let Some(timeout) = context.settle.timeout.filter(|_| !context.settle.force_timeout) else { return Vec::new() };
    let workloads: Vec<&Object> =
        changes.writes().map(|changed| &changed.object).filter(|object| is_workload(&object.key())).collect();
    let images: BTreeSet<&str> = workloads.iter().flat_map(|object| budget::images_of(&object.value)).collect();
    let needed =
        workloads.iter().map(|object| (object, verdict::needed(&object.value, images.len(), context.settle.soak)));
    let late: Vec<String> = needed
        .filter(|(_, needed)| *needed > timeout)
        .map(|(object, needed)| format!("{}: {} may take {} s", object.source, object.key(), needed.as_secs()))
        .collect();
    if late.is_empty() {
        return Vec::new();
    }
    let error = Error::refused(format!("a timeout of {} s would end rollouts that go well", timeout.as_secs()));
    vec![error.details(late).hint("leave the timeout out, raise it, or insist on it with --force-timeout")]
}
