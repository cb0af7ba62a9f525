//! Recordings of real rollouts, replayed line by line.

mod recordings;
mod stuck;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::fuzz;
use crate::redact::{Redactor, leaks};
use recordings::{Line, put};

fn judge_of(expectation: &Expectation, soak: u64) -> Judge {
    let limits = Limits { soak: Duration::from_secs(soak), stall: Duration::from_mins(10), timeout: None };
    Judge::new(expectation.clone(), Arc::default(), limits, true)
}

/// One look, without a soak.
fn look(expectation: &Expectation, snapshot: &Snapshot) -> Verdict {
    judge_of(expectation, 0).look(snapshot, &Answers::new(), Duration::ZERO)
}

/// A judge, and another one that never rests: they have to say the same.
struct Twins {
    judge: Judge,
    restless: Judge,
}

impl Twins {
    fn of(judge: Judge) -> Self {
        Self { restless: judge.clone(), judge }
    }

    fn look(&mut self, snapshot: &Snapshot, answers: &Answers, now: Duration) -> Verdict {
        let verdict = self.judge.look(snapshot, answers, now);
        assert_eq!(verdict, self.restless.look_anew(snapshot, answers, now));
        verdict
    }
}

fn waits(expectation: &Expectation, snapshot: &Snapshot) -> String {
    match look(expectation, snapshot) {
        Verdict::Progressing(on) => on.why,
        other => panic!("{other:?}"),
    }
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
    put::<ReplicaSet>(&mut snapshot, &set, false);
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
fn w2_everything_new_and_available_is_settled() {
    let (expectation, snapshot) = deployed();
    assert_eq!(look(&expectation, &snapshot), Verdict::Settled { replicas: 2 });
}

#[test]
fn w1_a_snapshot_from_before_the_apply_proves_nothing() {
    let (mut expectation, snapshot) = deployed();
    expectation.generation = 5;
    expectation.template = None;
    assert!(matches!(look(&expectation, &snapshot), Verdict::Progressing(_)));
    expectation.uid = "another".to_owned();
    assert!(matches!(look(&expectation, &snapshot), Verdict::Progressing(_)));
}

#[test]
fn w14_what_somebody_else_changes_is_superseded() {
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| {
        d.spec.as_mut().expect("spec").template.metadata.get_or_insert_default().name = Some("x".to_owned());
    });
    assert!(matches!(look(&expectation, &snapshot), Verdict::Superseded(Meddling::Template)));
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| d.spec.as_mut().expect("spec").paused = Some(true));
    assert!(matches!(look(&expectation, &snapshot), Verdict::Superseded(Meddling::Paused)));
}

#[test]
fn w14_a_scaled_deployment_is_judged_by_its_live_replicas() {
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| {
        d.metadata.generation = Some(5);
        d.spec.as_mut().expect("spec").replicas = Some(3);
    });
    assert!(matches!(look(&expectation, &snapshot), Verdict::Progressing(on) if on.why.contains("not seen")));
    changed(&mut snapshot, |d| d.status.as_mut().expect("status").observed_generation = Some(5));
    assert!(matches!(look(&expectation, &snapshot), Verdict::Progressing(on) if on.why.starts_with("2 of 3 updated")));
}

#[test]
fn w15_deleted_or_made_anew_has_failed() {
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |d| d.metadata.uid = Some("another".to_owned()));
    assert!(matches!(look(&expectation, &snapshot), Verdict::Failed(cause) if cause.message.contains("deleted")));
    let (expectation, mut snapshot) = deployed();
    snapshot.retain::<k8s_openapi::api::apps::v1::Deployment>(&BTreeSet::new());
    assert!(
        matches!(look(&expectation, &snapshot), Verdict::Failed(cause) if cause.message.contains("Deployment n/a"))
    );
}

