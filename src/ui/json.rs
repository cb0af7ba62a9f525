//! One line of JSON per event on standard output, for programs: `{"version":1,"time":"…","elapsed":0.31,"event":…}`.
//!
//! The line of the end is the last one. Whatever is waited for is told when it changes and every quarter of a minute.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::output;
use crate::error::Result;
use crate::event::{Event, Message, Messages, Progress, Seconds};
use crate::model::{ObjectKey, ServiceName};

/// Rises when something goes or means something else; what is new does not count.
const VERSION: u32 = 1;

/// What was told so long ago is told again, and if nothing was, that the run goes on. This is looked at once per
/// [`PACE`]: nobody waits for longer than a quarter of a minute.
const QUIET: Duration = Duration::from_secs(14);

/// One thing's progress is told at most so often: a push moves many times a second.
const PACE: Duration = Duration::from_secs(1);

/// Prints `messages` until the channel closes.
pub(super) async fn show(mut messages: Messages) {
    let (mut out, began) = (output::stdout(), Instant::now());
    let mut json = Json::new(SystemTime::now());
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let said = tokio::select! {
            biased;
            message = messages.recv() => match message {
                Some(message) => json.take(message, began.elapsed()).into_iter().collect(),
                None => break,
            },
            _ = ticks.tick() => json.tick(began.elapsed()),
        };
        said.iter().for_each(|line| out.line(line));
    }
    json.close(began.elapsed()).iter().for_each(|line| out.line(line));
}

/// Prints the JSON Schema of the lines.
///
/// # Errors
/// When standard output takes no more.
pub fn print_schema() -> Result<()> {
    super::print(&serde_json::to_string_pretty(&schema()).expect("JSON is text"))
}

fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Line<'_>>().to_value()
}

