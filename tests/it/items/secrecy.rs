//! D5: what is secret stays so, whatever is wrong with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{container, deployment, secret, text};
use crate::support::{Fate, Outcome, Project, Proxy};

const CANARY: &str = "made-up-canary-4711";

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// Asserts that neither the canary nor what it is encoded as was printed.
#[track_caller]
fn silent(outcome: Outcome) -> Outcome {
    // A piece of the encoded form, whatever stands before it.
    let pieces = ["", "x", "xx"].map(|before| base64(&format!("{before}{CANARY}"))[4..20].to_owned());
    let outcome = pieces.iter().fold(outcome, |outcome, piece| outcome.never_says(piece));
    outcome.never_says("canary").never_says("4711")
}

/// A Secret as written, with the words that tell what is wrong with it.
fn wrong_secrets() -> Vec<(String, &'static str)> {
    let with = |more: Value| text(&[secret("keys", &more)]);
    let written = |lines: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: keys}}\nstringData:\n{lines}");
    vec![
        (with(json!({"data": {"a": CANARY}})), "data.a: it is no base64"),
        (with(json!({"data": {"a": format!("{}=", base64(CANARY))}})), "data.a: it is no base64"),
        (with(json!({"data": {"a": {"b": CANARY}}})), "at .data.a"),
        (with(json!({"data": [CANARY]})), "at .data"),
        (with(json!({"data": CANARY})), "at .data"),
        (with(json!({"stringData": {"a": [CANARY]}})), "at .stringData.a"),
        (with(json!({"stringData": CANARY})), "at .stringData"),
        (with(json!({"strinData": {"a": CANARY}})), "at .strinData"),
        (with(json!({"data": {"a b": base64(CANARY)}})), "data[a b]: FieldValueInvalid"),
        (with(json!({"type": [CANARY]})), "at .type"),
        (
            with(json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": CANARY}})),
            "data[.dockerconfigjson]",
        ),
        (with(json!({"type": "kubernetes.io/tls", "stringData": {"tls.key": CANARY}})), "data[tls.crt]"),
        (with(json!({"stringData": {"a": CANARY.repeat(60_000)}})), "data: FieldValueTooLong"),
        (written(&format!("  a: \"{CANARY}\n  b: x\n")), "objects.yaml:"),
        (written(&format!("  a: x\n  a: {CANARY}\n")), "\"a\" stands here and in line"),
        (written(&format!("  a: x\n b: {CANARY}\n")), "objects.yaml:"),
        (written(&format!("  a: *{CANARY}\n")), "objects.yaml:"),
    ]
}

#[test]
fn d5_a_secret_that_is_refused_is_told_by_its_place_alone() {
    let project = Project::bare("refused", "");
    for (manifest, words) in wrong_secrets() {
        project.objects(&manifest);
        silent(project.deploy()).exits(4).says(words);
    }
    assert_eq!(project.sandbox().writes(&project.name), Vec::<String>::new());
}

#[test]
fn d5_a_secret_that_cannot_change_is_told_by_name_alone() {
    let with = |value: &str| {
        text(&[secret("keys", &json!({"immutable": true, "type": format!("a/{value}"), "stringData": {"a": value}}))])
    };
    let project = Project::bare("fast", &with("x"));
    silent(project.deploy()).exits(0);
    project.objects(&with(CANARY));
    silent(project.deploy())
        .exits(4)
        .says("/keys was not applied")
        .says("immutable")
        .says("kubectl delete Secret keys");
    silent(project.deploy_with(&["--force-conflicts"], &[])).exits(4);
}

#[test]
fn d5_values_of_an_environment_are_not_repeated_either() {
    let env = |value: Value| json!([{"name": "PASSWORD", "value": value}]);
    let pod = |value: &str| {
        let web = deployment("one", |web| container(web)["env"] = env(json!(value)));
        let spec = web["spec"]["template"]["spec"].clone();
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec})
    };
    let project = Project::bare("env", &text(&[pod("x")]));
    silent(project.deploy()).exits(0);
    // The API server answers with the difference, and all around it.
    project.objects(&text(&[pod(CANARY)]));
    silent(project.deploy()).exits(4).says("pod updates may not change fields other than");
    project.objects(&text(&[deployment("web", |web| container(web)["env"] = env(json!({"a": CANARY})))]));
    silent(project.deploy()).exits(4).says(".env[name=\"PASSWORD\"].value: expected string");
}

#[test]
fn d5_what_others_say_is_masked() {
    let web = deployment("web", |_| {});
    let project = Project::bare("echo", &text(&[secret("keys", &json!({"stringData": {"a": CANARY}})), web]));
    let said = format!("admission webhook \"nosy.example.test\" denied the request: {CANARY} or {}", base64(CANARY));
    for code in [400, 403, 422, 500] {
        let proxy = Proxy::new();
        proxy.on(&["PATCH", "/deployments/web?"], 0..usize::MAX, Fate::status(code, "", &said));
        let kubeconfig = proxy.kubeconfig(&project, &json!({}));
        silent(project.deploy_with(&[], &[("KUBECONFIG", &kubeconfig)])).exits(4).says("nosy.example.test");
    }
}