#[test]
fn a_judge_does_not_look_again_while_nothing_of_its_workload_has_changed() {
    let (expectation, mut snapshot) = deployed();
    put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod("a-g-1", "gone"), false);
    let (mut judge, none) = (judge_of(&expectation, 0), Answers::new());
    let said = judge.look(&snapshot, &none, Duration::ZERO);
    assert!(matches!(said, Verdict::Progressing(_)), "{said:?}");
    // Without any change in it, nobody sees that there is nothing.
    assert_eq!(judge.look(&Snapshot::default(), &none, Duration::from_secs(1)), said);
    // Its deadline comes without a change.
    let late = judge.look(&Snapshot::default(), &none, Duration::from_mins(11));
    assert_ne!(late, said);
    put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod("a-g-1", "gone"), true);
    assert_eq!(judge.look(&snapshot, &none, Duration::from_secs(2)), Verdict::Settled { replicas: 2 });
}

#[test]
fn a_job_without_a_limit_of_its_own_is_waited_for_from_its_first_pod_on() {
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": "a", "namespace": "n", "uid": "u", "generation": 1 }, "spec": {}, "status": {},
    });
    let mut snapshot = Snapshot::default();
    put::<k8s_openapi::api::batch::v1::Job>(&mut snapshot, &job, false);
    let limits = Limits { soak: Duration::ZERO, stall: Duration::MAX, timeout: None };
    let mut judge = Twins::of(Judge::new(Expectation::of(&job).expect("expectation"), Arc::default(), limits, true));
    for seconds in 0..3 {
        let verdict = judge.look(&snapshot, &Answers::new(), Duration::from_secs(seconds));
        assert!(matches!(verdict, Verdict::Progressing(_)), "{verdict:?}");
        put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod("a-1", "u"), false);
    }
}

/// A Job called `a`, with what its status says besides its start.
fn installs(uid: &str, more: &Value) -> Value {
    let mut status = json!({ "startTime": "2026-11-21T08:00:00Z", "active": 1 });
    status.as_object_mut().expect("a status").extend(more.as_object().expect("fields").clone());
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": "a", "namespace": "n", "uid": uid, "generation": 1 }, "spec": { "template": {} },
        "status": status,
    })
}

#[test]
fn o7_a_job_that_its_controller_makes_again_is_waited_for_in_its_new_form() {
    type Job = k8s_openapi::api::batch::v1::Job;
    let first = installs("u", &json!({}));
    let mut job = Expectation::of(&first).expect("an expectation");
    job.replaceable = true;
    let (mut judge, mut snapshot, none) = (Twins::of(judge_of(&job, 0)), Snapshot::default(), Answers::new());
    let mut see = |snapshot: &Snapshot, second| judge.look(snapshot, &none, Duration::from_secs(second));
    put::<Job>(&mut snapshot, &first, false);
    assert!(matches!(see(&snapshot, 0), Verdict::Progressing(_)));
    put::<Job>(&mut snapshot, &first, true);
    // However long its pods take to end.
    for second in [1, 300] {
        assert!(matches!(see(&snapshot, second), Verdict::Progressing(_)), "{second}");
    }
    put::<Job>(&mut snapshot, &installs("another", &json!({})), false);
    assert!(matches!(see(&snapshot, 301), Verdict::Progressing(_)));
    let complete = json!({ "succeeded": 1, "conditions": [{ "type": "Complete", "status": "True" }] });
    put::<Job>(&mut snapshot, &installs("another", &complete), false);
    assert_eq!(see(&snapshot, 302), Verdict::Settled { replicas: 1 });
}

#[test]
fn w3_w16_a_running_pod_of_a_replica_set_that_is_gone_is_an_old_pod() {
    let (expectation, mut snapshot) = deployed();
    put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod("a-g-1", "gone"), false);
    assert_eq!(waits(&expectation, &snapshot), "2 of 2 available; 1 old pod is still running");
}

