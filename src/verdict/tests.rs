//! Recordings of real rollouts, replayed line by line.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::*;
use crate::fuzz;
use crate::redact::{Redactor, leaks};

/// A line of a recording: seconds since the first apply, kind, event, object.
#[derive(Deserialize)]
struct Line {
    t: f64,
    k: String,
    e: String,
    o: Value,
}

/// What was judged: the number of the apply, the time, the verdict.
type Judged = (usize, f64, Verdict);

#[derive(Default)]
struct Replay {
    snapshot: Snapshot,
    objects: Map<String, Value>,
    templates: Vec<Value>,
    template: Value,
    step: usize,
    expectation: Option<Expectation>,
    judged: Vec<Judged>,
    /// As it was first seen: the answer to an apply may be noted before that.
    workload: Value,
}

fn replay(name: &str) -> Vec<Judged> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signals").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(file).expect(name);
    let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let mut replay = Replay { templates: templates(&lines), workload: workload(&lines), ..Replay::default() };
    for line in lines {
        replay.line(&line);
    }
    replay.judged
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

impl Replay {
    fn line(&mut self, line: &Line) {
        match (line.k.as_str(), line.e.as_str()) {
            ("Deployment", "APPLY") => self.apply(&line.o),
            ("Note", _) => self.note(&line.o),
            (kind, "DELETED") => self.store(kind, &line.o, true),
            (kind, "ADDED" | "MODIFIED") => {
                let object = self.whole(kind, &line.o);
                self.store(kind, &object, false);
            }
            _ => {}
        }
        if let Some(expectation) = &self.expectation {
            self.judged.push((self.step, line.t, judge(expectation, &self.snapshot)));
        }
    }

    fn apply(&mut self, sent: &Value) {
        let sent = sent.pointer("/spec/template").expect("template");
        let matching = self.templates.iter().filter(|template| contains(template, sent));
        self.template = matching.min_by_key(|template| template.to_string().len()).expect("template").clone();
        self.expectation = None;
    }

    fn note(&mut self, note: &Value) {
        if note.get("applyStatus").is_some() {
            let mut returned = self.workload.clone();
            returned["metadata"]["generation"] = note["generation"].clone();
            if returned["kind"] == "Deployment" {
                returned["spec"]["template"] = self.template.clone();
            }
            self.expectation = Expectation::of(&returned);
            self.step += 1;
        }
    }

    /// After the first sighting, only what moves is recorded.
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

    fn store(&mut self, kind: &str, object: &Value, deleted: bool) {
        use k8s_openapi::api::{apps, batch, core};
        match kind {
            "Deployment" => put::<apps::v1::Deployment>(&mut self.snapshot, object, deleted),
            "ReplicaSet" => put::<apps::v1::ReplicaSet>(&mut self.snapshot, object, deleted),
            "Pod" => put::<core::v1::Pod>(&mut self.snapshot, object, deleted),
            "Job" => put::<batch::v1::Job>(&mut self.snapshot, object, deleted),
            "Event" => put::<core::v1::Event>(&mut self.snapshot, object, deleted),
            "PersistentVolumeClaim" => put::<core::v1::PersistentVolumeClaim>(&mut self.snapshot, object, deleted),
            _ => {}
        }
    }
}

