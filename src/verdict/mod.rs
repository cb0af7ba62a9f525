//! Whether a workload has settled: pure functions over Kubernetes objects.
//!
//! [`judge`] never calls a workload settled that is not, and calls it failed only when it is gone: everything that
//! is neither is still on its way. Finer rules about failures build on the same [`Snapshot`].

mod daemon_set;
mod deployment;
mod job;
mod pods;
mod snapshot;
mod stateful_set;
mod words;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use crate::model::ObjectKey;

pub use job::judge_job;
pub use snapshot::{Kept, Objects, Snapshot};

/// What an apply promised.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The workload.
    pub key: ObjectKey,
    /// Its `metadata.uid`.
    pub uid: String,
    /// The `metadata.generation` that the apply returned.
    pub generation: i64,
    /// The pod template that the apply returned, defaults included.
    pub template: Value,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On its way; what is waited for, in words.
    Progressing(String),
    /// Everything that was applied runs, and nothing else does.
    Settled {
        /// How many pods are available; of a Job, how many succeeded.
        replicas: i32,
    },
    /// Somebody else changed what is being waited for.
    Superseded(String),
    /// It will not get there by itself.
    Failed(String),
}

impl Expectation {
    /// What is expected of `object`, as an apply returned it; `None` when it lacks a uid or a generation.
    pub fn of(object: &Value) -> Option<Self> {
        Some(Self {
            key: ObjectKey::of(object)?,
            uid: object.pointer("/metadata/uid")?.as_str()?.to_owned(),
            generation: object.pointer("/metadata/generation")?.as_i64()?,
            template: object.pointer("/spec/template").cloned().unwrap_or_default(),
        })
    }

    /// Whether `live` is the template that was applied. Both are read as the same type, so that fields which the type
    /// does not know, and different ways to write the same, make no difference.
    fn has_template(&self, live: &PodTemplateSpec) -> bool {
        serde_json::from_value::<PodTemplateSpec>(self.template.clone()).is_ok_and(|ours| ours == *live)
    }
}

/// Judges a Deployment, StatefulSet, DaemonSet or Job. Anything else has settled as soon as it is there.
pub fn judge(expectation: &Expectation, snapshot: &Snapshot) -> Verdict {
    match expectation.key.kind.as_str() {
        "Deployment" => deployment::judge(expectation, snapshot),
        "StatefulSet" => stateful_set::judge(expectation, snapshot),
        "DaemonSet" => daemon_set::judge(expectation, snapshot),
        "Job" => judge_job(expectation, snapshot),
        _ => Verdict::Settled { replicas: 0 },
    }
}

/// The live object of an expectation, or the verdict while there is none to judge.
fn live<'a, T: Kept>(expectation: &Expectation, snapshot: &'a Snapshot) -> Result<&'a T, Verdict> {
    if snapshot.is_gone(&expectation.uid) {
        return Err(Verdict::Failed(format!("{} was deleted while it was waited for", expectation.key)));
    }
    let found = T::kept(snapshot).get(&expectation.key.name);
    // A snapshot may be older than the apply: then the object, or its new self, is still to come.
    let Some(object) = found.filter(|object| object.metadata().uid.as_deref() == Some(&expectation.uid)) else {
        return Err(Verdict::Progressing("the watch has not seen it yet".to_owned()));
    };
    match object.metadata() {
        metadata if metadata.generation.unwrap_or(0) < expectation.generation => {
            Err(Verdict::Progressing("the watch has not seen the change yet".to_owned()))
        }
        metadata if metadata.deletion_timestamp.is_some() => {
            Err(Verdict::Failed(format!("{} is being deleted by somebody else", expectation.key)))
        }
        _ => Ok(object),
    }
}

/// Why the template that is waited for is not the live one any more.
fn superseded(expectation: &Expectation, template: &PodTemplateSpec) -> Option<Verdict> {
    let foreign = || Verdict::Superseded(format!("somebody else changed the pod template of {}", expectation.key));
    (!expectation.has_template(template)).then(foreign)
}

/// "1 of 3 updated, 0 available", and what the most troubled pod waits for.
fn waiting(updated: i32, desired: i32, available: i32, troubled: Option<String>) -> Verdict {
    let counts = format!("{updated} of {desired} updated, {available} available");
    Verdict::Progressing(match troubled {
        Some(text) => format!("{counts}; {text}"),
        None => counts,
    })
}

#[cfg(test)]
mod tests;
