//! What a real kubelet reported of a pod, played for another one: an image `sim/replay:NAME` plays
//! `tests/fixtures/signals/NAME.jsonl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::pod::image;
use super::script::Said;

/// A recording, step 1 of it, with what has to be said of it.
pub struct Recording {
    name: String,
    lines: Vec<Value>,
}

/// The row of a recording in the table of verdicts.
#[derive(Debug)]
pub struct Row {
    /// The row of the table of rules that decides.
    pub rule: String,
    /// Seconds from the apply to the verdict.
    pub from: f64,
    pub to: f64,
    answers: String,
}

impl Row {
    /// What is there: `(missing or present, kind, name, keys)`.
    pub fn objects(&self) -> Vec<(&str, &str, &str, Vec<&str>)> {
        let said = self.answers.split(" & ").filter_map(|answer| answer.split_once(':'));
        let objects = said.filter_map(|(how, what)| {
            let (object, keys) = what.split_once('[').unwrap_or((what, ""));
            let (kind, name) = object.split_once('/').filter(|_| how != "log")?;
            Some((how, kind, name, keys.trim_end_matches(']').split(',').filter(|key| !key.is_empty()).collect()))
        });
        objects.collect()
    }

    fn log(&self) -> &str {
        self.answers.split(" & ").find_map(|answer| answer.strip_prefix("log:")).unwrap_or_default()
    }
}

/// One moment of a pod's life.
pub struct Moment {
    /// Since the pod was made.
    pub at: Duration,
    pub shows: Shows,
}

/// What it shows.
pub enum Shows {
    /// The whole status.
    Status(Value),
    /// An event about the part of the pod that is named first.
    Said(Option<String>, Said),
    /// A container has started, and writes.
    Log(String, String),
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signals")
}

impl Recording {
    /// The recording called `name`.
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(format!("{name}.jsonl"))).expect(name);
        let lines = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        Self { name: name.to_owned(), lines }
    }

    /// The one that `pod` plays.
    pub fn of(pod: &Pod) -> Option<Self> {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut names = containers.filter_map(|container| image(container).rsplit_once("sim/replay:"));
        names.next().map(|(_, name)| Self::read(name))
    }

    /// What has to be said of it.
    pub fn row(&self) -> Row {
        let table = fs::read_to_string(folder().join("expected.txt")).expect("the table");
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.into_iter().find(|words| words.first() == Some(&self.name.as_str())).expect("a row");
        let number = |at: usize| row[at].parse().expect("a number");
        Row { rule: row[3].to_owned(), from: number(4), to: number(5), answers: row[7..].join(" ") }
    }

    /// Its Deployment, its pods playing the recording. Its deadline is left out: those of recordings were made short.
    pub fn deployment(&self) -> Value {
        let applied = self.lines.iter().find(|line| line["e"] == "APPLY").expect("an apply");
        let mut deployment = applied["o"].clone();
        deployment["spec"].as_object_mut().expect("a spec").remove("progressDeadlineSeconds");
        let pod = deployment["spec"]["template"]["spec"].as_object_mut().expect("a pod");
        for part in ["containers", "initContainers"] {
            for container in pod.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = json!(format!("sim/replay:{}", self.name));
            }
        }
        deployment
    }

    /// The life of its first pod, as if it were that of `pod`.
    pub fn moments(&self, pod: &Pod) -> Vec<Moment> {
        let first = self.lines.iter().find(|line| line["k"] == "Pod").expect("a pod");
        let (begin, uid) = (seconds(first), &first["o"]["metadata"]["uid"]);
        let is_its = |line: &&Value| {
            &line["o"]["metadata"]["uid"] == uid && line["o"]["metadata"].get("deletionTimestamp").is_none()
                || line["k"] == "Event" && &line["o"]["involvedObject"]["uid"] == uid
        };
        let log = self.row().log().to_owned();
        let its = self.lines.iter().filter(is_its);
        its.flat_map(|line| {
            let shown = shows(line["k"] == "Event", &self.renamed(&line["o"], first, pod), &log);
            let at = Duration::from_secs_f64((seconds(line) - begin).max(0.0));
            shown.into_iter().map(move |shows| Moment { at, shows })
        })
        .collect()
    }

    /// What was recorded of the pod `first`, with names and times of `pod`.
    fn renamed(&self, recorded: &Value, first: &Value, pod: &Pod) -> Value {
        let metadata = &pod.metadata;
        let was = |pointer: &str| first["o"].pointer(pointer).and_then(Value::as_str).expect(pointer);
        let (mut text, spec) = (recorded.to_string(), &first["o"]["spec"]);
        for container in ["containers", "initContainers"].iter().filter_map(|part| spec[*part].as_array()).flatten() {
            text = text.replace(container["image"].as_str().expect("an image"), &format!("sim/replay:{}", self.name));
        }
        let text = text
            .replace(was("/metadata/name"), metadata.name.as_deref().unwrap_or_default())
            .replace(was("/metadata/uid"), metadata.uid.as_deref().unwrap_or_default())
            .replace(&format!("sig-{}", self.name), metadata.namespace.as_deref().unwrap_or_default());
        let made: Timestamp = was("/metadata/creationTimestamp").parse().expect("a time");
        let begin = metadata.creation_timestamp.as_ref().map_or(made, |time| time.0);
        let mut value = serde_json::from_str(&text).expect("JSON");
        shift(&mut value, begin.as_second() - made.as_second());
        value
    }
}

fn seconds(line: &Value) -> f64 {
    line["t"].as_f64().expect("a time")
}

fn shows(is_event: bool, recorded: &Value, log: &str) -> Vec<Shows> {
    let text = |field: &str| recorded[field].as_str().unwrap_or_default().to_owned();
    if is_event {
        // The scheduler says that itself.
        if recorded["reason"] == "Scheduled" {
            return Vec::new();
        }
        let part = recorded["involvedObject"]["fieldPath"].as_str().map(str::to_owned);
        let container = part.as_deref().and_then(|part| part.split(['{', '}']).nth(1)).unwrap_or_default().to_owned();
        let said = Said { kind: text("type"), reason: text("reason"), message: text("message") };
        let starts = said.reason == "Started" && !log.is_empty();
        let written = starts.then(|| Shows::Log(container, log.to_owned()));
        return written.into_iter().chain([Shows::Said(part, said)]).collect();
    }
    // What comes before is the scheduler's.
    let status = &recorded["status"];
    status.get("containerStatuses").map(|_| Shows::Status(status.clone())).into_iter().collect()
}

/// Moves every time in `value` by so many seconds.
fn shift(value: &mut Value, by: i64) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| shift(value, by)),
        Value::Array(items) => items.iter_mut().for_each(|value| shift(value, by)),
        Value::String(text) if text.ends_with('Z') => {
            if let Ok(time) = text.parse::<Timestamp>() {
                let moved = Timestamp::from_second(time.as_second() + by).expect("a time");
                *text = moved.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            }
        }
        _ => {}
    }
}
