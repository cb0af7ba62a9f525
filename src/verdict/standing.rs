//! How a workload stands, whatever its kind.

use std::fmt;

use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::api::core::v1::{Event, Pod};

use super::Expectation;
use super::cause::{Cause, Rule};
use super::reports::{about, latest, message, reason};
use super::snapshot::{Kept, Snapshot};
use super::words::troubled;

/// How a workload stands.
pub(super) struct Standing<'a> {
    pub desired: i32,
    pub updated: i32,
    pub ready: i32,
    pub available: i32,
    /// Pods of the applied template.
    pub new_pods: Vec<&'a Pod>,
    /// Pods of another one.
    pub old_pods: Vec<&'a Pod>,
    /// Everything that was applied runs, and nothing else does.
    pub complete: bool,
    /// What is waited for.
    pub why: String,
    /// Why its controller can make no pods.
    pub refused: Option<Refused<'a>>,
    /// A new pod comes before an old one goes.
    pub needs_room_of_its_own: bool,
    pub is_job: bool,
    /// Of Deployments only.
    pub rollout: Option<Rollout<'a>>,
}

/// What only Deployments have.
pub(super) struct Rollout<'a> {
    /// What the controller says about its progress.
    pub progress: Option<&'a DeploymentCondition>,
    /// Name of the `ReplicaSet` with the applied template.
    pub set: Option<&'a str>,
    /// There is none, or it is to have no pods although some are wanted.
    pub lacks_set: bool,
    pub recreate: bool,
}

/// What a controller says about pods that it could not make.
pub(super) struct Refused<'a> {
    /// Whose pods.
    pub uid: &'a str,
    pub message: &'a str,
}

/// What somebody else did to what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddling {
    /// `spec.paused` of a Deployment.
    Paused,
    /// `spec.suspend` of a Job.
    Suspended,
    /// Another pod template.
    Template,
}

impl fmt::Display for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "somebody paused it",
            Self::Suspended => "it is suspended, and nobody knows for how long",
            Self::Template => "somebody else changed its pod template",
        })
    }
}

/// Why there is nothing to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// The snapshot is older than the apply.
    Unseen(&'static str),
    /// Its controller has not looked at it since.
    Unobserved,
    Superseded(Meddling),
    Failed(Box<Cause>),
}

impl Standing<'_> {
    /// "1 of 3 updated, 0 available", and what the most troubled pod waits for.
    pub fn counted(updated: i32, desired: i32, available: i32) -> Self {
        Self {
            desired,
            updated,
            ready: 0,
            available,
            new_pods: Vec::new(),
            old_pods: Vec::new(),
            complete: false,
            why: format!("{updated} of {desired} updated, {available} available"),
            refused: None,
            needs_room_of_its_own: false,
            is_job: false,
            rollout: None,
        }
    }

    /// With what its pods wait for.
    pub fn told(mut self, more: Option<String>, snapshot: &Snapshot) -> Self {
        if self.complete {
            return self;
        }
        let refused = self.refused.as_ref().map(|refused| {
            let text = refused.message.split_once(" is forbidden: ").map_or(refused.message, |(_, why)| why);
            format!("no pod: {}", super::words::shortened(text))
        });
        let more = refused.or_else(|| troubled(&self.new_pods, snapshot)).or(more);
        if let Some(more) = more {
            self.why = if self.why.is_empty() { more } else { format!("{}; {more}", self.why) };
        }
        self
    }
}

/// The live object of an expectation, or why there is none to judge.
pub(super) fn live<'a, T: Kept>(expectation: &Expectation, snapshot: &'a Snapshot) -> Result<&'a T, Early> {
    let deleted = |how: &str| {
        if expectation.replaceable {
            Early::Unseen("it is deleted, and another one is to come")
        } else {
            Early::Failed(Box::new(gone(expectation, how)))
        }
    };
    if snapshot.is_gone(&expectation.uid) {
        return Err(deleted("was deleted"));
    }
    let found = T::kept(snapshot).get(&expectation.key.name);
    // A snapshot may be older than the apply: then the object, or its new self, is still to come.
    let Some(object) = found.filter(|object| object.metadata().uid.as_deref() == Some(&expectation.uid)) else {
        return Err(Early::Unseen("the watch has not seen it yet"));
    };
    match object.metadata() {
        metadata if metadata.generation.unwrap_or(0) < expectation.generation => {
            Err(Early::Unseen("the watch has not seen the change yet"))
        }
        metadata if metadata.deletion_timestamp.is_some() => Err(deleted("is being deleted")),
        _ => Ok(object),
    }
}

/// Why nothing is to be waited for.
pub(super) fn gone(expectation: &Expectation, how: &str) -> Cause {
    let message = format!("{} {how}", expectation.key);
    let cause = Cause::new(Rule::Deleted, "deleted", &message, "somebody deleted it while it was waited for");
    cause.advise("find out who did it, and run the same command again")
}

/// Only events say why the controller of a StatefulSet, DaemonSet or Job makes no pods.
pub(super) fn refused_by_event<'a>(uid: &'a str, snapshot: &'a Snapshot) -> Option<Refused<'a>> {
    let failed = |event: &&Event| reason(event) == "FailedCreate";
    let newest = latest(about(snapshot, uid).filter(failed))?;
    let made = latest(about(snapshot, uid).filter(|event| reason(event) == "SuccessfulCreate"));
    let time = |event: &Event| event.last_timestamp.as_ref().map(|time| time.0);
    // Several tries lie within the second that events know.
    let later = made.is_some_and(|made| time(made) >= time(newest));
    let made_since = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0) >= time(newest);
    let later = later || snapshot.pods.of(uid).any(made_since);
    (!later).then(|| Refused { uid, message: message(newest) })
}
