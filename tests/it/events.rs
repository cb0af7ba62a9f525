//! What programs read: `--output json` and the schema of its lines.

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::{Outcome, Project};

const JSON: [&str; 2] = ["--output", "json"];

/// A Deployment called `web` with one pod of `image` that runs `script`.
fn web(image: &str, script: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": image, "command": ["sh", "-c", script]}],
                },
            },
        },
    })
}

fn busybox(script: &str) -> Value {
    web(&std::env::var("SANDBOX_MIRROR_BUSYBOX").expect("the sandbox"), script)
}

/// The schema as the program prints it. Fields that it does not name are refused too.
fn schema(project: &Project) -> Validator {
    let printed = project.hdeploy(&["schema"]).exits(0);
    let mut schema: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(schema["properties"]["version"]["const"], 1);
    schema["unevaluatedProperties"] = false.into();
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
}

/// Every line of standard output, as the schema says; in the order of their times.
#[track_caller]
fn lines(project: &Project, outcome: &Outcome) -> Vec<Value> {
    let schema = schema(project);
    let read = |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")) };
    let lines: Vec<Value> = outcome.stdout.lines().map(read).collect();
    for line in &lines {
        let wrong: Vec<String> = schema.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{line}\n{wrong:#?}");
    }
    let elapsed: Vec<f64> = lines.iter().filter_map(|line| line["elapsed"].as_f64()).collect();
    assert!(elapsed.is_sorted() && elapsed.len() == lines.len(), "{elapsed:?}");
    lines
}

/// The one line with that event, and its place.
#[track_caller]
fn only<'a>(lines: &'a [Value], event: &str) -> (usize, &'a Value) {
    let found: Vec<(usize, &Value)> = lines.iter().enumerate().filter(|(_, line)| line["event"] == event).collect();
    let [one] = found[..] else { panic!("{} lines with {event}: {lines:#?}", found.len()) };
    one
}

fn key(project: &Project) -> Value {
    json!({"api_version": "apps/v1", "kind": "Deployment", "namespace": project.name, "name": "web"})
}

#[test]
fn d6_a_program_follows_a_deploy_line_by_line_from_its_start_to_its_end() {
    let project = Project::bare("json", &busybox("sleep 3600").to_string());
    let outcome = project.deploy_with(&JSON, &[]).exits(0);
    assert_eq!(outcome.stderr, "");
    let lines = lines(&project, &outcome);

    let (started, first) = only(&lines, "run_started");
    assert_eq!(first["release"], "v1");
    assert_eq!(first["target"]["namespace"], project.name.as_str());
    let (applied, change) = only(&lines, "object_applied");
    assert_eq!((&change["object"], &change["outcome"]), (&key(&project), &json!("created")));
    let (settled, web) = only(&lines, "settled");
    assert_eq!((&web["workload"], &web["replicas"]), (&key(&project), &json!(1)));
    let (finished, end) = only(&lines, "run_finished");
    assert!(started < applied && applied < settled && settled < finished && finished == lines.len() - 1);
    assert_eq!((&end["release"], &end["changed"]), (&json!("v1"), &json!(1)));
    let stages = end["stages"].as_object().expect("times").values().filter_map(Value::as_f64);
    let (stages, took) = (stages.sum::<f64>(), end["took"].as_f64().expect("a number"));
    assert!(web["took"].as_f64().expect("a number") <= took && stages <= took + 0.01, "{end}");
    let waited = lines.iter().position(|line| line["progress"] == "waiting").expect("it was waited for");
    assert!(applied < waited && waited < settled && lines[waited]["object"] == key(&project));

    // The same with the short form; and a recovery that has nothing to do says so.
    let again = project.hdeploy(&["--tag", "v1", "-o", "json"]).exits(0);
    assert_eq!(only(&self::lines(&project, &again), "run_finished").1["unchanged"], 1);
    let recovered = project.hdeploy(&["recover", "--output", "json"]).exits(0);
    let lines = self::lines(&project, &recovered);
    assert_eq!(lines.first().expect("a line")["event"], "run_started");
    assert_eq!(lines.last().expect("a line")["event"], "recover_finished");
}

#[test]
fn d1_a_program_hears_of_trouble_then_of_the_failure_then_of_the_end() {
    let image = format!("127.0.0.1:9/none@sha256:{}", "0a".repeat(32));
    let project = Project::bare("jsonfail", &web(&image, "sleep 3600").to_string());
    let outcome = project.deploy_with(&[&JSON[..], &["--timeout", "20", "--force-timeout"]].concat(), &[]).exits(2);
    let lines = lines(&project, &outcome);

    let trouble = lines.iter().position(|line| line["event"] == "trouble").expect("trouble");
    let cause = &lines[trouble]["cause"];
    assert_eq!(lines[trouble]["workload"], key(&project));
    assert_eq!(
        (&cause["rule"], &cause["container"], &cause["image"]),
        (&json!("pull_fails"), &json!("main"), &json!(image))
    );
    assert!(cause["message"].as_str().expect("words").contains("refused"), "{cause}");
    let (failed, failure) = only(&lines, "workload_failed");
    assert_eq!((&failure["workload"], &failure["cause"]["image"]), (&key(&project), &json!(image)));
    assert!(failure["took"].as_f64().expect("a number") >= 19.0, "{failure}");
    let (closed, end) = only(&lines, "run_failed");
    assert!(trouble < failed && failed < closed && closed == lines.len() - 1);
    assert_eq!((&end["kind"], &end["exit_code"]), (&json!("stranded"), &json!(2)));

    // A person who looks finds the same on standard error, and nothing else.
    let message = end["message"].as_str().expect("words");
    assert!(outcome.stderr.starts_with(&format!("error: {message}")), "{}", outcome.stderr);
    let hints = end["hints"].as_array().expect("hints");
    assert!(!hints.is_empty() && hints.iter().all(|hint| outcome.stderr.contains(hint.as_str().expect("words"))));
}

#[test]
fn d2_d5_a_program_is_shown_the_last_lines_of_a_container_without_the_secrets_in_them() {
    let mut web = busybox("echo it says $TOKEN; exit 3");
    let from = json!({"secretKeyRef": {"name": "keys", "key": "token"}});
    web["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "TOKEN", "valueFrom": from}]);
    web["metadata"]["annotations"] = json!({"hdeploy.dev/exits": "1"});
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "stringData": {"token": "made-up-token-0123"}});
    let project = Project::bare("jsonmask", &format!("---\n{keys}\n---\n{web}\n"));
    let outcome = project.deploy_with(&[&JSON[..], &["--soak", "10"]].concat(), &[]).exits(2).never_says("made-up");
    let lines = lines(&project, &outcome);
    let (_, last) = only(&lines, "last_lines");
    assert_eq!((&last["container"], &last["lines"]), (&json!("main"), &json!(["it says •••••"])));
    assert_eq!(only(&lines, "workload_failed").1["cause"]["rule"], "exits");
}

#[test]
fn a_refusal_is_one_line_and_a_reader_that_goes_away_stops_nothing() {
    let project = Project::bare("jsonpipe", &busybox("sleep 3600").to_string());
    let refused = project.hdeploy(&["all", "--output", "json", "--config", "no-such.yaml"]).exits(4);
    let (place, end) = (lines(&project, &refused), "run_failed");
    assert_eq!((place.len(), &only(&place, end).1["exit_code"]), (1, &json!(4)));

    let outcome = project.deploy_unread(&JSON).exits(0);
    assert_eq!((outcome.stderr.as_str(), outcome.stdout.as_str()), ("", ""));
    assert_eq!(project.live("deployment/web")["status"]["availableReplicas"], 1);
}
