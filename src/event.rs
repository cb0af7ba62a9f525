//! What happened, for whoever shows or records it. Stages send; only `ui/` prints.
//!
//! An [`Event`] is an outcome and is never lost. A [`Progress`] is a state on the way and may be dropped when the
//! display is slower than the work. As JSON they are what `--output json` promises to programs, and their comments are
//! the descriptions in its schema.

mod sender;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Kind};
use crate::model::{Digest, ObjectKey, PinnedImage, ServiceName, Tag};
use crate::verdict::Cause;

pub use sender::{Events, Messages};

/// The parts of a deploy, in the order in which they start. Images are pushed while others are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Everything that can be known before work starts: rights, daemon, cluster, revisions.
    Preflight,
    /// Images, side by side.
    Build,
    /// Images to the registry.
    Push,
    /// Digests proved, manifests completed.
    Pin,
    /// Objects to the API server, wave by wave, each settled before the next.
    Apply,
}

/// What is deployed where: said at the start of every run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Name of the kubeconfig context, when the kubeconfig has one.
    pub context: Option<String>,
    /// URL of the API server.
    pub server: String,
    /// Namespace of the configuration.
    pub namespace: String,
    /// Registry host and owner.
    pub registry: String,
}

/// What was decided for a service, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Decision {
    /// Its image will be built and pushed under this tag.
    Build {
        /// The tag that it gets.
        tag: Tag,
        /// Why it is not simply the release tag, when it is not.
        because: Option<String>,
    },
    /// An image that exists already is used.
    Take {
        /// Where it was found: "tag d3708e6", "the live pods".
        origin: String,
        /// Why nothing has to be built.
        because: String,
    },
    /// The service is left alone.
    Leave {
        /// Why.
        because: String,
    },
}

/// What the API server made of an applied object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// It did not exist.
    Created,
    /// Its content changed.
    Configured,
    /// It stayed as it was.
    Unchanged,
    /// It is gone: the manifests no longer hold it.
    Deleted,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// Where everything goes.
        target: Target,
        /// The release that is being deployed; empty when none is.
        release: String,
    },
    /// A stage begins.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
    },
    /// What will be done for a service.
    Decided {
        /// Which.
        service: ServiceName,
        /// What and why.
        decision: Decision,
    },
    /// The daemon begins to build an image.
    BuildStarted {
        /// Whose.
        service: ServiceName,
    },
    /// A line of a build's log.
    BuildLog {
        /// Whose.
        service: ServiceName,
        /// One line, without its end.
        line: String,
    },
    /// The image is in the daemon.
    BuildFinished {
        /// Whose.
        service: ServiceName,
        /// How long it took.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
    },
    /// The image is in the registry and its digest is proved.
    Pushed {
        /// Whose.
        service: ServiceName,
        /// The tag it was given.
        tag: Tag,
        /// The manifest for linux/amd64.
        digest: Digest,
        /// True when the registry had the same content already and only the tag is new.
        reused: bool,
        /// How long it took.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
    },
    /// The image with which a service will run.
    Pinned {
        /// Whose.
        service: ServiceName,
        /// By digest.
        image: PinnedImage,
        /// The tag by which people know it, when there is one.
        tag: Option<Tag>,
    },
    /// An object was sent.
    ObjectApplied {
        /// Which.
        object: ObjectKey,
        /// What came of it.
        outcome: Applied,
    },
    /// A gate Job begins, or is attached to.
    GateStarted {
        /// The Job.
        job: ObjectKey,
        /// "started", "attached to the one that runs".
        how: String,
    },
    /// A line that a Job's pod wrote.
    JobLog {
        /// The Job.
        job: ObjectKey,
        /// One line, without its end.
        line: String,
    },
    /// A Job completed.
    JobCompleted {
        /// The Job.
        job: ObjectKey,
        /// How long it was waited for.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
    },
    /// A workload runs what it should, everywhere.
    Settled {
        /// The workload.
        workload: ObjectKey,
        /// How long it was waited for.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
        /// How many replicas are available.
        replicas: i32,
    },
    /// A build, a push, a workload or a Job did not become what it should. The error that ends the run tells why.
    Failed {
        /// The service's name, or the object's.
        subject: String,
        /// What did not work, in a few words: "build failed", "did not settle".
        message: String,
    },
    /// A workload that is waited for shows a sign that something is wrong. It may still come right.
    Trouble {
        /// The workload.
        workload: ObjectKey,
        /// What is wrong.
        cause: Box<Cause>,
        /// How long it may stay like this, when that is known.
        #[serde(serialize_with = "seconds_if_known")]
        #[schemars(with = "Option<Seconds>")]
        fails_in: Option<Duration>,
    },
    /// A workload or a gate's Job will not get there by itself.
    WorkloadFailed {
        /// The workload.
        workload: ObjectKey,
        /// Why.
        cause: Box<Cause>,
        /// How long it was waited for.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
    },
    /// What a container wrote last.
    LastLines {
        /// The workload that failed.
        workload: ObjectKey,
        /// Its pod.
        pod: String,
        /// The container.
        container: String,
        /// Without their ends.
        lines: Vec<String>,
    },
    /// Something that is not as it should be and does not stop the deploy.
    Warning {
        /// What it is about: a service, a workload, a file.
        subject: String,
        /// One sentence.
        message: String,
    },
    /// Something that was left out on purpose, or another thing worth a line.
    Note {
        /// What it is about.
        subject: String,
        /// One sentence.
        message: String,
    },
    /// Everything asked for is running.
    RunFinished {
        /// The release that runs now.
        release: String,
        /// Images by service.
        images: BTreeMap<ServiceName, PinnedImage>,
        /// Stages with their times.
        #[serde(serialize_with = "seconds_by_stage")]
        #[schemars(with = "BTreeMap<Stage, Seconds>")]
        stages: Vec<(Stage, Duration)>,
        /// The whole run.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
        /// Objects created or changed.
        changed: usize,
        /// Objects that stayed as they were.
        unchanged: usize,
    },
    /// What an unfinished deploy had changed is as it was before, or there was nothing to put back.
    RecoverFinished {
        /// How many objects got back what they had, and run.
        put_back: usize,
        /// The whole run.
        #[serde(rename = "took", serialize_with = "seconds")]
        #[schemars(with = "Seconds")]
        elapsed: Duration,
    },
    /// The run ended without what was asked for.
    RunFailed {
        /// What sort of failure it is.
        kind: Kind,
        /// With which the process exits.
        exit_code: u8,
        /// What was tried and on what.
        message: String,
        /// Why it failed, outermost first.
        causes: Vec<String>,
        /// What was found, one finding each; may hold several lines.
        details: Vec<String>,
        /// What to do next, one advice each.
        hints: Vec<String>,
    },
}

