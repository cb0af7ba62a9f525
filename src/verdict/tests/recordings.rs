//! Every recording against the table `tests/fixtures/signals/expected.txt`, which was written by hand.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;

/// A line of a recording: seconds since the first apply, kind, event, object.
#[derive(Clone, Deserialize)]
pub(super) struct Line {
    pub t: f64,
    pub k: String,
    pub e: String,
    pub o: Value,
}

/// A row of the table.
#[derive(Clone, Debug)]
struct Expected {
    recording: String,
    step: usize,
    verdict: String,
    rule: String,
    from: f64,
    to: f64,
    blind: f64,
    answers: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signals")
}

fn table() -> Vec<Expected> {
    let text = std::fs::read_to_string(folder().join("expected.txt")).expect("the table");
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| {
        let mut words = row.split_whitespace();
        let mut word = || words.next().expect(row).to_owned();
        let (recording, step, verdict, rule) = (word(), word(), word(), word());
        let (from, to, blind) = (word(), word(), word());
        let number = |text: &str| text.parse().expect(row);
        Expected {
            recording,
            step: step.parse().expect(row),
            verdict,
            rule,
            from: number(&from),
            to: number(&to),
            blind: number(&blind),
            answers: words.collect::<Vec<_>>().join(" "),
        }
    })
    .collect()
}

fn recording(name: &str) -> Vec<Line> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).expect(name);
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// What is found when `question` is asked, as the row says.
fn answer(row: &Expected, question: &Question) -> Answer {
    let said = row.answers.split(" & ").filter_map(|answer| answer.split_once(':'));
    let Question::Object { object, key } = question else {
        let lines = said.filter(|(how, _)| *how == "log").map(|(_, line)| line.to_owned());
        return Answer::Log(lines.collect());
    };
    for (how, what) in said {
        let (name, keys) = what.split_once('[').unwrap_or((what, ""));
        if name != format!("{}/{}", object.kind, object.name) {
            continue;
        }
        let has_key = key.as_ref().is_none_or(|key| keys.trim_end_matches(']').split(',').any(|known| known == key));
        return match how {
            "missing" => Answer::Missing,
            "forbidden" => Answer::Forbidden,
            _ if has_key => Answer::Present,
            _ => Answer::Missing,
        };
    }
    panic!("{}: nobody says whether {object} is there", row.recording)
}

/// A line as it changes what is known.
struct Step {
    /// Seconds since the first apply.
    time: f64,
    begins: bool,
    is_event: bool,
    change: Option<Change>,
    /// What the apply of this step has promised, and how long it may take.
    promised: Option<(Expectation, Limits)>,
}

type Change = Box<dyn Fn(&mut Snapshot)>;

/// A recording with whole objects in every line: after the first sighting, only what moves is recorded.
fn prepared(name: &str) -> Vec<Step> {
    steps(&recording(name))
}

fn steps(lines: &[Line]) -> Vec<Step> {
    let mut whole = Whole { templates: templates(lines), workload: workload(lines), ..Whole::default() };
    lines.iter().map(|line| whole.step(line)).collect()
}

/// What came of a step, and when; `None` while it is open.
type Outcome = Option<(f64, Verdict)>;

