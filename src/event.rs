//! What happened, for whoever shows or records it. Stages send; only `ui/` prints.
//!
//! An [`Event`] is an outcome and is never lost. A [`Progress`] is a state on the way and may be dropped when the
//! display is slower than the work.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::manifest;
use crate::model::{Digest, ObjectKey, PinnedImage, ServiceName, Tag};
use crate::redact::Redactor;
use crate::verdict::Cause;

/// The parts of a deploy, in the order in which they start. Images are pushed while others are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// Where everything goes.
        target: Target,
        /// The release that is being deployed, once known by name.
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
    GatePassed {
        /// The Job.
        job: ObjectKey,
        /// How long it was waited for.
        elapsed: Duration,
    },
    /// A workload runs what it should, everywhere.
    Settled {
        /// The workload.
        workload: ObjectKey,
        /// How long it was waited for.
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
        fails_in: Option<Duration>,
    },
    /// A workload or a gate's Job will not get there by itself.
    WorkloadFailed {
        /// The workload.
        workload: ObjectKey,
        /// Why.
        cause: Box<Cause>,
        /// How long it was waited for.
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
        images: Vec<(ServiceName, PinnedImage)>,
        /// Stages with their times.
        stages: Vec<(Stage, Duration)>,
        /// The whole run.
        elapsed: Duration,
        /// Objects created or changed.
        changed: usize,
        /// Objects that stayed as they were.
        unchanged: usize,
    },
}

/// Where something stands at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// The sending end, cloned into every stage. Everything is masked before it leaves.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::UnboundedSender<Message>,
    redactor: Redactor,
    warned: Arc<Mutex<HashSet<(String, String)>>>,
}

/// The receiving end, for exactly one display.
pub type Messages = mpsc::UnboundedReceiver<Message>;

impl Events {
    /// A channel whose sender masks what `redactor` knows.
    pub fn channel(redactor: Redactor) -> (Self, Messages) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, redactor, warned: Arc::default() }, receiver)
    }

    /// From now on nothing shows the values of `object`, if it is a Secret.
    pub fn keep_secret(&self, object: &Value) {
        manifest::secrets(object).iter().for_each(|value| self.redactor.learn(value));
    }

    /// Says what happened. A display that is gone is no reason to stop a deploy.
    pub fn send(&self, event: Event) {
        let _ = self.sender.send(Message::Event(self.masked(event)));
    }

    /// Says where something stands.
    pub fn progress(&self, progress: Progress) {
        let masked = match progress {
            Progress::Building { service, step } => Progress::Building { service, step: self.redactor.shown(&step) },
            Progress::Waiting { object, why } => Progress::Waiting { object, why: self.redactor.shown(&why) },
            pushing @ Progress::Pushing { .. } => pushing,
        };
        let _ = self.sender.send(Message::Progress(masked));
    }

    /// A [`Event::Warning`], unless the same was said before: what is asked twice is answered twice.
    pub fn warn(&self, subject: impl Into<String>, message: impl Into<String>) {
        let (subject, message) = (subject.into(), message.into());
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert((subject.clone(), message.clone())) {
            self.send(Event::Warning { subject, message });
        }
    }

    /// A [`Event::Note`].
    pub fn note(&self, subject: impl Into<String>, message: impl Into<String>) {
        self.send(Event::Note { subject: subject.into(), message: message.into() });
    }

    /// Free text is masked here; the other fields are names, digests and numbers.
    fn masked(&self, event: Event) -> Event {
        let mask = |text: String| self.redactor.shown(&text);
        match event {
            Event::BuildLog { service, line } => Event::BuildLog { service, line: mask(line) },
            Event::JobLog { job, line } => Event::JobLog { job, line: mask(line) },
            Event::Failed { subject, message } => Event::Failed { subject: mask(subject), message: mask(message) },
            Event::Warning { subject, message } => Event::Warning { subject: mask(subject), message: mask(message) },
            Event::Note { subject, message } => Event::Note { subject: mask(subject), message: mask(message) },
            Event::Trouble { workload, cause, fails_in } => {
                Event::Trouble { workload, cause: self.masked_cause(cause), fails_in }
            }
            Event::WorkloadFailed { workload, cause, elapsed } => {
                Event::WorkloadFailed { workload, cause: self.masked_cause(cause), elapsed }
            }
            Event::LastLines { workload, pod, container, lines } => {
                let lines = lines.into_iter().map(mask).collect();
                Event::LastLines { workload, pod, container, lines }
            }
            other => other,
        }
    }

    fn masked_cause(&self, cause: Box<Cause>) -> Box<Cause> {
        let mask = |text: String| self.redactor.shown(&text);
        let cause = *cause;
        Box::new(Cause {
            reason: mask(cause.reason),
            message: mask(cause.message),
            meaning: mask(cause.meaning),
            image: cause.image.map(mask),
            advice: cause.advice.into_iter().map(mask).collect(),
            ..cause
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::leaks;
    use crate::text::{beginning, both_ends};

    fn every_text(text: &str) -> Vec<Event> {
        let (service, line) = ("api".parse::<ServiceName>().expect("a name"), text.to_owned());
        let job = ObjectKey { api_version: "v1".into(), kind: "Job".into(), namespace: None, name: "a".into() };
        let subject_and_message = || (format!("shop {text}"), line.clone());
        let (subject, message) = subject_and_message();
        vec![
            Event::BuildLog { service, line: line.clone() },
            Event::JobLog { job, line: line.clone() },
            Event::Failed { subject: subject.clone(), message: message.clone() },
            Event::Warning { subject: subject.clone(), message: message.clone() },
            Event::Note { subject, message },
        ]
    }

    fn every_progress(text: &str) -> Vec<Progress> {
        let object = ObjectKey { api_version: "v1".into(), kind: "Job".into(), namespace: None, name: "a".into() };
        vec![
            Progress::Building { service: "api".parse().expect("a name"), step: text.to_owned() },
            Progress::Waiting { object, why: text.to_owned() },
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_that_is_said_holds_a_piece_of_a_secret(
            secret in "[A-Z0-9+/=\"\\\\%]{8,60}",
            before in "[a-z\r\t ]{0,40}",
            broken in "(\u{1b}\\[|\u{1b}\\]|\u{1b})",
            escape in "(\u{1b}\\[31m|\u{7}|\u{1b}\\]0;x\u{7})?",
            behind in "[a-z\t ]{0,40}",
            at in 0..60_usize,
            letters in 10..120_usize,
        ) {
            let redactor = Redactor::default();
            redactor.learn(&secret);
            let (events, mut messages) = Events::channel(redactor);
            let (head, tail) = secret.split_at(at.min(secret.len()));
            let text = format!("{before}{head}{escape}{tail}{behind}");
            let cut = [beginning(&text, letters), both_ends(&text, letters)];
            for text in cut.into_iter().chain([text, format!("{before}{broken}{secret}{behind}")]) {
                for event in every_text(&text) {
                    events.send(event);
                }
                for progress in every_progress(&text) {
                    events.progress(progress);
                }
            }
            drop(events);
            while let Some(message) = messages.blocking_recv() {
                let said = format!("{message:?}");
                // As Debug writes it, quotes are escaped.
                prop_assert!(!leaks(&said.replace("\\\"", "\"").replace("\\\\", "\\"), &secret), "{said}");
            }
        }
    }
}