impl Event {
    /// The end of a run in `error`.
    pub fn run_failed(error: &Error) -> Self {
        Self::RunFailed {
            kind: error.kind,
            exit_code: error.kind.code(),
            message: error.message.clone(),
            causes: error.causes(),
            details: error.details.clone(),
            hints: error.hints.clone(),
        }
    }

    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::RunFinished { .. } | Self::RecoverFinished { .. } | Self::RunFailed { .. })
    }
}

/// A time in seconds, to the millisecond.
#[derive(Serialize, JsonSchema)]
pub struct Seconds(#[schemars(range(min = 0))] f64);

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        // A quotient of whole numbers is written as short as it is.
        Self(f64::from(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)) / 1000.0)
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Seconds::from(*duration).serialize(serializer)
}

#[allow(clippy::ref_option, reason = "serde passes the field")]
fn seconds_if_known<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(Seconds::from).serialize(serializer)
}

fn seconds_by_stage<S: Serializer>(stages: &[(Stage, Duration)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stages.iter().map(|(stage, elapsed)| (stage, Seconds::from(*elapsed))))
}

/// Where something stands at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// A build's current step.
    Building {
        /// Whose.
        service: ServiceName,
        /// For example "[build 4/6] RUN go build ./...".
        step: String,
    },
    /// A push.
    Pushing {
        /// Whose.
        service: ServiceName,
        /// Bytes sent.
        sent: u64,
        /// Bytes to send, as far as known.
        total: u64,
    },
    /// A workload or Job that is not there yet.
    Waiting {
        /// Which.
        object: ObjectKey,
        /// What is waited for: "1 of 3 updated, api-5d… is starting".
        why: String,
    },
}

/// What travels to the display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Never lost.
    Event(Event),
    /// May be dropped.
    Progress(Progress),
}