/// Replays a step. Events are left out of a blind one; looks begin with the line `first_look`, and everything before comes
/// at once, as after a lost connection.
fn replay(row: &Expected, steps: &[Step], blind: bool, first_look: usize) -> Outcome {
    let applies: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].begins).collect();
    let begin = applies[row.step - 1];
    let end = applies.get(row.step).copied().unwrap_or(steps.len());
    let mut snapshot = Snapshot::default();
    let see = |step: &Step, snapshot: &mut Snapshot| match &step.change {
        Some(change) if !(blind && step.is_event) => change(snapshot),
        _ => {}
    };
    steps[..begin].iter().for_each(|step| see(step, &mut snapshot));
    let baseline = Arc::new(Baseline::of(&snapshot));
    let since = |step: &Step| Duration::from_secs_f64((step.time - steps[begin].time).max(0.0));
    let mut judge: Option<Twins> = None;
    let mut looks = Looks { row, answers: Answers::new(), again: None };
    for (at, step) in steps[begin..end].iter().enumerate() {
        let now = since(step);
        if let Some(judge) = judge.as_mut().filter(|_| at > first_look)
            && let Some(outcome) = looks.until(judge, &snapshot, now)
        {
            return Some(outcome);
        }
        see(step, &mut snapshot);
        if let Some((expectation, limits)) = &step.promised {
            judge = Some(Twins::of(Judge::new(expectation.clone(), Arc::clone(&baseline), *limits, true)));
        }
        if let Some(judge) = judge.as_mut().filter(|_| at >= first_look)
            && let Some(outcome) = looks.at(judge, &snapshot, now)
        {
            return Some(outcome);
        }
    }
    if row.verdict == "open" {
        return None;
    }
    looks.until(judge.as_mut().expect("an apply"), &snapshot, Duration::from_hours(1))
}

/// One who looks, asks and looks again.
struct Looks<'a> {
    row: &'a Expected,
    answers: Answers,
    again: Option<Duration>,
}

impl Looks<'_> {
    /// Looks whenever time alone changes something, until `now`.
    fn until(&mut self, judge: &mut Twins, snapshot: &Snapshot, now: Duration) -> Outcome {
        while let Some(at) = self.again.filter(|at| *at < now) {
            if let Some(outcome) = self.at(judge, snapshot, at) {
                return Some(outcome);
            }
            assert!(self.again.is_none_or(|next| next > at), "{}: it looks again and again", self.row.recording);
        }
        None
    }

    fn at(&mut self, judge: &mut Twins, snapshot: &Snapshot, now: Duration) -> Outcome {
        loop {
            match judge.look(snapshot, &self.answers, now) {
                Verdict::Progressing(on) if on.questions.is_empty() => {
                    self.again = on.look_again;
                    return None;
                }
                Verdict::Progressing(on) => {
                    let answered =
                        on.questions.into_iter().map(|question| (question.clone(), answer(self.row, &question)));
                    self.answers.extend(answered);
                }
                verdict => return Some((now.as_secs_f64(), verdict)),
            }
        }
    }
}

#[derive(Default)]
struct Whole {
    objects: Map<String, Value>,
    templates: Vec<Value>,
    template: Value,
    /// As it was first seen: the answer to an apply may be noted before that.
    workload: Value,
}

/// The templates of the recording's ReplicaSets: later applies of a Deployment are recorded as they were sent only,
/// without the defaults that the API server added.
fn templates(lines: &[Line]) -> Vec<Value> {
    let sets = lines.iter().filter(|line| line.k == "ReplicaSet");
    let recorded = sets.filter_map(|line| line.o.pointer("/spec/template").cloned());
    recorded
        .map(|mut template| {
            template["metadata"]["labels"].as_object_mut().expect("labels").remove("pod-template-hash");
            template
        })
        .collect()
}

fn workload(lines: &[Line]) -> Value {
    let seen = lines.iter().find(|line| line.e == "ADDED" && ["Deployment", "Job"].contains(&line.k.as_str()));
    let seen = seen.expect("a workload");
    let mut object = json!({ "apiVersion": "v1", "kind": seen.k });
    object["metadata"] = seen.o["metadata"].clone();
    object["spec"] = seen.o["spec"].clone();
    object
}

impl Whole {
    fn step(&mut self, line: &Line) -> Step {
        let begins = line.e == "APPLY";
        if begins && line.k == "Deployment" {
            self.apply(&line.o);
        }
        let is_object = ["ADDED", "MODIFIED", "DELETED"].contains(&line.e.as_str());
        Step {
            time: line.t,
            begins,
            is_event: line.k == "Event",
            change: if is_object { self.change(line) } else { None },
            promised: line.o.get("applyStatus").map(|_| self.promised(&line.o)),
        }
    }

