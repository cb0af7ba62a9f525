//! Which signs mean that a workload will not get there by itself, and how long each may last.
//!
//! | | sign | it has failed |
//! |---|---|---|
//! | [`Rule::ImageUnusable`] | `InvalidImageName`, `ErrImageNeverPull`, `SignatureValidationFailed` | at once |
//! | [`Rule::ImageMissing`] | pulling: not found, no such platform, invalid reference | at once; after 60 s where another pod runs this image |
//! | [`Rule::PullDenied`] | pulling: 401, 403, denied | at the second attempt or in a second pod; at once when the pull Secret does not exist |
//! | [`Rule::PullFails`] | pulling: anything else | after 5 attempts and 180 s |
//! | [`Rule::ContainerConfig`] | `CreateContainerConfigError` | after 2 s when what it names does not exist, or the pod may not run as this user; else after 60 s |
//! | [`Rule::ContainerCreation`] | `CreateContainerError`, `PreCreateHookError` | after 5 s |
//! | [`Rule::CannotStart`] | `RunContainerError`, `StartError`, exit 126 or 127, `exec format error` in the log | at the second end |
//! | [`Rule::Exits`] | any other end | at the third (annotation `hdeploy.dev/exits`); of a Job only where a controller makes it again |
//! | [`Rule::StartupProbe`] | killed by its startup probe | at the first |
//! | [`Rule::LivenessProbe`] | killed by its liveness probe | at the second |
//! | [`Rule::ProbeCannotRun`] | a probe's command does not exist | at the third time |
//! | [`Rule::PodsForbidden`] | pods refused: `PodSecurity`, `LimitRange`, service account, policy | after 5 s |
//! | [`Rule::QuotaExceeded`] | pods refused: quota used up | after 45 s |
//! | [`Rule::AdmissionFails`] | pods refused: webhook or internal error | after 90 s |
//! | [`Rule::NoNodeMatches`] | unschedulable: selector, missing claim or storage class | after 30 s |
//! | [`Rule::NoRoom`] | unschedulable: resources, anti-affinity | after 60 s when no pod has to go first and none is going, else after 120 s |
//! | [`Rule::NotScheduled`] | unschedulable: taints, unbound claims | after 120 s |
//! | [`Rule::VolumeMissing`] | `FailedMount` naming what does not exist | after 5 s; after 45 s when it may not be read |
//! | [`Rule::Disrupted`] | pods evicted or preempted | without progress, at the fifth or when twice as many as are wanted were taken |
//! | [`Rule::Deadline`] | the controller's or our own deadline is over | at once |
//!
//! Times count from the moment a sign is first seen and begin anew when it is gone. Only pods of the new template count,
//! that are neither being deleted nor disrupted. Whatever is not yet a failure is a warning.
//!
//! A judge without signs does not look again until something of its workload changes: a rule that looks at what belongs to
//! others has to give a sign whenever it does.

mod creation;
pub(super) mod exits;
pub(super) mod probes;
mod pull;
mod scheduling;
mod start;
mod volumes;

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::Expectation;
use super::answers::{Answer, Answers, Question};
use super::baseline::Baseline;
use super::cause::Cause;
#[cfg(doc)]
use super::cause::Rule;
use super::memory::Pulls;
use super::pods::{Part, is_disrupted, is_live, parts, uid};
use super::snapshot::Snapshot;
use super::standing::Standing;

/// A sign that something is wrong.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    /// Uid and container: a sign that stays is recognised by these and its rule.
    pub about: (String, String),
    pub cause: Cause,
    pub fails: Fails,
    /// How long it is nobody's matter.
    pub warns: Duration,
}

/// When a sign has become a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    /// It is only worth a warning.
    Never,
    /// When it has lasted so long.
    After(Duration),
    /// When it has lasted so long and the questions say that something is not there; when they do not say that, `else_after`.
    Missing { questions: Vec<Question>, after: Duration, else_after: Option<Duration> },
}

impl Fails {
    pub(super) const NOW: Self = Self::After(Duration::ZERO);
}

impl Sign {
    fn of_part(part: &Part<'_>, cause: Cause, fails: Fails) -> Self {
        Self { about: (uid(part.pod).to_owned(), part.spec.name.clone()), cause, fails, warns: Duration::ZERO }
    }

    fn of_pod(pod: &Pod, cause: Cause, fails: Fails, warns: u64) -> Self {
        Self { about: (uid(pod).to_owned(), String::new()), cause, fails, warns: Duration::from_secs(warns) }
    }

    fn of_set(uid: &str, cause: Cause, fails: Fails) -> Self {
        Self { about: (uid.to_owned(), String::new()), cause, fails, warns: Duration::ZERO }
    }
}

/// What the rules look at.
pub(super) struct Scene<'a> {
    pub expectation: &'a Expectation,
    pub baseline: &'a Baseline,
    pub snapshot: &'a Snapshot,
    pub standing: &'a Standing<'a>,
    pub answers: &'a Answers,
    /// Attempts to pull, as far as the status shows them.
    pub pulls: &'a HashMap<(String, String), Pulls>,
}

impl Scene<'_> {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.answers.get(question)
    }
}

/// All signs there are, most telling first.
pub(super) fn signs(scene: &Scene<'_>) -> Vec<Sign> {
    let counted = || scene.standing.new_pods.iter().copied().filter(|pod| is_live(pod) && !is_disrupted(pod));
    let mut signs: Vec<Sign> = scene.standing.refused.iter().map(|refused| creation::sign(scene, refused)).collect();
    for pod in counted() {
        signs.extend(scheduling::sign(scene, pod));
        signs.extend(volumes::sign(scene, pod));
        for part in parts(pod) {
            signs.extend(pull::sign(scene, &part));
            signs.extend(start::sign(scene, &part));
            if !scene.standing.is_job {
                signs.extend(probes::sign(scene, &part));
            }
            signs.extend(exits::sign(scene, &part));
        }
    }
    signs.sort_by_key(|sign| sign.cause.rule);
    signs
}
