//! What was so before: it is nobody's failure now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::apps::v1::DeploymentCondition;

use super::memory::Pulls;
use super::pods::{Part, is_disrupted, parts, uid};
use super::reports::{Seen, count};
use super::snapshot::Snapshot;

/// How things stood in a namespace before anything was written to it.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    /// How often every container had ended, by uid of the pod and name.
    exits: HashMap<(String, String), i32>,
    /// What the status of containers said about pulling.
    pub(super) pulls: HashMap<(String, String), Pulls>,
    /// How often every event had been seen.
    pub(super) events: Seen,
    /// Uids of pods that had been taken away: their objects stay for long.
    pub(super) disrupted: BTreeSet<String>,
    /// What Deployments said about their progress, by uid.
    progress: BTreeMap<String, DeploymentCondition>,
}

impl Baseline {
    /// As `snapshot` shows it.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut baseline = Self::default();
        for part in snapshot.pods.iter().flat_map(parts) {
            let about = (uid(part.pod).to_owned(), part.spec.name.clone());
            baseline.exits.insert(about.clone(), part.exits());
            baseline.pulls.insert(about, Pulls::before(&part));
        }
        let disrupted = snapshot.pods.iter().filter(|pod| is_disrupted(pod));
        baseline.disrupted.extend(disrupted.map(|pod| uid(pod).to_owned()));
        for event in snapshot.events.iter() {
            baseline.events.extend(event.metadata.name.clone().map(|name| (name, count(event))));
        }
        for deployment in snapshot.deployments.iter() {
            let conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let progress = conditions.filter(|condition| condition.type_ == "Progressing").cloned();
            let uid = deployment.metadata.uid.clone();
            baseline.progress.extend(uid.into_iter().zip(progress));
        }
        baseline
    }

    pub(super) fn exits(&self, part: &Part<'_>) -> i32 {
        self.exits.get(&(uid(part.pod).to_owned(), part.spec.name.clone())).copied().unwrap_or(0)
    }

    /// Whether the condition says the same as before.
    pub(super) fn has(&self, deployment: &str, condition: &DeploymentCondition) -> bool {
        self.progress.get(deployment) == Some(condition)
    }
}
