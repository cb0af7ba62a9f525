//! B: the client of the API server, behind a proxy that cuts, stalls and answers in its place.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{applied_before, config_map, container, deployment, replica_sets, text};
use crate::support::{Fate, Outcome, Project, Proxy};

/// No end of them.
const ALL: usize = usize::MAX;

fn through(proxy: &Proxy, project: &Project) -> Outcome {
    let kubeconfig = proxy.kubeconfig(project, &json!({}));
    project.deploy_with(&[], &[("KUBECONFIG", &kubeconfig)])
}

/// A ConfigMap each.
fn config_maps(names: &[&str]) -> String {
    text(&names.iter().map(|name| config_map(name, &json!({"colour": "blue"}))).collect::<Vec<_>>())
}

/// The part of a request that tells an apply of the ConfigMap `name` from a dry run.
fn apply_of(name: &str) -> String {
    format!("/configmaps/{name}?&fieldManager=hdeploy")
}

#[test]
fn b1_what_passes_by_itself_is_tried_again() {
    let quota = "Operation cannot be fulfilled on resourcequotas \"all\": the object has been modified";
    let failures = [
        ("busy", Fate::status(429, "TooManyRequests", "too many requests")),
        ("gateway", Fate::Answer(502, json!("Bad Gateway"))),
        ("starting", Fate::status(503, "ServiceUnavailable", "starting")),
        ("slow", Fate::status(504, "Timeout", "timed out")),
        ("quota", Fate::status(409, "Conflict", quota)),
        ("webhook", Fate::status(500, "InternalError", "Internal error occurred: failed calling webhook")),
        ("etcd", Fate::status(500, "", "etcdserver: leader changed")),
        ("cut", Fate::Cut),
        ("lost", Fate::CutAfterwards),
    ];
    let names = failures.each_ref().map(|(name, _)| *name);
    let project = Project::bare("again", &config_maps(&names));
    let proxy = Proxy::new();
    for (name, fate) in failures {
        proxy.on(&["PATCH", &apply_of(name)], 0..2, fate);
    }
    through(&proxy, &project).exits(0).says("9 objects changed");
    for name in names {
        assert_eq!(proxy.seen(&["PATCH", &apply_of(name)]).len(), 3, "{name}");
        assert_eq!(project.live(&format!("configmap/{name}"))["data"]["colour"], "blue");
    }
}

#[test]
fn b1_what_stays_wrong_is_asked_once_and_said() {
    let typed = "failed to create typed patch object (a/b; v1, Kind=ConfigMap): .data.colour: expected string";
    let convert = "failed to convert new object (a/b; v1, Kind=ConfigMap) to proper version: no";
    let conflict = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "x",
        "details": {"causes": [{"reason": "FieldManagerConflict", "field": ".data.colour",
            "message": "conflict with \"somebody\" using v1"}]}});
    let refusals = [
        ("bad", Fate::status(400, "BadRequest", "made-up bad request"), "made-up bad request"),
        ("denied", Fate::status(403, "Forbidden", "made-up policy"), "made-up policy"),
        ("missing", Fate::status(404, "NotFound", "made-up not found"), "made-up not found"),
        ("invalid", Fate::status(422, "Invalid", "made-up rule"), "made-up rule"),
        ("typed", Fate::status(500, "", typed), ".data.colour: expected string"),
        ("convert", Fate::status(500, "", convert), "it is not understood: no"),
        ("taken", Fate::Answer(409, conflict), ".data.colour is somebody's"),
    ];
    let names = refusals.each_ref().map(|(name, ..)| *name);
    let project = Project::bare("once", &config_maps(&names));
    // At the dry run nothing has been written, and afterwards something may have been.
    for (parts, code) in [(["PATCH", "dryRun=All"], 4), (["PATCH", "?&fieldManager=hdeploy"], 2)] {
        let proxy = Proxy::new();
        for (name, fate, _) in &refusals {
            proxy.on(&[&parts[..], &[&format!("/configmaps/{name}?")]].concat(), 0..ALL, fate.clone());
        }
        let outcome = through(&proxy, &project).exits(code);
        refusals.iter().fold(outcome, |outcome, (_, _, words)| outcome.says(words));
        for name in names {
            let asked = proxy.seen(&[&parts[..], &[&format!("/configmaps/{name}?")]].concat()).len();
            assert_eq!(asked, 1, "{name} {parts:?}");
        }
        let live = project.kubectl(&["get", "configmaps", "-o", "name"]);
        assert!(names.iter().all(|name| !live.contains(&format!("configmap/{name}\n"))), "{live}");
    }
}

