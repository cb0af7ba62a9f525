//! Where events go, masked before they leave.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Event, Message, Progress};
use crate::manifest;
use crate::redact::Redactor;
use crate::verdict::Cause;

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
        let mask_all = |texts: Vec<String>| texts.into_iter().map(mask).collect::<Vec<String>>();
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
                Event::LastLines { workload, pod, container, lines: mask_all(lines) }
            }
            Event::RunFailed { kind, exit_code, message, causes, details, hints } => {
                let (message, causes) = (mask(message), mask_all(causes));
                Event::RunFailed {
                    kind,
                    exit_code,
                    message,
                    causes,
                    details: mask_all(details),
                    hints: mask_all(hints),
                }
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
    use crate::error::Error;
    use crate::model::{ObjectKey, ServiceName};
    use crate::redact::leaks;
    use crate::text::{beginning, both_ends};

    fn every_text(text: &str) -> Vec<Event> {
        let (service, line) = ("api".parse::<ServiceName>().expect("a name"), text.to_owned());
        let job = ObjectKey { api_version: "v1".into(), kind: "Job".into(), namespace: None, name: "a".into() };
        let subject_and_message = || (format!("shop {text}"), line.clone());
        let (subject, message) = subject_and_message();
        let error = Error::refused(text).because(text).detail(text).hint(text);
        vec![
            Event::run_failed(&error),
            Event::LastLines {
                workload: job.clone(),
                pod: "a".into(),
                container: "a".into(),
                lines: vec![line.clone()],
            },
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
