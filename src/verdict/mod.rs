//! Whether a workload has settled, or will not get there by itself: pure functions over Kubernetes objects.
//!
//! A [`Judge`] is shown a [`Snapshot`] of the namespace again and again, with a clock that stands still while contact is
//! lost. It never calls a workload settled that is not, nor failed what may still come: slow is not failed, what was so
//! before is nobody's failure now ([`Baseline`]), and what somebody else changes is neither. The table of signs stands in
//! `rules/mod.rs`; a sign that is no failure yet is a [`Warning`], told once. What no watch tells is asked
//! ([`Question`]), and answered by whoever holds the judge.

mod answers;
mod baseline;
mod cause;
mod daemon_set;
mod deployment;
mod job;
mod judge;
mod lean;
mod limits;
mod memory;
mod overdue;
mod pods;
mod reports;
mod rules;
mod snapshot;
mod standing;
mod stateful_set;
mod words;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::ObjectKey;

pub use answers::{Answer, Answers, Question};
pub use baseline::Baseline;
pub use cause::{Cause, Rule};
pub use judge::{Judge, Progressing, Verdict, Warning};
pub use lean::{Fingerprint, Lean, Read, ReplicaSet};
pub use limits::{Limits, needed};
pub use snapshot::{Kept, Objects, Snapshot};
use standing::Early;
pub use standing::Meddling;

/// What an apply promised.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The workload.
    pub key: ObjectKey,
    /// Its `metadata.uid`.
    pub uid: String,
    /// The `metadata.generation` that the apply returned.
    pub generation: i64,
    /// Of the pod template that the apply returned, defaults included.
    pub template: Option<Fingerprint>,
    /// Its annotations: some tell how patient to be.
    pub annotations: BTreeMap<String, String>,
    /// Whoever made it may delete it and make another one: that is no failure.
    pub replaceable: bool,
}

impl Expectation {
    /// What is expected of `object`, as an apply returned it; `None` when it lacks a uid or a generation.
    pub fn of(object: &Value) -> Option<Self> {
        let annotations = object.pointer("/metadata/annotations").cloned().unwrap_or_default();
        Some(Self {
            key: ObjectKey::of(object)?,
            uid: object.pointer("/metadata/uid")?.as_str()?.to_owned(),
            generation: object.pointer("/metadata/generation")?.as_i64()?,
            template: object
                .pointer("/spec/template")
                .and_then(|template| serde_json::from_value(template.clone()).map(Fingerprint::of).ok()),
            annotations: serde_json::from_value(annotations).unwrap_or_default(),
            replaceable: false,
        })
    }

    /// Any state of the object with this identity.
    pub fn whatever(key: ObjectKey, uid: String) -> Self {
        Self { key, uid, generation: 0, template: None, annotations: BTreeMap::new(), replaceable: false }
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}

/// Why the template that is waited for is not the `live` one any more.
fn superseded(expectation: &Expectation, live: Fingerprint) -> Result<(), Early> {
    if expectation.template.is_none_or(|ours| ours == live) {
        return Ok(());
    }
    Err(Early::Superseded(Meddling::Template))
}

#[cfg(test)]
mod tests;