/// Whatever is under way when a connection breaks: it is found out or done again, and nothing is done twice.
fn every_request_breaks_once(name: &str, fate: Fate) {
    let with = |value: &str| {
        let web = deployment("web", |web| {
            web["spec"]["replicas"] = json!(1);
            container(web)["env"] = json!([{"name": "A", "value": value}]);
        });
        [config_map("settings", &json!({"a": value})), web]
    };
    let project = applied_before(name, &with("old"));
    project.kubectl(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    let old = replica_sets(&project, "web");
    project.objects(&text(&with("new")));
    let proxy = Proxy::new();
    // Whether anybody is there at all (`/version`) is asked once only.
    proxy.on_each(&[" /api"], 0..1, fate);
    through(&proxy, &project).exits(0).says("2 objects changed");
    assert_eq!(project.live("configmap/settings")["data"]["a"], "new");
    let sets = replica_sets(&project, "web");
    assert!(sets.starts_with(&old) || sets.ends_with(&old), "{sets}");
    assert_eq!(sets.split_whitespace().count(), 2, "one rollout");
    assert_eq!(project.kubectl(&["get", "secrets", "-o", "name"]), "", "the journal is gone");
    project.deploy().exits(0).says("no objects changed");
}

#[test]
fn b1_every_request_may_break_before_it_arrives() {
    every_request_breaks_once("before", Fate::Cut);
}

#[test]
fn b1_every_answer_may_be_lost() {
    every_request_breaks_once("after", Fate::CutAfterwards);
}

/// Whole seconds between the first two requests.
fn pause(seen: &[Instant]) -> u64 {
    (seen[1] - seen[0]).as_secs()
}

#[test]
fn b2_a_read_that_gets_no_answer_is_given_up_after_ten_seconds() {
    let project = Project::bare("mute", &config_maps(&["a"]));
    let proxy = Proxy::new();
    let read = ["GET", "/configmaps/a "];
    proxy.on(&read, 0..1, Fate::Stall);
    through(&proxy, &project).exits(0);
    assert!((10..15).contains(&pause(&proxy.seen(&read))));
}

#[test]
fn b2_a_write_that_gets_no_answer_is_given_up_after_thirty_seconds_with_the_lock_held() {
    let project = Project::bare("mute", &config_maps(&["a"]));
    let proxy = Proxy::new();
    let write = ["PATCH", &apply_of("a")];
    proxy.on(&write, 0..1, Fate::Stall);
    through(&proxy, &project).exits(0);
    assert!((30..35).contains(&pause(&proxy.seen(&write))));
}

#[test]
fn b6_a_token_that_is_replaced_meanwhile_is_read_again() {
    let web = deployment("web", |web| web["spec"]["replicas"] = json!(1));
    let project = Project::bare("token", &text(&[web]));
    project.write("token", "made-up-old");
    let file = json!({"tokenFile": project.path("token")});
    // At any time: in the checks, at a write, and while pods are watched.
    for (value, until) in [("a", "reviews"), ("b", "?&fieldManager=hdeploy"), ("c", "watch=true")] {
        project.write("token", "made-up-old");
        let (proxy, path) = (Proxy::new(), project.path("token"));
        let renew = Fate::before(move || fs::write(&path, "made-up-new").expect("a file"));
        let refused = Fate::status(401, "Unauthorized", "Unauthorized");
        proxy.on(&["GET /version"], 0..1, renew);
        proxy.on(&[until, "Bearer made-up-old"], 0..ALL, refused);
        project.objects(&text(&[deployment("web", |web| {
            web["spec"]["replicas"] = json!(1);
            container(web)["env"] = json!([{"name": "A", "value": value}]);
        })]));
        let kubeconfig = proxy.kubeconfig(&project, &file);
        project
            .deploy_with(&[], &[("KUBECONFIG", &kubeconfig)])
            .exits(0)
            .never_says("made-up")
            .never_says("Unauthorized");
        for token in ["Bearer made-up-old", "Bearer made-up-new"] {
            assert!(!proxy.seen(&[until, token]).is_empty(), "{until} {token}");
        }
    }
}

#[test]
fn b6_a_token_that_stays_refused_is_tried_once_more_and_said() {
    let project = Project::bare("stale", &config_maps(&["a"]));
    let proxy = Proxy::new();
    proxy.on(&["/configmaps/a "], 0..ALL, Fate::status(401, "Unauthorized", "Unauthorized"));
    let kubeconfig = proxy.kubeconfig(&project, &json!({"token": "made-up-old"}));
    let began = Instant::now();
    let outcome = project.deploy_with(&[], &[("KUBECONFIG", &kubeconfig)]).exits(4);
    outcome.says("401 Unauthorized").says("fetch the kubeconfig again").never_says("made-up");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(proxy.seen(&["/configmaps/a "]).len() % 2, 0, "each one twice");
}