    fn apply(&mut self, sent: &Value) {
        let sent = sent.pointer("/spec/template").expect("template");
        let matching = self.templates.iter().filter(|template| contains(template, sent));
        self.template = matching.min_by_key(|template| template.to_string().len()).expect("template").clone();
    }

    fn promised(&self, note: &Value) -> (Expectation, Limits) {
        let mut returned = self.workload.clone();
        returned["metadata"]["generation"] = note["generation"].clone();
        if returned["kind"] == "Deployment" {
            returned["spec"]["template"] = self.template.clone();
        }
        let limits = Limits::of(&returned, 1, Duration::from_secs(10), None);
        (Expectation::of(&returned).expect("an expectation"), limits)
    }

    fn whole(&mut self, kind: &str, seen: &Value) -> Value {
        let name = seen.pointer("/metadata/name").and_then(Value::as_str).expect("name");
        let known = self.objects.entry(format!("{kind}/{name}")).or_insert_with(|| json!({}));
        for (field, value) in seen.as_object().expect("object") {
            match (field.as_str(), value) {
                ("metadata" | "spec", Value::Object(parts)) if known.get(field).is_some() => {
                    for (part, value) in parts {
                        known[field][part] = value.clone();
                    }
                }
                _ => known[field] = value.clone(),
            }
        }
        if kind == "Deployment" {
            known["spec"]["template"] = self.template.clone();
        }
        known.clone()
    }

    fn change(&mut self, line: &Line) -> Option<Change> {
        fn of<T: Kept + Read + Clone>(object: Value, deleted: bool) -> Change {
            let object: T = read(object);
            Box::new(move |snapshot| if deleted { snapshot.remove(&object) } else { snapshot.put(object.clone()) })
        }
        use k8s_openapi::api::{apps, batch, core};
        let deleted = line.e == "DELETED";
        let object = if deleted { line.o.clone() } else { self.whole(&line.k, &line.o) };
        Some(match line.k.as_str() {
            "Deployment" => of::<apps::v1::Deployment>(object, deleted),
            "ReplicaSet" => of::<ReplicaSet>(object, deleted),
            "Pod" => of::<core::v1::Pod>(object, deleted),
            "Job" => of::<batch::v1::Job>(object, deleted),
            "Event" if !is_followed::<core::v1::Event>(&object) => return None,
            "Event" => of::<core::v1::Event>(object, deleted),
            "PersistentVolumeClaim" => of::<core::v1::PersistentVolumeClaim>(object, deleted),
            _ => return None,
        })
    }
}

/// Whether it comes with what a namespace is followed for.
fn is_followed<T: Kept>(object: &Value) -> bool {
    let field = |path: &str| object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str);
    let excludes = |term: &str| term.split_once("!=").is_some_and(|(path, value)| field(path) == Some(value));
    T::SELECTOR.is_none_or(|terms| !terms.split(',').any(excludes))
}

/// As watches read it.
fn read<T: Read>(object: Value) -> T {
    let Lean(object) = serde_json::from_value(object).expect("an object of this kind");
    object
}