fn put<T: Kept + DeserializeOwned>(snapshot: &mut Snapshot, object: &Value, deleted: bool) {
    let object: T = serde_json::from_value(object.clone()).expect("object");
    if deleted { snapshot.remove(&object) } else { snapshot.put(object) }
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

/// When each apply was first seen to have settled, with how many replicas.
fn settled(judged: &[Judged]) -> Vec<(usize, f64, i32)> {
    let mut first: Vec<(usize, f64, i32)> = Vec::new();
    for (step, time, verdict) in judged {
        if let Verdict::Settled { replicas } = verdict
            && first.last().is_none_or(|(last, ..)| last != step)
        {
            first.push((*step, *time, *replicas));
        }
    }
    first
}

fn failures(judged: &[Judged]) -> Vec<&Judged> {
    judged.iter().filter(|(_, _, verdict)| matches!(verdict, Verdict::Failed(_) | Verdict::Superseded(_))).collect()
}

fn waits(judged: &[Judged]) -> Vec<&str> {
    let mut texts: Vec<&str> = Vec::new();
    for (_, _, verdict) in judged {
        if let Verdict::Progressing(why) = verdict
            && texts.last() != Some(&why.as_str())
        {
            texts.push(why);
        }
    }
    texts
}

/// Whether each of `expected` was said, in this order.
fn said(judged: &[Judged], expected: &[&str]) {
    let texts = waits(judged);
    let mut rest = texts.iter();
    for text in expected {
        assert!(rest.any(|said| said.contains(text)), "{text:?} is not in its place in {texts:#?}");
    }
}

fn near(times: &[(usize, f64, i32)], expected: &[(usize, f64, i32)]) {
    assert_eq!(times.len(), expected.len(), "{times:?}");
    for (time, wanted) in times.iter().zip(expected) {
        assert!(time.0 == wanted.0 && (time.1 - wanted.1).abs() < 0.1 && time.2 == wanted.2, "{time:?} {wanted:?}");
    }
}

#[test]
fn never_ready_never_settles_and_names_the_probe() {
    let judged = replay("18-ready-never");
    near(&settled(&judged), &[]);
    assert!(failures(&judged).is_empty());
    said(
        &judged,
        &[
            "0 of 1 updated, 0 available",
            "1 of 1 updated, 0 available; app-9c…-bjsn6: ContainerCreating",
            "not ready (Readiness probe failed: HTTP probe failed with statuscode: 404)",
        ],
    );
}

#[test]
fn a_pod_that_fits_nowhere_is_on_its_way_and_says_so() {
    let judged = replay("23a-cpu");
    near(&settled(&judged), &[]);
    said(&judged, &["not scheduled (0/1 nodes are available: 1 Insufficient cpu"]);
}

#[test]
fn a_rolling_update_of_one_settles_when_the_old_pod_is_gone() {
    let judged = replay("26b-rolling-grace12");
    near(&settled(&judged), &[(1, 1.29, 1), (2, 17.51, 1)]);
    assert!(failures(&judged).is_empty(), "{:?}", failures(&judged));
    said(&judged, &["1 of 1 updated, 2 available; 1 old pod", "1 of 1 available; 1 old pod is still ending"]);
}

#[test]
fn a_rolling_update_of_three_settles_when_no_old_pod_runs_that_is_not_ending() {
    let judged = replay("26c-rolling-grace12-r3");
    let times = settled(&judged);
    assert_eq!(times.len(), 2, "{times:?}");
    assert!(times[1].1 < 6.0 && times[1].2 == 3, "{times:?}");
    assert!(failures(&judged).is_empty());
}

#[test]
fn recreate_settles_with_the_new_pod() {
    let judged = replay("26a-recreate-grace12");
    let times = settled(&judged);
    assert_eq!(times.iter().map(|(step, _, replicas)| (*step, *replicas)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    assert!(times[1].1 > 14.0, "{times:?}");
    assert!(failures(&judged).is_empty());
}

#[test]
fn neither_a_stale_deadline_nor_a_status_of_the_change_before_misleads() {
    let judged = replay("24e-recreate-slowold");
    let steps: Vec<usize> = settled(&judged).iter().map(|(step, ..)| *step).collect();
    assert_eq!(steps, [1, 3, 5], "the bad releases are the second and the fourth");
    near(&settled(&judged)[1..2], &[(3, 46.84, 1)]);
    said(&judged, &["1 old pod is still ending", "ContainerCreating", "not ready (Readiness probe failed"]);
    assert!(failures(&judged).is_empty());
}

#[test]
fn a_job_settles_when_it_is_complete() {
    let judged = replay("25d-job-ok");
    near(&settled(&judged), &[(1, 5.10, 1)]);
    said(&judged, &["ContainerCreating", "running", "its pod has ended"]);
}

#[test]
fn a_job_has_failed_at_failure_target() {
    let judged = replay("25c-job-deadline-grace20");
    near(&settled(&judged), &[]);
    let failed = failures(&judged);
    let (_, time, verdict) = failed.first().expect("a failure");
    assert!((time - 4.75).abs() < 0.1, "{time}");
    assert!(matches!(verdict, Verdict::Failed(why) if why.starts_with("DeadlineExceeded: ")), "{verdict:?}");
}

/// A Deployment of two that has settled, its ReplicaSet and its pods.
fn deployed() -> (Expectation, Snapshot) {
    let template = json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "a" }] } });
    let hashed =
        json!({ "metadata": { "labels": { "app": "a", "pod-template-hash": "h" } }, "spec": template["spec"] });
    let counts = json!({ "observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "a", "namespace": "n", "uid": "u", "generation": 4 },
        "spec": { "replicas": 2, "template": template, "selector": { "matchLabels": { "app": "a" } } }, "status": counts,
    });
    let set = json!({
        "metadata": { "name": "a-h", "uid": "s", "generation": 1, "ownerReferences": [owner("Deployment", "u")] },
        "spec": { "replicas": 2, "template": hashed }, "status": counts,
    });
    let mut snapshot = Snapshot::default();
    put::<k8s_openapi::api::apps::v1::Deployment>(&mut snapshot, &deployment, false);
    put::<k8s_openapi::api::apps::v1::ReplicaSet>(&mut snapshot, &set, false);
    for name in ["a-h-1", "a-h-2"] {
        put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod(name, "s"), false);
    }
    (Expectation::of(&deployment).expect("expectation"), snapshot)
}