#[test]
fn w12_pods_that_were_evicted_long_ago_are_nobodys_failure() {
    let (expectation, mut snapshot) = deployed();
    for number in 0..6 {
        let mut evicted = pod(&format!("a-h-gone-{number}"), "s");
        evicted["status"] = json!({ "phase": "Failed", "reason": "Evicted" });
        put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &evicted, false);
    }
    assert_eq!(look(&expectation, &snapshot), Verdict::Settled { replicas: 2 });

    // Nor while something else is waited for.
    let baseline = Arc::new(Baseline::of(&snapshot));
    put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod("a-g-1", "gone"), false);
    let limits = Limits { soak: Duration::ZERO, stall: Duration::from_mins(10), timeout: None };
    let mut judge = Judge::new(expectation, baseline, limits, true);
    let verdict = judge.look(&snapshot, &Answers::new(), Duration::ZERO);
    assert!(matches!(verdict, Verdict::Progressing(_)), "{verdict:?}");
}

#[test]
fn v3_a_second_pod_that_is_refused_is_a_failure_unless_the_secret_was_not_read() {
    let (expectation, mut snapshot) = deployed();
    for name in ["a-h-1", "a-h-2"] {
        let mut pod = pod(name, "s");
        pod["spec"] = json!({ "containers": [{ "name": "a", "image": "example.test/a" }] });
        let refused = json!({ "reason": "ErrImagePull", "message": "unexpected status: 401 Unauthorized" });
        let status = json!({ "name": "a", "image": "example.test/a", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": refused } });
        pod["status"] = json!({ "phase": "Pending", "containerStatuses": [status] });
        put::<k8s_openapi::api::core::v1::Pod>(&mut snapshot, &pod, false);
    }
    let mut judge = Twins::of(judge_of(&expectation, 0));
    let mut at =
        |snapshot: &Snapshot, milliseconds| judge.look(snapshot, &Answers::new(), Duration::from_millis(milliseconds));
    let waits = |verdict: &Verdict| matches!(verdict, Verdict::Progressing(_));
    assert!(waits(&at(&snapshot, 0)));
    let mut told = snapshot.clone();
    for name in ["a-h-1", "a-h-2"] {
        let event = json!({ "metadata": { "name": format!("unread-{name}"), "uid": format!("unread-{name}") },
            "reason": "FailedToRetrieveImagePullSecret", "type": "Warning", "count": 1,
            "involvedObject": { "kind": "Pod", "name": name, "uid": name } });
        put::<k8s_openapi::api::core::v1::Event>(&mut told, &event, false);
    }
    assert!(waits(&at(&told, 2000)));
    match at(&snapshot, 2000) {
        Verdict::Failed(cause) => assert_eq!(cause.rule, Rule::PullDenied),
        other => panic!("{other:?}"),
    }
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
    look(&Expectation::of(&set).expect("expectation"), &snapshot)
}

#[test]
fn a_stateful_set_settles_when_its_pods_have_the_new_revision() {
    assert_eq!(stateful("new", 1, "new"), Verdict::Settled { replicas: 1 });
    assert!(matches!(stateful("old", 0, "old"), Verdict::Progressing(on) if on.why.starts_with("0 of 1 updated")));
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
        look(&Expectation::of(&set).expect("expectation"), &snapshot)
    };
    assert_eq!(daemon(1), Verdict::Settled { replicas: 1 });
    assert!(matches!(daemon(0), Verdict::Progressing(on) if on.why.starts_with("0 of 1 updated")));
}

#[test]
fn d5_a_secret_in_a_kubelets_message_does_not_come_out_when_the_message_is_cut() {
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
            let mut judge = judge_of(expectation, 10);
            for second in [0, 1, 700] {
                let _ = judge.look(&snapshot, &Answers::new(), Duration::from_secs(second));
            }
        }
    });
}

fn see(snapshot: &mut Snapshot, line: &Line) {
    fn of<T: Kept + Read>(snapshot: &mut Snapshot, line: &Line) {
        match Lean::<T>::deserialize(&line.o) {
            Ok(Lean(object)) if line.e == "DELETED" => snapshot.remove(&object),
            Ok(Lean(object)) => snapshot.put(object),
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
        "ReplicaSet" => of::<ReplicaSet>(snapshot, line),
        "Job" => of::<batch::v1::Job>(snapshot, line),
        "Event" => of::<core::v1::Event>(snapshot, line),
        _ => of::<core::v1::Pod>(snapshot, line),
    }
}
