//! States that a controller, a kubelet or a scheduler stays in: what counts as there, and what is told of what is not.

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};

use super::*;

/// Puts `spec` and `status` into the pod of [`deployed`].
fn becomes(snapshot: &mut Snapshot, name: &str, spec: &Value, status: &Value) {
    let mut pod = pod(name, "s");
    pod["spec"] = spec.clone();
    pod["status"] = status.clone();
    put::<Pod>(snapshot, &pod, false);
}

fn container(name: &str, more: &Value) -> Value {
    let mut container =
        json!({ "name": name, "image": "example.test/a", "imageID": "", "ready": false, "restartCount": 0 });
    for (field, value) in more.as_object().expect("fields") {
        container[field] = value.clone();
    }
    container
}

fn failed(verdict: Verdict) -> Cause {
    match verdict {
        Verdict::Failed(cause) => *cause,
        other => panic!("{other:?}"),
    }
}

/// What is told when nothing has come nearer for ten minutes.
fn given_up(expectation: &Expectation, snapshot: &Snapshot) -> Cause {
    let mut judge = Twins::of(judge_of(expectation, 0));
    let mut at = |seconds| judge.look(snapshot, &Answers::new(), Duration::from_secs(seconds));
    assert!(matches!(at(0), Verdict::Progressing(_)));
    let cause = failed(at(601));
    assert_eq!(cause.rule, Rule::Deadline);
    cause
}

/// With a readiness probe.
fn served() -> Value {
    let probe = json!({ "httpGet": { "path": "/health", "port": 8080 } });
    json!({ "containers": [{ "name": "a", "image": "example.test/a", "readinessProbe": probe }],
        "initContainers": [{ "name": "schema", "image": "example.test/a" }] })
}

#[test]
fn what_has_not_started_is_not_blamed_on_its_probe() {
    let (expectation, mut snapshot) = deployed();
    let running = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    let waiting = |reason: &str| json!({ "state": { "waiting": { "reason": reason } } });
    let status = |schema: Value, main: &Value| json!({ "phase": "Pending", "initContainerStatuses": [schema], "containerStatuses": [container("a", main)] });
    let schema = container("schema", &json!({ "state": running }));
    becomes(&mut snapshot, "a-h-1", &served(), &status(schema, &waiting("PodInitializing")));
    let cause = given_up(&expectation, &snapshot);
    assert_eq!(cause.container.as_deref(), Some("schema"));
    assert_eq!(cause.meaning, "nothing has come nearer for 600 s; the init container schema has not come to its end");

    let done = json!({ "state": { "terminated": { "exitCode": 0 } }, "ready": true });
    let status = status(container("schema", &done), &waiting("ContainerCreating"));
    becomes(&mut snapshot, "a-h-1", &served(), &status);
    let cause = given_up(&expectation, &snapshot);
    assert_eq!((cause.container.as_deref(), cause.reason.as_str()), (Some("a"), "ContainerCreating"));
    assert_eq!(cause.meaning, "nothing has come nearer for 600 s; the container a has not started");
    assert!(cause.advice.is_empty(), "{cause:?}");
}

#[test]
fn what_ended_once_and_runs_again_is_not_what_a_deadline_names() {
    let (expectation, mut snapshot) = deployed();
    let flaked = json!({ "state": { "running": {} }, "restartCount": 1, "ready": true, "lastState": { "terminated": { "exitCode": 3 } } });
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    let status = json!({ "phase": "Running", "conditions": ready, "containerStatuses": [container("a", &flaked)] });
    becomes(&mut snapshot, "a-h-1", &served(), &status);
    let status =
        json!({ "phase": "Running", "containerStatuses": [container("a", &json!({ "state": { "running": {} } }))] });
    becomes(&mut snapshot, "a-h-2", &served(), &status);
    let cause = given_up(&expectation, &snapshot);
    assert_eq!(cause.pod.as_deref(), Some("a-h-2"));
    assert!(cause.meaning.ends_with("its readiness probe (GET :8080/health) fails"), "{}", cause.meaning);
}

#[test]
fn v17_taints_beside_other_reasons_are_not_all_that_is_told() {
    let told = |text: &str| {
        let (expectation, mut snapshot) = deployed();
        let unscheduled = json!([{ "type": "PodScheduled", "status": "False", "message": text }]);
        becomes(&mut snapshot, "a-h-1", &served(), &json!({ "phase": "Pending", "conditions": unscheduled }));
        let mut judge = Twins::of(judge_of(&expectation, 0));
        let mut at = |seconds| judge.look(&snapshot, &Answers::new(), Duration::from_secs(seconds));
        assert!(matches!(at(0), Verdict::Progressing(_)) && matches!(at(119), Verdict::Progressing(_)));
        failed(at(120))
    };
    let cause = told("0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.");
    assert_eq!(cause.meaning, "no node takes the pod: some have taints, the others no room");
    assert!(cause.advice.len() == 2 && cause.advice[1].contains("lower the requests"), "{:?}", cause.advice);
    let cause = told("0/1 nodes are available: 1 node(s) had untolerated taint(s).");
    assert_eq!((cause.meaning.as_str(), cause.advice.len()), ("no node takes the pod, because of taints", 1));
}