pub(super) fn put<T: Kept + Read>(snapshot: &mut Snapshot, object: &Value, deleted: bool) {
    let object: T = read(object.clone());
    if deleted {
        snapshot.remove(&object);
    } else {
        snapshot.put(object);
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}

/// The verdict's word, its rule and when it came.
fn told(outcome: &Outcome) -> (&'static str, String, f64) {
    match outcome {
        None => ("open", "-".to_owned(), 0.0),
        Some((time, Verdict::Settled { .. })) => ("settled", "-".to_owned(), *time),
        Some((time, Verdict::Failed(cause))) => {
            ("failed", serde_json::to_value(cause.rule).expect("a word").as_str().expect("a word").to_owned(), *time)
        }
        Some((time, _)) => ("other", "-".to_owned(), *time),
    }
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_recording_has_a_row() {
    let rows: Vec<(String, usize)> = table().into_iter().map(|row| (row.recording, row.step)).collect();
    for entry in std::fs::read_dir(folder()).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let Some(name) = name.strip_suffix(".jsonl") else { continue };
        let steps = recording(name).iter().filter(|line| line.e == "APPLY").count();
        for step in 1..=steps {
            assert!(rows.contains(&(name.to_owned(), step)), "{name} {step}");
        }
    }
}

#[test]
fn w4_w5_w16_w19_w20_every_recording_gets_its_verdict_in_its_time() {
    let mut wrong = Vec::new();
    for row in table() {
        let outcome = replay(&row, &prepared(&row.recording), false, 0);
        let (verdict, rule, time) = told(&outcome);
        if verdict != row.verdict || rule != row.rule || !(row.from..=row.to).contains(&time) {
            wrong.push(format!("{} {}: {verdict} {rule} at {time:.2} s in place of {row:?}", row.recording, row.step));
        }
    }
    report(&wrong);
}

/// A kubelet stops to send warnings after the 25th, and an API server forgets events after an hour.
#[test]
fn w18_without_events_the_verdict_is_the_same_though_later() {
    let mut wrong = Vec::new();
    for row in table() {
        let (verdict, rule, time) = told(&replay(&row, &prepared(&row.recording), true, 0));
        if verdict != row.verdict || time > row.blind {
            wrong.push(format!("{} {}: {verdict} {rule} at {time:.2} s in place of {row:?}", row.recording, row.step));
        }
    }
    report(&wrong);
}

/// An event as `events.k8s.io` has it, seen through the older kind: its times and its count stand elsewhere.
fn of_newer_form(line: &mut Line) {
    let event = line.o.as_object_mut().expect("an event");
    let (count, last) = (event.remove("count"), event.remove("lastTimestamp"));
    event.insert("lastTimestamp".to_owned(), Value::Null);
    let micros = |time: Option<Value>| time.map(|time| json!(time.as_str().expect("a time").replace('Z', ".000000Z")));
    if let Some(first) = micros(event.remove("firstTimestamp")) {
        event.insert("eventTime".to_owned(), first);
    }
    let series = count.filter(|count| count.as_i64() > Some(1)).zip(micros(last));
    let series = series.map(|(count, last)| json!({ "count": count, "lastObservedTime": last }));
    event.insert("series".to_owned(), series.unwrap_or_default());
}

#[test]
fn d3_events_of_either_form_say_the_same() {
    let mut wrong = Vec::new();
    for row in table() {
        let mut lines = recording(&row.recording);
        lines.iter_mut().filter(|line| line.k == "Event" && line.e != "DELETED").for_each(of_newer_form);
        let (verdict, rule, time) = told(&replay(&row, &steps(&lines), false, 0));
        if verdict != row.verdict || rule != row.rule || !(row.from..=row.to).contains(&time) {
            wrong.push(format!("{} {}: {verdict} {rule} at {time:.2} s in place of {row:?}", row.recording, row.step));
        }
    }
    report(&wrong);
}

/// As after a connection that was lost up to any line: what was missed comes at once.
#[test]
fn from_whichever_line_on_it_is_watched_a_verdict_never_turns_into_its_opposite() {
    let mut wrong = Vec::new();
    for row in table().into_iter().filter(|row| row.verdict != "open") {
        let steps = prepared(&row.recording);
        let begin = steps.iter().enumerate().filter(|(_, step)| step.begins).nth(row.step - 1).expect("a step").0;
        // What comes later, nobody would see any more.
        let own = steps[begin..].iter().enumerate().take_while(|(at, step)| *at == 0 || !step.begins);
        let seen = own.take_while(|(_, step)| step.time - steps[begin].time <= row.to).count();
        for (first, blind) in (1..seen).flat_map(|first| [(first, false), (first, true)]) {
            let (verdict, rule, time) = told(&replay(&row, &steps, blind, first));
            if verdict != row.verdict {
                wrong.push(format!(
                    "{} {} from line {first}, blind {blind}: {verdict} {rule} at {time:.2} s in place of {}",
                    row.recording, row.step, row.verdict
                ));
            }
        }
    }
    report(&wrong);
}
