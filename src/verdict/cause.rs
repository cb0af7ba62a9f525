//! Why something does not run: who, in whose words, what that means and what to do.

use k8s_openapi::api::core::v1::Pod;
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::Question;
use super::pods::{Part, name};

/// What decides that a workload will not get there by itself, in the order of the table in `rules/mod.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(description = "What decides that a workload will not get there by itself.")]
pub enum Rule {
    /// The name of the image, or its policy, cannot work.
    ImageUnusable,
    /// The registry has no such image.
    ImageMissing,
    /// The registry does not give it to these credentials.
    PullDenied,
    /// Pulling fails for another reason, again and again.
    PullFails,
    /// What the container's environment refers to is not there, or the pod may not run like this.
    ContainerConfig,
    /// The container cannot be made.
    ContainerCreation,
    /// Its command cannot be started.
    CannotStart,
    /// It ends, again and again.
    Exits,
    /// Its startup probe gave up.
    StartupProbe,
    /// Its liveness probe ends it, again and again.
    LivenessProbe,
    /// A probe's command cannot run.
    ProbeCannotRun,
    /// The API server refuses its pods.
    PodsForbidden,
    /// A quota is used up.
    QuotaExceeded,
    /// Admission of its pods does not work.
    AdmissionFails,
    /// No node matches, or something that the pod names does not exist.
    NoNodeMatches,
    /// No node has room.
    NoRoom,
    /// No node takes it: taints, volumes.
    NotScheduled,
    /// A volume's source is not there.
    VolumeMissing,
    /// Its pods are taken away, again and again.
    Disrupted,
    /// Nothing has come nearer for too long.
    Deadline,
    /// A Job has failed.
    JobFailed,
    /// Somebody took the workload away.
    Deleted,
}

/// Why something does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cause {
    /// What decides.
    pub rule: Rule,
    /// The pod, when it is about one.
    pub pod: Option<String>,
    /// The container, when it is about one.
    pub container: Option<String>,
    /// The image that the container asks for.
    pub image: Option<String>,
    /// The kubelet's, scheduler's or controller's own short word: `ErrImagePull`, `exit 1`.
    pub reason: String,
    /// Its own sentence.
    pub message: String,
    /// What that means, in one sentence.
    pub meaning: String,
    /// What to do about it, one advice each.
    pub advice: Vec<String>,
    /// The log that tells more.
    #[serde(skip)]
    pub log: Option<Question>,
}

impl Cause {
    /// About something without pods.
    pub(super) fn new(rule: Rule, reason: impl Into<String>, message: &str, meaning: impl Into<String>) -> Self {
        Self {
            rule,
            pod: None,
            container: None,
            image: None,
            reason: reason.into(),
            message: whole(message),
            meaning: meaning.into(),
            advice: Vec::new(),
            log: None,
        }
    }

    pub(super) fn of_pod(mut self, pod: &Pod) -> Self {
        self.pod = Some(name(pod).to_owned());
        self
    }

    pub(super) fn of_part(mut self, part: &Part<'_>) -> Self {
        self.container = Some(part.spec.name.clone());
        self.image = Some(part.image().to_owned());
        self.of_pod(part.pod)
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// Says how to read the log that tells more.
    pub(super) fn advise_log_of(self, part: &Part<'_>) -> Self {
        // By the time that this is read, it has been started again.
        let namespace = part.pod.metadata.namespace.as_deref().unwrap_or_default();
        let (pod, container) = (name(part.pod), &part.spec.name);
        self.advise(format!("read its log: kubectl -n {namespace} logs {pod} -c {container} --previous"))
    }

    pub(super) fn with_log_of(mut self, part: &Part<'_>) -> Self {
        self.log = Some(log_of(part));
        self
    }
}

/// Letters of a message that are kept: some hold a whole answer of a web server.
const LONGEST: usize = 600;

/// On one line, the end of long ones kept as well: causes stand there.
fn whole(message: &str) -> String {
    crate::text::both_ends(&message.split_whitespace().collect::<Vec<_>>().join(" "), LONGEST)
}

/// The log of the container's last end, or what it has written so far when it has never ended.
pub(super) fn log_of(part: &Part<'_>) -> Question {
    let ended = part.status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    Question::Log {
        namespace: part.pod.metadata.namespace.clone().unwrap_or_default(),
        pod: name(part.pod).to_owned(),
        container: part.spec.name.clone(),
        previous: !ended && part.status.restart_count > 0,
    }
}