#[test]
fn v18_a_mount_that_failed_before_a_container_ran_is_told_no_more() {
    let (expectation, mut snapshot) = deployed();
    let event = json!({ "metadata": { "name": "mount", "uid": "mount" }, "type": "Warning", "count": 1,
        "reason": "FailedMount", "message": "failed to sync configmap cache: timed out waiting for the condition",
        "involvedObject": { "kind": "Pod", "name": "a-h-1", "uid": "a-h-1" } });
    put::<Event>(&mut snapshot, &event, false);
    let waits = container("a", &json!({ "state": { "waiting": { "reason": "ContainerCreating" } } }));
    let mut told = |mounted: &str| {
        let conditions = json!([{ "type": "PodReadyToStartContainers", "status": mounted }]);
        let status = json!({ "phase": "Pending", "conditions": conditions, "containerStatuses": [waits] });
        becomes(&mut snapshot, "a-h-1", &served(), &status);
        let mut judge = Twins::of(judge_of(&expectation, 0));
        judge.look(&snapshot, &Answers::new(), Duration::ZERO);
        match judge.look(&snapshot, &Answers::new(), Duration::from_secs(20)) {
            Verdict::Progressing(on) => (on.warnings.len(), on.why.contains("configmap cache")),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((told("False"), told("True")), ((1, true), (0, false)));
}

#[test]
fn v19_a_node_that_is_emptied_takes_many_pods_at_once_and_is_no_failure() {
    let (expectation, mut snapshot) = deployed();
    changed(&mut snapshot, |deployment| deployment.spec.as_mut().expect("a spec").replicas = Some(10));
    let mut judge = judge_of(&expectation, 0);
    let mut evicted = |upto: usize, seconds| {
        for number in 0..upto {
            let status = json!({ "phase": "Failed", "reason": "Evicted" });
            becomes(&mut snapshot, &format!("a-h-gone-{number}"), &json!({ "containers": [] }), &status);
        }
        judge.look(&snapshot, &Answers::new(), Duration::from_secs(seconds))
    };
    assert!(matches!(evicted(0, 0), Verdict::Progressing(_)));
    assert!(matches!(evicted(19, 10), Verdict::Progressing(_)));
    assert_eq!(failed(evicted(20, 20)).rule, Rule::Disrupted);
}

/// A DaemonSet of three with the third template, so many of them available, and pods of these numbers and revisions.
fn daemon_set(pods: [(&str, &str); 3], available: i32) -> Verdict {
    let annotations = json!({ "deprecated.daemonset.template.generation": "3" });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "a", "uid": "u", "generation": 3, "annotations": annotations },
        "spec": { "selector": {}, "template": { "spec": { "containers": [{ "name": "a" }] } } },
        "status": { "observedGeneration": 3, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
            "updatedNumberScheduled": 3, "numberAvailable": available, "numberReady": 3, "numberMisscheduled": 0 },
    });
    let mut snapshot = Snapshot::default();
    put::<DaemonSet>(&mut snapshot, &set, false);
    for (index, (number, revision)) in pods.iter().enumerate() {
        let mut member = pod(&format!("a-{index}"), "u");
        member["metadata"]["labels"] =
            json!({ "pod-template-generation": number, "controller-revision-hash": revision });
        if index >= usize::try_from(available).expect("a number") {
            member["spec"] = json!({ "containers": [{ "name": "a" }] });
            let ended = json!({ "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 3 } } });
            member["status"] = json!({ "phase": "Running", "containerStatuses": [container("a", &ended)] });
        }
        put::<Pod>(&mut snapshot, &member, false);
    }
    look(&Expectation::of(&set).expect("expectation"), &snapshot)
}

#[test]
fn a_daemon_set_whose_earlier_template_comes_back_keeps_its_pods_and_settles() {
    let settled = Verdict::Settled { replicas: 3 };
    assert_eq!(daemon_set([("1", "h1"), ("1", "h1"), ("3", "h1")], 3), settled);
    let kept = [("1", "h1"), ("1", "h1"), ("1", "h1")];
    assert_eq!(daemon_set(kept, 3), settled);
    assert_eq!(failed(daemon_set(kept, 2)).rule, Rule::Exits);
    assert!(matches!(daemon_set([("2", "h2"), ("3", "h1"), ("3", "h1")], 3), Verdict::Progressing(_)));
}

#[test]
fn a_stateful_set_whose_pods_somebody_replaces_settles_although_its_current_revision_stays() {
    let set = |strategy: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "a", "uid": "u", "generation": 1 },
            "spec": { "replicas": 2, "template": { "spec": { "containers": [{ "name": "a" }] } }, "selector": {},
                "serviceName": "a", "updateStrategy": { "type": strategy } },
            "status": { "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2,
                "updatedReplicas": 2, "currentRevision": "old", "updateRevision": "new" },
        })
    };
    let verdict = |set: &Value, revision: &str, status: &str| {
        let mut snapshot = Snapshot::default();
        put::<StatefulSet>(&mut snapshot, set, false);
        for (name, revision, status) in [("a-0", "new", "True"), ("a-1", revision, status)] {
            let mut member = pod(name, "u");
            member["metadata"]["labels"] = json!({ "controller-revision-hash": revision });
            member["status"]["conditions"][0]["status"] = json!(status);
            put::<Pod>(&mut snapshot, &member, false);
        }
        look(&Expectation::of(set).expect("expectation"), &snapshot)
    };
    assert_eq!(verdict(&set("OnDelete"), "new", "True"), Verdict::Settled { replicas: 2 });
    assert!(matches!(verdict(&set("RollingUpdate"), "new", "True"), Verdict::Progressing(_)));

    // The controller does not replace what is broken before it is ready.
    match verdict(&set("RollingUpdate"), "old", "False") {
        Verdict::Progressing(on) => assert!(on.why.contains("a-1 of an earlier release is not ready"), "{}", on.why),
        other => panic!("{other:?}"),
    }
}