fn owner(kind: &str, uid: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": kind, "name": "a", "uid": uid, "controller": true })
}

fn pod(name: &str, set: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "uid": name, "labels": { "app": "a" }, "ownerReferences": [owner("ReplicaSet", set)],
        },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

fn changed(snapshot: &mut Snapshot, change: impl FnOnce(&mut k8s_openapi::api::apps::v1::Deployment)) {
    let mut deployment = snapshot.deployments.get("a").expect("a").clone();
    change(&mut deployment);
    snapshot.put(deployment);
}

#[test]
fn everything_new_and_available_is_settled() {
    let (expectation, snapshot) = deployed();
    assert_eq!(judge(&expectation, &snapshot), Verdict::Settled { replicas: 2 });
}

#[test]
fn a_snapshot_from_before_the_apply_proves_nothing() {
    let (mut expectation, snapshot) = deployed();
    expectation.generation = 5;
    expectation.template = json!({ "spec": {} });
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Progressing(_)));
    expectation.uid = "another".to_owned();
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Progressing(_)));
}

#[test]
fn what_somebody_else_changes_is_superseded() {
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| {
        d.spec.as_mut().expect("spec").template.metadata.get_or_insert_default().name = Some("x".to_owned());
    });
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Superseded(why) if why.contains("template")));
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| d.spec.as_mut().expect("spec").paused = Some(true));
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Superseded(why) if why.contains("paused")));
}

#[test]
fn a_scaled_deployment_is_judged_by_its_live_replicas() {
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| {
        d.metadata.generation = Some(5);
        d.spec.as_mut().expect("spec").replicas = Some(3);
    });
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Progressing(why) if why.contains("not seen")));
    changed(&mut snapshot, |d| d.status.as_mut().expect("status").observed_generation = Some(5));
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Progressing(why) if why.starts_with("2 of 3 updated")));
}

#[test]
fn deleted_or_made_anew_has_failed() {
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| d.metadata.uid = Some("another".to_owned()));
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Failed(why) if why.contains("deleted")));
    let (expectation, mut snapshot) = deployed();
    snapshot.replace::<k8s_openapi::api::apps::v1::Deployment>(Vec::new());
    assert!(matches!(judge(&expectation, &snapshot), Verdict::Failed(why) if why.contains("Deployment n/a")));
}

#[test]
fn a_running_pod_of_a_replica_set_that_is_gone_is_an_old_pod() {
    let (expectation, mut snapshot) = deployed();
    put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod("a-g-1", "gone"), false);
    assert_eq!(
        judge(&expectation, &snapshot),
        Verdict::Progressing("2 of 2 available; 1 old pod is still running".to_owned())
    );
}

fn stateful(current: &str, updated: i32, revision: &str) -> Verdict {
    let template = json!({ "spec": { "containers": [{ "name": "a" }] } });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "a", "uid": "u", "generation": 1 },
        "spec": { "replicas": 1, "template": template, "selector": {}, "serviceName": "a" },
        "status": {
            "observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1,
            "updatedReplicas": updated, "currentRevision": current, "updateRevision": "new",
        },
    });
    let mut member = pod("a-0", "u");
    member["metadata"]["labels"] = json!({ "controller-revision-hash": revision });
    let mut snapshot = Snapshot::default();
    put::<k8s_openapi::api::apps::v1::StatefulSet>(&mut snapshot, &set, false);
    put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &member, false);
    judge(&Expectation::of(&set).expect("expectation"), &snapshot)
}