/// One line that `--output json` prints on standard output. Lines whose `event` or `progress` is unknown, and unknown
/// fields, are to be passed over: they may come without another `version`.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "hdeploy --output json")]
struct Line<'a> {
    /// Of this format. It rises when something goes, or means something else.
    #[schemars(extend("const" = VERSION))]
    version: u32,
    /// When it was said, in UTC to the millisecond.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// Since the run began.
    elapsed: Seconds,
    #[serde(flatten)]
    said: Said<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Said<'a> {
    Event(&'a Event),
    Progress(&'a Progress),
    Heartbeat(Heartbeat),
}

/// A sign of life.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "progress", rename_all = "snake_case")]
enum Heartbeat {
    /// The run goes on, and nothing more is known.
    Working,
}

/// What has been said, and what is waited for.
struct Json {
    began: SystemTime,
    last: Duration,
    under_way: BTreeMap<Subject, UnderWay>,
    /// The end, kept back until nobody can say anything any more.
    end: Option<Event>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Service(ServiceName),
    Object(ObjectKey),
}

struct UnderWay {
    progress: Progress,
    /// When it last had a line.
    last: Duration,
    /// Whether `progress` has been printed.
    told: bool,
}

impl Json {
    fn new(began: SystemTime) -> Self {
        Self { began, last: Duration::ZERO, under_way: BTreeMap::new(), end: None }
    }

    fn take(&mut self, message: Message, now: Duration) -> Option<String> {
        match message {
            Message::Event(event) if event.is_last() => {
                self.end = Some(event);
                None
            }
            Message::Event(event) => Some(self.event(&event, now)),
            Message::Progress(progress) => self.progress(progress, now),
        }
    }

    fn event(&mut self, event: &Event, now: Duration) -> String {
        if let Some(subject) = ended(event) {
            self.under_way.remove(&subject);
        }
        self.line(Said::Event(event), now)
    }

    fn progress(&mut self, progress: Progress, now: Duration) -> Option<String> {
        let subject = subject(&progress);
        let held = match self.under_way.get(&subject) {
            Some(known) if known.progress == progress => return None,
            known => known.map(|known| known.last).filter(|last| now.saturating_sub(*last) < PACE),
        };
        let line = held.is_none().then(|| self.line(Said::Progress(&progress), now));
        self.under_way.insert(subject, UnderWay { progress, last: held.unwrap_or(now), told: held.is_none() });
        line
    }

    /// What time alone brings about.
    fn tick(&mut self, now: Duration) -> Vec<String> {
        let mut due = Vec::new();
        for known in self.under_way.values_mut() {
            let quiet = now.saturating_sub(known.last);
            if quiet >= if known.told { QUIET } else { PACE } {
                (known.last, known.told) = (now, true);
                due.push(known.progress.clone());
            }
        }
        let mut said: Vec<String> = due.iter().map(|progress| self.line(Said::Progress(progress), now)).collect();
        if now.saturating_sub(self.last) >= QUIET {
            said.push(self.line(Said::Heartbeat(Heartbeat::Working), now));
        }
        said
    }

    fn close(&mut self, now: Duration) -> Option<String> {
        let end = self.end.take()?;
        Some(self.line(Said::Event(&end), now))
    }

    fn line(&mut self, said: Said<'_>, now: Duration) -> String {
        self.last = now;
        let time = Timestamp::try_from(self.began + now).unwrap_or_default();
        let line = Line { version: VERSION, time: format!("{time:.3}"), elapsed: now.into(), said };
        serde_json::to_string(&line).expect("a line is JSON")
    }
}

fn subject(progress: &Progress) -> Subject {
    match progress {
        Progress::Building { service, .. } | Progress::Pushing { service, .. } => Subject::Service(service.clone()),
        Progress::Waiting { object, .. } => Subject::Object(object.clone()),
    }
}

/// What is waited for no longer.
fn ended(event: &Event) -> Option<Subject> {
    match event {
        Event::BuildFinished { service, .. } | Event::Pushed { service, .. } => Some(Subject::Service(service.clone())),
        Event::JobCompleted { job: object, .. }
        | Event::Settled { workload: object, .. }
        | Event::WorkloadFailed { workload: object, .. } => Some(Subject::Object(object.clone())),
        Event::Failed { subject, .. } => subject.parse().ok().map(Subject::Service),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::UNIX_EPOCH;

    use jsonschema::Validator;

    use super::super::samples::{building, every_event, every_progress, finished, log, object, waiting};
    use super::*;

    fn json() -> Json {
        Json::new(UNIX_EPOCH + Duration::from_secs(1_767_240_727))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Refuses fields that the schema does not name as well.
    fn strict() -> Validator {
        let mut schema = schema();
        schema["unevaluatedProperties"] = false.into();
        jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
    }

    fn every_line() -> Vec<String> {
        let (mut json, now) = (json(), Duration::from_micros(12_345_678));
        let mut lines: Vec<String> = every_event().iter().map(|event| json.line(Said::Event(event), now)).collect();
        lines.extend(every_progress().iter().map(|progress| json.line(Said::Progress(progress), now)));
        lines.push(json.line(Said::Heartbeat(Heartbeat::Working), now));
        lines
    }

    fn value(line: &str) -> Value {
        serde_json::from_str(line).expect("a line of JSON")
    }

    #[test]
    fn lines_keep_their_form() {
        insta::assert_snapshot!(every_line().join("\n"));
    }

    #[test]
    fn d6_every_line_is_what_the_schema_says_and_nothing_else() {
        let schema = strict();
        for line in every_line() {
            assert!(!line.contains('\n'), "{line}");
            let wrong: Vec<String> = schema.iter_errors(&value(&line)).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{line}\n{wrong:#?}");
        }
        // The check itself tells a field that is missing, misnamed or of another type.
        let good = value(&every_line()[0]);
        for (field, wrong) in
            [("version", 2.into()), ("time", "today".into()), ("more", 1.into()), ("event", "x".into())]
        {
            let mut line = good.clone();
            line[field] = wrong;
            assert!(!schema.is_valid(&line), "{line}");
        }
    }

    #[test]
    fn every_event_and_every_progress_has_a_sample() {
        let lines: Vec<Value> = every_line().iter().map(|line| value(line)).collect();
        let schema = schema();
        for (kind, tag) in [("Event", "event"), ("Progress", "progress"), ("Heartbeat", "progress")] {
            let sampled: BTreeSet<&str> = lines.iter().filter_map(|line| line[tag].as_str()).collect();
            let variants = schema["$defs"][kind]["oneOf"].as_array().expect("variants");
            for variant in variants {
                let name = variant["properties"][tag]["const"].as_str().expect("a name");
                assert!(sampled.contains(name), "{kind} {name} has no sample");
            }
        }
    }

    #[test]
    fn d6_progress_is_told_when_it_changed_and_once_per_second() {
        let mut json = json();
        let mut take =
            |why, now| json.progress(waiting("api", why), at(0) + now).map(|line| value(&line)["why"].clone());
        assert_eq!(take("0 of 3", at(0)), Some("0 of 3".into()));
        assert_eq!(take("0 of 3", at(2)), None);
        assert_eq!(take("1 of 3", at(2)), Some("1 of 3".into()));
        assert_eq!(take("2 of 3", Duration::from_millis(2100)), None);
        assert_eq!(take("3 of 3", Duration::from_millis(2200)), None);
        let held = json.tick(at(3));
        assert_eq!(held.iter().map(|line| value(line)["why"].clone()).collect::<Vec<_>>(), ["3 of 3"]);
        assert!(json.tick(at(4)).is_empty());
    }

    #[test]
    fn d6_whatever_is_waited_for_is_told_every_quarter_of_a_minute_however_much_else_is_said() {
        let mut json = json();
        json.progress(waiting("api", "0 of 3"), at(0));
        json.progress(building("[1/2]"), at(0));
        let mut told = Vec::new();
        for second in 1..=30 {
            json.event(&log("working"), at(second));
            told.extend(json.tick(at(second)).iter().map(|line| (second, value(line)["progress"].clone())));
        }
        let both = |second| [(second, Value::from("building")), (second, Value::from("waiting"))];
        assert_eq!(told, [both(14), both(28)].concat());
    }

    #[test]
    fn what_has_come_to_its_end_is_told_no_more_and_silence_is_broken() {
        let mut json = json();
        json.progress(waiting("api", "0 of 1"), at(0));
        json.event(&Event::Settled { workload: object("Deployment", "api"), elapsed: at(1), replicas: 1 }, at(1));
        assert!(json.tick(at(14)).is_empty());
        let said = json.tick(at(15));
        assert_eq!(said.iter().map(|line| value(line)["progress"].clone()).collect::<Vec<_>>(), ["working"]);
    }

    #[test]
    fn the_end_stands_behind_whatever_is_said_late() {
        let mut json = json();
        assert_eq!(json.take(Message::Event(finished()), at(1)), None);
        assert!(json.take(Message::Event(log("late")), at(2)).is_some());
        assert_eq!(json.close(at(3)).map(|line| value(&line)["event"].clone()), Some("run_finished".into()));
    }
}