#[test]
fn a_stateful_set_settles_when_its_pods_have_the_new_revision() {
    assert_eq!(stateful("new", 1, "new"), Verdict::Settled { replicas: 1 });
    assert!(matches!(stateful("old", 0, "old"), Verdict::Progressing(why) if why.starts_with("0 of 1 updated")));
    assert!(matches!(stateful("new", 1, "old"), Verdict::Progressing(_)), "the pods go before the status");
}

#[test]
fn a_daemon_set_settles_when_it_is_everywhere() {
    let daemon = |updated: i32| {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "a", "uid": "u", "generation": 2 },
            "spec": { "template": {}, "selector": {} },
            "status": {
                "observedGeneration": 2, "desiredNumberScheduled": 1, "currentNumberScheduled": 1,
                "updatedNumberScheduled": updated, "numberAvailable": 1, "numberReady": 1, "numberMisscheduled": 0,
            },
        });
        let mut snapshot = Snapshot::default();
        put::<k8s_openapi::api::apps::v1::DaemonSet>(&mut snapshot, &set, false);
        put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod("a-x", "u"), false);
        judge(&Expectation::of(&set).expect("expectation"), &snapshot)
    };
    assert_eq!(daemon(1), Verdict::Settled { replicas: 1 });
    assert!(matches!(daemon(0), Verdict::Progressing(why) if why.starts_with("0 of 1 updated")));
}

#[test]
fn a_secret_in_a_kubelets_message_does_not_come_out_when_the_message_is_cut() {
    let secret = "MADE-UP/SECRET+0123456789.";
    let redactor = Redactor::default();
    redactor.learn(secret);
    for length in 0..120 {
        for behind in
            ["", ".", ", and what the kubelet says about it is a lot longer than a line is wide on any terminal"]
        {
            let message = format!("{}{secret}{behind}", "x".repeat(length));
            let told = words::shortened(&message);
            assert!(!leaks(&redactor.mask(&told), secret), "{told}");
        }
    }
}

#[test]
fn any_input_is_read_or_refused() {
    let samples = fuzz::files(&["tests/fixtures/signals"], &[".jsonl"]);
    let samples: Vec<&[u8]> = samples.iter().flat_map(|file| file.split(|byte| *byte == b'\n')).collect();
    // Few lines at a time, as each of them is judged with all others.
    let samples: Vec<Vec<u8>> = samples.chunks(8).map(|lines| lines.join(&b'\n')).collect();
    let words = [
        "\"StatefulSet\"",
        "\"DaemonSet\"",
        "\"replicas\":",
        "\"partition\":",
        "\"message\":\"",
        "-2147483648",
        "{}",
        "[]",
        "\"restartCount\":",
        "\"waiting\":{\"message\":\"",
        "\"type\":\"PodScheduled\",\"status\":\"False\"",
    ];
    fuzz::reader(module_path!(), &samples, &words, |input| {
        let (mut snapshot, mut expected) = (Snapshot::default(), Vec::new());
        for line in input.split(|byte| *byte == b'\n').take(50) {
            let Ok(mut line) = serde_json::from_slice::<Line>(line) else { continue };
            see(&mut snapshot, &line);
            line.o["apiVersion"] = "v1".into();
            line.o["kind"] = line.k.into();
            expected.extend(Expectation::of(&line.o));
        }
        for expectation in &expected {
            let _ = judge(expectation, &snapshot);
        }
    });
}

fn see(snapshot: &mut Snapshot, line: &Line) {
    fn of<T: Kept + DeserializeOwned>(snapshot: &mut Snapshot, line: &Line) {
        match T::deserialize(&line.o) {
            Ok(object) if line.e == "DELETED" => snapshot.remove(&object),
            Ok(object) => snapshot.put(object),
            Err(_) => {}
        }
    }
    use k8s_openapi::api::{apps::v1, batch, core};
    match line.k.as_str() {
        "Deployment" => {
            of::<v1::Deployment>(snapshot, line);
            of::<v1::StatefulSet>(snapshot, line);
        }
        "StatefulSet" => of::<v1::StatefulSet>(snapshot, line),
        "DaemonSet" => of::<v1::DaemonSet>(snapshot, line),
        "ReplicaSet" => of::<v1::ReplicaSet>(snapshot, line),
        "Job" => of::<batch::v1::Job>(snapshot, line),
        "Event" => of::<core::v1::Event>(snapshot, line),
        _ => of::<core::v1::Pod>(snapshot, line),
    }
}
